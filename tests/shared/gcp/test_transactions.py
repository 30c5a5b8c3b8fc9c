"""Transactions begin with their first read, meet others, break and expire; what they do is done once."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from google.api_core.exceptions import Forbidden, InvalidArgument
from google.cloud import firestore
from grpc import StatusCode

from infra.local.firestore import transactions as local
from infra.local.firestore.database import Database
from infra.local.firestore.errors import Refused
from infra.local.traffic import Fault
from shared.errors import Retry
from shared.gcp import documents
from shared.gcp.documents import TRANSACTION_ATTEMPTS, fields_of, transact
from shared.gcp.outages import outage
from tests.world import World

pytestmark = pytest.mark.wire


class Begun:
    """The transactions that Firestore began, in their order."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.all: list[local.Transaction] = []

    @property
    def open(self) -> int:
        """How many of them are open."""
        service: Any = self._world.suite.firestore
        return sum(each.token in service._database._transactions._open for each in self.all)


@pytest.fixture
def begun(world: World, monkeypatch: pytest.MonkeyPatch) -> Begun:
    seen = Begun(world)
    begin = local.Transactions.begin

    def watched(*args: Any, **named: Any) -> local.Transaction:
        transaction = begin(*args, **named)
        seen.all.append(transaction)
        return transaction

    monkeypatch.setattr(local.Transactions, "begin", watched)
    return seen


@pytest.fixture
def counters(world: World) -> Any:
    """A collection with the counter `one`, which is at 1."""
    found = world.cloud.db.collection("counters")
    found.document("one").set({"value": 1})
    return found


READS: dict[str, Callable[[Any, Any], Any]] = {
    "BatchGetDocuments": lambda counters, transaction: counters.document("one").get(transaction=transaction),
    "RunQuery": lambda counters, transaction: list(counters.stream(transaction=transaction)),
    "RunAggregationQuery": lambda counters, transaction: counters.count().get(transaction=transaction),
}
"""A read of each kind."""


def methods(world: World) -> list[str]:
    """The methods of the calls that Firestore got."""
    return [each.kind.removeprefix("firestore.") for each in world.suite.traffic.calls("firestore.")]


@pytest.mark.parametrize("first", READS)
def test_a_transaction_is_begun_by_its_first_read(
    world: World, counters: Any, begun: Begun, first: str
) -> None:
    world.suite.traffic.forget()

    def work(transaction: Any) -> int:
        READS[first](counters, transaction)
        return adding_one(counters)(transaction)

    assert transact(world.cloud.db, work) == 2
    assert methods(world) == [first, "BatchGetDocuments", "RunQuery", "RunAggregationQuery", "Commit"]
    assert (len(begun.all), begun.open) == (1, 0)


@pytest.mark.parametrize("first", READS)
def test_what_the_first_read_saw_must_still_be_so_at_the_commit(
    world: World, counters: Any, begun: Begun, first: str
) -> None:
    def work(transaction: Any) -> int:
        READS[first](counters, transaction)
        if len(begun.all) == 1:
            counters.document("one").update({"value": 2})
            counters.document("two").set({"value": 1})
        transaction.set(counters.document("three"), {"attempt": len(begun.all)})
        return len(begun.all)

    assert transact(world.cloud.db, work) == 2
    assert fields_of(counters.document("three").get()) == {"attempt": 2}
    assert begun.open == 0


def test_documents_that_are_read_together_begin_a_transaction(
    world: World, counters: Any, begun: Begun
) -> None:
    both = [counters.document("one"), counters.document("two")]

    def work(transaction: Any) -> dict[str, bool]:
        return {each.id: each.exists for each in world.cloud.db.get_all(both, transaction=transaction)}

    assert transact(world.cloud.db, work) == {"one": True, "two": False}
    assert (len(begun.all), begun.open) == (1, 0)


@pytest.mark.parametrize("first", READS)
@pytest.mark.parametrize("fault", [Fault("truncate"), Fault("reset_after")], ids=lambda f: f.action)
def test_a_first_read_that_breaks_behind_the_id_is_made_again_in_the_same_transaction(
    world: World, counters: Any, begun: Begun, fault: Fault, first: str
) -> None:
    """Truncated, a count has no answer at all, and with it no id."""
    for number in range(10):
        counters.document(f"more{number}").set({"value": number})
    world.suite.traffic.arm(f"firestore.{first}", fault)
    read: list[Any] = []

    def work(transaction: Any) -> None:
        read.append(READS[first](counters, transaction))
        transaction.update(counters.document("one"), {"value": 2})

    transact(world.cloud.db, work)
    lost = first == "RunAggregationQuery" and fault.action == "truncate"
    assert (len(begun.all), begun.open) == ((2, 1) if lost else (1, 0))
    assert len(read) == 1
    if first == "RunQuery":
        assert len({each.id for each in read[0]}) == len(read[0]) == 11
    assert fields_of(counters.document("one").get()) == {"value": 2}


