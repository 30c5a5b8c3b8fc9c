"""Deleting an export: one write makes it true, and the rest is done in steps that may die anywhere."""

from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from google.cloud import firestore

from shared.errors import Conflict
from shared.exports import deleting
from shared.gcp.documents import fields_of
from shared.work import control
from tests.outside import Outside
from tests.subjects.by_email import by_email
from tests.world import BUCKET, World

WINDOW = {"start": "2026-11-22T08:00:00Z", "end": "2026-11-22T09:00:00Z"}


def waiting(world: World, export: str, count: int) -> None:
    """That many runs of the export, which wait for a slot."""
    asked = world.request("POST", f"/v1/exports/{export}:backfill", WINDOW)
    assert asked.status == 201, asked
    first = world.cloud.db.document(f"exports/{export}/runs/{asked.body['run_id']}").get()
    fields = {**fields_of(first), "state": "PENDING", "stage": None, "plan": None, "waiting": False}
    for number in range(1, count):
        world.cloud.db.document(f"exports/{export}/runs/h{number:032x}").create(fields)


def states(world: World, export: str) -> list[str]:
    runs = world.cloud.db.collection(f"exports/{export}/runs").select(["state"]).stream()
    return sorted(each.get("state") for each in runs)


def delete(world: World, export: str) -> int:
    return world.request("DELETE", f"/v1/exports/{export}").status


def is_over(world: World, export: str) -> bool:
    """Whether all of a deletion is done."""
    return "deleting" not in fields_of(world.cloud.db.document(f"exports/{export}").get())


@pytest.mark.slow
def test_an_export_with_150_waiting_runs_and_1000_recipients_is_deleted(world: World) -> None:
    export = by_email(world, *(f"{'x' * 40}-{number:04}@acme.example" for number in range(1_000)))
    waiting(world, export, 150)
    assert delete(world, export) == 204
    assert world.request("GET", f"/v1/exports/{export}").body["state"] == "DELETED"
    for _ in range(10):
        world.tick()
        world.drain()
        world.wait(timedelta(minutes=1))
    assert states(world, export) == ["CANCELLED"] * 150
    assert is_over(world, export)
    assert not world.failures


def test_readers_see_it_deleted_before_its_runs_are_cancelled(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that has no time left for them leaves them to the function, and nothing of them runs."""
    export, other = world.export(), world.export()
    waiting(world, export, 3)
    monkeypatch.setattr(deleting, "CALL_SECONDS", 0)
    assert delete(world, export) == 204
    assert world.request("GET", f"/v1/exports/{export}").body["state"] == "DELETED"
    assert states(world, export).count("PENDING") == 2
    assert world.request("POST", f"/v1/exports/{export}:backfill", WINDOW).status == 409
    theirs = world.request("POST", f"/v1/exports/{other}:backfill", WINDOW)
    world.drain()
    assert states(world, export) == ["CANCELLED"] * 3
    assert is_over(world, export)
    assert states(world, other) == ["COMPLETED"], theirs
    assert not [name for name in world.landed() if export in name]


@pytest.mark.slow
@pytest.mark.ours_only("goes back to an earlier state of the services")
def test_killed_at_any_call_it_is_deleted_whole_or_not_at_all(world: World, outside: Outside) -> None:
    export = world.export()
    waiting(world, export, 3)
    back = world.kept()
    for when in ("before", "after"):
        at = 0
        while True:
            at += 1
            back()
            outside.arm(at, when)
            answered = outside.alive(partial(delete, world, export))
            outside.arm(0, "before")
            now = world.request("GET", f"/v1/exports/{export}").body["state"]
            assert now in ("ACTIVE", "DELETED")
            if now == "DELETED":
                world.tick()
                world.drain()
                assert states(world, export) == ["CANCELLED"] * 3, (at, when)
                assert is_over(world, export)
            else:
                assert "CANCELLED" not in states(world, export), (at, when)
                assert delete(world, export) == 204
            assert not world.failures
            if answered is not None:
                break
        assert at > 8, "the call was not met in its middle"


def test_a_run_that_is_not_being_delivered_yet_is_cancelled_before_it_would_be(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has cancelled it when it comes to that."""
    world.work_order("WO_1", photographs=1)
    export = world.export()
    asked = world.request("POST", f"/v1/exports/{export}:backfill", WINDOW)
    monkeypatch.setattr(deleting, "perform", lambda *_: True)
    assert delete(world, export) == 204
    assert states(world, export) == ["RUNNING"], asked
    world.drain()
    assert states(world, export) == ["CANCELLED"]
    assert world.landed() == {}
    assert world.slots() == []


def test_a_run_that_cannot_be_cancelled_now_keeps_none_of_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = world.export()
    waiting(world, export, 3)
    busy = f"h{1:032x}"
    cancel = control.cancel_alone

    def cancel_others(cloud: Any, kind: Any, reference: Any) -> bool:
        if reference.id == busy:
            raise Conflict("it is being tried right now")
        return cancel(cloud, kind, reference)

    monkeypatch.setattr(control, "cancel_alone", cancel_others)
    assert delete(world, export) == 204
    assert states(world, export) == ["CANCELLED", "CANCELLED", "PENDING"]
    assert not is_over(world, export)
    monkeypatch.setattr(control, "cancel_alone", cancel)
    world.tick()
    world.drain()
    assert states(world, export) == ["CANCELLED"] * 3
    assert is_over(world, export)


def test_a_run_that_cannot_be_read_keeps_none_of_the_others(world: World) -> None:
    export = world.export()
    waiting(world, export, 3)
    world.cloud.db.document(f"exports/{export}/runs/h{1:032x}").update({"config": 7})
    assert delete(world, export) == 204
    assert states(world, export) == ["CANCELLED", "CANCELLED", "PENDING"]
    assert is_over(world, export)


@pytest.mark.parametrize(
    "damage", [{"waiting": firestore.DELETE_FIELD}, {"waiting": True, "stage": "bogus"}, {"stage": 7}]
)
def test_a_run_that_is_being_delivered_and_cannot_be_read_keeps_none_of_the_others(
    world: World, damage: dict[str, Any]
) -> None:
    export = world.export()
    waiting(world, export, 3)
    run = world.cloud.db.document(f"exports/{export}/runs/h{1:032x}")
    run.update({"state": "DELIVERING", "stage": "deliver", "plan": "deliver", "waiting": True} | damage)
    assert delete(world, export) == 204
    assert states(world, export) == ["CANCELLED", "CANCELLED", "DELIVERING"]
    assert is_over(world, export)


def test_deleting_twice_is_deleting_once(world: World) -> None:
    export = world.export()
    waiting(world, export, 2)
    assert [delete(world, export), delete(world, export)] == [204, 204]
    assert deleting.perform(world.cloud, export, "acme")
    assert states(world, export) == ["CANCELLED"] * 2
    assert BUCKET not in "".join(world.landed())
