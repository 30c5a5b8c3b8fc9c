"""The journal of calls, faults on demand, and the few calls that list things."""

from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud.firestore_v1.services.firestore.transports import FirestoreGrpcTransport
from grpc import StatusCode

from infra.local.firestore import messages as m
from infra.local.traffic import Call, Fault
from tests.infra.local.firestore.conftest import ROOT, Bench

DATABASE = "projects/p/databases/(default)"


def test_each_call_is_written_down_once(bench: Bench) -> None:
    batch = bench.db.batch()
    batch.set(bench.db.document("exports/a"), {"x": 1})
    batch.delete(bench.db.document("exports/a/runs/b"))
    batch.commit()
    bench.db.document("exports/a").get()
    bench.db.collection("exports/a/runs").get()
    bench.db.collection_group("runs").count().get()
    transaction = bench.db.transaction()
    transaction._begin()
    transaction._rollback()
    list(bench.db.collections())
    list(bench.db.collection("exports").list_documents())
    assert bench.traffic.calls() == [
        Call("firestore.Commit", "exports/a exports/a/runs/b"),
        Call("firestore.BatchGetDocuments", "exports/a"),
        Call("firestore.RunQuery", "exports/a/runs"),
        Call("firestore.RunAggregationQuery", "runs"),
        Call("firestore.BeginTransaction", ""),
        Call("firestore.Rollback", ""),
        Call("firestore.ListCollectionIds", ""),
        Call("firestore.ListDocuments", "exports"),
    ]


SET = m.CommitRequest(
    database=DATABASE, writes=[m.Write(update={"name": f"{ROOT}/a/b", "fields": {"x": {"integer_value": 2}}})]
)


@pytest.mark.parametrize(
    ("fault", "code", "written"),
    [
        (Fault("error"), StatusCode.UNAVAILABLE, False),
        (Fault("error", status=StatusCode.ABORTED.value[0]), StatusCode.ABORTED, False),
        (Fault("error", status=429), StatusCode.RESOURCE_EXHAUSTED, False),
        (Fault("reset_before"), StatusCode.UNAVAILABLE, False),
        (Fault("reset_after"), StatusCode.UNAVAILABLE, True),
    ],
)
@pytest.mark.parametrize("method", ["Commit", "BatchWrite"])
def test_faults_of_a_write(bench: Bench, method: str, fault: Fault, code: StatusCode, written: bool) -> None:
    request = SET if method == "Commit" else m.BatchWriteRequest(database=DATABASE, writes=SET.writes)
    bench.traffic.arm(f"firestore.{method}", fault, resource="a/b")
    assert bench.refused(method, request)[0] is code
    assert bench.db.document("a/b").get().exists is written
    bench.call(method, request)


@pytest.mark.parametrize(
    ("fault", "received"),
    [(Fault("truncate"), 5), (Fault("reset_before"), 0), (Fault("error"), 0), (Fault("reset_after"), 10)],
)
@pytest.mark.parametrize("method", ["RunQuery", "BatchGetDocuments"])
def test_faults_of_a_stream(bench: Bench, method: str, fault: Fault, received: int) -> None:
    for n in range(10):
        bench.put(f"a/{n}", x=n)
    requests: dict[str, Any] = {
        "RunQuery": m.RunQueryRequest(parent=ROOT, structured_query={"from_": [{"collection_id": "a"}]}),
        "BatchGetDocuments": m.BatchGetDocumentsRequest(
            database=DATABASE, documents=[f"{ROOT}/a/{n}" for n in range(10)]
        ),
    }
    bench.traffic.arm(f"firestore.{method}", fault)
    got, error = bench.stream(method, requests[method])
    assert len(got) == received
    assert error is StatusCode.UNAVAILABLE
    got, error = bench.stream(method, requests[method])
    assert (len(got), error) == (10, None)


def test_a_delayed_read_is_answered_rightly(bench: Bench) -> None:
    bench.put("a/b", x=1)
    bench.traffic.arm("firestore.BatchGetDocuments", Fault("delay", seconds=0.01))
    assert bench.db.document("a/b").get().to_dict() == {"x": 1}


def test_the_client_tries_again_after_a_lost_answer(bench: Bench) -> None:
    """As in production a create whose answer was lost is found to exist at the second try."""
    bench.traffic.arm("firestore.Commit", Fault("reset_after"))
    with pytest.raises(exceptions.AlreadyExists):
        bench.db.document("a/b").create({"x": 1})
    assert len(bench.traffic.calls("firestore.Commit")) == 2


def test_listing(bench: Bench) -> None:
    for path in ("a/1", "a/2", "a/3", "a/9/b/1", "a/1/c/1", "a/1/d/x/e/1", "z/1"):
        bench.put(path, x=1)
    bench.put("gone/1", x=1)
    bench.db.document("gone/1").delete()
    assert [c.id for c in bench.db.collections()] == ["a", "z"]
    assert [c.id for c in bench.db.document("a/1").collections()] == ["c", "d"]
    assert [d.id for d in bench.db.collection("a").list_documents(page_size=2)] == ["1", "2", "3", "9"]
    request = m.ListDocumentsRequest(parent=ROOT, collection_id="a", page_size=2)
    page = bench.call("ListDocuments", request)
    assert [d.name[-1] for d in page.documents] == ["1", "2"]
    request.page_token = page.next_page_token
    page = bench.call("ListDocuments", request)
    assert [d.name[-1] for d in page.documents] == ["3"]
    assert not page.next_page_token


def test_get_document(bench: Bench) -> None:
    bench.put("a/b", x=1, y=2)
    request = m.GetDocumentRequest(name=f"{ROOT}/a/b", mask={"field_paths": ["y"]})
    assert list(bench.call("GetDocument", request).fields) == ["y"]
    assert bench.refused("GetDocument", m.GetDocumentRequest(name=f"{ROOT}/a/c"))[0] is StatusCode.NOT_FOUND


@pytest.mark.parametrize("method", ["Listen", "Write", "PartitionQuery", "CreateDocument", "ExecutePipeline"])
def test_everything_else_is_unimplemented(bench: Bench, method: str) -> None:
    snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in method).lstrip("_")
    assert hasattr(FirestoreGrpcTransport, snake)
    assert bench.refused(method, m.Empty())[0] is StatusCode.UNIMPLEMENTED
