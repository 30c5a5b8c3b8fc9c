"""The operators' commands, in this process, on the suite's services."""

import base64
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.cloud import scheduler_v1
from google.cloud.scheduler_v1.services.cloud_scheduler.transports import CloudSchedulerGrpcTransport

from infra.__main__ import main
from infra.commands import span, table
from infra.local.traffic import Fault
from shared.accounts import secrets
from shared.accounts.customers import Parameter, get_customer, get_site
from shared.accounts.keys import Caller, identify, keys_of, signing_secret
from shared.analysis import analyser
from shared.datasets import reading
from shared.errors import Unauthenticated
from shared.gcp import clients
from shared.gcp.clients import Cloud
from shared.jobs import importing
from shared.work import overview
from tests.archives import File, zipped
from tests.subjects.small_dataset import Datasets
from tests.subjects.small_job import Jobs
from tests.world import BUCKET, OTHER_SITE, SITE, World

NIGHT = datetime(2026, 11, 23, 2, tzinfo=UTC)
KEY = re.compile(r"^wb_[0-9a-f]{16}_[A-Za-z0-9_-]{43}$", re.MULTILINE)

Command = Callable[..., str]


@pytest.fixture
def command(world: World, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command that must succeed, or end as `status` says, and returns what it printed."""

    def run(*arguments: str, status: int = 0) -> str:
        capsys.readouterr()
        ended = main(arguments)
        shown = capsys.readouterr()
        lines = shown.out.removesuffix("\n").split("\n")
        told = "\n".join(line for line in lines if not line.startswith('{"severity"'))
        assert ended == status, shown
        if status:
            assert shown.err.count("\n") <= 1, shown.err
            assert "Traceback" not in shown.err
            return told + shown.err
        assert not shown.err
        return told

    return run


def documents(world: World, collection: str) -> dict[str, dict[str, Any]]:
    return {each.id: each.to_dict() or {} for each in world.cloud.db.collection(collection).stream()}


def test_each_command_has_its_help(command: Command) -> None:
    names = re.findall(r"^ {4}([a-z-]+)\b", command("--help"), re.MULTILINE)
    assert names == [
        *("add-customer", "add-key", "add-site", "audit", "cancel", "check-bucket"),
        *("console-address", "customers", "estimate", "exports", "keys"),
        *("limits", "networks", "pause", "replay", "rerun", "resume", "retry-failed", "revoke-key"),
        *("revoke-links", "rotate-key", "rotate-secrets", "show-run", "sites", "status", "ticks"),
    ]
    for name in names:
        assert f"usage: python -m infra {name}" in command(name, "--help")


# Customers, sites, keys


def test_a_customer_is_added_and_again(world: World, command: Command) -> None:
    asked = (
        "add-customer",
        "globex",
        "--slug",
        "globex",
        "--name",
        "Globex",
        "--notify",
        "ops@globex.example",
    )
    account = f"customer-globex-data-export@{world.suite.project}.iam.gserviceaccount.com"
    first = command(*asked)
    assert first.splitlines() == [
        "The customer globex is there: Globex.",
        f"Its account, to be granted access to its bucket: {account}",
    ]
    kept = documents(world, "customers")
    assert command(*asked) == first
    assert documents(world, "customers") == kept
    customer = get_customer(world.cloud.db, "globex")
    assert (customer.slug, customer.account, customer.notify) == ("globex", account, ("ops@globex.example",))


def test_a_site_is_added_and_again_with_its_analysers_secret(world: World, command: Command) -> None:
    asked = (
        *("add-site", "s-1", "--customer", "acme", "--name", "East", "--task-group", "meter", "door"),
        *(
            "--required",
            "door",
            "--parameter",
            "floor:number?",
            "note",
            "--analysis-url",
            "https://a.example/",
            "--code-page",
            "850",
        ),
    )
    told = command(*asked)
    site = get_site(world.cloud.db, "s-1", "acme")
    assert told.splitlines() == [
        "The site s-1 of acme is there: East.",
        f"The secret of its analyser: {analyser.secret(world.cloud.settings, site)}",
    ]
    assert (site.name, site.task_groups, site.required) == ("East", ("meter", "door"), ("door",))
    assert site.parameters == (Parameter("floor", "number", required=False), Parameter("note"))
    assert (site.analysis_url, site.code_page) == ("https://a.example/", "cp850")
    kept = documents(world, "sites")
    assert command(*asked) == told
    assert documents(world, "sites") == kept
    assert "secret" not in command("add-site", "s-2", "--customer", "acme", "--name", "West")


def test_a_key_is_shown_once_rotated_and_revoked(world: World, command: Command) -> None:
    told = command("add-key", "--customer", "acme", "--scope", "exports", "batches", "--site", SITE)
    [key] = KEY.findall(told)
    caller = identify(world.cloud.db, key)[0]
    assert caller == Caller("acme", key.split("_")[1], frozenset(["exports", "batches"]), SITE)

    [other] = KEY.findall(command("rotate-key", caller.key))
    second = identify(world.cloud.db, other)[0]
    assert second == replace(caller, key=other.split("_")[1])
    assert identify(world.cloud.db, key)[0] == caller, "the old one stays good"

    [third] = KEY.findall(command("rotate-key", second.key, "--now"))
    with pytest.raises(Unauthenticated):
        identify(world.cloud.db, other)[0]
    for _ in range(2):
        assert command("revoke-key", caller.key) == f"The key {caller.key} of acme is revoked."
    with pytest.raises(Unauthenticated):
        identify(world.cloud.db, key)[0]

    listed = command("keys", "--customer", "acme")
    rows = {line.split()[0]: line.split()[1:4] for line in listed.splitlines()[1:]}
    assert rows[caller.key] == ["revoked", "exports,batches", SITE]
    assert rows[second.key][0] == "revoked"
    assert rows[third.split("_")[1]][0] == "good"
    assert len(rows) == len(keys_of(world.cloud.db, "acme")) == 4
    for secret in (key, other, third, world.key):
        assert secret.split("_", 2)[2] not in listed


def test_an_address_is_allowed_to_sign_in_listed_and_withdrawn(world: World, command: Command) -> None:
    id = world.key.split("_")[1]
    told = command("console-address", "allow", "ann@acme.example", "--key", id)
    assert told == f"ann@acme.example may sign in to the console as the key {id} of acme."
    for asked in ((), ("--customer", "acme")):
        [title, row] = command("console-address", "list", *asked).splitlines()
        assert title.split() == ["ADDRESS", "CUSTOMER", "KEY", "ALLOWED"]
        assert row.split()[:3] == ["ann@acme.example", "acme", id]
    assert command("console-address", "list", "--customer", "globex") == "There are none."
    told = command("console-address", "withdraw", "ann@acme.example")
    assert told == "ann@acme.example of acme may not sign in any more, and its sessions have ended."
    assert command("console-address", "list") == "There are none."


def test_a_key_that_signs_says_its_access_key_and_its_secret_key(
    world: World, command: Command, held: Callable[..., Cloud]
) -> None:
    told = command("add-key", "--customer", "acme", "--scope", "datasets", "signing")
    first = KEY.findall(told)[0].split("_")[1]
    for _ in range(2):
        [key] = KEY.findall(told)
        _, id, secret = key.split("_", 2)
        assert told.splitlines()[2] == (
            f"To sign requests with it: the access key is {id}, the secret key is {secret}."
        )
        caller, kept, _ = signing_secret(clients.connect(), id)
        assert (caller.key, caller.scopes, kept) == (id, frozenset(["datasets", "signing"]), secret)
        told = command("rotate-key", id)
    assert "access key" not in command("add-key", "--customer", "acme", "--scope", "datasets")

    command("revoke-key", id)
    with pytest.raises(Unauthenticated, match=f"^the access key {id} is not valid"):
        signing_secret(clients.connect(), id)
    assert f"key-{id}" not in documents(world, "secrets"), "nothing is left that could be opened"

    keys = documents(world, "api_keys")
    held()
    for arguments in (["add-key", "--customer", "acme", "--scope", "signing"], ["rotate-key", first]):
        assert command(*arguments, status=1).startswith("WAYBILL_ACCESS_KEYS is not set")
    assert documents(world, "api_keys") == keys, "no key that cannot sign is left behind"


def test_the_secrets_of_keys_are_sealed_anew_with_the_others(
    world: World, command: Command, held: Callable[..., Cloud]
) -> None:
    held(1)
    [key] = KEY.findall(command("add-key", "--customer", "acme", "--scope", "datasets", "signing"))
    _, id, secret = key.split("_", 2)
    held(3)
    told = command("rotate-secrets", status=1)
    assert f"replace the key {id} with `rotate-key`" in told
    assert secret not in told
    held(2, 1)
    assert "WAYBILL_ACCESS_KEYS: sealed anew with version 2: 1 of 1." in command("rotate-secrets")
    assert signing_secret(held(2), id)[1] == secret


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["add-customer", "acme", "--slug", "other", "--name", "A"], "the customer acme has the slug acme"),
        (
            ["add-customer", "new", "--slug", "acme", "--name", "A"],
            "the slug acme belongs to the customer acme",
        ),
        (["add-customer", "new", "--slug", "much-too-long", "--name", "A"], "slug: must be 1 to 9"),
        (["add-customer", "a/b", "--slug", "ab", "--name", "A"], "'a/b' cannot be an id"),
        (["add-site", "s", "--customer", "nobody", "--name", "S"], "there is no customer nobody"),
        (["add-site", "s", "--customer", "acme", "--name", "S", "--code-page", "utf-16"], "cp850"),
        (
            ["add-site", "s", "--customer", "acme", "--name", "S", "--parameter", "n:date"],
            "'n:date' is not NAME",
        ),
        (["add-site", "s", "--customer", "acme", "--name", "S", "--required", "roof"], "--required roof"),
        (["add-key", "--customer", "nobody", "--scope", "exports"], "there is no customer nobody"),
        (["add-key", "--customer", "acme", "--scope", "everything"], "invalid choice: 'everything'"),
        (
            ["add-key", "--customer", "acme", "--scope", "exports", "--site", "s"],
            "there is no site s of yours",
        ),
        (["revoke-key", "0123456789abcdef"], "there is no key 0123456789abcdef"),
        (["rotate-key", "0123456789abcdef"], "there is no key 0123456789abcdef"),
        (["keys", "--customer", "nobody"], "there is no customer nobody"),
        (["console-address", "allow", "a@b.example"], "`allow` takes the id of a key"),
        (["console-address", "allow", "a@b.example", "--key", "0123456789abcdef"], "there is no key 0123"),
        (["console-address", "withdraw", "a@b.example"], "a@b.example is not allowed to sign in"),
        (["console-address", "withdraw", "a@b.example", "--key", "k"], "nothing else does: --key ID"),
        (["console-address", "withdraw"], "Name an address to allow or to withdraw"),
        (["console-address", "list", "a@b.example"], "none to list them"),
        (["show-run", "e", "0123456789"], "the export e has no run 0123456789"),
        (["show-run", "e", ".."], "'..' cannot be an id"),
        (["pause", "\udcff"], "'\\udcff' cannot be an id"),
        (["exports", "--customer", "é" * 751], "cannot be an id: it must be UTF-8 of at most 1500 bytes"),
        (["rerun", "e", "0123456789"], "the export e has no run 0123456789"),
        (["replay", "exports", "{}"], "exports is no function that a topic triggers"),
        (["replay", "tick", "{"], "the message is no JSON"),
        (["replay", "tick", "[]"], "the message must be a JSON object"),
        (["replay", "tick", json.dumps({"x": "y" * 9000})], "send ids, not payloads"),
        (["check-bucket", "e"], "there is no export e"),
        (["check-bucket", "gs://b"], "--customer is needed with"),
        (["check-bucket", "e", "--customer", "acme"], "--customer is needed with"),
        (["ticks", "--every", "now and then"], "Schedule or time zone is invalid."),
        (["dance"], "invalid choice: 'dance'"),
        ([], "COMMAND"),
    ],
)
def test_what_cannot_be_done_is_told_in_a_sentence(
    world: World, command: Command, arguments: list[str], says: str
) -> None:
    kept = [documents(world, each) for each in ("customers", "sites", "api_keys")]
    assert says in command(*arguments, status=1)
    assert [documents(world, each) for each in ("customers", "sites", "api_keys")] == kept


def test_a_revoked_key_has_no_successor(world: World, command: Command) -> None:
    id = world.key.split("_")[1]
    command("revoke-key", id)
    assert f"the key {id} is revoked" in command("rotate-key", id, status=1)


def test_without_settings_it_says_which(
    command: Command, monkeypatch: pytest.MonkeyPatch, world: World
) -> None:
    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT")
    assert command("status", status=1).startswith("GOOGLE_CLOUD_PROJECT is not set")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", world.suite.project)
    monkeypatch.delenv("GOOGLE_CLOUD_REGION")
    assert "--location" in command("ticks", status=1)
    monkeypatch.delenv("WAYBILL_ANALYSER_KEYS")
    site = ("add-site", "s", "--customer", "acme", "--name", "S", "--analysis-url", "https://a.example/")
    assert "WAYBILL_ANALYSER_KEYS is not set" in command(*site, status=1)
    assert "s" not in documents(world, "sites")


# The key of customers' secrets

VERSIONS = {n: f"{n}:{base64.urlsafe_b64encode(bytes([n]) * 32).decode()}" for n in (1, 2, 3)}


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch, world: World) -> Iterator[Callable[..., Cloud]]:
    """Has each of the variables with keys hold these versions, and returns the clients that then are made."""

    def hold(*versions: int) -> Cloud:
        for variable in ("WAYBILL_SECRET_KEYS", "WAYBILL_ACCESS_KEYS", "WAYBILL_ANALYSER_KEYS"):
            if versions:
                monkeypatch.setenv(variable, ",".join(VERSIONS[each] for each in versions))
            else:
                monkeypatch.delenv(variable)
        # Clients are kept for settings that are alike, and keys do not count in that.
        made = clients.connect()
        if made is not world.cloud:
            made.close()
        clients.forget()
        return clients.connect()

    yield hold
    clients.connect().close()


def test_a_key_is_rotated_in_the_order_of_the_operators_guide(
    world: World, command: Command, held: Callable[..., Cloud]
) -> None:
    def keep(cloud: Cloud, id: str) -> None:
        cloud.db.document(secrets.path(id)).create(secrets.seal(cloud.settings, "acme", id, "hunter2"))

    site = ("add-site", "s-1", "--customer", "acme", "--name", "S", "--analysis-url", "https://a.example/")
    keep(held(1), "k-1")
    assert command("rotate-secrets").splitlines() == [
        "WAYBILL_SECRET_KEYS: sealed anew with version 1: 0 of 1.",
        "Version 1 seals 1 secrets; it is the newest, and stays.",
        "WAYBILL_ACCESS_KEYS: sealed anew with version 1: 0 of 0.",
        "Version 1 seals 0 secrets; it is the newest, and stays.",
    ]
    old = command(*site).split()[-1]
    keep(held(2, 1), "k-2")
    told = command("rotate-secrets")
    assert told.splitlines() == [
        "WAYBILL_SECRET_KEYS: sealed anew with version 2: 1 of 2.",
        "Version 2 seals 2 secrets; it is the newest, and stays.",
        "Version 1 seals 0 secrets; it may be removed from WAYBILL_SECRET_KEYS.",
        "WAYBILL_ACCESS_KEYS: sealed anew with version 2: 0 of 0.",
        "Version 2 seals 0 secrets; it is the newest, and stays.",
        "Version 1 seals 0 secrets; it may be removed from WAYBILL_ACCESS_KEYS.",
        "Before an old version is removed from WAYBILL_ANALYSER_KEYS, the analysers of these",
        "sites must have the newest secret, which `add-site --analysis-url` prints:",
        "CUSTOMER  SITE",
        "acme      s-1",
    ]
    kept = documents(world, "secrets")
    assert command("rotate-secrets") == told.replace("1 of 2", "0 of 2")
    assert documents(world, "secrets") == kept
    new = command(*site).split()[-1]
    assert old != new
    cloud = held(2)
    assert analyser.secrets(cloud.settings, get_site(cloud.db, "s-1", "acme")) == [new]
    assert [secrets.get(cloud, "acme", id) for id in ("k-1", "k-2")] == ["hunter2"] * 2
    assert command("rotate-secrets").splitlines()[:2] == [
        "WAYBILL_SECRET_KEYS: sealed anew with version 2: 0 of 2.",
        "Version 2 seals 2 secrets; it is the newest, and stays.",
    ]


def test_a_key_that_was_dropped_too_early_is_named(
    world: World, command: Command, held: Callable[..., Cloud]
) -> None:
    cloud = held(1)
    cloud.db.document(secrets.path("k-1")).create(secrets.seal(cloud.settings, "acme", "k-1", "hunter2"))
    held(2, 3)
    told = command("rotate-secrets", status=1)
    lines = told.splitlines()
    assert lines[:2] == [
        "WAYBILL_SECRET_KEYS: sealed anew with version 3: 0 of 1.",
        "Could not be opened, and left as they are: 1.",
    ]
    assert lines[3].startswith("acme      k-1     The secret k-1 is encrypted with version 1 of")
    assert lines[4:7] == [
        "Version 3 seals 0 secrets; it is the newest, and stays.",
        "Version 2 seals 0 secrets; it may be removed from WAYBILL_SECRET_KEYS.",
        "Version 1 seals 1 secrets; it is not in WAYBILL_SECRET_KEYS: put it back.",
    ]
    assert "hunter2" not in told


def test_without_a_key_no_secret_is_rotated(
    world: World, command: Command, held: Callable[..., Cloud]
) -> None:
    held()
    assert command("rotate-secrets", status=1).startswith("WAYBILL_SECRET_KEYS is not set")


# What is going on


def section(told: str, heading: str) -> list[str]:
    """The lines of one section of `status`, its heading first."""
    [found] = [each for each in told.split("\n\n") if each.startswith(heading)]
    return found.splitlines()


def test_status_of_nothing(command: Command) -> None:
    headings = [line for line in command("status").splitlines()[1:] if line]
    assert headings == [
        "Runs under way: 0",
        "Batches under way: 0",
        "Jobs under way: 0",
        "Dataset tasks under way: 0",
        "Runs that wait for a slot, or for a run before them: 0",
        "Dataset tasks that wait for a slot: 0",
        "Sites whose analyses wait: 0",
        "Mails that wait to be sent: 0",
        "Jobs that wait for their file: 0",
        "Exports whose window is due and has not begun: 0",
        "Exports that are paused or suspended: 0",
        "Exports with failed windows, which `retry-failed` retries: 0",
        "Runs that failed within a day: 0",
        "Batches that failed within a day: 0",
        "Jobs that failed within a day: 0",
        "Dataset tasks that failed within a day: 0",
        "Mails that were not sent, or may not have been, within a day: 0",
        "Documents that cannot be read, and were left out: 0",
    ]


def test_status_lists_what_is_due_waiting_running_and_failing(world: World, command: Command) -> None:
    world.work_order("A")
    failing = world.export(
        name="To nowhere", connector_config={"storage_uri": "gs://acme-nowhere/w", "export_images": False}
    )
    world.run_due(NIGHT)
    [failed] = world.audit(failing)
    assert failed["status"] == "FAILED"

    paused = world.export(name="Paused one")
    assert world.request("POST", f"/v1/exports/{paused}:pause").status == 200
    due, running = world.export(interval="every 5 minutes"), world.export()
    world.move_to(NIGHT + timedelta(minutes=10))
    assert world.request("POST", f"/v1/exports/{running}:run").status == 201
    backfill = {"start": "2026-11-22T00:00:00Z", "end": "2026-11-23T00:00:00Z"}
    assert world.request("POST", f"/v1/exports/{running}:backfill", backfill).status == 201
    batch = world.batch(b"this is no zip")

    told = command("status")
    assert told.splitlines()[0].startswith("At 2026-11-23 02:1")
    late = section(told, "Exports whose window is due")
    assert late[0].endswith(": 1")
    assert re.search(f"^ *acme +.* {due} ", late[2]), late
    halted = section(told, "Exports that are paused")
    assert [re.split("  +", line.strip())[:4] for line in halted[2:]] == [
        ["acme", "Paused one", paused, "PAUSED"]
    ]
    under_way, waiting = section(told, "Runs under way"), section(told, "Runs that wait for a slot")
    assert len(under_way) == len(waiting) == 3, told
    assert told.index("Runs under way") < told.index("Runs that wait") < told.index("Runs that failed")
    assert re.search(f" {running} .* RUNNING .* ago ", under_way[2]), under_way
    assert re.search(" PENDING .*2026-11-22T00:00:00Z to 2026-11-23T00:00:00Z", waiting[2]), waiting
    windows = section(told, "Exports with failed windows")
    assert re.split("  +", windows[2].strip())[:4] == ["acme", "To nowhere", failing, "1"]
    broken = section(told, "Runs that failed")
    assert re.split("  +", broken[2].strip())[:4] == ["acme", "To nowhere", failing, failed["run_id"]]
    assert broken[3].strip() == f"{failed['error']} {failed['next_action']}"
    # Nobody has told ingest_batch of the archive yet.
    assert section(told, "Batches under way")[0].endswith(": 0")

    world.drain()
    told = command("status")
    listed = section(told, "Batches that failed")
    [number] = [number for number, line in enumerate(listed) if batch in line]
    assert "FAILED" in listed[number]
    assert listed[number + 1].strip() == world.shown(batch)["error"]["message"]
    assert world.key not in told
    world.wait(timedelta(days=2))
    told = command("status")
    assert section(told, "Runs that failed")[0].endswith(": 0")
    assert section(told, "Batches that failed")[0].endswith(": 0")


def test_status_shows_the_run_that_has_the_slot_and_counts_what_it_leaves_out(
    world: World, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "MAX_LISTED", 2)
    export = world.export(name="All nights")
    world.move_to(NIGHT)
    for day in range(10, 15):
        window = {"start": f"2026-11-{day}T00:00:00Z", "end": f"2026-11-{day + 1}T00:00:00Z"}
        assert world.request("POST", f"/v1/exports/{export}:backfill", window).status == 201
    every_run = world.cloud.db.collection(f"exports/{export}/runs").stream()
    [running] = [each.id for each in every_run if each.get("state") == "RUNNING"]
    told = command("status")
    assert running in section(told, "Runs under way")[2]
    waiting = section(told, "Runs that wait for a slot")
    assert (waiting[0].split()[-1], len(waiting), waiting[-1].strip()) == ("4", 5, "… and 2 more"), waiting
    shown = json.loads(command("status", "--json"))
    assert [each["run"] for each in shown["runs_under_way"]] == [running]
    assert (len(shown["runs_pending"]), shown["runs_pending_left_out"]) == (2, 2)
    assert {each["name"] for each in shown["runs_pending"]} == {"All nights"}


@pytest.mark.parametrize("odd", ["\u2028", "\u0085", "\u202e", "\u009b31m"])
def test_a_name_with_a_line_break_is_shown_on_one_line(world: World, command: Command, odd: str) -> None:
    export = world.export(name=f"Two{odd}lines")
    assert world.request("POST", f"/v1/exports/{export}:pause").status == 200
    halted = section(command("status"), "Exports that are paused")
    assert len(halted) == 3, halted
    [line] = command("exports").splitlines()[1:]
    assert odd[0] not in line + halted[2]
    assert re.split("  +", line)[1].startswith("Two "), line
    [one] = json.loads(command("exports", "--json"))["exports"]
    assert one["name"] == f"Two{odd}lines", "a program reads the name as it is"


def test_what_commands_show_they_answer_as_json_too(world: World, command: Command) -> None:
    world.work_order("A")
    export = world.export(name="Nightly")
    world.run_due(NIGHT)
    [event] = world.audit(export)
    shown = {
        name: json.loads(command(*asked, "--json"))
        for name, asked in {
            "status": ("status",),
            "customers": ("customers",),
            "sites": ("sites", "--customer", "acme"),
            "exports": ("exports",),
            "keys": ("keys", "--customer", "acme"),
            "run": ("show-run", export, event["run_id"]),
            "bucket": ("check-bucket", export),
        }.items()
    }
    assert shown["status"]["at"].startswith("2026-11-23T02:")
    assert [each["customer"] for each in shown["customers"]["customers"]] == ["acme"]
    assert {each["site"] for each in shown["sites"]["sites"]} == {SITE, OTHER_SITE}
    [one] = shown["exports"]["exports"]
    assert (one["name"], one["export"], one["next_window"]) == ("Nightly", export, "2026-11-23T00:00:00Z")
    assert shown["keys"]["keys"][0]["scopes"]
    assert shown["run"]["run"]["export"] == "Nightly"
    assert shown["run"]["run"]["read_time"] == "2026-11-23T00:00:00Z"
    assert shown["run"]["audit"] == event
    assert shown["run"]["moments"][-1]["what"] == "finished: COMPLETED"
    assert {each["verdict"] for each in shown["bucket"]["steps"]} == {"passed"}
    assert world.key not in json.dumps(shown)


def test_customers_sites_and_exports_are_listed_by_name(world: World, command: Command) -> None:
    export, other = world.export(name="Nightly"), world.export(name="Weekly", interval="weekly")
    assert world.request("POST", f"/v1/exports/{other}:pause").status == 200
    assert re.search(r"^acme +Acme", command("customers"), re.MULTILINE)
    assert SITE in command("sites", "--customer", "acme")
    assert "there is no customer nobody" in command("sites", "--customer", "nobody", status=1)
    both = command("exports", "--customer", "acme").splitlines()[1:]
    assert [re.split("  +", line)[1:4] for line in both] == [
        ["Nightly", export, "ACTIVE"],
        ["Weekly", other, "PAUSED"],
    ]
    assert "Nightly" not in command("exports", "--state", "PAUSED")
    assert "there is no customer nobody" in command("exports", "--customer", "nobody", status=1)
    assert command("exports", "--customer", "acme", "--state", "ENDED") == "There are none."


def test_an_export_is_paused_and_resumed_and_works_are_cancelled(world: World, command: Command) -> None:
    export = world.export(name="Nightly")
    assert command("pause", export) == "The export Nightly of acme is PAUSED."
    assert world.request("GET", f"/v1/exports/{export}").body["state"] == "PAUSED"
    assert command("resume", export) == "The export Nightly of acme is ACTIVE."
    command("pause", export)
    world.wait(timedelta(days=3))
    assert "Left out, and to be exported with :backfill: 2026-11-" in command("resume", export)
    run = world.request("POST", f"/v1/exports/{export}:run").body["run_id"]
    assert command("cancel", "run", export, run) == f"The run {run} is CANCELLED."
    [event] = world.audit(export)
    assert (event["run_id"], event["status"]) == (run, "CANCELLED")
    batch = world.batch(b"no zip")
    assert command("cancel", "batch", batch) == f"The batch {batch} is CANCELLED."
    jobs = Jobs(world)
    job = jobs.begin_import(b"id,name\n1,Ada\n")
    assert f"The job {job} is " in command("cancel", "job", job)
    world.settle()
    assert jobs.status(job)["status"] == "Canceled"
    datasets = Datasets(world)
    datasets.work_order("WO-1")
    id = datasets.create()
    task = datasets.begin(id, export_type=2)
    assert command("cancel", "task", task) == f"The task {task} is CANCELLED."
    for wrong in (("run", run), ("batch", "x"), ("job", "x"), ("task", "x"), ("batch", "x", "y")):
        assert command("cancel", *wrong, status=1)


def test_status_lists_mails_that_were_not_sent(world: World, command: Command) -> None:
    world.work_order("A")
    world.export(
        connector_type="email", connector_config={"emails": ["ada@acme.example", "bob@acme.example"]}
    )
    world.suite.traffic.arm("sendgrid.mail.send", Fault("reset_after"))
    world.suite.traffic.arm("sendgrid.mail.send", Fault("error", status=400))
    world.run_due(NIGHT)
    listed = section(command("status"), "Mails that were not sent")
    assert [line.split()[2] for line in listed[2::2]] == ["REFUSED", "UNKNOWN"], listed
    assert "Look in SendGrid's activity" in listed[5]


def test_status_lists_mails_that_wait_and_what_for(world: World, command: Command) -> None:
    world.work_order("A")
    world.export(connector_type="email", connector_config={"emails": ["ada@acme.example"]})
    world.suite.traffic.arm("sendgrid.mail.send", Fault("error", status=429))
    world.run_due(NIGHT)
    heading, _, line, why = section(command("status"), "Mails that wait")
    assert heading.endswith(": 1")
    assert line.split()[0] == "acme"
    assert why.strip().startswith("SendGrid answered 429"), why


def test_status_shows_what_a_batch_waits_for_and_no_upload_url(world: World, command: Command) -> None:
    id = world.batch(zipped([File("WO-1/meter.jpg", world.photograph("a").content)]))
    world.cloud.db.document(f"batches/{id}").update({"state": "UPLOADED", "waits_for": "Storage"})
    url = (world.cloud.db.document(f"batches/{id}").get().to_dict() or {})["upload_url"]
    told = command("status")
    listed = section(told, "Batches under way")
    assert id in listed[2]
    assert listed[3].strip() == "Storage"
    assert url not in told
    assert "upload_id" not in told


def test_status_lists_jobs_that_wait_run_and_failed_and_no_secret(
    world: World, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "CHUNK_RECORDS", 1)
    monkeypatch.setenv("WAYBILL_ATTEMPT_SECONDS", "0")
    jobs = Jobs(world)
    failed = jobs.begin_import(b"id,name\n1\n", jobName="Ragged")
    ended = jobs.ended(failed)
    assert ended["status"] == "Failed"
    upload = jobs.send("/ls/api/batch/upload-url").body
    sent = {"itemType": "Asset", "contentType": "text/plain", "uploadId": upload["uploadId"]}
    waits = jobs.post("import", data=sent)["jobId"]
    world.drain()
    runs = jobs.begin_import(b"id,name\n1,Ada\n2\n3,Eve\n")
    while jobs.status(runs)["recordsProcessed"] != "2":
        assert world.step()

    told = command("status")
    for heading, id, what, records in (
        ("Jobs that wait", waits, ["import", "Asset", "Initialized"], "0 processed, 0 rejected"),
        ("Jobs under way", runs, ["import", "Technician", "Processing"], "2 processed, 1 rejected"),
        ("Jobs that failed", failed, ["import", "Technician", "Failed"], "1 processed, 1 rejected"),
    ):
        listed = section(told, heading)
        assert listed[0].endswith(": 1"), listed
        assert listed[2].split()[:5] == ["acme", id, *what], listed
        assert listed[2].endswith(records), listed
    assert listed[3].strip() == ended["reason"]
    link = ended["rejected"].partition("/v1/downloads/")[2].partition("?")[0]
    for secret in (jobs.key, upload["uploadUrl"], "upload_id", link, "/v1/downloads/"):
        assert secret not in told
    world.wait(timedelta(days=2))
    assert section(command("status"), "Jobs that failed")[0].endswith(": 0")


def test_status_says_what_a_job_waits_for_and_what_was_met(world: World, command: Command) -> None:
    jobs = Jobs(world)
    ids = [jobs.begin_import(b"id\n1\n") for _ in range(2)]
    met = {"state": "FAILED", "open": False, "error": "It was begun 10 times.", "reason": "Ours."}
    runs, failed = (world.cloud.db.document(f"jobs/{id}") for id in ids)
    runs.update({"state": "PROCESSING", "waits_for": "Storage"})
    failed.update({**met, "finished": world.suite.clock.now()})
    told = command("status")
    assert section(told, "Jobs under way")[3].strip() == "Storage"
    assert section(told, "Jobs that failed")[3].strip() == "It was begun 10 times."


def test_status_lists_dataset_tasks_that_run_and_failed(
    world: World, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "SLICE_SAMPLES", 1)
    datasets = Datasets(world)
    datasets.work_order("WO-1", [{}, {}, {}])
    id = datasets.create()
    taken = datasets.exported(id, f"gs://{BUCKET}/taken/", export_type=2)
    name = next(name for name in datasets.files(taken) if name.endswith(".jpg"))
    begun = datasets.begin(id, f"gs://{BUCKET}/again/", export_type=2)
    world.suite.storage.put(BUCKET, f"again/{name}", b"mine")
    datasets.settled()
    ended = datasets.task(id, begun)
    assert ended["status"] == "FAILED", ended
    runs = datasets.begin(id, export_type=2)
    while datasets.task(id, runs)["finished_sample_count"] != 2:
        assert world.step()
    assert datasets.send("POST", f"/{id}/versions").status == 200

    told = command("status")
    listed = section(told, "Dataset tasks under way")
    assert listed[0].endswith(": 2"), listed
    found = {line.split()[1]: line for line in listed[2:]}
    assert found[runs].split()[:6] == ["acme", runs, id, "export", "RUNNING", "write"], listed
    assert found[runs].endswith("2 of 3"), listed
    [version] = [line for task, line in found.items() if task != runs]
    assert version.split()[2:6] == [id, "version", "INIT", "plan"], listed
    assert version.endswith("0 of ?"), listed
    listed = section(told, "Dataset tasks that failed")
    assert listed[0].endswith(": 1"), listed
    assert listed[2].split()[:6] == ["acme", ended["task_id"], id, "export", "FAILED", "write"], listed
    assert listed[3].strip() == ended["error_msg"]
    assert datasets.key not in told
    world.wait(timedelta(days=2))
    assert section(command("status"), "Dataset tasks that failed")[0].endswith(": 0")


def test_status_shows_dataset_tasks_that_wait_for_a_slot_apart(world: World, command: Command) -> None:
    datasets = Datasets(world)
    datasets.work_order("WO-1")
    id = datasets.create()
    tasks = [datasets.begin(id, export_type=2) for _ in range(2)]
    pending = {"state": "PENDING"}
    world.cloud.db.document(f"dataset_tasks/{tasks[0]}").update(pending)
    told = command("status")
    for heading, task in (("Dataset tasks that wait", tasks[0]), ("Dataset tasks under way", tasks[1])):
        listed = section(told, heading)
        assert (listed[0].split()[-1], listed[2].split()[1]) == ("1", task), listed


def test_status_says_what_a_dataset_task_waits_for_and_for_how_long(world: World, command: Command) -> None:
    datasets = Datasets(world)
    datasets.work_order("WO-1")
    id = datasets.create()
    task = datasets.begin(id, export_type=2)
    since = world.suite.clock.now() - timedelta(minutes=2)
    world.cloud.db.document(f"dataset_tasks/{task}").update({"waits_for": "Storage", "since": since})
    heading, _, line, why = section(command("status"), "Dataset tasks under way")
    assert heading.endswith(": 1")
    assert line.split()[1] == task
    assert re.fullmatch("It has waited for 2m [0-9]+s: Storage", why.strip()), why


def test_the_life_of_a_run_in_order(world: World, command: Command) -> None:
    world.work_order("A")
    world.work_order("B", site=world.other_site)
    export = world.export(site_ids=[SITE, OTHER_SITE])
    world.run_due(NIGHT)
    [event] = world.audit(export)
    told = command("show-run", export, event["run_id"])
    head, window, _, _, *lines = told.partition("\n{")[0].rstrip().splitlines()[1:]
    assert re.split("  +", head)[:4] == ["acme", "Nightly", "COMPLETED", "Schedule"]
    assert window.startswith("Window 2026-11-22T09:17:00Z to 2026-11-23T00:00:00Z, read as of 2026-11-23")
    at = [line[:20] for line in lines]
    assert at == sorted(at)
    what = [re.sub(r"\b0000\S* ?", "", line[22:]) for line in lines]
    assert what[:3] == [
        "created, to run at 2026-11-23T02:00:00.000Z",
        "started: it got a slot",
        "planned: 2 parts",
    ], lines
    assert what[-1] == "finished: COMPLETED"
    for mark in ("part of", "delivering", f"file of {SITE} delivered", "done: 1 rows, 1 attempt", "slice"):
        assert [line for line in what if mark in line], (mark, lines)
    order = [
        next(n for n, line in enumerate(what) if mark in line) for mark in ("rows", "delivering", "file of")
    ]
    assert order == sorted(order), lines
    assert json.loads("{" + told.partition("\n{")[2]) == event


def test_the_life_of_a_run_that_has_just_begun(world: World, command: Command) -> None:
    export = world.export()
    world.tick(NIGHT)
    while not world.slots():
        assert world.step()
    [run] = world.slots()
    told = command("show-run", export, run)
    assert "RUNNING" in told
    assert "last heartbeat" in told
    assert "{" not in told


# Once more


def test_a_message_is_published_again(world: World, command: Command) -> None:
    world.work_order("A")
    world.export()
    world.move_to(NIGHT)
    assert command("replay", "tick", "{}") == "Published to tick."
    world.drain()
    assert len(world.manifests()) == 1, world.failures


def test_a_run_that_failed_goes_on_and_one_that_completed_is_backfilled(
    world: World, command: Command
) -> None:
    world.work_order("A")
    export = world.export()
    world.suite.storage.revoke(BUCKET, world.acme.account, "storage.objects.create")
    world.run_due(NIGHT)
    [failed] = world.audit(export)
    assert failed["status"] == "FAILED"
    world.grant(BUCKET, world.acme)
    told = command("rerun", export, failed["run_id"])
    assert told == f"The run {failed['run_id']} of the export {export} is taken up again."
    shown = command("show-run", export, failed["run_id"])
    assert "failed, and was retried since" in shown
    assert "finished" not in shown
    assert "it can run again when it has ended" in command("rerun", export, failed["run_id"], status=1)
    world.drain()
    [completed] = world.audit(export)
    assert (completed["run_id"], completed["status"]) == (failed["run_id"], "COMPLETED")

    told = command("rerun", export, failed["run_id"])
    world.drain()
    new, _ = world.audit(export)
    assert told == f"The run {new['run_id']} of the export {export} exports the same window."
    assert (new["status"], new["from"], new["user"]) == ("COMPLETED", "Run", "operator")
    assert new["window"] == completed["window"]
    first, second = world.data_files().values()
    assert first == second
    assert first


def test_failed_windows_are_retried_where_the_export_goes_now(world: World, command: Command) -> None:
    world.work_order("A")
    export = world.export(name="Nightly")
    world.suite.storage.revoke(BUCKET, world.acme.account, "storage.objects.create")
    world.run_due(NIGHT)
    assert [each["status"] for each in world.audit(export)] == ["FAILED"]
    world.grant(BUCKET, world.acme)
    assert command("retry-failed", export) == "The failed windows of the export Nightly of acme are retried."
    world.settle()
    assert [each["status"] for each in world.audit(export)] == ["COMPLETED"]


def test_a_bucket_is_checked(world: World, command: Command) -> None:
    export = world.export()
    told = command("check-bucket", export)
    steps = [line.split()[:2] for line in told.splitlines()[1:]]
    assert len(steps) == 8
    assert {verdict for _, verdict in steps} == {"passed"}, told
    assert command("check-bucket", f"gs://{BUCKET}/waybill", "--customer", "acme") == told
    world.suite.storage.revoke(BUCKET, world.acme.account, "storage.objects.get")
    told = command("check-bucket", export, status=1)
    [failed] = [line for line in told.splitlines() if line.split()[1] == "failed"]
    assert "storage.objects.get" in failed
    assert world.acme.account in failed


def test_a_check_that_passes_has_a_suspended_export_go_on(world: World, command: Command) -> None:
    export = world.export()
    world.cloud.db.document(f"exports/{export}").update({"state": "SUSPENDED"})
    assert command("check-bucket", export).endswith("The export was suspended, and goes on.")
    assert world.request("GET", f"/v1/exports/{export}").body["state"] == "ACTIVE"


# Ticks


def test_the_job_is_made_once_and_updated(world: World, command: Command) -> None:
    parent = f"projects/{world.suite.project}/locations/europe-west1"
    name, topic = f"{parent}/jobs/waybill-tick", f"projects/{world.suite.project}/topics/tick"
    publishes = f"It publishes to {topic} at '* * * * *'."
    calls = world.suite.traffic.calls
    with grpc.insecure_channel(world.suite.env()["WAYBILL_SCHEDULER_HOST"]) as channel:
        client = scheduler_v1.CloudSchedulerClient(transport=CloudSchedulerGrpcTransport(channel=channel))

        assert command("ticks", "--dry-run").splitlines() == [f"The job {name} would be made.", publishes]
        assert not list(client.list_jobs(parent=parent))
        assert command("ticks").splitlines() == [f"The job {name} is made.", publishes]
        [job] = client.list_jobs(parent=parent)
        assert (job.name, job.schedule, job.time_zone) == (name, "* * * * *", "Etc/UTC")
        assert (job.pubsub_target.topic_name, job.pubsub_target.data) == (topic, b"{}")

        assert command("ticks").splitlines() == [f"The job {name} is as it should be.", publishes]
        assert list(client.list_jobs(parent=parent)) == [job]
        assert len(calls("scheduler.CreateJob")) == 1
        assert not calls("scheduler.UpdateJob")

        every = ("ticks", "--every", "*/5 * * * *")
        assert "would be updated: schedule." in command(*every, "--dry-run")
        assert client.get_job(name=name) == job
        client.pause_job(name=name)
        told = command(*every)
        assert "is updated: schedule." in told
        assert "It is PAUSED and does not tick until it is resumed" in told
        assert client.get_job(name=name).schedule == "*/5 * * * *"

        command("ticks", "--location", "europe-west3")
        assert client.get_job(name=name.replace("west1", "west3")).schedule == "* * * * *"


def test_the_job_ticks(world: World, command: Command) -> None:
    world.work_order("A")
    world.export()
    command("ticks")
    world.move_to(NIGHT)
    world.suite.scheduler.run_due(NIGHT)
    world.drain()
    assert len(world.manifests()) == 1, world.failures


# Tables


def test_a_table_is_as_wide_as_its_cells() -> None:
    assert table(("A", "LONGER"), [("long", 1), (None, "x")]).splitlines() == [
        "A     LONGER",
        "long  1",
        "      x",
    ]


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (timedelta(0), "0s"),
        (timedelta(seconds=61), "1m 1s"),
        (timedelta(hours=5, seconds=7), "5h 0m"),
        (timedelta(days=2, hours=3, minutes=4), "2d 3h"),
        (timedelta(seconds=-3), "0s"),
    ],
)
def test_a_span_in_two_units(time: timedelta, text: str) -> None:
    assert span(time) == text


def test_private_networks_are_shown_added_and_removed(world: World, command: Command) -> None:
    said = "The private networks that acme may have called: "
    assert command("networks", "acme") == f"{said}none."
    assert command("networks", "acme", "add", "10.1.2.0/24", "fd12::/16") == f"{said}10.1.2.0/24, fd12::/16."
    assert command("networks", "acme", "remove", "fd12::/16") == f"{said}10.1.2.0/24."
    assert documents(world, "customers")["acme"]["networks"] == ["10.1.2.0/24"]
