"""A document that cannot be read costs itself: everything else goes on, and operators are told."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.cloud import firestore

from infra.__main__ import main
from shared.gcp import unreadable
from shared.gcp.documents import fields_of
from tests.shared.outbox.post import post
from tests.subjects.small_dataset import Datasets
from tests.subjects.small_job import Jobs
from tests.world import SITE, World

MORNING = datetime(2026, 11, 23, 2, tzinfo=UTC)
WINDOW = {"start": "2026-11-22T08:00:00Z", "end": "2026-11-22T09:00:00Z"}

BAD = "ffffffff-ffff-4fff-8fff-ffffffffffff"
"""The id of the document that cannot be read, where ids are UUIDs."""


def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """What a command answers as JSON."""
    capsys.readouterr()
    ended = main((*arguments, "--json"))
    shown = capsys.readouterr()
    assert ended == 0, shown
    lines = [line for line in shown.out.split("\n") if not line.startswith('{"severity"')]
    return json.loads("\n".join(lines))


def names(answered: dict[str, Any], field: str, list: str) -> set[str]:
    return {each[field] for each in answered[list]}


@dataclass(frozen=True)
class Case:
    """A collection: what makes a good document of it, the id of a bad one, which field is damaged, how it is
    seen that the good one and all else go on, and which field is of a wrong type, where that is another."""

    make: Callable[[World], str]
    bad: str
    field: str
    goes_on: Callable[[World, str, Any], None]
    typed: str | None = None


def an_export(world: World) -> str:
    return f"exports/{world.export()}"


def export_goes_on(world: World, good: str, shown: Any) -> None:
    listed = world.request("GET", "/v1/exports").body
    assert good.partition("/")[2] in names(listed, "id", "exports")
    assert good.partition("/")[2] in names(shown("exports"), "export", "exports")
    world.run_due(MORNING)
    (event,) = world.audit(good.partition("/")[2])
    assert event["status"] == "COMPLETED"


def a_run(world: World) -> str:
    """A run that waits for a slot, due before any other."""
    export = world.export()
    made = world.request("POST", f"/v1/exports/{export}:backfill", WINDOW).body["run_id"]
    path = f"exports/{export}/runs/{made}"
    world.drain()
    waits: dict[str, Any] = {"state": "PENDING", "stage": None, "plan": None, "plans": {}, "open": True}
    world.cloud.db.document(path).update({**waits, "due": MORNING - timedelta(days=2)})
    return path


def run_goes_on(world: World, good: str, shown: Any) -> None:
    export = good.split("/")[1]
    world.tick()
    world.drain()
    assert fields_of(world.cloud.db.document(good).get())["state"] == "COMPLETED"
    answer = world.request("GET", f"/v1/exports/{export}/runs")
    assert good.rpartition("/")[2] in names(answer.body, "run_id", "runs"), answer
    world.run_due(MORNING)
    assert len([each for each in world.audit(export) if each["status"] == "COMPLETED"]) >= 2


def a_failed_run(world: World) -> str:
    path = a_run(world)
    now = {"state": "FAILED", "open": False, "unexported": True, "first_failed": MORNING, "finished": MORNING}
    world.cloud.db.document(path).update({**now, "stage": "plan", "plan": "plan", "origin": "Schedule"})
    return path


def failed_run_goes_on(world: World, good: str, shown: Any) -> None:
    export = good.split("/")[1]
    world.run_due(MORNING + timedelta(days=1))
    states = {each.id: each.get("state") for each in world.cloud.db.collection_group("runs").stream()}
    assert states[good.rpartition("/")[2]] == "COMPLETED", "the failed window is tried again"
    assert list(states.values()).count("COMPLETED") >= 2, "and the windows to come begin"
    assert world.request("POST", f"/v1/exports/{export}:retry-failed").status == 200
    assert world.request("GET", f"/v1/exports/{export}/runs").status == 200


def a_batch(world: World) -> str:
    return f"batches/{world.batch()}"


def batch_goes_on(world: World, good: str, shown: Any) -> None:
    answer = world.request("GET", f"/v0.2/batches?site_id={SITE}")
    assert names(answer.body, "id", "batches") >= {good.partition("/")[2]}, answer


def a_job(world: World) -> str:
    jobs = Jobs(world)
    id = jobs.begin_import(b"id,name\n1,Ann\n")
    return f"jobs/{id}"


def job_goes_on(world: World, good: str, shown: Any) -> None:
    world.drain()
    assert Jobs(world).imported(b"id,name\n2,Bob\n")["status"] == "Completed"
    assert fields_of(world.cloud.db.document(good).get())["state"] == "COMPLETED"


def a_dataset(world: World) -> str:
    return f"datasets/{Datasets(world).create()}"


def dataset_goes_on(world: World, good: str, shown: Any) -> None:
    assert names(Datasets(world).got(), "dataset_id", "datasets") >= {good.partition("/")[2]}


def a_task(world: World) -> str:
    made = Datasets(world)
    dataset = made.create()
    return f"dataset_tasks/{made.begin(dataset)}"


def task_goes_on(world: World, good: str, shown: Any) -> None:
    world.drain()
    fields = fields_of(world.cloud.db.document(good).get())
    assert fields["state"] == "COMPLETED", fields
    listed = Datasets(world).got(f"/{fields['dataset']}/export-tasks")
    assert names(listed, "task_id", "export_tasks") >= {good.partition("/")[2]}


def a_mail(world: World) -> str:
    return post(world).one().path


def mail_goes_on(world: World, good: str, shown: Any) -> None:
    world.drain()
    assert fields_of(world.cloud.db.document(good).get())["state"] == "SENT"


def a_customer(world: World) -> str:
    return "customers/acme"


def customer_goes_on(world: World, good: str, shown: Any) -> None:
    assert "acme" in names(shown("customers"), "customer", "customers")
    export_goes_on(world, an_export(world), shown)


def a_site(world: World) -> str:
    return f"sites/{SITE}"


def site_goes_on(world: World, good: str, shown: Any) -> None:
    assert SITE in names(world.request("GET", "/v1/sites").body, "id", "sites")
    assert SITE in names(shown("sites", "--customer", "acme"), "site", "sites")
    export_goes_on(world, an_export(world), shown)


def a_key(world: World) -> str:
    return f"api_keys/{world.key.split('_')[1]}"


def key_goes_on(world: World, good: str, shown: Any) -> None:
    assert good.partition("/")[2] in names(shown("keys", "--customer", "acme"), "key", "keys")
    assert world.request("GET", "/v1/exports").status == 200


CASES = {
    "exports": Case(an_export, BAD, "config", export_goes_on),
    "runs": Case(a_run, "h" + "f" * 32, "config", run_goes_on),
    "failed runs": Case(a_failed_run, "h" + "f" * 32, "config", failed_run_goes_on),
    "batches": Case(a_batch, BAD, "plans", batch_goes_on),
    "jobs": Case(a_job, BAD, "does", job_goes_on, "file"),
    "datasets": Case(a_dataset, "f" * 32, "sites", dataset_goes_on),
    "dataset tasks": Case(a_task, "f" * 32, "plans", task_goes_on),
    "mails": Case(a_mail, "f" * 32, "created", mail_goes_on),
    "customers": Case(a_customer, "globex", "account", customer_goes_on, "notify"),
    "sites": Case(a_site, "aaaaaaaa-1111-4222-8333-944455566677", "name", site_goes_on, "task_groups"),
    "keys": Case(a_key, "f" * 16, "created", key_goes_on),
}

DAMAGES: dict[str, Callable[[dict[str, Any], str], dict[str, Any]]] = {
    "missing": lambda fields, field: {name: value for name, value in fields.items() if name != field},
    "without customer": lambda fields, _: {
        name: value for name, value in fields.items() if name != "customer"
    },
    "wrong type": lambda fields, field: {**fields, field: 7},
    "unknown value": lambda fields, _: {**fields, "state": "BOGUS", "status": "BOGUS", "stage": "bogus"},
}


@pytest.fixture
def shown(world: World, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    return lambda *arguments: command(capsys, *arguments)


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", CASES)
def test_one_costs_itself_and_operators_are_told(
    world: World, shown: Callable[..., Any], kind: str, damage: str
) -> None:
    case = CASES[kind]
    good = case.make(world)
    collection = good.rpartition("/")[0]
    field = case.typed or case.field if damage == "wrong type" else case.field
    fields = DAMAGES[damage](fields_of(world.cloud.db.document(good).get()), field)
    bad = f"{collection}/{case.bad}"
    world.cloud.db.document(bad).create(fields)
    for piece in world.cloud.db.collection(f"{good}/pieces").stream():
        world.cloud.db.document(f"{bad}/pieces/{piece.id}").create(fields_of(piece))
    shown("status")
    case.goes_on(world, good, shown)
    world.wait(timedelta(minutes=20))
    world.tick()
    world.drain()
    told = shown("status")
    assert not world.failures, world.failures[0]
    if damage in ("missing", "wrong type"):
        assert bad in {each["document"] for each in told["documents_unreadable"]}, kind


@pytest.mark.parametrize("damage", [{"config": None}, {"stage": "bogus"}, {"stage": 7}, {"plans": 7}])
def test_a_pending_run_that_cannot_be_read_keeps_no_other_from_starting(
    world: World, damage: dict[str, Any]
) -> None:
    good = a_run(world)
    fields = fields_of(world.cloud.db.document(good).get())
    bad = f"{good.rpartition('/')[0]}/h{'0' * 32}"
    world.cloud.db.document(bad).create({**fields, **damage, "due": MORNING - timedelta(days=3)})
    world.tick()
    world.drain()
    assert fields_of(world.cloud.db.document(good).get())["state"] == "COMPLETED"
    assert [each.path for each in unreadable.listed(world.cloud.db)] == [bad]


def test_a_pending_run_of_an_export_that_cannot_be_read_keeps_no_other_from_starting(world: World) -> None:
    bad, good = a_run(world), a_run(world)
    waits = fields_of(world.cloud.db.document(good).get())
    world.cloud.db.document(bad).set({**waits, "due": MORNING - timedelta(days=3)})
    world.cloud.db.document(bad.rpartition("/runs/")[0]).update({"state": firestore.DELETE_FIELD})
    world.tick()
    world.drain()
    assert fields_of(world.cloud.db.document(good).get())["state"] == "COMPLETED"


def test_one_that_was_mended_or_removed_is_listed_no_more(world: World) -> None:
    export = world.export()
    path = f"exports/{export}"
    unreadable.report(world.cloud.db, path, KeyError("config"))
    unreadable.report(world.cloud.db, "exports/gone", KeyError("config"))
    (listed,) = unreadable.listed(world.cloud.db)
    assert (listed.path, listed.reason) == (path, "KeyError: 'config'")
    world.wait(timedelta(seconds=1))
    world.cloud.db.document(path).update({"note": "mended"})
    assert unreadable.listed(world.cloud.db) == []
    assert not list(world.cloud.db.collection(unreadable.COLLECTION).stream())


def test_what_is_wrong_is_told_without_what_the_document_holds(world: World) -> None:
    export = world.export()
    config = {"connector_config.storage_uri": "gs://Secret Bucket"}
    world.cloud.db.document(f"exports/{export}").update({f"config.{k}": v for k, v in config.items()})
    assert world.request("GET", "/v1/exports").body["exports"] == []
    (listed,) = unreadable.listed(world.cloud.db)
    assert "connector_config" in listed.reason
    assert "Secret" not in listed.reason
