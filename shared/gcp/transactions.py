"""A client of Firestore whose transactions begin with their first read, and not with a call of their own.

Google's own client for Node.js does the same (https://github.com/googleapis/nodejs-firestore/pull/2017);
that for Python does not.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from google.api_core.exceptions import (
    DeadlineExceeded,
    InternalServerError,
    ResourceExhausted,
    ServiceUnavailable,
)
from google.cloud import firestore
from google.cloud.firestore_v1.services.firestore import FirestoreClient
from google.cloud.firestore_v1.services.firestore import client as firestore_client
from google.cloud.firestore_v1.services.firestore.transports.grpc import FirestoreGrpcTransport

_BROKEN = (DeadlineExceeded, InternalServerError, ResourceExhausted, ServiceUnavailable)
"""After which errors a read is made again: those after which Google's client does so."""


@dataclass(frozen=True)
class ToBegin:
    """Stands in a transaction in the place of its id, until its first read has begun it. Google's client puts
    it into the request of that read.

    again  the id of the attempt whose place in line it keeps; None for the first attempt
    """

    transaction: firestore.Transaction
    again: bytes | None


def to_begin(db: "Client", again: bytes | None) -> firestore.Transaction:
    """A transaction that its first read begins; `again` as in ToBegin."""
    transaction: Any = db.transaction()
    transaction._id = ToBegin(transaction, again)
    return cast(firestore.Transaction, transaction)


def id_of(transaction: firestore.Transaction) -> bytes | None:
    """The id of a transaction; None where nothing has begun it."""
    return None if isinstance(transaction.id, ToBegin) else transaction.id


def begin(transaction: firestore.Transaction) -> None:
    """Begin a transaction that has read nothing, by a call of its own."""
    waiting: Any = transaction.id
    transaction._id = None
    transaction._begin(retry_id=waiting.again)


class Client(firestore.Client):
    """Google's client; a read in a transaction that is `to_begin` begins it."""

    @property
    def _firestore_api(self) -> Any:
        return self._firestore_api_helper(FirestoreGrpcTransport, _Calls, firestore_client)


class _Calls(FirestoreClient):
    """The calls that can begin a transaction; the client of documents and queries makes them."""

    def batch_get_documents(self, request: Any = None, **options: Any) -> Any:
        return _read(super().batch_get_documents, request, options)

    def run_query(self, request: Any = None, **options: Any) -> Any:
        return _read(super().run_query, request, options)

    def run_aggregation_query(self, request: Any = None, **options: Any) -> Any:
        return _read(super().run_aggregation_query, request, options)


def _read(call: Callable[..., Any], request: Mapping[str, Any], options: Mapping[str, Any]) -> Iterator[Any]:
    """The answers to a read.

    A first read is read to its end. Where it breaks behind the id, it is made again in the transaction that
    it began. Where it breaks before, Google's client makes it again, and that begins another: nobody knows
    the id of the first, and Firestore ends it after a minute.
    """
    waiting = request["transaction"]
    if not isinstance(waiting, ToBegin):
        answers: Iterator[Any] = call(request, **options)
        return answers
    mode = {"retry_transaction": waiting.again} if waiting.again else {}
    begins = {**request, "transaction": None, "new_transaction": {"read_write": mode}}
    answers = call(begins, **options)
    first = next(answers)
    if not first.transaction:
        raise RuntimeError("Firestore has begun no transaction with a read that was to begin one")
    waiting.transaction._id = first.transaction
    try:
        read = [first, *answers]
    except _BROKEN:
        again: Iterator[Any] = call({**request, "transaction": first.transaction}, **options)
        return again
    return (each for each in read if not _only_begins(each))


def _only_begins(answer: Any) -> bool:
    """Whether an answer has nothing but the id of the transaction; Google's client cannot read such a one."""
    return {field.name for field, _ in type(answer).pb(answer).ListFields()} <= {"transaction", "read_time"}
