"""What a customer's runs brought, day by day: each run counts once, by its last end, whatever is delivered
again."""

from datetime import timedelta
from typing import Any

import pytest

from shared.accounts.keys import create_key
from shared.exports import statistics
from shared.exports.overview import MAX_DAYS
from shared.gcp.documents import fields_of
from shared.work.lifetimes import WORKS_KEPT
from tests.shared.exports.nights import due, fix, nightly, refuse, work_on
from tests.subjects.by_email import only
from tests.world import World

NOTHING = {"records": 0, "images": 0, "completed": 0, "failed": 0}


def days(world: World, query: str = "", **more: Any) -> dict[str, dict[str, int]]:
    """The days that have something, by their names."""
    answer = world.request("GET", f"/v1/statistics{query}", **more)
    assert answer.status == 200, answer
    found = {each.pop("day"): each for each in answer.body["days"]}
    return {day: sums for day, sums in found.items() if sums != NOTHING}


def retry(world: World, export: str) -> None:
    answer = world.request("POST", f"/v1/exports/{export}/runs/{only(world, export)['run_id']}:retry")
    assert answer.status == 200, answer
    world.drain()


@pytest.mark.slow
def test_a_day_has_the_records_and_images_of_the_runs_that_were_completed(world: World) -> None:
    for number in range(2):
        world.work_order(f"WO_{number}", photographs=2)
    world.export(start="2026-11-22T09:00:00Z")
    world.export(start="2026-11-22T09:00:00Z", name="Again")
    world.run_due(due(1))
    world.drain()
    world.tick()
    world.drain()
    world.run_due(due(2))
    assert days(world) == {
        "2026-11-23": {"records": 4, "images": 8, "completed": 2, "failed": 0},
        "2026-11-24": {"records": 0, "images": 0, "completed": 2, "failed": 0},
    }


@pytest.mark.slow
def test_a_run_that_failed_and_is_completed_later_counts_as_completed_alone(world: World) -> None:
    export = nightly(world)
    refuse(world)
    work_on(world, 1)
    world.run_due(due(1))
    assert days(world) == {"2026-11-23": NOTHING | {"failed": 1}}
    retry(world, export)  # it fails again, on the same day
    assert only(world, export)["status"] == "FAILED"
    assert days(world) == {"2026-11-23": NOTHING | {"failed": 1}}
    world.wait(timedelta(days=1))
    retry(world, export)  # and once more, on the next day
    assert days(world) == {"2026-11-24": NOTHING | {"failed": 1}}
    fix(world)
    world.wait(timedelta(days=1))
    retry(world, export)
    assert only(world, export)["status"] == "COMPLETED"
    assert days(world) == {"2026-11-25": {"records": 1, "images": 0, "completed": 1, "failed": 0}}


def test_a_run_that_is_cancelled_does_not_count(world: World) -> None:
    export = nightly(world)
    window = {"start": "2026-11-20T00:00:00Z", "end": "2026-11-21T00:00:00Z"}
    run = world.request("POST", f"/v1/exports/{export}:backfill", window).body["run_id"]
    assert world.request("POST", f"/v1/exports/{export}/runs/{run}:cancel").status == 200
    assert days(world) == {}


def test_the_days_are_those_asked_for_without_a_gap_and_today_is_the_last(world: World) -> None:
    answer = world.request("GET", "/v1/statistics?days=3").body["days"]
    assert [each["day"] for each in answer] == ["2026-11-20", "2026-11-21", "2026-11-22"]
    assert len(world.request("GET", "/v1/statistics").body["days"]) == 30
    assert len(world.request("GET", f"/v1/statistics?days={MAX_DAYS}").body["days"]) == MAX_DAYS
    for wrong in (0, MAX_DAYS + 1, -1, "x"):
        assert world.request("GET", f"/v1/statistics?days={wrong}").status == 400, wrong


def test_a_days_document_is_the_customers_own_and_goes_with_its_runs(world: World) -> None:
    theirs = world.stranger()
    nightly(world)
    work_on(world, 1)
    world.run_due(due(1))
    document = fields_of(world.cloud.db.document("customers/acme/run_days/2026-11-23").get())
    assert document["remove_after"] - due(1) > WORKS_KEPT - timedelta(days=1)
    assert days(world, key=theirs) == {}
    only_batches = create_key(world.cloud.db, customer="acme", scopes=["batches"])
    assert world.request("GET", "/v1/statistics", key=only_batches).status == 403


def test_a_failed_run_that_is_cancelled_takes_its_failure_back_and_nothing_below_zero(world: World) -> None:
    run = {"customer": "acme", "failure_counted": "2026-11-20"}
    changes, merged = statistics.counted(run, "CANCELLED", {"rows": 0, "images": 0}, due(1))
    assert changes == {"failure_counted": None}
    for path, fields in merged.items():
        world.cloud.db.document(path).set(fields, merge=True)
    assert list(merged) == ["customers/acme/run_days/2026-11-20"]
    assert days(world) == {}


@pytest.mark.parametrize("state", ["COMPLETED", "FAILED", "CANCELLED"])
def test_an_end_writes_at_most_two_days(state: str) -> None:
    for before in (None, "2026-11-20", "2026-11-23"):
        run = {"customer": "acme", "failure_counted": before}
        _, merged = statistics.counted(run, state, {"rows": 1, "images": 1}, due(1))
        assert len(merged) <= (1 if before in (None, "2026-11-23") else 2), (state, before)
