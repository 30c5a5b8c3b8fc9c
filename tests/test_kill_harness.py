"""The kill harness itself: it finds the places, covers each once, and fails where the subject does."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest
from google.cloud import firestore

from infra.local.pubsub import Delivery
from shared.gcp.documents import count, read_time, transact
from tests import kills
from tests.kills import Place
from tests.outside import Call, Killed, Outside
from tests.world import World

MESSAGE = Delivery("s", "projects/p/topics/t", "1", b"{}", {}, datetime(2026, 11, 22, tzinfo=UTC), 1)


class Counter:
    """One message has it read, write down that it is done, read, and tell; `written` is what is outside."""

    careless = False
    """Whether it writes without a look at what is there."""

    def __init__(self) -> None:
        self.outside = Outside()
        self.written: list[str] = []

    def call(self, name: str, do: Callable[[], Any] = lambda: None) -> Any:
        made = self.outside.before(name)
        answer = do()
        self.outside.ended(made)
        self.outside.after(made)
        return answer

    def handle(self) -> bool:
        before = self.call("BatchGetDocuments", lambda: [] if self.careless else list(self.written))
        if "done" not in before:
            self.call("Commit", lambda: self.written.append("done"))
        self.call("GET thing")
        if "told" not in before:
            self.call("Publish", lambda: self.written.append("told"))
        return True

    def push(self, delivery: Delivery) -> bool:
        return bool(self.outside.alive(self.handle))

    def run(self, push: Callable[[Delivery], bool]) -> None:
        while not push(MESSAGE):
            pass

    def settle(self) -> None:
        self.handle()

    def done_once(self) -> None:
        assert sorted(set(self.written)) == ["done", "told"]


class Careful(Counter):
    """Counts how often its message is delivered."""

    def __init__(self) -> None:
        super().__init__()
        self.deliveries = 0

    def push(self, delivery: Delivery) -> bool:
        self.deliveries += 1
        return super().push(delivery)


class Once(Counter):
    """It must have written each thing once."""

    def done_once(self) -> None:
        assert sorted(self.written) == ["done", "told"]


class Careless(Once):
    careless = True

    def settle(self) -> None:
        pass


class Endless(Counter):
    """It never ends while it is paused, and takes the error for its own."""

    def handle(self) -> bool:
        try:
            return super().handle()
        except AssertionError:
            return True

    def settle(self) -> None:
        if not self.written:
            raise AssertionError("it never ends")


def test_it_dies_after_what_writes_and_at_the_end_and_is_paused_before_everything() -> None:
    seen = kills.undisturbed(Counter())
    assert list(map(str, seen.deaths())) == [
        "after call 2: Commit",
        "after call 4: Publish",
        "end of event 1: acknowledgement",
    ]
    assert list(map(str, seen.pauses())) == [
        "before call 1: BatchGetDocuments",
        "before call 2: Commit",
        "before call 3: GET thing",
        "before call 4: Publish",
    ]


def paused(*calls: Call) -> list[int]:
    return [place.number for place in kills.Pass(calls, events=0).pauses()]


def changed(*calls: Call) -> list[int]:
    return [place.number for place in kills.Pass(calls, events=0).changes()]


BEGIN, COMMIT, QUERY = Call("BatchGetDocuments"), Call("Commit"), Call("RunQuery")


def test_a_transaction_is_paused_before_it_begins_and_before_its_commit() -> None:
    inside = Call("RunQuery", inside=True)
    assert paused(QUERY, BEGIN, inside, inside, COMMIT, QUERY) == [1, 2, 5, 6]
    beside = Call("RunQuery", inside=True, beside=True)
    assert paused(BEGIN, beside, COMMIT) == [1, 2, 3], "another may come between any two"


def test_of_calls_that_are_answered_the_same_whenever_they_are_asked_the_row_is_one_place() -> None:
    then = Call("RunQuery", timeless=True)
    assert paused(QUERY, then, then, then, COMMIT, then) == [1, 2, 5, 6]


def test_what_changes_firestore_alone_comes_before_a_row_of_calls_to_others_and_not_in_it() -> None:
    get, put = Call("GET thing"), Call("PUT thing")
    assert changed(get, put, get, COMMIT, put, QUERY) == [1, 5]
    assert changed(QUERY, Call("Publish"), COMMIT) == [1, 2, 3]
    beside = Call("PUT thing", beside=True)
    assert changed(put, beside, beside, COMMIT) == [1, 2, 3]


def test_of_events_that_make_the_same_calls_the_first_is_taken() -> None:
    made = [
        (1, "Commit"),
        (1, "PUT host/b/x/o/one"),
        (2, "Commit"),
        (2, "PUT host/b/x/o/two"),
        (3, "Commit"),
        (3, "PUT host/b/y/o/two"),
        (4, "PUT host/b/x/o/three"),
        (4, "Commit"),
    ]
    seen = kills.Pass(tuple(Call(name, event=event) for event, name in made), events=4)
    for mode in (kills.EITHER_WAY, kills.PAUSED):
        places = [place for place in kills.once(mode).places(seen) if place.when != "end"]
        assert [place.number for place in places] == [1, 2, 5, 6, 7, 8], "another bucket, another order"
    ends = [place.number for place in kills.once(kills.SWEPT).places(seen) if place.when == "end"]
    assert ends == [1, 3, 4]


@pytest.mark.parametrize(("number", "deliveries"), [(1, 2), (2, 1)])
def test_killed_either_way_it_is_redelivered_or_swept_by_turns(number: int, deliveries: int) -> None:
    subject = Careful()
    name = ("BatchGetDocuments", "Commit")[number - 1]
    kills.EITHER_WAY.strike(subject, Place(number, "before", name, nth=1))
    assert subject.deliveries == deliveries


def test_reads_in_a_transaction_and_as_of_a_time_are_known(world: World, outside: Outside) -> None:
    document = world.cloud.db.document("things/one")
    at = read_time(document.get())

    def work(transaction: firestore.Transaction) -> None:
        fields = document.get(transaction=transaction)
        list(world.cloud.db.collection("things").stream(transaction=transaction))
        transaction.set(document, {"was": fields.exists})

    with outside.watching():
        transact(world.cloud.db, work)
        document.get()
        list(world.cloud.db.collection("things").stream(read_time=at))
        count(world.cloud.db.collection("things"), at)
        document.get(read_time=at)
    seen = [(call.name, call.inside, call.timeless) for call in outside.made]
    assert seen == [
        ("BatchGetDocuments", False, False),  # it begins the transaction
        ("RunQuery", True, False),
        ("Commit", False, False),
        ("BatchGetDocuments", False, False),
        ("RunQuery", False, True),
        ("RunAggregationQuery", False, True),
        ("BatchGetDocuments", False, True),
    ]


@pytest.mark.parametrize(
    ("name", "writes"),
    [
        ("Commit", True),
        ("Publish", True),
        ("BeginTransaction", False),
        ("RunQuery", False),
        ("POST 127.0.0.1:1/upload/storage/v1/b/x/o", True),
        ("PUT 127.0.0.1:1/upload/storage/v1/b/x/o", True),
        ("POST 127.0.0.1:1/sendgrid/v3/mail/send", True),
        ("POST to a customer's server", True),
        ("GET 127.0.0.1:1/storage/v1/b/x/o/y", False),
        ("POST 127.0.0.1:1/v1/projects/-/serviceAccounts/a@b:signBlob", False),
        ("sftp open", True),
        ("sftp write", True),
        ("sftp rename", True),
        ("sftp mkdir", True),
        ("sftp lstat", False),
        ("sftp close", False),
        ("sftp login", False),
    ],
)
def test_which_calls_write(name: str, writes: bool) -> None:
    assert Call(name).writes is writes


@pytest.mark.parametrize(
    "name",
    [
        "POST 127.0.0.1:1/v1/projects/-/serviceAccounts/a@b:generateAccessToken",
        "GET 127.0.0.1:1/computeMetadata/v1/instance/service-accounts/a@b/token?scopes=x",
    ],
)
def test_a_token_is_asked_for_as_a_part_of_the_call_that_needs_it(name: str) -> None:
    outside = Outside()
    outside.arm(1, "before")

    def work() -> None:
        assert outside.before(name) is None
        with pytest.raises(Killed):
            outside.before("Commit")
        outside.before(name)

    assert outside.alive(work) is None, "a process that is dead asks for none, either"
    assert outside.calls == ["Commit"]


def test_calls_in_flight_at_the_same_time_are_places_on_both_sides() -> None:
    outside = Outside()
    with outside.watching():
        made = [outside.before(name) for name in ("POST one", "GET two", "POST three")]
        for each in made:
            outside.ended(each)
            outside.after(each)
        outside.ended(outside.before("Commit"))
    seen = kills.Pass(tuple(outside.made), events=0)
    assert list(map(str, seen.deaths())) == [
        "before call 1: POST one",
        "before call 3: POST three",
        "after call 1: POST one",
        "after call 3: POST three",
        "after call 4: Commit",
    ]


@pytest.mark.parametrize("mode", [kills.REDELIVERED, kills.SWEPT, kills.PAUSED], ids=str)
def test_the_shares_of_the_places_are_all_of_them_each_once(mode: kills.Mode[Counter]) -> None:
    struck: list[str] = []

    def strike(subject: Counter, place: Place) -> None:
        assert subject.written == [], "a fresh one"
        mode.strike(subject, place)
        struck.append(str(place))

    watched = kills.Mode[Counter]("watched", mode.places, strike)
    places = [str(place) for place in mode.places(kills.undisturbed(Counter()))]
    for share in range(3):
        kills.each(Counter, watched, share=share, of=3)
    assert sorted(struck) == sorted(places)
    struck.clear()
    kills.each(Counter, watched, sample=2)
    assert (len(struck), struck[-1]) == (2, places[-1])


def test_what_is_done_twice_is_found_and_the_place_is_named() -> None:
    with pytest.raises(AssertionError) as caught:
        kills.each(Careless, kills.REDELIVERED)
    assert caught.value.__notes__ == ["killed and redelivered, after call 2: Commit"]
    with pytest.raises(AssertionError) as caught:
        kills.each(Careless, kills.REDELIVERED, share=2, of=3)
    assert caught.value.__notes__ == ["killed and redelivered, end of event 1: acknowledgement"]
    with pytest.raises(AssertionError):
        kills.twice(Careless())


def test_what_is_lost_with_its_message_is_found() -> None:
    with pytest.raises(AssertionError) as caught:
        kills.each(Careless, kills.SWEPT)
    assert caught.value.__notes__ == ["killed and swept, after call 2: Commit"]


def test_a_write_that_comes_late_is_made_and_found() -> None:
    with pytest.raises(AssertionError) as caught:
        kills.each(Once, kills.PAUSED, share=1, of=4)
    assert caught.value.__notes__ == ["paused past its lease, before call 2: Commit"]


def test_what_fails_during_a_pause_fails_the_test_even_if_the_paused_attempt_swallows_it() -> None:
    with pytest.raises(AssertionError, match="it never ends"):
        kills.each(Endless, kills.PAUSED)


def test_a_place_that_is_not_there_again_is_told() -> None:
    with pytest.raises(AssertionError):
        kills.sleep(Counter(), Place(4, "before", "Publish", nth=2))
    with pytest.raises(AssertionError):
        kills.sleep(Counter(), Place(4, "before", "PUT thing", nth=1))


def test_a_call_is_found_again_where_calls_of_other_kinds_come_in_another_order() -> None:
    outside = Outside()

    def make(*names: str) -> list[str]:
        happened: list[str] = []
        for place in places:
            subject.outside = outside
            kills.arm(subject, place, lambda: happened.append(outside.calls[-1]))
            with outside.watching():
                for name in names:
                    subject.call(name)
        return happened

    subject = Counter()
    calls = tuple(Call(name) for name in ("GET a", "Commit", "GET b", "Commit"))
    places = kills.Pass(calls, events=0).pauses()
    assert make("GET a", "Commit", "GET b", "Commit") == ["GET a", "Commit", "GET b", "Commit"]
    assert make("Commit", "GET a", "GET b", "Commit") == ["GET a", "Commit", "GET b", "Commit"]


class Chain(kills.InWorld):
    """Each tick that is delivered writes a document; four of them wait."""

    delivered: ClassVar[list[str]] = []

    def __init__(self, world: World, outside: Outside) -> None:
        self.world = world
        self.outside = outside
        for _ in range(4):
            world.tick()

    def push(self, delivery: Delivery) -> bool:
        def write() -> bool:
            self.delivered.append(delivery.message_id)
            document = self.world.cloud.db.document(f"ticks/{delivery.message_id}")
            document.set({"seen": True})
            return document.get().exists

        return bool(self.outside.alive(write))

    def settle(self) -> None:
        self.world.wait(timedelta(minutes=20))
        while self.world.suite.pubsub.deliver_due(self.push):
            pass

    def done_once(self) -> None:
        assert len(list(self.world.cloud.db.collection("ticks").stream())) == 4
        assert self.world.waiting() == []


def test_what_comes_before_the_event_of_a_place_is_not_done_again(
    new_world: Callable[[], World], outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is as if it had been done: the places are the same, and each is in its own event."""
    struck: list[tuple[str, list[str]]] = []

    def strike(chain: Chain, place: Place) -> None:
        chain.delivered.clear()
        kills.REDELIVERED.strike(chain, place)
        (killed,) = (each for each in set(chain.delivered) if chain.delivered.count(each) == 2)
        struck.append((killed, sorted(set(chain.delivered))))

    whole: list[tuple[str, list[str]]] = []
    for most in (100, 1):
        monkeypatch.setattr(kills, "MANY", most)
        kills.each(lambda: Chain(new_world(), outside), kills.Mode("watched", kills.Pass.deaths, strike))
        if most == 100:
            whole, struck = struck, []
    numbers = sorted(whole[0][1])
    assert [killed for killed, _ in whole] == [killed for killed, _ in struck] == numbers * 2
    assert [each for _, each in whole] == [numbers] * 8
    assert [each for _, each in struck] == [numbers[at:] for at in (0, 1, 2, 3)] * 2
