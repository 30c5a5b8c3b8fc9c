"""A toy work dies after every call that writes, and at every end of an event; each time the same comes of it,
once. The calls are those of a first, undisturbed pass."""

from datetime import timedelta
from typing import Any, Literal

import pytest

from shared.work import control
from tests.shared.work.toy import GiveUp, Toys, fails, fields

Mode = Literal["redelivered", "swept", "paused", "cancelled", "retried"]


def run(toys: Toys, id: str, push: Any = None) -> Any:
    work = toys.make(id, count=3)
    toys.drain(push)
    return work


def writes(toys: Toys) -> range:
    """The numbers of the calls that write, of an undisturbed pass; the one before it gets what is got once,
    such as a token."""
    for id in ("first", "undisturbed"):
        toys.outside.arm_write(0)
        run(toys, id)
    assert len(toys.outside.calls) > 15, toys.outside.calls
    return range(1, len(toys.outside.calls) + 1)


def check(toys: Toys, work: Any, where: str) -> None:
    after = fields(work)
    assert (after["state"], after["open"], after.get("sum")) == ("COMPLETED", False, 6), (where, after)
    assert [each.id for each in work.collection("ends").stream()] == ["COMPLETED"], where
    assert list(toys.open_pieces()) == [], where


@pytest.mark.parametrize(
    "mode",
    [
        "redelivered",
        pytest.param("swept", marks=pytest.mark.slow),
        pytest.param("paused", marks=pytest.mark.slow),
    ],
)
def test_a_death_or_a_pause_at_any_write_changes_nothing(toys: Toys, mode: Mode) -> None:
    for at in writes(toys):
        where = f"{mode} at write {at}"
        toys.outside.arm_write(at, toys.settle if mode == "paused" else None)

        def push(delivery: Any) -> bool:
            return toys.push(delivery) or mode != "redelivered"

        work = run(toys, f"{mode}-{at}", push if mode != "redelivered" else toys.push)
        assert len(toys.outside.calls) >= at, where
        toys.outside.arm(0, "after")
        toys.settle()
        check(toys, work, where)


def test_a_death_at_the_end_of_any_event_changes_nothing(toys: Toys) -> None:
    """The process dies after the piece was done, before its message was acknowledged."""
    for at in range(5):
        events: list[int] = []

        def push(delivery: Any, at: int = at, events: list[int] = events) -> bool:
            events.append(1)
            return toys.push(delivery) and len(events) != at + 1

        work = run(toys, f"event-{at}", push)
        toys.settle()
        check(toys, work, f"event {at}")


def test_cancelled_after_any_write_it_ends_once_and_leaves_nothing_open(toys: Toys) -> None:
    for at in writes(toys):
        id = f"cancelled-{at}"
        reference = toys.cloud.db.document(f"toys/{id}")

        def cancel(reference: Any = reference) -> None:
            if reference.get().exists and fields(reference)["state"] in ("PLANNING", "DOUBLING"):
                control.cancel(toys.cloud, toys.kind, reference)

        toys.outside.arm_write(at, cancel)
        work = run(toys, id)
        toys.outside.arm(0, "after")
        toys.settle()
        (end,) = [each.id for each in work.collection("ends").stream()]
        assert end == fields(work)["state"] in ("CANCELLED", "COMPLETED"), (at, end, fields(work))
        assert list(toys.open_pieces()) == [], at


@pytest.mark.parametrize(
    "stage",
    [
        "double",
        pytest.param("plan", marks=pytest.mark.slow),
        pytest.param("finish", marks=pytest.mark.slow),
    ],
)
def test_a_retry_that_dies_at_any_write_can_be_asked_for_again(toys: Toys, stage: str) -> None:
    for at in range(1, 4):
        toys.steps.does = {stage: fails(GiveUp("not now", "Retry."))}
        work = run(toys, f"retried-{stage}-{at}")
        assert fields(work)["state"] == "FAILED"
        work.collection("ends").document("FAILED").delete()
        toys.world.wait(timedelta(minutes=5))
        toys.steps.does.clear()
        seen = work.get()

        def retry(seen: Any = seen) -> bool:
            return control.retry(toys.cloud, toys.kind, seen)

        toys.outside.arm_write(at)
        toys.outside.alive(retry)
        toys.outside.arm(0, "after")
        control.retry(toys.cloud, toys.kind, work.get())
        toys.settle()
        check(toys, work, f"retry of {stage} died at write {at}")
