"""A toy work dies or is paused at every call; each time the same comes of it, once."""

from collections.abc import Callable, Iterable
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from google.api_core.exceptions import InvalidArgument

from infra.local.pubsub import Delivery
from shared.work import control
from tests import kills
from tests.outside import Outside
from tests.shared.work.toy import GiveUp, Toys, fails, fields
from tests.world import World

EXPIRED = "The referenced transaction has expired or is no longer valid."
"""What Firestore says to an attempt that was paused inside a transaction; its message comes again."""


class Whole(kills.InWorld):
    """A work of three pieces. Each of them saves something before it is done."""

    def __init__(self, toys: Toys) -> None:
        self.toys = toys
        self.world = toys.world
        self.outside = toys.outside
        self.reference = toys.cloud.db.document("toys/one")
        toys.steps.does["double"] = lambda attempt: attempt.save({"by": attempt.id})

    def push(self, delivery: Delivery) -> bool:
        return self.toys.push(delivery)

    def set_off(self) -> None:
        self.toys.make("one", count=3)

    def settle(self) -> None:
        self.toys.settle()

    def ended_once(self) -> str:
        """Check that it ended once, and that nothing was written later; returns the state."""
        assert not self.toys.faults, self.toys.faults
        after = fields(self.reference)
        assert not after["open"], after
        assert [each.id for each in self.reference.collection("ends").stream()] == [after["state"]], after
        assert [each.reference.path for each in self.toys.open_pieces()] == []
        state: str = after["state"]
        return state

    def done_once(self) -> None:
        """The sum is right, and the results that it was made of are those that are still there."""
        assert self.ended_once() == "COMPLETED"
        after = fields(self.reference)
        assert after["sum"] == 6
        left = [each.to_dict() for each in self.reference.collection("pieces").stream()]
        assert after["by"] == [each["by"] for each in left if each["status"] == "DONE" and "doubled" in each]


class Retried(Whole):
    """A work that failed at a stage is retried. Only the calls of the retry itself are counted."""

    stage: str
    late: bytes | None = None
    """What the message says that is not delivered before the retry."""

    def __init__(self, toys: Toys) -> None:
        super().__init__(toys)
        steps, toys.steps.does = toys.steps.does, {self.stage: fails(GiveUp("not now", "Retry."))}
        toys.make("one", count=3)
        toys.drain(lambda each: not (self.late and self.late in each.data) and toys.deliver(each))
        assert fields(self.reference)["state"] == "FAILED"
        self.reference.collection("ends").document("FAILED").delete()
        toys.steps.does = steps

    def run(self, push: Callable[[Delivery], bool]) -> None:
        """A client asks for it, and asks again where the answer is none or an error."""
        if self.outside.alive(self.retry) is None:
            self.retry()
        self.toys.drain(self.toys.deliver)

    def retry(self) -> bool | None:
        try:
            return control.retry(self.toys.cloud, self.toys.kind, self.reference.get())
        except InvalidArgument as error:
            if EXPIRED not in str(error):
                raise
            return None


class RetriedPlan(Retried):
    stage = "plan"


class RetriedDouble(Retried):
    stage = "double"


class RetriedFinish(Retried):
    stage = "finish"


class Late(RetriedDouble):
    """A work that failed, with a message of another piece of it still to be delivered."""

    late = b"000001"

    def set_off(self) -> None:
        self.world.wait(timedelta(minutes=11))

    def run(self, push: Callable[[Delivery], bool]) -> None:
        """The message comes; at the end the work is retried if nobody has done so."""
        Whole.run(self, push)
        self.retry()
        self.toys.drain(self.toys.deliver)


def retried_meanwhile(late: Late, place: kills.Place) -> None:
    """The late message is paused there while somebody retries the work."""
    kills.arm(late, place, late.retry)
    late.run(late.push)
    kills.end(late, place)
    late.done_once()


RETRIED = kills.Mode("retried meanwhile", kills.Pass.pauses, retried_meanwhile)


def cancelled_meanwhile(whole: Whole, place: kills.Place) -> None:
    """It is paused there while somebody cancels it."""

    def cancel() -> None:
        if fields(whole.reference)["state"] in ("PLANNING", "DOUBLING"):
            control.cancel(whole.toys.cloud, whole.toys.kind, whole.reference)

    kills.arm(whole, place, cancel)
    whole.run(whole.push)
    kills.end(whole, place)
    assert whole.ended_once() in ("CANCELLED", "COMPLETED")


def after_writes(seen: kills.Pass) -> list[kills.Place]:
    return [place for place in seen.deaths() if place.when == "after"]


AFTER_WRITES = kills.Mode("cancelled after a write", after_writes, cancelled_meanwhile)
ANYWHERE = kills.Mode("cancelled before a call", kills.Pass.pauses, cancelled_meanwhile)


@pytest.fixture
def fresh(new_world: Callable[[], World], outside: Outside) -> Callable[[], Toys]:
    return lambda: Toys(new_world(), outside)


def test_a_toy_makes_every_kind_of_call(fresh: Callable[[], Toys]) -> None:
    seen = kills.undisturbed(Whole(fresh()))
    assert {call.name.partition(" ")[0] for call in seen.calls if call.writes} == {
        "Commit",
        "Publish",
        "POST",
    }
    assert seen.events > 3


OF = 8
"""In how many tests the places are shared out."""

QUICK = (2, 5)
"""The shares of the places that the quick tests take where they do not take all."""


def cases(others: Iterable[Any], quick: Callable[[Any, Any], bool]) -> list[Any]:
    """Each mode with each of the others; what is not quick is slow."""
    each = product((kills.REDELIVERED, kills.SWEPT, kills.PAUSED), others)
    return [pytest.param(*case, marks=() if quick(*case) else pytest.mark.slow) for case in each]


@pytest.mark.parametrize(
    ("mode", "share"),
    cases(range(OF), lambda mode, share: mode is kills.REDELIVERED or share in QUICK),
    ids=str,
)
def test_killed_or_paused_at_any_call_it_ends_the_same(
    fresh: Callable[[], Toys], mode: kills.Mode[Any], share: int
) -> None:
    kills.each(lambda: Whole(fresh()), mode, share=share, of=OF)


@pytest.mark.parametrize("mode", [AFTER_WRITES, pytest.param(ANYWHERE, marks=pytest.mark.slow)], ids=str)
def test_cancelled_at_any_call_it_ends_once_and_leaves_nothing_open(
    fresh: Callable[[], Toys], mode: kills.Mode[Any]
) -> None:
    kills.each(lambda: Whole(fresh()), mode)


def test_with_every_message_delivered_twice_it_ends_the_same(fresh: Callable[[], Toys]) -> None:
    kills.twice(Whole(fresh()))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "kind"),
    cases((RetriedPlan, RetriedDouble, RetriedFinish), lambda _, kind: kind is RetriedDouble),
)
def test_a_retry_that_dies_or_is_paused_can_be_asked_for_again(
    fresh: Callable[[], Toys], mode: kills.Mode[Any], kind: type[Retried]
) -> None:
    kills.each(lambda: kind(fresh()), mode)


def test_a_message_from_before_a_retry_closes_no_piece_of_it(fresh: Callable[[], Toys]) -> None:
    kills.each(lambda: Late(fresh()), RETRIED)
