"""`GET /v1/exports/{id}/runs/{run}`: the steps of a run, how far each is, how long it took."""

from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from infra.local.pubsub import Delivery
from infra.local.traffic import Fault
from tests.shared.exports.nights import asked, due, fix, nightly, refuse
from tests.world import World

NAMES = ["plan", "write", "pin", "deliver", "copy", "mail", "finish"]


@pytest.fixture(autouse=True)
def each_delivery_takes_a_second(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    push = world.push

    def later(delivery: Delivery) -> bool:
        world.wait(timedelta(seconds=1))
        return push(delivery)

    monkeypatch.setattr(world, "push", later)


def begun(world: World) -> str:
    """The path of a run that has begun and not been worked on."""
    world.work_order("WO_1", photographs=1)
    export = nightly(world)
    world.tick(due(1))
    while not world.slots():
        assert world.step()
    [run] = world.slots()
    return f"/v1/exports/{export}/runs/{run}"


def steps(world: World, path: str) -> list[dict[str, Any]]:
    answer = world.request("GET", path)
    assert answer.status == 200, answer
    found: list[dict[str, Any]] = answer.body["steps"]
    assert [each["name"] for each in found] == NAMES
    return found


def test_the_steps_of_a_run_that_completed_lie_end_to_end(world: World) -> None:
    path = begun(world)
    assert [each["status"] for each in steps(world, path)][1:] == ["TO_DO"] * 6
    world.drain()
    run = world.request("GET", path).body
    found = run["steps"]
    assert {each["status"] for each in found} == {"DONE"}
    assert all(one["ended"] == next["began"] for one, next in pairwise(found))
    assert sum(each["duration_ms"] for each in found) == run["duration_ms"] > 0
    assert {each["waits_for"] for each in found} == {None}


def test_a_run_that_failed_has_failed_at_a_step_and_goes_on_there_when_it_is_retried(world: World) -> None:
    refuse(world)
    path = begun(world)
    world.drain()
    failed = steps(world, path)
    assert [each["status"] for each in failed] == ["DONE"] * 3 + ["FAILED"] + ["TO_DO"] * 3
    assert failed[3]["duration_ms"] is not None
    assert [each["began"] for each in failed[4:]] == [None] * 3
    fix(world)
    world.wait(timedelta(hours=1))
    assert world.request("POST", f"{path}:retry").status == 200
    world.drain()
    again = steps(world, path)
    assert {each["status"] for each in again} == {"DONE"}
    assert again[:3] == failed[:3]
    assert again[3]["began"] > failed[3]["ended"]
    assert again[3]["duration_ms"] < 60_000, "the hour between is no part of it"


@pytest.mark.slow
def test_a_run_that_waits_says_so_at_its_step(world: World) -> None:
    path = begun(world)
    busy = Fault("error", status=429)
    world.suite.traffic.arm("storage.objects.rewrite", busy, resource="/waybill/", times=1_000)
    world.drain()
    waiting = [each for each in steps(world, path) if each["waits_for"]]
    assert [(each["name"], each["status"], each["ended"]) for each in waiting] == [
        ("deliver", "RUNNING", None)
    ]


@pytest.mark.slow
def test_a_run_that_was_cancelled_before_it_ran_has_no_step_that_ended(world: World) -> None:
    first = begun(world)
    export = first.split("/")[3]
    window = {"start": "2026-11-22T09:00:00Z", "end": "2026-11-22T09:10:00Z"}
    run = asked(world, export, "backfill", window)["run_id"]
    path = f"/v1/exports/{export}/runs/{run}"
    assert world.request("POST", f"{path}:cancel").body["status"] == "CANCELLED"
    assert [each["ended"] for each in steps(world, path)] == [None] * 7
    assert world.request("POST", f"{first}:cancel").body["status"] == "CANCELLED"
    assert steps(world, first)[0]["status"] == "CANCELLED"


@pytest.mark.slow
def test_a_run_from_before_there_were_times_has_its_steps_without_them(world: World) -> None:
    path = begun(world)
    world.drain()
    document = world.cloud.db.document(path.removeprefix("/v1/"))
    fields = document.get().to_dict() or {}
    del fields["stage_times"]
    document.set(fields)
    found = steps(world, path)
    assert {(each["status"], each["began"], each["duration_ms"]) for each in found} == {("DONE", None, None)}
