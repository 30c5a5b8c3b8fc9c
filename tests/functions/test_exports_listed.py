"""`GET /v1/exports`: what its filters find, what came of each export's last run, and what a page reads."""

import itertools
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from shared.exports.export import LISTED, OUTCOMES
from shared.gcp.documents import fields_of
from tests.shared.exports.nights import asked, due, fix, live, nightly, refuse, shown
from tests.subjects.documents_read import documents_read
from tests.world import World

EMAIL = {"connector_type": "email", "connector_config": {"emails": ["a@acme.example"]}}
STATES = "work-orders-states"


def listed(world: World, **query: Any) -> list[dict[str, Any]]:
    answer = world.request("GET", f"/v1/exports?{urlencode(query)}")
    assert answer.status == 200, answer
    exports: list[dict[str, Any]] = answer.body["exports"]
    return exports


def ids(exports: list[dict[str, Any]]) -> set[str]:
    return {each["id"] for each in exports}


def note(world: World, export: str, status: str) -> None:
    """Have this be what came of the export's last run."""
    last = {"run": "s" + "0" * 32, "status": status, "ended": due(0)}
    world.cloud.db.document(f"exports/{export}").update({"last_outcome": last})


def test_exports_are_found_by_each_filter_and_by_all_of_them_together(world: World) -> None:
    plain = world.export()
    mailed = world.export(**EMAIL)
    states = world.export(export_type=STATES)
    both = world.export(export_type=STATES, **EMAIL)
    note(world, both, "FAILED")
    note(world, plain, "COMPLETED")
    wanted = {
        (): {plain, mailed, states, both},
        ("connector_type",): {mailed, both},
        ("export_type",): {states, both},
        ("outcome",): {both},
        ("connector_type", "export_type"): {both},
        ("connector_type", "outcome"): {both},
        ("export_type", "outcome"): {both},
        ("connector_type", "export_type", "outcome"): {both},
    }
    values = {"connector_type": "email", "export_type": STATES, "outcome": "FAILED"}
    for count in range(4):
        for names in itertools.combinations(values, count):
            assert ids(listed(world, **{name: values[name] for name in names})) == wanted[names], names
    assert ids(listed(world, outcome="COMPLETED", connector_type="cloud_storage")) == {plain}
    assert listed(world, outcome="FAILED", state="PAUSED") == []


@pytest.mark.parametrize(
    ("name", "value"), [("connector_type", "ftp"), ("export_type", "tasks"), ("outcome", "CANCELLED")]
)
def test_a_filter_by_what_there_is_not_is_refused_with_what_there_is(
    world: World, name: str, value: str
) -> None:
    answer = world.request("GET", f"/v1/exports?{name}={value}")
    assert (answer.status, [each["field"] for each in answer.body["errors"]]) == (400, [name])
    assert answer.body["errors"][0]["message"].endswith(f"; got {value!r}")


def test_filters_find_nothing_of_another_customer(world: World) -> None:
    note(world, world.export(**EMAIL), "FAILED")
    key = world.stranger()
    query = urlencode({"connector_type": "email", "outcome": "FAILED", "state": "all"})
    assert world.request("GET", f"/v1/exports?{query}", key=key).body["exports"] == []


@pytest.mark.slow
def test_the_outcome_of_the_last_run_is_shown_until_the_next_one_ends(world: World) -> None:
    export = nightly(world)
    assert shown(world, export)["last_outcome"] is None
    live(world, 1, 1)
    first = world.audit(export)[0]
    told = {"run_id": first["run_id"], "status": "COMPLETED", "ended": first["timestamp"]}
    assert shown(world, export)["last_outcome"] == listed(world)[0]["last_outcome"] == told
    refuse(world)
    live(world, 2, 2)
    failed = world.audit(export)[0]
    told = {"run_id": failed["run_id"], "status": "FAILED", "ended": failed["timestamp"]}
    assert listed(world, outcome="FAILED")[0]["last_outcome"] == told
    fix(world)
    asked(world, export, "retry-failed")
    assert shown(world, export)["last_outcome"] == told
    world.drain()
    assert shown(world, export)["last_outcome"]["status"] == "COMPLETED"


def test_a_run_that_a_person_cancelled_is_no_outcome(world: World) -> None:
    export = nightly(world)
    live(world, 1, 1)
    before = shown(world, export)["last_outcome"]
    window = {"start": "2026-11-22T10:00:00Z", "end": "2026-11-22T11:00:00Z"}
    run = asked(world, export, "backfill", window)["run_id"]
    assert world.request("POST", f"/v1/exports/{export}/runs/{run}:cancel").status == 200
    assert shown(world, export)["last_outcome"] == before


@pytest.mark.ours_only("looks at what our Firestore reads")
@pytest.mark.parametrize("exports", [60, pytest.param(10_000, marks=pytest.mark.slow)])
def test_a_page_reads_as_many_documents_as_it_shows_however_many_there_are(
    world: World, monkeypatch: pytest.MonkeyPatch, exports: int
) -> None:
    made = world.cloud.db.document(f"exports/{world.export()}")
    fields = fields_of(made.get())
    batch = world.cloud.db.batch()
    kinds = itertools.cycle(itertools.product(LISTED, ("email", "sftp"), (STATES, "batches"), OUTCOMES))
    for number in range(exports):
        state, connector, source, status = next(kinds)
        config = {**fields["config"], "export_type": source, "connector_type": connector}
        if connector == "sftp":  # of which no page with the filters below may read one
            config["connector_config"] = {}
        else:
            config["connector_config"] = EMAIL["connector_config"]
        last = {"run": "s" + "0" * 32, "status": status, "ended": due(0)}
        document = world.cloud.db.document(f"exports/00000000-0000-4000-8000-{number:012}")
        created = fields["created"] + timedelta(seconds=number)
        more = {"config": config, "state": state, "last_outcome": last, "created": created}
        shown = number >= exports - 300  # no page shows the others: they have what queries look at
        if not shown:
            more["config"] = {name: config[name] for name in ("connector_type", "export_type")}
        batch.set(document, {**(fields if shown else {"customer": "acme"}), **more})
        if number % 400 == 399:
            batch.commit()
            batch = world.cloud.db.batch()
    batch.commit()
    read = documents_read(monkeypatch)
    for size, outcome in itertools.product((1, 3), OUTCOMES):
        query = {"connector_type": "email", "export_type": STATES, "outcome": outcome, "page_size": size}
        token: str | None = ""
        for _ in range(2):
            read.clear()
            path = f"/v1/exports?{urlencode({**query, **({'page_token': token} if token else {})})}"
            answer = world.request("GET", path)
            assert len(answer.body["exports"]) == size
            assert {each["last_outcome"]["status"] for each in answer.body["exports"]} == {outcome}
            assert len(read) <= size + 10
            token = answer.body["next_page_token"]
