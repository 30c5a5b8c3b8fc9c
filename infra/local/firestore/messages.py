"""The raw protobuf classes of google.firestore.v1, without the proto-plus wrappers, which cost too much.

Times inside this package are integers: microseconds since 1970, UTC, which is the precision that Firestore
keeps (https://cloud.google.com/firestore/docs/concepts/data-types).
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from google.cloud.firestore_v1.types import common, document, firestore, query, write
from google.protobuf import empty_pb2, timestamp_pb2

from infra.local.firestore.errors import invalid

Document: Any = document.Document.pb()
Value: Any = document.Value.pb()
Write: Any = write.Write.pb()
WriteResult: Any = write.WriteResult.pb()
FieldTransform: Any = write.DocumentTransform.FieldTransform.pb()
TransactionOptions: Any = common.TransactionOptions.pb()
StructuredQuery: Any = query.StructuredQuery.pb()

GetDocumentRequest: Any = firestore.GetDocumentRequest.pb()
BatchGetDocumentsRequest: Any = firestore.BatchGetDocumentsRequest.pb()
BatchGetDocumentsResponse: Any = firestore.BatchGetDocumentsResponse.pb()
RunQueryRequest: Any = firestore.RunQueryRequest.pb()
RunQueryResponse: Any = firestore.RunQueryResponse.pb()
RunAggregationQueryRequest: Any = firestore.RunAggregationQueryRequest.pb()
RunAggregationQueryResponse: Any = firestore.RunAggregationQueryResponse.pb()
BeginTransactionRequest: Any = firestore.BeginTransactionRequest.pb()
BeginTransactionResponse: Any = firestore.BeginTransactionResponse.pb()
CommitRequest: Any = firestore.CommitRequest.pb()
CommitResponse: Any = firestore.CommitResponse.pb()
RollbackRequest: Any = firestore.RollbackRequest.pb()
BatchWriteRequest: Any = firestore.BatchWriteRequest.pb()
BatchWriteResponse: Any = firestore.BatchWriteResponse.pb()
ListDocumentsRequest: Any = firestore.ListDocumentsRequest.pb()
ListDocumentsResponse: Any = firestore.ListDocumentsResponse.pb()
ListCollectionIdsRequest: Any = firestore.ListCollectionIdsRequest.pb()
ListCollectionIdsResponse: Any = firestore.ListCollectionIdsResponse.pb()
Empty: Any = empty_pb2.Empty

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_EARLIEST, _LATEST = -62_135_596_800, 253_402_300_799


def micros(at: datetime) -> int:
    """A time as microseconds since 1970."""
    return (at - _EPOCH) // _MICROSECOND


def timestamp(at: int) -> timestamp_pb2.Timestamp:
    """Microseconds since 1970 as a protobuf timestamp."""
    return timestamp_pb2.Timestamp(seconds=at // 1_000_000, nanos=at % 1_000_000 * 1000)


def from_timestamp(at: Any, what: str) -> int:
    """A protobuf timestamp of a request as microseconds; one finer than that is INVALID_ARGUMENT."""
    if at.nanos % 1000 or not (0 <= at.nanos < 1_000_000_000 and _EARLIEST <= at.seconds <= _LATEST):
        raise invalid(f"{what} must be a timestamp of microsecond precision between the years 1 and 9999")
    return int(at.seconds * 1_000_000 + at.nanos // 1000)
