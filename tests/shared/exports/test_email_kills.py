"""A run by email dies at every call that it makes: it ends all the same, nobody is mailed twice, and of whom
nobody knows whether they were mailed, that is said."""

from collections.abc import Callable

import pytest

from tests import kills
from tests.outside import Outside
from tests.subjects.by_email import (
    ANN,
    BOB,
    by_email,
    by_status,
    downloaded,
    listed,
    only,
    sent_to,
    staged,
    token_of,
    work,
)
from tests.subjects.small_run import RunSubject
from tests.world import World


class Small(RunSubject):
    """The smallest run that makes every kind of call: two sites' parts in one file, and two recipients."""

    def __init__(self, world: World, outside: Outside) -> None:
        self.world = world
        self.outside = outside
        self.made = work(world)
        self.export = by_email(world)

    def done_once(self) -> None:
        world = self.world
        event = only(world, self.export)
        assert (event["status"], event["rows"], event["file_count"]) == ("COMPLETED", 3, 1), event
        ((id, content),) = staged(world, self.export).items()
        assert id == "all"
        assert sorted(line.partition(b",")[0].decode() for line in content.splitlines()[1:]) == self.made
        mails = listed(world, self.export)
        assert set(mails) == {ANN, BOB}
        sent = sent_to(world)
        for address, mail in mails.items():
            count = sent.count(address)
            if mail["status"] == "SENT":
                assert count == 1, (mail, sent)
                assert downloaded(world, token_of(world, address)) == content
            else:
                assert (mail["status"], count <= 1) == ("UNKNOWN", True), (mail, sent)
                assert "may have been sent" in mail["reason"]
        assert len([mail for mail in mails.values() if mail["status"] == "UNKNOWN"]) <= 1
        # What was not known when the run ended may be known by now; the other way round it cannot be.
        told = by_status(event)
        assert event["mails_sent"] + len(told) == 2
        unknown = {address for address, mail in mails.items() if mail["status"] == "UNKNOWN"}
        assert unknown <= set(told), (event, mails)
        assert set(told.values()) <= {"UNKNOWN"}
        links = {each.id for each in world.cloud.db.collection("downloads").stream()}
        assert links == {link["id"] for mail in mails.values() for link in mail["links"]}
        assert len(links) == 2, "no link without its mail"
        (manifest,) = (
            each for each in world.suite.storage.list("waybill-local-staging") if "manifest" in each.name
        )
        assert event["run_id"] in manifest.name
        assert world.landed() == {}
        assert world.slots() == []


Smalls = Callable[[], Small]


@pytest.fixture
def smalls(new_world: Callable[[], World], outside: Outside) -> Smalls:
    return lambda: Small(new_world(), outside)


@pytest.fixture
def small(smalls: Smalls) -> Small:
    return smalls()


def test_the_small_run_makes_every_kind_of_call(small: Small) -> None:
    calls = [call.name for call in kills.undisturbed(small).calls]
    assert not small.world.failures
    assert sum("mail/send" in call for call in calls) == 2
    assert {mail["status"] for mail in listed(small.world, small.export).values()} == {"SENT"}


@kills.MODES
def test_killed_or_paused_at_some_calls_it_ends_the_same(smalls: Smalls, mode: kills.Mode[Small]) -> None:
    kills.each(smalls, mode, sample=kills.QUICK[mode])


@pytest.mark.slow
@kills.MODES
@kills.SHARES
def test_killed_or_paused_at_any_call_it_ends_the_same(
    smalls: Smalls, mode: kills.Mode[Small], share: int
) -> None:
    kills.each(smalls, mode, share=share, of=kills.OF)


def test_with_every_message_delivered_twice_it_ends_the_same(smalls: Smalls) -> None:
    kills.twice(smalls())
