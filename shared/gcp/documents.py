"""Documents in Firestore: the few things that Google's client leaves to its users."""

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeVar

import grpc
from google.api_core.exceptions import Aborted, FailedPrecondition, GoogleAPICallError, NotFound
from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter
from google.cloud.firestore_v1.types import firestore as api
from google.protobuf.timestamp_pb2 import Timestamp

from shared.errors import Retry
from shared.gcp import transactions
from shared.gcp.outages import expired
from shared.gcp.transactions import Client

TRANSACTION_ATTEMPTS = 15
"""How often a transaction that met another is tried; the client's own default is 5."""

MAX_WRITES = 500
"""How many documents one transaction writes: the most that Firestore's batched writes take. What a customer
can make any number of is written in several commits.
https://cloud.google.com/firestore/quotas#writes_and_transactions"""

PAGE_DOCUMENTS = 1000
"""How many documents one query of a scan asks for."""

PAGE_ATTEMPTS = 5
"""How often a scan is resumed after its stream broke, if it makes no progress."""

PAGE_SECONDS = 60
"""How long one page of a scan may take."""

READABLE = timedelta(minutes=45)
"""For how long a part is begun after it was planned. Firestore can be read as of any time of the last hour.
https://cloud.google.com/firestore/docs/use-pitr"""

_LAST = "\U0010ffff"
# The last code point, which no name has: Firestore compares texts by their bytes in UTF-8, which is the order
# of code points. https://firebase.google.com/docs/firestore/manage-data/data-types

RunQueryRequest: Any = api.RunQueryRequest.pb()
RunQueryResponse: Any = api.RunQueryResponse.pb()

_PASSING = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}

Snapshot = Any
"""A document as it was read. The client's own type takes parameters that its stubs and it disagree on."""

T = TypeVar("T")

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def transact(db: Client, work: Callable[[firestore.Transaction], T]) -> T:
    """Run `work` in a transaction until it commits; its reads come first, its writes last.
    ValueError where it would write more than MAX_WRITES documents.

    The first read begins it (`transactions`); where `work` neither reads nor writes there is none.

    Firestore answers ABORTED at the commit or at a read already, where the transaction met another
    (https://firebase.google.com/docs/firestore/transaction-data-contention). The client's own `transactional`
    tries again after the commit only. Raises what `work` raises, and Retry where the transaction met others
    at every attempt: Firestore locks what a transaction reads, and one whose process died keeps its locks for
    a minute (https://github.com/googleapis/java-firestore/pull/103).

    One that did nothing for that minute is over. At a read it is begun anew; at the commit `outage` knows it,
    since the commit may have been sent twice, and done the first time.
    """
    first: bytes | None = None
    met: BaseException | None = None
    for _ in range(TRANSACTION_ATTEMPTS):
        # With the first attempt's id a transaction keeps its place in line.
        transaction = transactions.to_begin(db, first)
        reading = True
        try:
            result = work(transaction)
            if (writes := len(transaction._write_pbs)) > MAX_WRITES:
                raise ValueError(f"a transaction would write {writes} documents; {MAX_WRITES} are the most")
            reading = False
            if transactions.id_of(transaction) is None:
                if not writes:
                    return result
                # Without a transaction a commit that is sent twice, since its answer was lost, is done twice.
                transactions.begin(transaction)
            transaction._commit()
        except Aborted as aborted:
            met = aborted
            first = first or transactions.id_of(transaction)
        except BaseException as error:
            if reading and expired(error):
                first, met = None, error
                continue
            if transactions.id_of(transaction) is not None:
                with contextlib.suppress(GoogleAPICallError):  # what went wrong first says what is to be done
                    transaction._rollback()
            raise
        else:
            return result
    raise contention() from met


def contention() -> Retry:
    """What is wrong where a write met others for too long: it passes."""
    return Retry("others are changing the same data at this moment")


def fields_of(snapshot: Snapshot) -> dict[str, Any]:
    """The fields of a document that must be there; LookupError naming it where it is not.

    Moments are plain datetimes: the client's own class breaks when it is moved to another time zone or
    rounded (https://github.com/googleapis/google-cloud-python/issues/15101).
    """
    if not snapshot.exists:
        raise LookupError(f"the document {snapshot.reference.path} is not there")
    # Not `to_dict`: its deep copy takes longer than all else. `plain` copies what can be changed.
    return {name: plain(value) for name, value in snapshot._data.items()}


def read_together(
    db: firestore.Client, references: Sequence[Any], transaction: firestore.Transaction | None = None
) -> list[Snapshot]:
    """The documents of these references, in their order, by one call."""
    found = {each.reference.path: each for each in db.get_all(list(references), transaction=transaction)}
    return [found[each.path] for each in references]


def moment_in(fields: Mapping[str, Any], name: str) -> datetime:
    """A time among the fields of a document; LookupError where it is missing, TypeError where it is none."""
    value = fields[name]
    if not isinstance(value, datetime):
        raise TypeError(f"{name} is no time")
    return value


def one_of(fields: Mapping[str, Any], name: str, values: Collection[str]) -> str:
    """A value among the fields of a document; LookupError where it is missing, ValueError where it is none of
    those that there are."""
    value = fields[name]
    if value not in values:
        raise ValueError(f"{name} has a value that there is not")
    return str(value)


def read_time(snapshot: Snapshot) -> datetime:
    """When a document was read, by Firestore; also of one that is not there."""
    at: datetime = plain(snapshot.read_time)
    return at


