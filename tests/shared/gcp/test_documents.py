"""Scans that break and go on, transactions that meet, and times that are plain."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.api_core.exceptions import Forbidden, InvalidArgument
from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter

from infra.local.traffic import Fault
from shared.errors import Retry
from shared.gcp import documents
from shared.gcp.documents import (
    TRANSACTION_ATTEMPTS,
    Scan,
    count,
    fields_of,
    moment,
    server_time,
    timestamp,
    transact,
)
from shared.gcp.outages import outage
from shared.workorders import scan as scan_of_work_orders
from shared.workorders.record import iso
from tests.world import SITE, World

pytestmark = pytest.mark.wire

UNAVAILABLE = Fault("error", status=14)


def query(world: World) -> Any:
    found = (
        world.cloud.db.collection("work_orders")
        .where(filter=FieldFilter("site_id", "==", SITE))
        .where(filter=FieldFilter("shard", "in", [0, 1]))
        .select(["update_date"])
        .order_by("update_date")
        .order_by("__name__")
    )
    return found._to_protobuf()._pb


@pytest.fixture
def forty(world: World) -> list[str]:
    """Forty documents, ten of each stamp, so that pages end between equal stamps."""
    batch = world.cloud.db.batch()
    names = [f"d{number:02}" for number in range(40)]
    for number, name in enumerate(names):
        stamp = datetime(2026, 11, 22, 9, number // 10, tzinfo=UTC)
        fields = {"site_id": SITE, "shard": number % 2, "update_date": stamp}
        batch.set(world.cloud.db.document(f"work_orders/{name}"), fields)
    batch.commit()
    return names


def scan(world: World) -> list[str]:
    now = server_time(world.cloud.db)
    found = Scan(world.cloud.db).documents(query(world), "update_date", now)
    return [document.name.rpartition("/")[2] for document in found]


@pytest.mark.parametrize("page", [1, 7, 10, 39, 40, 41, 1000])
def test_a_scan_goes_through_pages_of_any_size(
    world: World, forty: list[str], page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "PAGE_DOCUMENTS", page)
    assert scan(world) == forty


def test_a_scan_takes_its_answers_from_the_channel_itself(world: World) -> None:
    """Where gRPC changes how it is told to, an export costs more again, and nothing else would say so."""
    scanned = Scan(world.cloud.db)
    assert "SingleThreaded" in type(scanned._run_query).__name__


@pytest.mark.parametrize(
    "at",
    [
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(2026, 11, 22, 9, 17, 0, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    ],
    ids=str,
)
def test_a_moment_comes_back_as_protobuf_reads_it(at: datetime) -> None:
    sent = timestamp(at)
    assert moment(sent) == sent.ToDatetime(UTC) == at
    assert scan_of_work_orders._iso(sent) == iso(at) == at.strftime("%Y-%m-%dT%H:%M:%S.%fZ").zfill(27)


@pytest.mark.parametrize(
    "fault", [UNAVAILABLE, Fault("truncate"), Fault("reset_before")], ids=lambda f: f.action
)
def test_a_scan_that_breaks_goes_on_behind_the_last_document(
    world: World, forty: list[str], fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "PAGE_DOCUMENTS", 10)
    world.suite.traffic.arm("firestore.RunQuery", fault, nth=2, times=3)
    assert scan(world) == forty


@pytest.mark.usefixtures("forty")
def test_a_scan_that_stays_broken_is_told(world: World) -> None:
    world.suite.traffic.arm("firestore.RunQuery", UNAVAILABLE, times=documents.PAGE_ATTEMPTS)
    with pytest.raises(grpc.RpcError):
        scan(world)


def test_a_scan_sees_what_was_there_at_its_time(world: World, forty: list[str]) -> None:
    then = server_time(world.cloud.db)
    world.wait(timedelta(minutes=1))
    for name in forty[:5]:
        world.cloud.db.document(f"work_orders/{name}").delete()
    found = Scan(world.cloud.db).documents(query(world), "update_date", then)
    assert len(list(found)) == 40
    assert len(scan(world)) == 35


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
    world: World, monkeypatch: pytest.MonkeyPatch, call: str, times: int
) -> None:
    db = world.cloud.db
    counters = db.collection("counters")
    counters.document("one").set({"value": 1})
    begun: list[bytes | None] = []
    begin = firestore.Transaction._begin

    def watched(transaction: Any, retry_id: bytes | None = None) -> None:
        begin(transaction, retry_id)
        begun.extend([retry_id, transaction.id])

    monkeypatch.setattr(firestore.Transaction, "_begin", watched)
    world.suite.traffic.arm(f"firestore.{call}", Fault("abort"), times=times)

    assert transact(db, adding_one(counters)) == 2
    assert fields_of(counters.document("one").get()) == {"value": 2}
    assert len(begun) == 2 * (times + 1)
    assert begun[0] is None
    assert set(begun[2::2]) == {begun[1]}, "each attempt names the first, to keep its place in line"


@pytest.mark.parametrize("call", ["BatchGetDocuments", "RunQuery", "RunAggregationQuery", "Commit"])
def test_a_transaction_that_is_always_aborted_gives_up(world: World, call: str) -> None:
    counters = world.cloud.db.collection("counters")
    counters.document("one").set({"value": 1})
    world.suite.traffic.arm(f"firestore.{call}", Fault("abort"), times=TRANSACTION_ATTEMPTS)
    with pytest.raises(Retry, match="others are changing the same data"):
        transact(world.cloud.db, adding_one(counters))
    assert fields_of(counters.document("one").get()) == {"value": 1}


def test_a_transaction_that_expired_before_a_read_is_begun_anew(world: World) -> None:
    counters = world.cloud.db.collection("counters")
    counters.document("one").set({"value": 1})
    waits = [timedelta(seconds=61), timedelta()]

    def work(transaction: Any) -> int:
        counters.document("one").get(transaction=transaction)
        world.wait(waits.pop(0))
        return adding_one(counters)(transaction)

    assert transact(world.cloud.db, work) == 2
    assert waits == []
    assert fields_of(counters.document("one").get()) == {"value": 2}


def test_a_transaction_that_expired_before_its_commit_is_no_fault_of_ours_and_is_not_done_twice(
    world: World,
) -> None:
    counters = world.cloud.db.collection("counters")
    counters.document("one").set({"value": 1})

    def work(transaction: Any) -> None:
        adding_one(counters)(transaction)
        world.wait(timedelta(seconds=61))

    with pytest.raises(InvalidArgument) as late:
        transact(world.cloud.db, work)
    assert outage(late.value) == "a transaction took too long"
    assert fields_of(counters.document("one").get()) == {"value": 1}


def test_another_invalid_argument_is_a_fault_of_ours() -> None:
    assert outage(InvalidArgument("the field path is longer than 1500 bytes")) is None


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
    world: World, fault: Fault, raised: type[Exception], value: int
) -> None:
    """A commit whose answer was lost has taken effect; the client's second try of it is refused."""
    counters = world.cloud.db.collection("counters")
    counters.document("one").set({"value": 1})
    world.suite.traffic.arm("firestore.Commit", fault)
    with pytest.raises(raised):
        transact(world.cloud.db, adding_one(counters))
    assert fields_of(counters.document("one").get()) == {"value": value}
    assert len(world.suite.traffic.calls("firestore.Rollback")) == 1


