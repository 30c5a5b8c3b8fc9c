"""Transactions: conflicts are real, nothing is lost, and each kind of read counts."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.api_core import exceptions
from google.cloud import firestore
from google.cloud.firestore_v1.base_query import FieldFilter
from grpc import StatusCode

from infra.local.firestore import messages as m
from infra.local.traffic import Fault
from tests.infra.local.firestore.conftest import ROOT, Bench, stamp

DATABASE = "projects/p/databases/(default)"
WRITE = m.Write(update={"name": f"{ROOT}/results/r", "fields": {"x": {"integer_value": 1}}})


def begin(bench: Bench, **options: Any) -> bytes:
    return bytes(
        bench.call(
            "BeginTransaction", m.BeginTransactionRequest(database=DATABASE, options=options)
        ).transaction
    )


def query(**more: Any) -> dict[str, Any]:
    return {"from_": [{"collection_id": "boxes"}], **more}


def within(transaction: bytes) -> dict[str, bytes]:
    """The field that puts a read into a transaction; none for one outside."""
    return {"transaction": transaction} if transaction else {}


def read_documents(bench: Bench, transaction: bytes, *names: str) -> None:
    documents = [f"{ROOT}/boxes/{name}" for name in names]
    bench.call(
        "BatchGetDocuments",
        m.BatchGetDocumentsRequest(database=DATABASE, documents=documents, **within(transaction)),
    )


def read_one(bench: Bench, transaction: bytes) -> None:
    bench.call("GetDocument", m.GetDocumentRequest(name=f"{ROOT}/boxes/a", **within(transaction)))


def read_query(bench: Bench, transaction: bytes, **more: Any) -> None:
    bench.call(
        "RunQuery", m.RunQueryRequest(parent=ROOT, structured_query=query(**more), **within(transaction))
    )


def read_count(bench: Bench, transaction: bytes) -> None:
    asked = {"structured_query": query(), "aggregations": [{"count": {}}]}
    bench.call(
        "RunAggregationQuery",
        m.RunAggregationQueryRequest(parent=ROOT, structured_aggregation_query=asked, **within(transaction)),
    )


Step = Callable[[Bench], Any]
Read = Callable[[Bench, bytes], Any]

CONFLICTS: list[tuple[str, Read, Step, bool]] = [
    ("read, changed", lambda b, t: read_documents(b, t, "a"), lambda b: b.put("boxes/a", n=9), True),
    ("read by GetDocument, changed", read_one, lambda b: b.put("boxes/a", n=9), True),
    (
        "read, deleted",
        lambda b, t: read_documents(b, t, "a"),
        lambda b: b.db.document("boxes/a").delete(),
        True,
    ),
    ("found missing, made", lambda b, t: read_documents(b, t, "z"), lambda b: b.put("boxes/z", n=9), True),
    (
        "read, written as it was",
        lambda b, t: read_documents(b, t, "a"),
        lambda b: b.put("boxes/a", n=1),
        False,
    ),
    ("read, another changed", lambda b, t: read_documents(b, t, "a"), lambda b: b.put("boxes/b", n=9), False),
    ("queried, one changed", read_query, lambda b: b.put("boxes/a", n=9), True),
    ("queried, one more", read_query, lambda b: b.put("boxes/z", n=9), True),
    ("queried, one less", read_query, lambda b: b.db.document("boxes/a").delete(), True),
    (
        "queried, one beyond the limit",
        lambda b, t: read_query(b, t, limit={"value": 1}),
        lambda b: b.put("boxes/b", n=9),
        False,
    ),
    ("queried, another collection", read_query, lambda b: b.put("crates/z", n=9), False),
    ("counted, one more", read_count, lambda b: b.put("boxes/z", n=9), True),
    ("counted, one changed", read_count, lambda b: b.put("boxes/a", n=9), False),
    ("nothing read", lambda b, t: None, lambda b: b.put("boxes/a", n=9), False),
]


@pytest.mark.parametrize(
    ("read", "meanwhile", "conflict"), [c[1:] for c in CONFLICTS], ids=[c[0] for c in CONFLICTS]
)
def test_what_was_read_must_still_be_so(bench: Bench, read: Read, meanwhile: Step, conflict: bool) -> None:
    bench.put("boxes/a", n=1)
    bench.put("boxes/b", n=2)
    transaction = begin(bench)
    read(bench, transaction)
    meanwhile(bench)
    if conflict:
        with pytest.raises(Exception, match="ABORTED"):
            bench.commit(WRITE, transaction=transaction)
    else:
        bench.commit(WRITE, transaction=transaction)
    assert bench.db.document("results/r").get().exists is not conflict


@pytest.mark.parametrize(
    ("method", "read"),
    [
        ("BatchGetDocuments", lambda b, t: read_documents(b, t, "a")),
        ("GetDocument", read_one),
        ("RunQuery", read_query),
        ("RunAggregationQuery", read_count),
        ("Commit", lambda b, t: b.commit(WRITE, transaction=t)),
    ],
)
def test_a_transaction_is_aborted_on_demand(bench: Bench, method: str, read: Read) -> None:
    """At any call in it, and only there; then it is over."""
    bench.put("boxes/a", n=1)
    bench.traffic.arm(f"firestore.{method}", Fault("abort"))
    read(bench, b"")
    transaction = begin(bench)
    with pytest.raises(grpc.RpcError) as caught:
        read(bench, transaction)
    error: Any = caught.value
    assert error.code() is StatusCode.ABORTED
    code, _ = bench.refused(
        "Commit", m.CommitRequest(database=DATABASE, writes=[WRITE], transaction=transaction)
    )
    assert code is StatusCode.INVALID_ARGUMENT
    bench.commit(WRITE, transaction=begin(bench, read_write={"retry_transaction": transaction}))


def test_a_transaction_reads_one_moment(bench: Bench) -> None:
    bench.put("boxes/a", n=1)
    bench.put("boxes/b", n=1)
    transaction = bench.db.transaction()
    transaction._begin()
    assert bench.db.document("boxes/a").get(transaction=transaction).get("n") == 1
    bench.put("boxes/b", n=2)
    assert bench.db.document("boxes/b").get(transaction=transaction).get("n") == 1
    assert [s.get("n") for s in bench.db.collection("boxes").stream(transaction=transaction)] == [1, 1]
    transaction._rollback()


def increment(db: firestore.Client, path: str) -> None:
    @firestore.transactional
    def add(transaction: firestore.Transaction) -> None:
        document = db.document(path)
        snapshot = document.get(transaction=transaction)
        transaction.set(document, {"n": (snapshot.get("n") if snapshot.exists else 0) + 1})

    add(db.transaction())


@pytest.mark.parametrize("threads", [2, 6])
def test_no_increment_is_lost(bench: Bench, threads: int) -> None:
    """With the client's own five attempts: whoever lost a conflict goes first at the next."""
    each = 100 // threads

    def work(_: int) -> None:
        for _ in range(each):
            increment(bench.db, "counters/c")

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))
    assert bench.db.document("counters/c").get().get("n") == threads * each
    if threads > 2:
        assert len(bench.traffic.calls("firestore.BeginTransaction")) > threads * each


