"""Firestore is Google's emulator: calls go through here, for what a test needs beside.

A test moves the suite's clock, and the emulator knows only the machine's. So each time in a message is said
in the other's clock, and REQUEST_TIME stamps are put in here. Transactions that production ends when time
goes by are ended when the clock moves. Calls are written down, and faults strike, as in ours.
"""

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import grpc

from infra.local.firestore import messages as m
from infra.local.firestore.errors import Refused, invalid
from infra.local.firestore.service import Call, HeldCommits, begins, written
from infra.local.firestore.transactions import MAX_IDLE, MAX_LIFE
from infra.local.firestore.values import parse_path
from infra.local.traffic import Fault, Traffic
from tests.emulators.clock import MovedClock, micros
from tests.emulators.forward import Emulator

SERVICE = "google.firestore.v1.Firestore"
STREAMS = ("BatchGetDocuments", "RunQuery", "RunAggregationQuery")
UNARY = ("GetDocument", "BeginTransaction", "Commit", "BatchWrite", "ListDocuments", "ListCollectionIds")
LOCK_WAIT = timedelta(seconds=20)
"""How much time goes by, for the suite, while a call waits for another's locks until it is refused: the
emulator has it wait for two seconds. So a transaction that is paused or dead, and keeps others out, is over
when it has done so thrice."""

TIMES = ("create_time", "update_time", "read_time", "commit_time")
_REQUEST_TIME = m.FieldTransform.ServerValue.Value("REQUEST_TIME")


class GoogleFirestore:
    """Takes the place of FirestoreService in a suite."""

    def __init__(self, *, host: str, project: str, clock: MovedClock, traffic: Traffic) -> None:
        self._emulator = Emulator(host, project)
        self._clock = clock
        self._traffic = traffic
        self._holds: list[HeldCommits] = []
        self._lock = threading.Lock()
        self._open: dict[bytes, tuple[str, int, int]] = {}
        """Of each open transaction its database, since when it is open, and when it was last used."""
        self._expired: set[bytes] = set()
        methods: dict[str, Any] = {name: self._unary(name) for name in (*UNARY, "Rollback")}
        methods |= {name: self._stream(name) for name in STREAMS}
        self.handlers = grpc.method_handlers_generic_handler(SERVICE, methods)
        clock.moved.append(self._expire)

    def close(self) -> None:
        self._emulator.close()

    def reset(self) -> None:
        """Forget all data."""
        for hold in self._holds:
            hold.release()
        self._holds.clear()
        self._open.clear()
        self._expired.clear()
        self._emulator.forget()

    def hold_commits(self, resource: str) -> HeldCommits:
        """As FirestoreService does."""
        hold = HeldCommits(resource)
        self._holds.append(hold)
        return hold

    # What a call asks of the service that it is made to

    def enter(self, name: str, resource: str, transaction: bool) -> Fault | None:
        return self._traffic.enter(f"firestore.{name}", resource, transaction=transaction)

    def abort(self, database: Any, token: bytes, resource: str) -> Refused:
        self._rollback(database, token)
        return Refused(grpc.StatusCode.ABORTED, f"too much contention on {resource} (as asked)")

    def advance(self, seconds: float) -> None:
        self._clock.advance(timedelta(seconds=seconds))

    # Calls

    def _unary(self, name: str) -> Any:
        def answer(payload: bytes, context: Any) -> bytes:
            call = Call(self, name, context)
            try:
                reply = self._answered(name, payload, call)[0]
                call.leave()
            except Refused as refused:
                context.abort(refused.code, refused.message)
            return reply

        return grpc.unary_unary_rpc_method_handler(answer)

    def _stream(self, name: str) -> Any:
        def answer(payload: bytes, context: Any) -> Iterator[bytes]:
            call = Call(self, name, context)
            try:
                yield from call.unbroken(iter(self._answered(name, payload, call)))
            except Refused as refused:
                context.abort(refused.code, refused.message)

        return grpc.unary_stream_rpc_method_handler(answer)

    def _answered(self, name: str, payload: bytes, call: Call) -> list[bytes]:
        request = getattr(m, f"{name}Request").FromString(payload)
        stamp = micros(self._clock.now()) // 1000 * 1000
        database, resource = _about(name, request)
        token = getattr(request, "transaction", b"")
        begun_here = name in STREAMS and begins(request)
        call.enter(resource, database, b"" if name == "Rollback" else token, begun_here)
        stamps = [_stamped(write, stamp) for write in getattr(request, "writes", ())]
        if name == "Commit":
            for hold in list(self._holds):
                hold.meet(resource)
        _in_time(request, self._clock.machines)
        method, content = f"/{SERVICE}/{name}", request.SerializeToString()
        self._used(database, token)
        if token in self._expired and name != "Rollback":
            # The emulator's words are others: it was told to end the transaction.
            # https://github.com/googleapis/nodejs-firestore/pull/1347
            raise invalid("The referenced transaction has expired or is no longer valid.")
        try:
            if name in STREAMS:
                answers = self._emulator.stream(method, content)
            else:
                answers = [self._emulator.unary(method, content)]
        except grpc.RpcError as error:
            refused: Any = error
            if refused.code() is grpc.StatusCode.ABORTED and "lock timeout" in refused.details():
                self._clock.advance(LOCK_WAIT)
            raise Refused(refused.code(), refused.details()) from error
        finally:
            if name in ("Commit", "Rollback"):
                self._open.pop(token, None)
        return [self._reply(name, each, database, stamps) for each in answers]

    def _reply(self, name: str, content: bytes, database: str, stamps: list[dict[int, Any]]) -> bytes:
        if name == "Rollback":
            return content
        reply = getattr(m, f"{name}Response").FromString(content) if name != "GetDocument" else None
        if reply is None:
            reply = m.Document.FromString(content)
        _in_time(reply, self._clock.suites)
        for result, stamped in zip(getattr(reply, "write_results", ()), stamps, strict=False):
            results = list(result.transform_results)
            for place, value in stamped.items():
                results.insert(place, value)
            del result.transform_results[:]
            result.transform_results.extend(results)
        if begun := getattr(reply, "transaction", b""):
            now = micros(self._clock.now())
            with self._lock:
                self._open[begun] = database, now, now
        return bytes(reply.SerializeToString())

    # Transactions

    def _used(self, database: str, token: bytes) -> None:
        with self._lock:
            if token in self._open:
                self._open[token] = database, self._open[token][1], micros(self._clock.now())

    def _expire(self) -> None:
        """End the transactions that production would have ended by now."""
        now = micros(self._clock.now())
        with self._lock:
            late = [
                (token, database)
                for token, (database, begun, used) in self._open.items()
                if now - begun > MAX_LIFE or now - used > MAX_IDLE
            ]
        for token, database in late:
            self._expired.add(token)
            self._rollback(database, token)

    def _rollback(self, database: str, token: bytes) -> None:
        self._open.pop(token, None)
        request = m.RollbackRequest(database=database, transaction=token)
        self._emulator.call(f"/{SERVICE}/Rollback", request, m.Empty.FromString)