def test_a_first_read_that_breaks_without_an_id_begins_another_and_reads_in_that_alone(
    world: World, counters: Any, begun: Begun, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = Database.reading
    read_in: list[bytes] = []

    def loses_its_first_answer(*args: Any) -> Any:
        time, transaction, token = reading(*args)
        read_in.append(transaction.token if transaction else b"")
        if len(read_in) == 1:
            raise Refused(StatusCode.UNAVAILABLE, "the connection broke (as asked)")
        return time, transaction, token

    monkeypatch.setattr(Database, "reading", loses_its_first_answer)
    assert transact(world.cloud.db, adding_one(counters)) == 2
    lost, kept = begun.all
    assert read_in == [lost.token, *[kept.token] * 3]
    assert begun.open == 1, "nobody knows the id of the first, which Firestore ends after a minute"
    world.wait(timedelta(seconds=61))
    counters.document("one").get()
    assert transact(world.cloud.db, adding_one(counters)) == 3
    assert begun.open == 0


def test_a_first_read_that_is_refused_begins_nothing_and_nothing_is_rolled_back(
    world: World, counters: Any, begun: Begun
) -> None:
    world.suite.traffic.arm("firestore.BatchGetDocuments", Fault("error", status=403))
    with pytest.raises(Forbidden):
        transact(world.cloud.db, adding_one(counters))
    assert begun.all == []
    assert "Rollback" not in methods(world)


def test_what_fails_behind_the_first_read_is_rolled_back(world: World, counters: Any, begun: Begun) -> None:
    def work(transaction: Any) -> None:
        counters.document("one").get(transaction=transaction)
        raise LookupError("nothing to do")

    with pytest.raises(LookupError, match="nothing to do"):
        transact(world.cloud.db, work)
    assert (len(begun.all), begun.open) == (1, 0)


def test_what_neither_reads_nor_writes_makes_no_call(world: World) -> None:
    world.suite.traffic.forget()
    assert transact(world.cloud.db, lambda _: "nothing") == "nothing"
    assert methods(world) == []


def test_what_only_writes_is_a_transaction_and_is_not_done_twice(world: World, counters: Any) -> None:
    """The answer to its commit is lost. Outside a transaction the client would commit once more."""
    world.suite.traffic.arm("firestore.Commit", Fault("reset_after"))

    def work(transaction: Any) -> None:
        transaction.update(counters.document("one"), {"value": firestore.Increment(1)})

    with pytest.raises(InvalidArgument) as late:
        transact(world.cloud.db, work)
    assert outage(late.value) == "a transaction took too long"
    assert fields_of(counters.document("one").get()) == {"value": 2}


def test_without_an_id_nothing_is_written(
    world: World, counters: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its commit would be in no transaction, whatever others wrote meanwhile."""
    reading = Database.reading
    monkeypatch.setattr(Database, "reading", lambda *args: (*reading(*args)[:2], b""))
    with pytest.raises(RuntimeError, match="begun no transaction"):
        transact(world.cloud.db, adding_one(counters))
    assert fields_of(counters.document("one").get()) == {"value": 1}


def test_transactions_that_meet_are_tried_until_each_is_done(world: World) -> None:
    db = world.cloud.db
    counter = db.document("counters/one")
    counter.set({"value": 0})

    def add(_: int) -> int:
        def work(transaction: Any) -> int:
            value = int(fields_of(counter.get(transaction=transaction))["value"]) + 1
            transaction.update(counter, {"value": value})
            return value

        return transact(db, work)

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(add, range(12)))
    assert sorted(results) == list(range(1, 13))


@pytest.mark.parametrize("call", ["BatchGetDocuments", "RunQuery", "RunAggregationQuery", "Commit"])
@pytest.mark.parametrize("times", [1, TRANSACTION_ATTEMPTS - 1])
def test_a_transaction_that_is_aborted_at_any_call_is_tried_again(
    world: World, counters: Any, begun: Begun, call: str, times: int
) -> None:
    world.suite.traffic.arm(f"firestore.{call}", Fault("abort"), times=times)
    assert transact(world.cloud.db, adding_one(counters)) == 2
    assert fields_of(counters.document("one").get()) == {"value": 2}
    # An attempt that was aborted at its first read was not begun, and has no id that could be named.
    assert len(begun.all) == (1 if call == "BatchGetDocuments" else times + 1)
    assert {each.lineage for each in begun.all} == {begun.all[0].token}, "each keeps the place of the first"
    assert begun.open == 0


@pytest.mark.parametrize("call", ["BatchGetDocuments", "RunQuery", "RunAggregationQuery", "Commit"])
def test_a_transaction_that_is_always_aborted_gives_up(world: World, counters: Any, call: str) -> None:
    world.suite.traffic.arm(f"firestore.{call}", Fault("abort"), times=TRANSACTION_ATTEMPTS)
    with pytest.raises(Retry, match="others are changing the same data"):
        transact(world.cloud.db, adding_one(counters))
    assert fields_of(counters.document("one").get()) == {"value": 1}


def test_a_transaction_that_expired_before_a_read_is_begun_anew(world: World, counters: Any) -> None:
    waits = [timedelta(seconds=61), timedelta()]

    def work(transaction: Any) -> int:
        counters.document("one").get(transaction=transaction)
        world.wait(waits.pop(0))
        return adding_one(counters)(transaction)

    assert transact(world.cloud.db, work) == 2
    assert waits == []
    assert fields_of(counters.document("one").get()) == {"value": 2}


def test_a_transaction_that_expired_before_its_commit_is_no_fault_of_ours_and_is_not_done_twice(
    world: World, counters: Any
) -> None:

    def work(transaction: Any) -> None:
        adding_one(counters)(transaction)
        world.wait(timedelta(seconds=61))

    with pytest.raises(InvalidArgument) as late:
        transact(world.cloud.db, work)
    assert outage(late.value) == "a transaction took too long"
    assert fields_of(counters.document("one").get()) == {"value": 1}


def adding_one(counters: Any) -> Callable[[Any], int]:
    """A transaction that makes every kind of read and one write."""

    def work(transaction: Any) -> int:
        value = int(fields_of(counters.document("one").get(transaction=transaction))["value"])
        assert [each.id for each in counters.stream(transaction=transaction)] == ["one"]
        assert counters.count().get(transaction=transaction)[0][0].value == 1
        transaction.update(counters.document("one"), {"value": value + 1})
        return value + 1

    return work


@pytest.mark.parametrize(
    ("fault", "raised", "value"),
    [(Fault("reset_after"), InvalidArgument, 2), (Fault("error", status=403), Forbidden, 1)],
)
def test_a_transaction_that_fails_otherwise_is_not_tried_again(
    world: World, counters: Any, fault: Fault, raised: type[Exception], value: int
) -> None:
    """A commit whose answer was lost has taken effect; the client's second try of it is refused."""
    world.suite.traffic.arm("firestore.Commit", fault)
    with pytest.raises(raised):
        transact(world.cloud.db, adding_one(counters))
    assert fields_of(counters.document("one").get()) == {"value": value}
    assert len(world.suite.traffic.calls("firestore.Rollback")) == 1


def test_what_a_transaction_was_stopped_by_is_raised_even_if_it_cannot_be_rolled_back(world: World) -> None:
    world.suite.traffic.arm("firestore.Rollback", Fault("error", status=403))

    def work(transaction: Any) -> None:
        world.cloud.db.document("counters/one").get(transaction=transaction)
        raise LookupError("nothing to do")

    with pytest.raises(LookupError, match="nothing to do"):
        transact(world.cloud.db, work)
    assert world.suite.traffic.calls("firestore.Rollback")


def test_a_transaction_that_would_write_more_than_the_most_writes_nothing(world: World) -> None:
    def write(count: int) -> None:
        def work(transaction: firestore.Transaction) -> None:
            for number in range(count):
                transaction.set(world.cloud.db.document(f"many/{number}"), {})

        transact(world.cloud.db, work)

    with pytest.raises(ValueError, match="501 documents; 500 are the most"):
        write(documents.MAX_WRITES + 1)
    assert not list(world.cloud.db.collection("many").limit(1).stream())
    write(documents.MAX_WRITES)
    assert documents.count(world.cloud.db.collection("many")) == documents.MAX_WRITES