def test_two_that_each_read_what_the_other_writes_do_not_both_commit(bench: Bench) -> None:
    bench.put("boxes/a", n=1)
    bench.put("boxes/b", n=1)
    one, two = begin(bench), begin(bench)
    read_documents(bench, one, "a", "b")
    read_documents(bench, two, "a", "b")
    bench.commit(m.Write(delete=f"{ROOT}/boxes/a"), transaction=one)
    with pytest.raises(Exception, match="ABORTED"):
        bench.commit(m.Write(delete=f"{ROOT}/boxes/b"), transaction=two)
    assert bench.ids(bench.db.collection("boxes")) == ["b"]


def test_a_second_attempt_goes_before_others(bench: Bench) -> None:
    bench.put("boxes/a", n=1)
    lost = begin(bench)
    read_documents(bench, lost, "a")
    bench.put("boxes/a", n=2)
    with pytest.raises(Exception, match="ABORTED"):
        bench.commit(WRITE, transaction=lost)
    again = begin(bench, read_write={"retry_transaction": lost})
    read_documents(bench, again, "a")
    with pytest.raises(exceptions.DeadlineExceeded):
        bench.db.document("boxes/a").set({"n": 3}, retry=None, timeout=0.2)
    bench.commit(WRITE, transaction=again)


@pytest.mark.parametrize("end", ["commit", "rollback", "idle", "old", "never", "elsewhere"])
def test_a_transaction_that_is_over_is_refused(bench: Bench, end: str) -> None:
    transaction = begin(bench)
    database = DATABASE
    if end == "commit":
        bench.commit(WRITE, transaction=transaction)
    elif end == "rollback":
        bench.call("Rollback", m.RollbackRequest(database=DATABASE, transaction=transaction))
    elif end == "idle":
        bench.clock.advance(timedelta(seconds=61))
    elif end == "old":
        for _ in range(5):
            bench.clock.advance(timedelta(seconds=55))
            if _ < 4:
                read_documents(bench, transaction, "a")
    elif end == "never":
        transaction = b"never"
    else:
        database = "projects/q/databases/(default)"
    requests = {
        "Commit": m.CommitRequest(database=database, transaction=transaction),
        "BatchGetDocuments": m.BatchGetDocumentsRequest(database=database, transaction=transaction),
        "RunQuery": m.RunQueryRequest(
            parent=f"{database}/documents", structured_query=query(), transaction=transaction
        ),
    }
    for method, request in requests.items():
        code, said = bench.refused(method, request)
        assert code is StatusCode.INVALID_ARGUMENT
        expected = "Invalid transaction" if end in ("never", "elsewhere") else "expired or is no longer valid"
        assert expected in said


def test_a_transaction_in_use_lives_on(bench: Bench) -> None:
    transaction = begin(bench)
    for _ in range(4):
        bench.clock.advance(timedelta(seconds=59))
        read_documents(bench, transaction, "a")
    bench.commit(WRITE, transaction=transaction)


