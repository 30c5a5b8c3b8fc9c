"""The function that sends dies at every call that it makes: nobody is mailed twice, and what may not have
been sent is said."""

from datetime import timedelta
from typing import Any

import pytest

from infra.local.pubsub import Delivery
from shared.outbox import links, mails
from tests.outside import Killed, Outside, When, die, sleep
from tests.shared.outbox.post import RUN, Post, post, tokens
from tests.world import World

CALLS = 9
"""How many calls the sending of one mail makes; a test holds it to that, so that each is a place to die."""

INTENT, OUTCOME = 4, 8
"""Which of them write down the intent and the outcome: who dies between leaves a doubt."""

WAITS = f"{RUN}/mails/{'0' * 32}"


class One:
    """One mail with a link, and something that waits for its outcome."""

    def __init__(self, world: World, outside: Outside) -> None:
        self.world = world
        self.outside = outside
        self.tells = True
        then = {"function": "send_mail", "message": {"mail": WAITS, "customer": "acme"}}
        self.post: Post = post(world, then=then)

    def push(self, delivery: Delivery) -> bool:
        """Deliver as usual, but a process that was killed answers nothing."""
        if delivery.function != "send_mail" or WAITS.encode() in delivery.data:
            return self.world.push(delivery)
        try:
            with self.outside.watching():
                return self.world.push(delivery)
        except Killed:
            self.outside.dead = False
            return False

    def run(self, push: Any) -> None:
        while self.world.suite.pubsub.deliver_due(push):
            pass

    def settle(self) -> None:
        """Let time go by, with its redeliveries and ticks, until the mail has an outcome."""
        self.world.wait(timedelta(minutes=16))
        self.post.settle()

    def done_once(self) -> None:
        """Sent once; or it may have been, which is said, and nothing was sent twice."""
        mail = self.post.one()
        sent = self.post.sent_to()
        link_documents = {each.id for each in self.world.cloud.db.collection("downloads").stream()}
        assert link_documents == set(mail.links), "no link without its mail"
        if mail.state == mails.SENT:
            assert len(sent) == 1, (mail, sent)
            [token] = tokens(self.world.suite.sendgrid.sent[0])
            assert links.find(self.world.cloud, token) is not None
        else:
            assert mail.state == mails.UNKNOWN, mail
            assert len(sent) <= 1, sent
            assert "may have been sent" in (mail.reason or "")
        told = self.world.suite.traffic.calls("firestore.BatchGetDocuments", WAITS)
        assert bool(told) == self.tells, "what waits is told"


@pytest.fixture
def one(world: World, outside: Outside) -> One:
    return One(world, outside)


def test_a_mail_makes_every_kind_of_call(one: One) -> None:
    one.outside.arm(0, "before")
    one.run(one.push)
    one.done_once()
    assert len(one.outside.calls) == CALLS, one.outside.calls
    assert one.outside.calls[INTENT - 1] == "Commit"
    assert one.outside.calls[INTENT].startswith("POST"), one.outside.calls
    assert one.post.one().state == mails.SENT


BOTH = pytest.mark.parametrize("when", ["before", "after"])
SOME: list[tuple[int, When]] = [
    (INTENT, "before"),
    (INTENT, "after"),
    (INTENT + 1, "after"),
    (OUTCOME, "after"),
]
"""Around the intent, the call and the outcome, for the quick tests; `make check` takes every call."""

EVERY = pytest.mark.parametrize("at", range(1, CALLS + 1))


def state_after(at: int, when: When) -> str:
    """What a mail must be whose attempt died there."""
    doubt = INTENT <= at <= OUTCOME and (at, when) not in ((INTENT, "before"), (OUTCOME, "after"))
    return mails.UNKNOWN if doubt else mails.SENT


@BOTH
@EVERY
def test_a_death_at_any_call_is_mended_by_redelivery(one: One, at: int, when: When) -> None:
    die(one, at, when, redelivered=True)
    assert one.post.one().state == state_after(at, when)


def mended_by_the_sweep(one: One, at: int, when: When) -> None:
    # Once the outcome is written, its telling can be lost: what waits for it is swept by its own silence.
    one.tells = (at, when) not in ((OUTCOME, "after"), (OUTCOME + 1, "before"))
    die(one, at, when, redelivered=False)
    assert one.post.one().state == state_after(at, when)


@pytest.mark.parametrize(("at", "when"), SOME)
def test_a_death_at_some_calls_is_mended_by_the_sweep_alone(one: One, at: int, when: When) -> None:
    mended_by_the_sweep(one, at, when)


@pytest.mark.parametrize(("at", "when"), SOME)
def test_an_attempt_paused_at_some_calls_does_no_harm(one: One, at: int, when: When) -> None:
    sleep(one, at, when)


@pytest.mark.slow
@BOTH
@EVERY
def test_a_death_at_any_call_is_mended_by_the_sweep_alone(one: One, at: int, when: When) -> None:
    mended_by_the_sweep(one, at, when)


@pytest.mark.slow
@BOTH
@EVERY
def test_an_attempt_paused_at_any_call_does_no_harm(one: One, at: int, when: When) -> None:
    sleep(one, at, when)
