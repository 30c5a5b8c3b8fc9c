"""The gRPC face of the local Firestore: the methods of google.firestore.v1.Firestore that Waybill calls."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
from grpc import StatusCode

from infra.local.clock import SuiteClock, wait
from infra.local.firestore import messages as m
from infra.local.firestore.database import Database, Space
from infra.local.firestore.errors import Refused, invalid, unimplemented
from infra.local.firestore.indexes import FieldPath
from infra.local.firestore.queries import field_of_sum, project, relative
from infra.local.firestore.store import Version
from infra.local.firestore.transactions import conflict
from infra.local.firestore.values import check_alias, parse_path
from infra.local.permissions import CALLS, DATABASE
from infra.local.traffic import DELETES, ENTRIES_A_READ, READS, WRITES, Fault, Traffic

MAX_REQUEST_BYTES = 10 * 1024 * 1024
"""https://cloud.google.com/firestore/quotas#writes_and_transactions."""

WRITE_SECONDS = 10.0
"""How long `reset` waits for a write."""

MAX_AGGREGATIONS = 5
"""https://cloud.google.com/firestore/docs/reference/rpc/google.firestore.v1#structuredaggregationquery."""

_TRANSPORT_BYTES = 64 * 1024 * 1024
_THREADS = 64
_PAGE = 300

_HTTP = {
    400: StatusCode.INVALID_ARGUMENT,
    401: StatusCode.UNAUTHENTICATED,
    403: StatusCode.PERMISSION_DENIED,
    404: StatusCode.NOT_FOUND,
    409: StatusCode.ABORTED,
    429: StatusCode.RESOURCE_EXHAUSTED,
    499: StatusCode.CANCELLED,
    500: StatusCode.INTERNAL,
    501: StatusCode.UNIMPLEMENTED,
    503: StatusCode.UNAVAILABLE,
    504: StatusCode.DEADLINE_EXCEEDED,
}
_GRPC = {code.value[0]: code for code in StatusCode}


class HeldCommits:
    """Commits that wait between taking their REQUEST_TIME stamp and taking their commit time.

    A context manager: leaving it releases them.
    """

    def __init__(self, resource: str) -> None:
        self._resource = resource
        self._held = threading.Event()
        self._released = threading.Event()

    def wait_held(self, timeout: float = 10.0) -> None:
        """Come back when a commit is being held; TimeoutError if there is none within `timeout` seconds."""
        if not self._held.wait(timeout):
            raise TimeoutError(f"no commit touched {self._resource!r} within {timeout} s")

    def release(self) -> None:
        """Let the held commits go on, and hold no more."""
        self._released.set()

    def __enter__(self) -> "HeldCommits":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def meet(self, resource: str) -> None:
        """Called by each commit: waits if it is one to hold."""
        if self._resource in resource and not self._released.is_set():
            self._held.set()
            self._released.wait()


