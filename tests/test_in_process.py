"""Over the wire and in the process, Firestore and Pub/Sub answer the same."""

from typing import Any

import grpc
import pytest
from google.api_core.exceptions import (
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ServiceUnavailable,
)
from google.cloud import firestore

from infra.local.firestore import messages
from infra.local.suite import Suite
from infra.local.traffic import Fault
from shared.gcp.clients import Cloud
from shared.gcp.documents import count, transact
from tests import in_process
from tests.world import World

ROOT = "projects/waybill-local/databases/(default)/documents"


@pytest.fixture(params=[pytest.param("wire", marks=pytest.mark.wire), "in process"])
def cloud(request: pytest.FixtureRequest, world: World) -> Cloud:
    channel = world.cloud.db._firestore_api.transport.grpc_channel
    assert isinstance(channel, in_process.Channel) == (request.param == "in process")
    return world.cloud


def raw(
    cloud: Cloud, method: str, request: Any, **more: Any
) -> tuple[list[Any], grpc.StatusCode, str | None]:
    """The answers of a stream by the raw stub, and how it ended."""
    reply = getattr(messages, f"{method}Response", messages.RunQueryResponse)
    path = f"/google.firestore.v1.Firestore/{method}"
    channel = cloud.db._firestore_api.transport.grpc_channel
    stream = channel.unary_stream(path, type(request).SerializeToString, reply.FromString)
    found: list[Any] = []
    try:
        for each in stream(request, **more):
            found.append(each)  # noqa: PERF402 - an error comes after some
    except grpc.RpcError as error:
        return found, error.code(), error.details()
    return found, grpc.StatusCode.OK, ""


def everything() -> Any:
    request = messages.RunQueryRequest(parent=ROOT)
    request.structured_query.from_.add(collection_id="things")
    return request


def test_what_is_written_is_read(cloud: Cloud, suite: Suite) -> None:
    things = cloud.db.collection("things")
    for number in range(5):
        things.document(f"{number}").create({"number": number})
    assert [each.to_dict() for each in things.order_by("number").stream()] == [
        {"number": n} for n in range(5)
    ]
    assert count(things) == 5
    assert not things.document("none").get().exists

    def add(transaction: firestore.Transaction) -> None:
        seen = things.document("0").get(transaction=transaction)
        transaction.update(seen.reference, {"number": seen.get("number") + 10})

    transact(cloud.db, add)
    assert things.document("0").get().get("number") == 10
    called = [each.kind for each in suite.traffic.calls("firestore.")][-3:]
    assert called == [f"firestore.{each}" for each in ("BatchGetDocuments", "Commit", "BatchGetDocuments")]


def test_what_is_refused_is_said_in_the_same_words(cloud: Cloud) -> None:
    thing = cloud.db.document("things/one")
    with pytest.raises(NotFound, match=r"No document to update: .*things/one"):
        thing.update({"a": 1})
    thing.create({"a": 1})
    seen = thing.get()
    with pytest.raises(AlreadyExists, match=r"Document already exists: .*things/one"):
        thing.create({"a": 1})
    thing.update({"a": 2})
    with pytest.raises(FailedPrecondition) as refused:
        thing.update({"a": 3}, option=cloud.db.write_option(last_update_time=seen.update_time))
    assert refused.value.grpc_status_code is grpc.StatusCode.FAILED_PRECONDITION


def test_a_call_suffers_the_fault_that_was_asked_for(cloud: Cloud, suite: Suite) -> None:
    thing = cloud.db.document("things/one")
    suite.traffic.arm("firestore.Commit", Fault("error", status=3))
    with pytest.raises(InvalidArgument, match="as asked"):
        thing.create({"a": 1})
    assert not thing.get().exists
    suite.traffic.arm("firestore.Commit", Fault("reset_after"))
    with pytest.raises(ServiceUnavailable):
        thing.create({"a": 1}, retry=None)
    assert thing.get().exists


def test_a_stream_breaks_off_in_the_middle(cloud: Cloud, suite: Suite) -> None:
    for number in range(4):
        cloud.db.document(f"things/{number}").create({})
    suite.traffic.arm("firestore.RunQuery", Fault("truncate"))
    found, code, details = raw(cloud, "RunQuery", everything())
    assert [each.document.name.rpartition("/")[2] for each in found] == ["0", "1"]
    assert (code, details) == (grpc.StatusCode.UNAVAILABLE, "the connection broke (as asked)")
    assert [len(raw(cloud, "RunQuery", everything())[0])] == [4]


def test_a_call_that_takes_too_long_exceeds_its_deadline(cloud: Cloud, suite: Suite) -> None:
    suite.traffic.arm("firestore.BatchGetDocuments", Fault("delay", seconds=0.3))
    with pytest.raises(DeadlineExceeded):
        cloud.db.document("things/one").get(timeout=0.1, retry=None)


def test_a_method_that_is_not_built_is_unimplemented(cloud: Cloud) -> None:
    found, code, details = raw(cloud, "Listen", everything())
    assert (found, code, details) == ([], grpc.StatusCode.UNIMPLEMENTED, "Method not found!")


def test_a_message_is_published(cloud: Cloud, suite: Suite) -> None:
    cloud.messages.publish("tick", {"a": 1})
    assert [each.topic.rpartition("/")[2] for each in suite.pubsub.outstanding()] == ["tick"]
    with pytest.raises(NotFound):
        cloud.messages.publish("nobody", {"a": 1})