def test_a_rolled_back_transaction_leaves_nothing(bench: Bench) -> None:
    @firestore.transactional
    def fail(transaction: firestore.Transaction) -> None:
        transaction.set(bench.db.document("boxes/a"), {"n": 1})
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        fail(bench.db.transaction())
    assert bench.traffic.calls("firestore.Rollback")
    assert not bench.db.document("boxes/a").get().exists


def test_the_client_gives_up_after_its_attempts(bench: Bench) -> None:
    bench.put("boxes/a", n=0)

    @firestore.transactional
    def lose(transaction: firestore.Transaction) -> None:
        bench.db.document("boxes/a").get(transaction=transaction)
        transaction.set(bench.db.document("boxes/b"), {"n": 1})
        bench.put("boxes/a", n=len(bench.traffic.calls()))

    with pytest.raises(ValueError, match="commit transaction"):
        lose(bench.db.transaction(max_attempts=1))
    assert not bench.db.document("boxes/b").get().exists


def test_a_transaction_begun_with_its_first_read(bench: Bench) -> None:
    bench.put("boxes/a", n=1)
    documents = [f"{ROOT}/boxes/a"]
    new: dict[str, Any] = {"read_write": {}}
    first, second = bench.call(
        "BatchGetDocuments",
        m.BatchGetDocumentsRequest(database=DATABASE, documents=documents, new_transaction=new),
    )
    assert first.transaction
    assert not second.transaction
    assert second.found.fields["n"].integer_value == 1
    begun, found = bench.call(
        "RunQuery", m.RunQueryRequest(parent=ROOT, structured_query=query(), new_transaction=new)
    )
    asked = {"structured_query": query(), "aggregations": [{"count": {}}]}
    (counted,) = bench.call(
        "RunAggregationQuery",
        m.RunAggregationQueryRequest(parent=ROOT, structured_aggregation_query=asked, new_transaction=new),
    )
    assert found.document.name == documents[0]
    bench.put("boxes/a", n=2)
    for transaction in (first.transaction, begun.transaction):
        with pytest.raises(Exception, match="ABORTED"):
            bench.commit(WRITE, transaction=transaction)
    bench.commit(WRITE, transaction=counted.transaction)


def test_a_read_that_begins_a_transaction_is_aborted_on_demand(bench: Bench) -> None:
    bench.put("boxes/a", n=1)
    bench.traffic.arm("firestore.RunQuery", Fault("abort"))
    read_query(bench, b"")
    asked = m.RunQueryRequest(parent=ROOT, structured_query=query(), new_transaction={"read_write": {}})
    with pytest.raises(grpc.RpcError) as caught:
        bench.call("RunQuery", asked)
    error: Any = caught.value
    assert error.code() is StatusCode.ABORTED
    begun, _ = bench.call("RunQuery", asked)
    bench.commit(WRITE, transaction=begun.transaction)


def test_read_only_transactions(bench: Bench) -> None:
    time = bench.put("boxes/a", n=1)
    document = bench.db.document("boxes/a")
    present = bench.db.transaction(read_only=True)
    present._begin()
    bench.put("boxes/a", n=2)
    assert document.get(transaction=present).get("n") == 1
    assert [s.get("n") for s in bench.db.collection("boxes").stream(transaction=present)] == [1]
    past = begin(bench, read_only={"read_time": stamp(time)})
    bench.db.document("boxes/a").delete()
    (reply,) = bench.call(
        "BatchGetDocuments",
        m.BatchGetDocumentsRequest(database=DATABASE, documents=[f"{ROOT}/boxes/a"], transaction=past),
    )
    assert reply.found.fields["n"].integer_value == 1
    assert reply.read_time == stamp(time)
    code = bench.refused("Commit", m.CommitRequest(database=DATABASE, writes=[WRITE], transaction=past))[0]
    assert code is StatusCode.INVALID_ARGUMENT
    present._commit()


def test_preconditions_hold_in_transactions_too(bench: Bench) -> None:
    @firestore.transactional
    def make(transaction: firestore.Transaction) -> None:
        transaction.create(bench.db.document("boxes/a"), {"n": 1})

    make(bench.db.transaction())
    with pytest.raises(exceptions.AlreadyExists):
        make(bench.db.transaction())


def test_a_lease_is_given_once(bench: Bench) -> None:
    """What the slots do: see who holds one, take one if there is room."""

    def take(number: int) -> bool:
        @firestore.transactional
        def work(transaction: firestore.Transaction) -> bool:
            held = bench.db.collection("slots").where(filter=FieldFilter("customer", "==", "c"))
            if len(held.get(transaction=transaction)) >= 2:
                return False
            transaction.create(bench.db.document(f"slots/{number}"), {"customer": "c"})
            return True

        return bool(work(bench.db.transaction()))

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(take, range(6))) == 2
    assert len(bench.ids(bench.db.collection("slots"))) == 2
