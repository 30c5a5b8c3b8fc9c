"""A run that fails, or takes long, between two stages loses no piece of a later one."""

from datetime import timedelta
from typing import Any

import pytest

from shared.errors import CustomerMustAct
from shared.exports import delivering, finishing
from tests.subjects.by_email import ANN, BOB, by_email, only, work
from tests.subjects.small_run import MORNING
from tests.world import World


def refuse(*_: Any, **__: Any) -> Any:
    raise CustomerMustAct("The bucket refuses.", "Fix it.")


@pytest.mark.parametrize("hours", [1, 25])
def test_a_run_that_failed_at_its_files_and_is_retried_after_a_day_copies_its_images(
    world: World, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    for number in range(3):
        world.work_order(f"WO_{number}")
    export = world.export(interval="once", end="2026-11-23T00:00:00Z")
    with monkeypatch.context() as patch:
        patch.setattr(delivering._Joined, "file", refuse)
        world.tick(MORNING)
        world.drain()
    event = only(world, export)
    assert event["status"] == "FAILED"
    world.move_to(MORNING + timedelta(hours=hours))
    for _ in range(3):  # the minutes go by
        world.sweep()
        world.drain()
        world.wait(timedelta(minutes=1))
    assert world.request("POST", f"/v1/exports/{export}/runs/{event['run_id']}:retry").status == 200
    world.settle(sweeps=True)
    event = only(world, export)
    assert event["status"] == "COMPLETED"
    assert len(world.images()) == event["images"] == 6


def test_a_run_whose_files_take_more_than_a_day_copies_its_images(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        world.work_order(f"WO_{number}")
    export = world.export(interval="once", end="2026-11-23T00:00:00Z")

    def slow(*_: Any, **__: Any) -> Any:
        raise delivering.TimeUp

    with monkeypatch.context() as patch:
        patch.setattr(delivering._Joined, "file", slow)
        world.tick(MORNING)
        for _ in range(30):
            world.step()
        world.wait(timedelta(hours=25))  # by then each attempt went on where the last one stopped
        world.sweep()
        for _ in range(30):
            world.step()
    world.settle(sweeps=True)
    event = only(world, export)
    assert len(world.images()) == event["images"] == 6


def test_a_mailed_run_that_failed_at_its_manifest_can_be_retried(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    work(world)
    export = by_email(world, ANN, BOB, interval="once", end="2026-11-23T00:00:00Z")
    world.suite.sendgrid.bounce(BOB)
    with monkeypatch.context() as patch:
        patch.setattr(finishing, "_losses", refuse)
        world.tick(MORNING)
        world.drain()
    event = only(world, export)
    assert event["status"] == "FAILED"
    world.wait(timedelta(minutes=10))
    assert world.request("POST", f"/v1/exports/{export}/runs/{event['run_id']}:retry").status == 200
    for _ in range(90):
        world.tick()
        world.drain()
        world.wait(timedelta(minutes=10))
    event = only(world, export)
    assert event["status"] == "COMPLETED", event
