"""What operators do is in the audit trail of the customer whom it is about; `audit` shows it."""

import json
import pkgutil
from collections.abc import Callable
from datetime import timedelta

import pytest

from infra import commands
from infra.__main__ import main
from shared.accounts import by_mail
from shared.accounts.keys import create_key
from tests.functions.test_audit_trail import entries
from tests.shared.exports.nights import due, refuse, work_on
from tests.subjects.by_email import only
from tests.subjects.small_job import Jobs
from tests.world import World

Command = Callable[[World], tuple[list[str], str]]
"""Makes what a command needs; returns its arguments, and what it is to change, as a path."""


def of_export(*arguments: str, state: str = "ACTIVE") -> Command:
    def made(world: World) -> tuple[list[str], str]:
        id = world.export(start="2026-11-22T09:00:00Z")
        world.cloud.db.document(f"exports/{id}").update({"state": state})
        return [each.format(id) for each in arguments], f"exports/{id}"

    return made


def failed_run(world: World) -> tuple[list[str], str]:
    id = world.export()
    refuse(world)
    work_on(world, 1)
    world.run_due(due(1))
    run = only(world, id)["run_id"]
    return [id, run], f"exports/{id}/runs/{run}"


def open_job(world: World) -> tuple[list[str], str]:
    id = Jobs(world).begin_import(b"id\n1\n")
    return ["job", id], f"jobs/{id}"


def batch(world: World) -> tuple[list[str], str]:
    id = world.batch()
    return ["batch", id], f"batches/{id}"


def key(world: World) -> tuple[list[str], str]:
    id = create_key(world.cloud.db, customer="acme", scopes=["exports"]).split("_")[1]
    return [id], f"api_keys/{id}"


def rotated(world: World) -> tuple[list[str], str]:
    [id], thing = key(world)
    return [id, "--now"], thing


def job_with_links(world: World) -> tuple[list[str], str]:
    jobs = Jobs(world)
    jobs.imported(b"id\n1\n")
    id = jobs.exported()["jobId"]
    return ["job", id], f"jobs/{id}"


def new_address(world: World) -> tuple[list[str], str]:
    [id], _ = key(world)
    return ["allow", "ann@acme.example", "--key", id], by_mail.path_of("ann@acme.example")


def gone_address(world: World) -> tuple[list[str], str]:
    [id], _ = key(world)
    by_mail.allow(world.cloud, "ann@acme.example", id)
    return ["withdraw", "ann@acme.example"], by_mail.path_of("ann@acme.example")


ACME = ["--customer", "acme"]

CHANGES: dict[str, list[Command]] = {
    "add-customer": [lambda _: (["acme", "--slug", "acme", "--name", "Acme"], "customers/acme")],
    "add-key": [lambda _: ([*ACME, "--scope", "exports"], "api_keys/")],
    "add-site": [lambda _: (["s-1", *ACME, "--name", "East"], "sites/s-1")],
    "cancel": [batch, open_job],
    "check-bucket": [of_export("{}", state="SUSPENDED")],
    "console-address": [new_address, gone_address],
    "limits": [lambda _: (["acme", "exports", "7"], "customers/acme")],
    "networks": [lambda _: (["acme", "add", "10.1.2.0/24"], "customers/acme")],
    "pause": [of_export("{}")],
    "rerun": [failed_run],
    "resume": [of_export("{}", state="PAUSED")],
    "retry-failed": [of_export("{}")],
    "revoke-key": [key],
    "revoke-links": [of_export("export", "{}"), job_with_links],
    "rotate-key": [rotated],
}

OTHERS = {
    *("audit", "customers", "estimate", "exports", "keys", "show-run", "sites", "status"),
    "replay",
    "rotate-secrets",
    "ticks",
}
"""These only show something. `replay` sends a message once more, whose function does only what was asked
before; `rotate-secrets` seals anew what stays the same; `ticks` is about the clock of all customers."""


def test_each_command_is_tried_here() -> None:
    names = {each.name.replace("_", "-") for each in pkgutil.iter_modules(commands.__path__)}
    assert set(CHANGES) | OTHERS == names


LONG = (failed_run, job_with_links)


@pytest.mark.parametrize(
    ("name", "prepare"),
    [
        pytest.param(name, each, id=f"{name}-{number}", marks=pytest.mark.slow if each in LONG else ())
        for name, several in CHANGES.items()
        for number, each in enumerate(several)
    ],
)
def test_a_command_that_changes_something_has_an_entry(world: World, name: str, prepare: Command) -> None:
    arguments, thing = prepare(world)
    before = len(entries(world))
    assert main([name, *arguments]) == 0
    found = [each for each in entries(world) if each["key"] == "operator"]
    assert len(entries(world)) == before + len(found)
    assert {each["action"] for each in found} == {name}
    assert [each for each in found if each["thing"].startswith(thing)], (thing, found)


def test_the_entries_name_the_limit_and_the_networks_that_were_set(world: World) -> None:
    main(["limits", "acme", "exports", "7"])
    main(["networks", "acme", "add", "10.1.2.0/24"])
    assert sorted(each["fields"] for each in entries(world)) == [["exports"], ["networks"]]


def test_a_rotated_key_and_the_new_one_have_an_entry_each(world: World) -> None:
    [id], thing = key(world)
    main(["rotate-key", id, "--now"])
    found = {each["thing"] for each in entries(world)}
    assert len(found) == 2
    assert thing in found


def test_operators_see_one_customers_entries_by_thing_and_key(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.stranger()
    id = world.export()
    world.wait(timedelta(seconds=1))
    main(["pause", id])
    main(["limits", "globex", "exports", "7"])

    def shown(*arguments: str) -> list[tuple[str, str]]:
        capsys.readouterr()
        assert main(["audit", *arguments, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)["entries"]
        return [(each["action"], each["thing"]) for each in found]

    assert shown("acme") == [("pause", f"exports/{id}"), ("POST /v1/exports", f"exports/{id}")]
    assert shown("acme", "--key", "operator") == shown("acme", "--most", "1") == [("pause", f"exports/{id}")]
    assert shown("globex", "--thing", "customers/globex") == [("limits", "customers/globex")]
    assert main(["audit", "nobody"]) == 1
