"""The function that sends dies at every call that it makes: nobody is mailed twice, and what may not have
been sent is said."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from infra.local.pubsub import Delivery
from infra.local.traffic import Fault
from shared.outbox import links, mails
from tests import kills
from tests.outside import Outside
from tests.shared.outbox.post import RUN, Post, post, tokens
from tests.world import World

WAITS = f"{RUN}/mails/{'0' * 32}"


class One:
    """One mail with a link, and something that waits for its outcome."""

    def __init__(self, world: World, outside: Outside) -> None:
        self.world = world
        self.outside = outside
        self.tells: bool | None = True
        then = {"function": "send_mail", "message": {"work": WAITS, "piece": "mails"}}
        self.post: Post = post(world, then=then)

    def push(self, delivery: Delivery) -> bool:
        """Deliver as usual, but a process that was killed answers nothing."""
        if delivery.function != "send_mail" or WAITS.encode() in delivery.data:
            return self.world.push(delivery)
        return bool(self.outside.alive(lambda: self.world.push(delivery)))

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
        assert link_documents <= set(mail.links), "no link without its mail"
        if mail.state == mails.SENT:
            assert len(sent) == 1, (mail, sent)
            assert link_documents == set(mail.links)
            [token] = tokens(self.world.suite.sendgrid.sent[0])
            assert links.find(self.world.cloud, token) is not None
        else:
            assert mail.state == mails.UNKNOWN, mail
            assert len(sent) <= 1, sent
            assert "may have been sent" in (mail.reason or "")
        told = self.world.suite.traffic.calls("firestore.BatchGetDocuments", WAITS)
        assert self.tells in (None, bool(told)), "what waits for it is published to"


class NotTaken(One):
    """A mail that SendGrid does not take at its first call: nothing was sent then."""

    def __init__(self, world: World, outside: Outside) -> None:
        super().__init__(world, outside)
        world.suite.traffic.arm("sendgrid.mail.send", Fault("error", 429))

    def run(self, push: Any) -> None:
        super().run(push)
        self.world.wait(timedelta(minutes=5))
        self.world.sweep()
        super().run(push)


@pytest.fixture
def ones(new_world: Callable[[], World], outside: Outside) -> Callable[[], One]:
    return lambda: One(new_world(), outside)


def intent_and_outcome(calls: Sequence[str]) -> tuple[int, int]:
    """The numbers of the calls, from 1, that write the intent (the last write before it is sent) and the
    outcome."""
    sent = next(number for number, call in enumerate(calls, 1) if call.startswith("POST"))
    commits = [number for number, call in enumerate(calls, 1) if call == "Commit"]
    [outcome] = [number for number in commits if number > sent]
    return max(number for number in commits if number < sent), outcome


def test_a_mail_makes_every_kind_of_call(ones: Callable[[], One]) -> None:
    one = ones()
    calls = [call.name for call in kills.undisturbed(one).calls]
    intent, outcome = intent_and_outcome(calls)
    assert intent < outcome
    assert "Publish" in calls[outcome:], calls
    assert one.post.one().state == mails.SENT


@pytest.mark.parametrize("redelivered", [True, False])
def test_killed_at_any_call_it_is_sent_once_or_in_doubt(ones: Callable[[], One], redelivered: bool) -> None:
    """Who dies between the intent and the outcome leaves a doubt, and nobody else does."""
    intent, outcome = intent_and_outcome([call.name for call in kills.undisturbed(ones()).calls])

    def strike(one: One, place: kills.Place) -> None:
        # Once the outcome is written, its message can be lost: what waits for it looks by itself.
        one.tells = (place.when, place.number) != ("after", outcome)
        kills.die(one, place, redelivered=redelivered)
        doubt = place.when == "after" and intent <= place.number < outcome
        assert one.post.one().state == (mails.UNKNOWN if doubt else mails.SENT)

    kills.each(ones, kills.Mode("killed", kills.Pass.deaths, strike))


def not_taken(
    new_world: Callable[[], World], outside: Outside, mode: kills.Mode[NotTaken], sample: int | None = None
) -> None:
    def strike(one: NotTaken, place: kills.Place) -> None:
        one.tells = None
        mode.strike(one, place)

    made = kills.Mode[NotTaken](f"{mode}, not taken", mode.places, strike)
    kills.each(lambda: NotTaken(new_world(), outside), made, sample=sample)


@kills.MODES
def test_a_mail_that_sendgrid_did_not_take_is_sent_at_most_once(
    new_world: Callable[[], World], outside: Outside, mode: kills.Mode[NotTaken]
) -> None:
    not_taken(new_world, outside, mode, sample=6)


@pytest.mark.slow
@kills.MODES
def test_a_mail_that_sendgrid_did_not_take_is_sent_at_most_once_wherever_it_dies(
    new_world: Callable[[], World], outside: Outside, mode: kills.Mode[NotTaken]
) -> None:
    not_taken(new_world, outside, mode)


@pytest.mark.slow
def test_paused_at_any_call_it_is_sent_at_most_once(ones: Callable[[], One]) -> None:
    kills.each(ones, kills.PAUSED)


def test_with_its_message_delivered_twice_it_is_sent_once(ones: Callable[[], One]) -> None:
    kills.twice(ones())