def plain(value: Any) -> Any:
    """A value of the client's with every moment in it as a plain datetime; maps and lists are copied."""
    kind = type(value)
    if kind is str or kind is int:
        return value
    if kind is dict:
        return {name: plain(inner) for name, inner in value.items()}
    if kind is list:
        return [plain(inner) for inner in value]
    if isinstance(value, datetime):
        return EPOCH + (value - EPOCH)
    return value


def server_time(db: firestore.Client) -> datetime:
    """What time it is by Firestore, UTC."""
    return read_time(db.document("clock/now").get())  # there need be no such document


def count(query: Any, read_time: datetime | None = None, up_to: int | None = None) -> int:
    """How many documents a query finds, strongly consistent or as of `read_time`."""
    if up_to is not None:
        query = query.limit(up_to)
    return int(query.count().get(read_time=read_time)[0][0].value)


def beginning_with(query: Any, field: str, prefix: str) -> Any:
    """What a query finds whose text in `field` begins so, in the order of these texts."""
    first = query.where(filter=FieldFilter(field, ">=", prefix))
    return first.where(filter=FieldFilter(field, "<=", prefix + _LAST)).order_by(field)


def total(query: Any, field: str) -> int:
    """The sum of a field of whole numbers of what a query finds, strongly consistent."""
    return int(query.sum(field).get()[0][0].value)


def timestamp(at: datetime) -> Timestamp:
    """A moment as protobuf writes it."""
    pb = Timestamp()
    pb.FromDatetime(at)
    return pb


def moment(pb: Timestamp) -> datetime:
    """The same back, UTC, to the microsecond, which is all that Firestore keeps.

    Protobuf's own `ToDatetime` takes ten times as long, and an export asks four times for each record.
    """
    return EPOCH + timedelta(seconds=pb.seconds, microseconds=pb.nanos // 1000)


class IdRange(NamedTuple):
    """Those documents whose id is at least `first` and less than `before`."""

    first: str
    before: str


def id_ranges(documents: int, most: int) -> list[IdRange]:
    """Cut a collection into ranges of about `most` documents each, where ids are hex digits of hashes: those
    are spread evenly."""
    wanted = max(1, -(-documents // most))
    bounds = [f"{16**8 * number // wanted:08x}" for number in range(wanted)]
    return [IdRange(first, before) for first, before in zip(bounds, [*bounds[1:], "g"], strict=True)]


def within(db: firestore.Client, query: Any, collection: str, part: IdRange) -> Any:
    """A query over a collection, kept to a range of ids and ordered by them."""
    documents = db.collection(collection)
    for op, id in ((">=", part.first), ("<", part.before)):
        query = query.where(filter=FieldFilter("__name__", op, documents.document(id)))
    return query.order_by("__name__")


class Scan:
    """Reads the documents of one ordered query without building Python values of them.

    Google's client spends about 250 µs on a document that holds one bytes field of 4 KB; the raw stub with
    the generated class about 90 (measured on loopback). Read page by page; a broken stream is resumed after
    the last document seen, which at a fixed read time gives the same documents.
    """

    def __init__(self, db: firestore.Client) -> None:
        self._database = db._database_string
        self._metadata = tuple(db._rpc_metadata)
        self._parent = f"{self._database}/documents"
        # The client builds its stub on first use; the property is the only way to its channel.
        channel = db._firestore_api.transport.grpc_channel
        self._run_query = channel.unary_stream(
            "/google.firestore.v1.Firestore/RunQuery",
            request_serializer=RunQueryRequest.SerializeToString,
            response_deserializer=RunQueryResponse.FromString,
        )

    def documents(self, query: Any, order_field: str | None, read_time: datetime) -> Iterator[Any]:
        """Yield the raw documents of `query` (a StructuredQuery), as they stood at `read_time`.

        The query must be ordered by `order_field`, if there is one, and then the name, and select that field.
        Raises grpc.RpcError when a page cannot be had.
        """
        broken = 0
        while True:
            request = RunQueryRequest(parent=self._parent, structured_query=query)
            request.structured_query.limit.value = PAGE_DOCUMENTS
            request.read_time.CopyFrom(timestamp(read_time))
            seen = 0
            last = None
            try:
                for answer in self._run_query(request, metadata=self._metadata, timeout=PAGE_SECONDS):
                    if answer.HasField("document"):
                        last = answer.document
                        seen += 1
                        yield last
            except grpc.RpcError as error:
                broken = 1 if seen else broken + 1
                if error.code() not in _PASSING or broken >= PAGE_ATTEMPTS:
                    raise
            else:
                broken = 0
                if seen < PAGE_DOCUMENTS:
                    return
            if last is not None:
                query.start_at.Clear()
                query.start_at.before = False
                if order_field is not None:
                    query.start_at.values.add().CopyFrom(last.fields[order_field])
                query.start_at.values.add().reference_value = last.name


def change(db: firestore.Client, snapshot: Snapshot, fields: dict[str, Any]) -> datetime | None:
    """Write these unless the document has changed since it was read, or is gone: then it needs nobody. When
    they were written, by Firestore's clock; None where they were not."""
    option = db.write_option(last_update_time=snapshot.update_time)
    try:
        written: datetime = snapshot.reference.update(fields, option=option).update_time
    except (FailedPrecondition, NotFound):
        return None
    return written