def _about(name: str, request: Any) -> tuple[str, str]:
    """The database of a request, and what it is about, as ours writes it down."""
    some = getattr(request, "database", "") or getattr(request, "parent", "") or getattr(request, "name", "")
    database = "/".join(some.split("/")[:4])
    beginning = f"{database}/documents"
    if name in ("Commit", "BatchWrite"):
        return database, written(beginning, request.writes)
    if name == "BatchGetDocuments":
        names = list(request.documents)
    elif name == "GetDocument":
        names = [request.name]
    elif name == "ListDocuments":
        names = [f"{request.parent}/{request.collection_id}"]
    elif name == "ListCollectionIds":
        names = [request.parent]
    elif name in STREAMS:
        query = (
            request.structured_aggregation_query.structured_query
            if name == "RunAggregationQuery"
            else request.structured_query
        )
        names = [f"{request.parent}/{query.from_[0].collection_id if query.from_ else ''}"]
    else:
        names = []
    return database, " ".join(each.removeprefix(beginning).removeprefix("/") for each in names)


def _stamped(write: Any, stamp: int) -> dict[int, Any]:
    """Put a stamp in place of each REQUEST_TIME of a write; returns what it results in, by its place."""
    value = m.Value(timestamp_value=m.timestamp(stamp))
    asked = list(write.update_transforms)
    found = {
        place: value
        for place, each in enumerate(asked)
        if each.WhichOneof("transform_type") == "set_to_server_value"
        and each.set_to_server_value == _REQUEST_TIME
    }
    for place in found:
        *above, last = parse_path(asked[place].field_path)
        fields = write.update.fields
        for segment in above:
            fields = fields[segment].map_value.fields
        fields[last].CopyFrom(value)
        if write.HasField("update_mask"):
            write.update_mask.field_paths.append(asked[place].field_path)
    del write.update_transforms[:]
    write.update_transforms.extend(each for place, each in enumerate(asked) if place not in found)
    return found


def _in_time(message: Any, other: Callable[[int], int]) -> None:
    """Say each time of Firestore's in a message in the other clock; fields' values stay as they are."""
    for field, value in message.ListFields():
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        if field.message_type.full_name == "google.protobuf.Timestamp":
            if field.name in TIMES and value.nanos % 1000 == 0:
                value.CopyFrom(m.timestamp(other(value.seconds * 1_000_000 + value.nanos // 1000)))
        elif field.message_type.name not in ("StructuredQuery", "Value"):
            repeated = field.is_repeated
            for each in value if repeated else (value,):
                _in_time(each, other)