def test_what_a_transaction_was_stopped_by_is_raised_even_if_it_cannot_be_rolled_back(world: World) -> None:
    world.suite.traffic.arm("firestore.Rollback", Fault("error", status=403))

    def work(transaction: Any) -> None:
        raise LookupError("nothing to do")

    with pytest.raises(LookupError, match="nothing to do"):
        transact(world.cloud.db, work)
    assert world.suite.traffic.calls("firestore.Rollback")


def test_a_count_is_of_now_or_of_a_past_moment(world: World, forty: list[str]) -> None:
    everything = world.cloud.db.collection("work_orders")
    then = server_time(world.cloud.db)
    world.wait(timedelta(minutes=1))
    world.cloud.db.document(f"work_orders/{forty[0]}").delete()
    assert (count(everything), count(everything, then), count(everything, up_to=5)) == (39, 40, 5)


def test_moments_from_firestore_can_be_moved_and_rounded(world: World) -> None:
    at = datetime(2026, 11, 22, 9, 17, 3, 123456, tzinfo=UTC)
    reference = world.cloud.db.document("things/one")
    reference.set({"at": at, "inner": {"at": at}})
    fields = fields_of(reference.get())
    for found in (fields["at"], fields["inner"]["at"]):
        assert type(found) is datetime
        assert found.replace(second=0, microsecond=0).astimezone(UTC).minute == 17
    assert type(server_time(world.cloud.db)) is datetime


def test_fields_are_those_of_the_client_whatever_their_type(world: World) -> None:
    at = datetime(2026, 11, 22, 9, 17, 3, 123456, tzinfo=UTC)
    reference = world.cloud.db.document("things/one")
    one = {
        "nothing": None,
        "yes": True,
        "number": 2**53,
        "share": 0.5,
        "at": at,
        "text": "ß",
        "bytes": b"\0",
        "reference": reference,
        "place": firestore.GeoPoint(1.0, 2.0),
    }
    reference.set({**one, "map": {**one, "list": [1]}, "list": [*one.values(), {"map": dict(one)}]})
    snapshot = reference.get()
    fields = fields_of(snapshot)
    assert fields == snapshot.to_dict()
    kinds = [type(value) for value in (fields["at"], fields["map"]["at"], fields["list"][4])]
    assert kinds == [datetime] * 3


def test_changing_fields_leaves_the_snapshot_as_it_was_read(world: World) -> None:
    reference = world.cloud.db.document("things/one")
    reference.set({"map": {"list": [{"a": 1}]}})
    snapshot = reference.get()
    fields = fields_of(snapshot)
    fields["map"]["list"][0]["a"] = 2
    fields["map"]["list"].append(3)
    fields["map"]["b"] = 4
    assert fields_of(snapshot) == {"map": {"list": [{"a": 1}]}}


def test_a_document_that_must_be_there_and_is_not_is_named(world: World) -> None:
    with pytest.raises(LookupError, match="things/none"):
        fields_of(world.cloud.db.document("things/none").get())


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
