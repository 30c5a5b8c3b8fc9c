"""Attempts that come late, outages of the engine's own calls, and pieces that are many."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from google.api_core.exceptions import ServiceUnavailable

from shared.errors import GiveUp, Retry
from shared.work import control, engine, pieces, stages
from shared.work import sweep as sweeping
from shared.work.attempts import Attempt
from shared.work.kinds import FAILED, End, Writes
from tests.shared.work.toy import Toys, fails, fields


def test_a_refusal_from_before_a_retry_does_not_fail_the_retried_work(toys: Toys) -> None:
    toys.kind = replace(toys.kind, ending=lambda *_: Writes())
    first: list[str] = []

    def step(attempt: Attempt) -> Any:
        if first:
            return None
        first.append(attempt.id)
        # Another piece fails the work meanwhile, and a person retries it.
        why = {"error": "gone", "next_action": "Fix it."}
        stages.end(toys.cloud, toys.kind, work, End(FAILED, why), lambda *_: True)
        assert control.retry(toys.cloud, toys.kind, work.get())
        raise GiveUp("an old refusal", "Fix it.")

    toys.steps.does["double"] = step
    work = toys.make(count=1)
    toys.drain()
    assert fields(work)["state"] == "COMPLETED", fields(work)


def test_a_refusal_of_an_attempt_that_lost_its_lease_does_not_fail_the_work(toys: Toys) -> None:
    began: list[str] = []

    def step(attempt: Attempt) -> Any:
        began.append(attempt.id)
        if len(began) == 1:
            toys.world.wait(timedelta(minutes=5))
            toys.sweep()
            toys.drain()
            raise GiveUp("an old refusal", "Fix it.")
        if attempt.piece.name == "000000" and len(began) == 2:
            raise Retry("still trying")
        return None

    toys.steps.does["double"] = step
    work = toys.make(count=1)
    toys.drain()
    assert fields(work)["state"] != "FAILED", fields(work)


def test_a_piece_that_gets_on_begins_to_wait_anew(toys: Toys) -> None:
    def step(attempt: Attempt) -> Any:
        if attempt.fields.get("position", 0) or tries:
            attempt.save({"position": len(tries)})
        tries.append(1)
        raise Retry("away")

    tries: list[int] = []
    toys.steps.does["double"] = step
    work = toys.make(count=1)
    toys.drain()
    for _ in range(14):  # each attempt gets on, then fails in passing; an hour apart
        toys.world.wait(timedelta(hours=1))
        toys.sweep()
        toys.drain()
    assert fields(work)["state"] == "DOUBLING", fields(work)["error"]


def test_an_outage_while_a_plan_is_written_uses_up_no_attempts(
    toys: Toys, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = pieces.in_commits
    down = [True]

    def in_commits(*args: Any, **kw: Any) -> None:
        if down[0]:
            raise ServiceUnavailable("down")
        real(*args, **kw)

    monkeypatch.setattr(pieces, "in_commits", in_commits)
    work = toys.make(count=2)
    for _ in range(engine.MAX_ATTEMPTS + 2):
        toys.drain()
        toys.world.wait(timedelta(minutes=11))
        toys.sweep()
    down[0] = False
    toys.settle()
    assert fields(work)["state"] == "COMPLETED", fields(work).get("error")


def test_what_a_cancelled_work_left_keeps_the_sweep_from_nobody(
    toys: Toys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "MAX_SWEPT", 20)  # 500 in the real world, against 50,000 parts
    big = toys.make("big", count=200)
    toys.world.suite.pubsub.deliver_due(toys.push)
    control.cancel(toys.cloud, toys.kind, big)
    toys.drain()
    toys.world.wait(timedelta(days=1))
    toys.sweep()
    toys.drain()
    toys.steps.does["double"] = fails(Retry("away"))
    other = toys.make("other", count=1, customer="globex")
    toys.drain()
    toys.steps.does.clear()
    minutes = 0
    while minutes < 12:
        minutes += 1
        toys.world.wait(timedelta(minutes=1))
        toys.sweep()
        toys.drain()
        if fields(other)["state"] == "COMPLETED":
            break
    assert minutes <= 2


def test_a_work_that_is_cancelled_before_the_lease_is_taken_is_not_finished(
    toys: Toys, monkeypatch: pytest.MonkeyPatch
) -> None:
    toys.steps.does["finish"] = fails(Retry("away"))
    work = toys.make(count=1)
    toys.drain()
    toys.world.wait(timedelta(minutes=1))
    toys.sweep()
    toys.drain()
    assert fields(work)["waiting"]
    toys.world.wait(timedelta(minutes=5))
    toys.steps.done.clear()
    take = engine._take

    def late(cloud: Any, seen: Any, piece: Any) -> Any:
        if seen.get("open"):
            assert control.cancel(toys.cloud, toys.kind, work)
        return take(cloud, seen, piece)

    monkeypatch.setattr(engine, "_take", late)
    toys.sweep()
    toys.drain()
    assert fields(work)["state"] == "CANCELLED"
    assert toys.steps.done == [], "the finishing step ran after the cancel"


def test_a_message_for_a_piece_that_is_done_publishes_no_open_piece_again(toys: Toys) -> None:
    work = toys.make(count=10)
    toys.world.suite.pubsub.deliver_due(toys.push)  # it is planned, and its pieces are published
    published = len(toys.world.suite.pubsub.outstanding())
    assert published == stages.MAX_IN_LINE
    done = next(each for each in work.collection("pieces").stream() if each.get("status") == pieces.OPEN)
    done.reference.update(pieces.ended(pieces.DONE))
    for _ in range(5):
        engine.perform(toys.cloud, toys.kind, pieces.message(work.path, done.id))
    assert len(toys.world.suite.pubsub.outstanding()) == published