class FirestoreService:
    """A Firestore server in native mode. Every project and database name has a data space of its own.

    `file` is the SQLite file (None: in memory), `indexes` the path of firestore.indexes.json, read once.
    """

    def __init__(self, *, clock: SuiteClock, traffic: Traffic, file: Path | None, indexes: Path) -> None:
        self._clock = clock
        self._traffic = traffic
        self._database = Database(clock=clock, file=file, indexes=indexes)
        self._holds: list[HeldCommits] = []
        self._writes = 0
        self._written = threading.Condition()
        self._server = grpc.server(
            ThreadPoolExecutor(_THREADS, thread_name_prefix="firestore"),
            options=[
                ("grpc.max_receive_message_length", _TRANSPORT_BYTES),
                ("grpc.max_send_message_length", _TRANSPORT_BYTES),
                ("grpc.so_reuseport", 0),
            ],
        )
        unary: dict[str, tuple[Callable[[Any, Call], Any], Any]] = {
            "GetDocument": (self._get_document, m.GetDocumentRequest),
            "BeginTransaction": (self._begin_transaction, m.BeginTransactionRequest),
            "Commit": (self._commit, m.CommitRequest),
            "Rollback": (self._rollback, m.RollbackRequest),
            "BatchWrite": (self._batch_write, m.BatchWriteRequest),
            "ListDocuments": (self._list_documents, m.ListDocumentsRequest),
            "ListCollectionIds": (self._list_collection_ids, m.ListCollectionIdsRequest),
        }
        streaming: dict[str, tuple[Callable[[Any, Call], Iterator[bytes]], Any]] = {
            "BatchGetDocuments": (self._batch_get_documents, m.BatchGetDocumentsRequest),
            "RunQuery": (self._run_query, m.RunQueryRequest),
            "RunAggregationQuery": (self._run_aggregation_query, m.RunAggregationQueryRequest),
        }
        methods = {name: self._unary(name, method, request) for name, (method, request) in unary.items()}
        methods |= {
            name: self._stream(name, method, request) for name, (method, request) in streaming.items()
        }
        self.handlers = grpc.method_handlers_generic_handler("google.firestore.v1.Firestore", methods)
        """What answers each method, for a caller in the same process."""
        self._server.add_generic_rpc_handlers((self.handlers,))

    def start(self, port: int = 0) -> int:
        """Listen on 127.0.0.1; port 0 takes a free one. Returns the port; a taken one raises RuntimeError."""
        bound = self._server.add_insecure_port(f"127.0.0.1:{port}")
        self._server.start()
        return int(bound)

    def stop(self) -> None:
        """End every call and close the file."""
        for hold in self._holds:
            hold.release()
        self._server.stop(grace=0.2).wait()
        self._database.close()

    def reset(self) -> None:
        """Forget all data, when the writes that are on their way have ended. TimeoutError if one goes on."""
        with self._settled():
            self._database.reset()

    def kept(self) -> Callable[[], None]:
        """What takes it back to the data of now, as `reset` forgets all."""
        restore_data = self._database.kept()

        def restore() -> None:
            with self._settled():
                restore_data()

        return restore

    @contextmanager
    def _settled(self) -> Iterator[None]:
        """Inside no commit is held, and none is on its way."""
        for hold in self._holds:
            hold.release()
        self._holds.clear()
        with self._written:
            if not self._written.wait_for(lambda: not self._writes, WRITE_SECONDS):
                raise TimeoutError(f"{self._writes} writes went on for {WRITE_SECONDS} s")
            yield

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._written:
            self._writes += 1
        try:
            yield
        finally:
            with self._written:
                self._writes -= 1
                self._written.notify_all()

    def hold_commits(self, resource: str) -> HeldCommits:
        """Hold the commits that touch a path containing `resource`, from now until released."""
        hold = HeldCommits(resource)
        self._holds.append(hold)
        return hold

    # The frame around every call

    def _unary(self, name: str, method: "Callable[[Any, Call], Any]", request: Any) -> Any:
        def answer(payload: bytes, context: Any) -> bytes:
            call = Call(self, name, context)
            try:
                reply = method(_parse(request, payload), call)
                call.leave()
            except Refused as refused:
                context.abort(refused.code, refused.message)
            return bytes(reply.SerializeToString())

        return grpc.unary_unary_rpc_method_handler(answer)

    def _stream(self, name: str, method: "Callable[[Any, Call], Iterator[bytes]]", request: Any) -> Any:
        def answer(payload: bytes, context: Any) -> Iterator[bytes]:
            call = Call(self, name, context)
            try:
                replies = method(_parse(request, payload), call)
                yield from call.unbroken(replies)
            except Refused as refused:
                context.abort(refused.code, refused.message)

        return grpc.unary_stream_rpc_method_handler(answer)

    # Documents

    def _get_document(self, request: Any, call: "Call") -> Any:
        space = self._space_of(request.name)
        path = self._database.document_path(space, request.name)
        call.enter(path, space, request.transaction)
        self._traffic.bill(READS, 1)
        time, transaction, _ = self._database.reading(space, request)
        version = self._database.read(space, path, time, transaction)
        if version is None:
            raise Refused(StatusCode.NOT_FOUND, f'Document "{request.name}" not found.')
        return m.Document.FromString(self._document(space, version, _mask(request)))

    def _batch_get_documents(self, request: Any, call: "Call") -> Iterator[bytes]:
        space = self._database.space(request.database)
        paths = {name: self._database.document_path(space, name) for name in request.documents}
        call.enter(" ".join(paths.values()), space, request.transaction, begins(request))
        self._traffic.bill(READS, len(paths))
        mask = _mask(request)
        time, transaction, begun = self._database.reading(space, request)
        return self._found(space, paths, time, transaction, begun, mask)

    def _found(
        self, space: Space, paths: dict[str, str], time: int, transaction: Any, begun: bytes, mask: Any
    ) -> Iterator[bytes]:
        if begun:
            yield _bytes(3, begun)
        read_time = _bytes(4, m.timestamp(time).SerializeToString())
        for name, path in paths.items():
            version = self._database.read(space, path, time, transaction)
            if version is None:
                yield _bytes(2, name.encode()) + read_time
            else:
                yield _bytes(1, self._document(space, version, mask)) + read_time

    def _list_documents(self, request: Any, call: "Call") -> Any:
        space, parent = self._parent(request.parent)
        path = f"{parent}/{request.collection_id}" if parent else request.collection_id
        call.enter(path)
        if request.order_by:
            raise unimplemented("order_by of ListDocuments")
        if not request.collection_id:
            raise unimplemented("ListDocuments over every collection")
        time, transaction, _ = self._database.reading(space, request)
        if transaction is not None and not transaction.read_only:
            raise unimplemented("ListDocuments in a read-write transaction")
        size = request.page_size if 0 < request.page_size < _PAGE else _PAGE
        versions = self._database.documents(space, path, time, request.page_token, size + 1)
        found = {v.name: self._document(space, v, _mask(request)) for v in versions}
        if request.show_missing:
            for rest in self._database.below(space, f"{path}/", time):
                name = rest.partition("/")[0]
                if name > request.page_token:
                    found.setdefault(name, _bytes(1, f"{space.root}/{path}/{name}".encode()))
        names = sorted(found, key=str.encode)
        reply = m.ListDocumentsResponse()
        for name in names[:size]:
            reply.documents.add().MergeFromString(found[name])
        self._traffic.bill(READS, max(1, len(reply.documents)))
        if len(names) > size:
            reply.next_page_token = names[size - 1]
        return reply

    def _list_collection_ids(self, request: Any, call: "Call") -> Any:
        space, parent = self._parent(request.parent)
        call.enter(parent)
        time = self._database.present()
        if request.HasField("read_time"):
            time = self._database.past(request.read_time)
        below = self._database.below(space, f"{parent}/" if parent else "", time)
        self._traffic.bill(READS, 1)
        ids = sorted({rest.partition("/")[0] for rest in below} - {""}, key=str.encode)
        ids = [i for i in ids if i > request.page_token]
        size = request.page_size if request.page_size > 0 else len(ids)
        reply = m.ListCollectionIdsResponse(collection_ids=ids[:size])
        if len(ids) > size:
            reply.next_page_token = ids[size - 1]
        return reply

    # Queries

    def _run_query(self, request: Any, call: "Call") -> Iterator[bytes]:
        space, query = self._query(request, request.structured_query, call)
        time, transaction, begun = self._database.reading(space, request)
        found = self._database.run(query, time, transaction)
        return self._results(space, found, query.select, query.offset, time, begun)

    def _results(
        self, space: Space, found: Iterator[Version], select: Any, offset: int, time: int, begun: bytes
    ) -> Iterator[bytes]:
        if begun:
            yield _bytes(2, begun)
        read_time = _bytes(3, m.timestamp(time).SerializeToString())
        skipped = b"\x20" + _varint(offset) if offset else b""
        sent = 0
        try:
            for version in found:
                sent += 1
                yield _bytes(1, self._document(space, version, select)) + read_time + skipped
                skipped = b""
            if not sent:
                yield read_time + skipped
        finally:
            self._traffic.bill(READS, max(1, sent + offset))

    def _run_aggregation_query(self, request: Any, call: "Call") -> Iterator[bytes]:
        asked = request.structured_aggregation_query
        aggregations = _by_alias(asked.aggregations)
        summed = _summed(list(aggregations.values()))
        if summed is not None and (request.transaction or request.HasField("new_transaction")):
            raise unimplemented("a sum in a transaction")
        space, query = self._query(request, asked.structured_query, call, summed)
        time, transaction, begun = self._database.reading(space, request)
        reply = m.RunAggregationQueryResponse(transaction=begun, read_time=m.timestamp(time))
        for alias, aggregation in aggregations.items():
            result = reply.result.aggregate_fields[alias]
            if summed is None:
                up_to = aggregation.count.up_to.value if aggregation.count.HasField("up_to") else None
                result.integer_value = self._database.count(query, time, up_to, transaction)
                self._bill_entries(result.integer_value)
                continue
            self._bill_entries(self._database.count(query, time, None, None))
            if isinstance(total := self._database.total(query, time, summed), int):
                result.integer_value = total
            else:
                result.double_value = total
        return iter([reply.SerializeToString()])

    def _bill_entries(self, number: int) -> None:
        self._traffic.bill(READS, max(1, -(-number // ENTRIES_A_READ)))

    def _query(
        self, request: Any, structured: Any, call: "Call", summed: FieldPath | None = None
    ) -> tuple[Space, Any]:
        space, parent = self._parent(request.parent)
        sources = structured.from_
        collection = sources[0].collection_id if sources else ""
        about = f"{parent}/{collection}" if parent else collection
        call.enter(about, space, request.transaction, begins(request))
        if request.HasField("explain_options"):
            raise unimplemented("explain_options")
        return space, self._database.understand(space, parent, structured, summed)

    # Transactions and writes

    def _begin_transaction(self, request: Any, call: "Call") -> Any:
        call.enter("")
        space = self._database.space(request.database)
        return m.BeginTransactionResponse(transaction=self._database.begin(space, request.options).token)

    def _rollback(self, request: Any, call: "Call") -> Any:
        call.enter("")
        self._database.rollback(self._database.space(request.database), request.transaction)
        return m.Empty()

    def _commit(self, request: Any, call: "Call") -> Any:
        with self._writing():
            return self._commit_now(request, call)

    def _commit_now(self, request: Any, call: "Call") -> Any:
        space = self._database.space(request.database)
        resource = written(space.root, request.writes)
        stamp = self._database.stamp()
        call.enter(resource, space, request.transaction)
        for hold in list(self._holds):
            hold.meet(resource)
        time, results = self._database.commit(space, list(request.writes), stamp, request.transaction)
        self._bill_writes(request.writes)
        return m.CommitResponse(write_results=results, commit_time=m.timestamp(time))

    def _batch_write(self, request: Any, call: "Call") -> Any:
        with self._writing():
            return self._batch_write_now(request, call)

    def _batch_write_now(self, request: Any, call: "Call") -> Any:
        space = self._database.space(request.database)
        resource = written(space.root, request.writes)
        stamp = self._database.stamp()
        call.enter(resource)
        if len(set(resource.split(" "))) < len(request.writes):
            raise invalid("a batch writes each document at most once")
        reply = m.BatchWriteResponse()
        for write in request.writes:
            status = reply.status.add()
            result = reply.write_results.add()
            try:
                _, results = self._database.commit(space, [write], stamp)
                result.CopyFrom(results[0])
                self._bill_writes([write])
            except Refused as refused:
                status.code, status.message = refused.code.value[0], refused.message
        return reply

    def _bill_writes(self, writes: Any) -> None:
        deletes = sum(bool(each.delete) for each in writes)
        self._traffic.bill(DELETES, deletes)
        self._traffic.bill(WRITES, len(writes) - deletes)

    # Names and answers

    def advance(self, seconds: float) -> None:
        """Move the suite's clock: what a delayed commit does."""
        self._clock.advance(timedelta(seconds=seconds))

    def enter(self, name: str, resource: str, transaction: bool) -> Fault | None:
        """Write a call down in the journal, and what it needs."""
        for permission in CALLS.get(f"firestore.{name}", ()):
            self._traffic.need(permission, DATABASE, "")
        return self._traffic.enter(f"firestore.{name}", resource, transaction=transaction)

    def abort(self, space: Space, token: bytes, resource: str) -> Refused:
        """End a transaction at a call; returns the answer to it."""
        return self._database.abort(space, token, resource.split(" "))

    def _space_of(self, name: str) -> Space:
        return self._database.space("/".join(name.split("/")[:4]))

    def _parent(self, name: str) -> tuple[Space, str]:
        """The data space and the path below `/documents` of a parent: a document, or the root itself."""
        space = self._space_of(name)
        if name == space.root:
            return space, ""
        path = relative(name, space.root)
        if len(path.split("/")) % 2:
            raise invalid(f"{name!r} is not a document, nor the root of the documents")
        return space, path

    def _document(self, space: Space, version: Version, select: Any) -> bytes:
        """A Document on the wire: what is stored goes out as it is, between its name and its times."""
        fields = version.fields
        if select is not None:
            fields = project(m.Document.FromString(fields), select).SerializeToString(deterministic=True)
        return b"".join(
            (
                _bytes(1, f"{space.root}/{self._database.path_of(version)}".encode()),
                fields,
                _bytes(3, m.timestamp(version.created).SerializeToString()),
                _bytes(4, m.timestamp(version.since).SerializeToString()),
            )
        )


class Call:
    """One call: written down once, and made to suffer the fault that was asked for. `service` does so."""

    def __init__(self, service: Any, name: str, context: Any) -> None:
        self._service = service
        self._name = name
        self._context = context
        self.breaks = ""
        """How a call that took effect ends badly: `reset_after` or `truncate`, or nothing."""

    def enter(self, resource: str, space: Any = None, transaction: bytes = b"", begins: bool = False) -> None:
        """Write the call down. Raises Refused for a fault that leaves it without effect.

        `transaction` is the token of the one that it belongs to, in `space`; or it `begins` one.
        """
        fault = self._service.enter(self._name, resource, bool(transaction) or begins)
        if fault is None:
            return
        if fault.action == "abort" and begins:
            raise conflict()
        if fault.action == "abort" and space is not None:
            raise self._service.abort(space, transaction, resource)
        if fault.action == "error":
            code = _GRPC.get(fault.status) or _HTTP.get(fault.status, StatusCode.UNKNOWN)
            raise Refused(code, "an error (as asked)")
        if fault.action == "reset_before":
            raise Refused(StatusCode.UNAVAILABLE, "the connection broke (as asked)")
        if fault.action == "delay":
            if self._name == "Commit":
                self._service.advance(fault.seconds)
            else:
                wait(fault.seconds)
            return
        self.breaks = fault.action

    def unbroken(self, replies: Iterator[bytes]) -> Iterator[bytes]:
        """The replies of a stream; broken off if that was asked for."""
        if self.breaks:
            every = list(replies)
            yield from every if self.breaks == "reset_after" else every[: len(every) // 2]
            raise Refused(StatusCode.UNAVAILABLE, "the connection broke (as asked)")
        yield from replies

    def leave(self) -> None:
        """At the end of a call without a stream: break off if that was asked for."""
        if self.breaks:
            raise Refused(StatusCode.UNAVAILABLE, "the connection broke (as asked)")


def _by_alias(asked: Any) -> dict[str, Any]:
    """The aggregations of a query, by the names of their results."""
    if not asked:
        raise invalid("an aggregation query needs at least one aggregation")
    if len(asked) > MAX_AGGREGATIONS:
        raise invalid(f"an aggregation query has at most {MAX_AGGREGATIONS} aggregations")
    named: dict[str, Any] = {}
    nameless = 0
    for aggregation in asked:
        if aggregation.WhichOneof("operator") not in ("count", "sum"):
            raise unimplemented("an aggregation other than count and sum")
        if aggregation.count.HasField("up_to") and aggregation.count.up_to.value <= 0:
            raise invalid("up_to of a count is greater than zero")
        alias = aggregation.alias
        if alias:
            check_alias(alias)
        else:
            nameless += 1
            alias = f"field_{nameless}"
        if alias in named:
            raise invalid(f"Aggregation aliases contain duplicate alias: {alias}.")
        named[alias] = aggregation
    return named


def _summed(aggregations: list[Any]) -> FieldPath | None:
    """The field that is added up; None where documents are counted."""
    if not any(each.HasField("sum") for each in aggregations):
        return None
    if len(aggregations) > 1:
        raise unimplemented("a sum beside other aggregations")
    return field_of_sum(aggregations[0])


def _parse(kind: Any, payload: bytes) -> Any:
    if len(payload) > MAX_REQUEST_BYTES:
        raise invalid(f"Request payload size exceeds the limit: {MAX_REQUEST_BYTES} bytes.")
    return kind.FromString(payload)


def begins(request: Any) -> bool:
    """Whether a request to read begins a transaction."""
    return bool(request.WhichOneof("consistency_selector") == "new_transaction")


def written(root: str, writes: Any) -> str:
    """The paths below a root of the documents that writes are about, joined by a space."""
    names = [w.update.name or w.delete or w.transform.document for w in writes]
    return " ".join(name.removeprefix(root + "/") for name in names)


def _mask(request: Any) -> Any:
    return [parse_path(path) for path in request.mask.field_paths] if request.HasField("mask") else None


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _bytes(number: int, content: bytes) -> bytes:
    """One length-delimited field of a message on the wire (https://protobuf.dev/programming-guides/encoding/)."""
    return bytes((number << 3 | 2,)) + _varint(len(content)) + content
