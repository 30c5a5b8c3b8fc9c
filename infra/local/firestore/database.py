"""Reads, commits and transactions over the store, on the suite's clock.

Reads at a past time: https://cloud.google.com/firestore/docs/use-pitr
Commits: https://cloud.google.com/firestore/docs/reference/rpc/google.firestore.v1#commitrequest
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grpc import StatusCode

from infra.local.clock import SuiteClock
from infra.local.firestore import queries, writes
from infra.local.firestore.errors import Refused, invalid
from infra.local.firestore.indexes import FieldPath, Indexes
from infra.local.firestore.messages import Document, WriteResult, from_timestamp, micros, timestamp
from infra.local.firestore.queries import Query, relative
from infra.local.firestore.sizes import MAX_COMMIT_BYTES, change_size
from infra.local.firestore.store import Change, Store, Version
from infra.local.firestore.transactions import Transaction, Transactions, conflict
from infra.local.firestore.values import check_document, check_id

_HOUR = 3_600 * 1_000_000
_MINUTE = 60 * 1_000_000
OLDEST_READ = 7 * 24 * _HOUR
"""How far back a read reaches with point-in-time recovery on (https://cloud.google.com/firestore/docs/pitr)."""

SMALL_WRITES, SMALL_BYTES = 100, 100_000
"""A commit of no more documents and bytes stays far below MAX_COMMIT_BYTES, whatever is indexed."""

PATIENCE = 2.0
"""Seconds of the machine's time that a commit waits for a retried transaction that goes first."""


@dataclass(frozen=True)
class Space:
    """One database of one project: `root` is the full name of its `/documents`."""

    id: int
    root: str


@dataclass
class _Draft:
    """A document while a commit is worked out."""

    path: str
    old: Version | None
    before: Any
    document: Any
    created: bool = False


class Database:
    """Everything that the service keeps. Safe to share between threads."""

    def __init__(self, *, clock: SuiteClock, file: Path | None, indexes: Path) -> None:
        self.indexes = Indexes(indexes)
        self._clock = clock
        self._store = Store(file, self.indexes)
        self._turn = threading.Condition(self._store.lock)
        self._transactions = Transactions()
        self._last = self._store.last_commit()
        self._store.forget_before(self._now() - OLDEST_READ - _MINUTE)

    def close(self) -> None:
        """Close the file."""
        self._store.close()

    def reset(self) -> None:
        """Forget all data and every transaction."""
        with self._turn:
            self._store.reset()
            self._transactions = Transactions()
            self._last = 0
            self._turn.notify_all()

    def kept(self) -> Callable[[], None]:
        """What takes it back to the data of now, without any transaction."""
        restore_data = self._store.kept()

        def restore() -> None:
            with self._turn:
                restore_data()
                self._transactions = Transactions()
                self._last = self._store.last_commit()
                self._turn.notify_all()

        return restore

    # Names and times

    def space(self, name: str) -> Space:
        """The data space of `projects/p/databases/d`."""
        parts = name.split("/")
        if len(parts) != 4 or parts[0] != "projects" or parts[2] != "databases" or not all(parts):
            raise invalid(f"{name!r} is not the name of a database (projects/…/databases/…)")
        return Space(self._store.space(name), f"{name}/documents")

    def document_path(self, space: Space, name: str) -> str:
        """The path below `/documents` of a document's full name; INVALID_ARGUMENT if it is none."""
        path = relative(name, space.root)
        segments = path.split("/")
        if len(segments) % 2:
            raise invalid(f"{name!r} is not the name of a document")
        for segment in segments:
            check_id(segment, f"the document name {name!r}")
        return path

    def stamp(self) -> Any:
        """What REQUEST_TIME stands for, if taken now: the suite's time in whole milliseconds."""
        now = micros(self._clock.now())
        return timestamp(now - now % 1000)

    def present(self) -> int:
        """The time of a read that asks for none: it sees all that is committed; later commits are later."""
        with self._store.lock:
            return self._now()

    def past(self, read_time: Any) -> int:
        """The time of a read that asks for one, held against how far back production reads."""
        time = from_timestamp(read_time, "read_time")
        now = self.present()
        if time > now:
            raise invalid("read_time is in the future")
        if now - time > OLDEST_READ:
            # https://github.com/googleapis/java-firestore/pull/670
            raise Refused(StatusCode.FAILED_PRECONDITION, "The requested snapshot version is too old.")
        if now - time > _HOUR and time % _MINUTE:
            raise invalid("read_time is more than an hour ago, where only whole minutes can be read")
        return time

    def _now(self) -> int:
        """The clock, never behind the last commit; the next commit will be after it."""
        self._last = max(micros(self._clock.now()), self._last)
        return self._last

    # Transactions

    def begin(self, space: Space, options: Any) -> Transaction:
        """Open a transaction from TransactionOptions."""
        mode = options.WhichOneof("mode")
        read_only = mode == "read_only"
        snapshot = None
        if read_only and options.read_only.HasField("read_time"):
            snapshot = self.past(options.read_only.read_time)
        with self._turn:
            now = self._now()
            transaction = self._transactions.begin(
                space.id, read_only=read_only, now=now, retry=options.read_write.retry_transaction
            )
            transaction.snapshot = now if read_only and snapshot is None else snapshot
            self._turn.wait_for(lambda: self._transactions.claim(transaction), PATIENCE)
        return transaction

    def reading(self, space: Space, request: Any) -> tuple[int, Transaction | None, bytes]:
        """At what time a request reads, in which transaction, and the token of one that it begins."""
        kind = request.WhichOneof("consistency_selector")
        if kind == "read_time":
            return self.past(request.read_time), None, b""
        if kind is None:
            return self.present(), None, b""
        begun = b""
        if kind == "new_transaction":
            transaction = self.begin(space, request.new_transaction)
            begun = transaction.token
        with self._turn:
            now = self._now()
            transaction = self._transactions.get(begun or request.transaction, space.id, now)
            if transaction.snapshot is None:
                transaction.snapshot = now
            return transaction.snapshot, transaction, begun

    def rollback(self, space: Space, token: bytes) -> None:
        """Give a transaction up. One that lost a conflict is over already, and that is no error."""
        with self._turn:
            now = self._now()
            if not self._transactions.is_finished(token):
                self._transactions.finish(self._transactions.get(token, space.id, now))
                self._turn.notify_all()

    def abort(self, space: Space, token: bytes, paths: list[str]) -> Refused:
        """End a transaction as if it had met another at these paths; returns the answer to its call."""
        with self._turn:
            self._transactions.lose(self._transactions.get(token, space.id, self._now()), paths)
            self._turn.notify_all()
        return conflict()

    # Reading

    def read(self, space: Space, path: str, time: int, transaction: Transaction | None) -> Version | None:
        """A document at a time."""
        parent, _, name = path.rpartition("/")
        version = self._store.at(self._store.collection(space.id, parent), name, time)
        if transaction is not None and not transaction.read_only:
            transaction.documents[path] = None if version is None else version.since
        return version

    def understand(
        self, space: Space, parent: str, structured: Any, summed: FieldPath | None = None
    ) -> Query:
        """Read a StructuredQuery; `parent` is the path below `/documents`, empty at the top; `summed` is the
        field to be added up."""
        return queries.understand(
            structured, space=space.id, root=space.root, parent=parent, indexes=self.indexes, summed=summed
        )

    def run(self, query: Query, time: int, transaction: Transaction | None) -> Iterator[Version]:
        """What a query finds at a time."""
        found = queries.run(query, self._store, time)
        if transaction is None or transaction.read_only:
            return found
        every = list(found)
        transaction.queries.append((query, [_identity(version) for version in every]))
        return iter(every)

    def count(self, query: Query, time: int, up_to: int | None, transaction: Transaction | None) -> int:
        """How many documents a query finds at a time, at most `up_to`."""
        number = queries.count(query, self._store, time, up_to)
        if transaction is not None and not transaction.read_only:
            transaction.counts.append((query, up_to, number))
        return number

    def total(self, query: Query, time: int, path: FieldPath) -> int | float:
        """The sum of a field of the documents that a query finds at a time."""
        return queries.total(query, self._store, time, path)

    def path_of(self, version: Version) -> str:
        """The path below `/documents` of a version's document."""
        return f"{self._store.collection_of(version).path}/{version.name}"

    def documents(self, space: Space, path: str, time: int, after: str, limit: int) -> list[Version]:
        """A page of a collection in the order of ids, behind the id `after`."""
        collection = self._store.collection(space.id, path)
        if collection is None:
            return []
        least = f"{after}\x00" if after else ""
        return self._store.by_name(collection, time, least=least, limit=limit)

    def below(self, space: Space, prefix: str, time: int) -> list[str]:
        """What follows `prefix` in the paths of the collections that hold documents at a time."""
        return [
            c.path[len(prefix) :]
            for c in self._store.collections(space.id, below=prefix)
            if self._store.any_in(c, time)
        ]

    # Writing

    def commit(
        self, space: Space, requests: list[Any], stamp: Any, token: bytes = b""
    ) -> tuple[int, list[Any]]:
        """Apply writes, all or none. Returns the commit time and the WriteResults.

        Raises Refused: ABORTED when what the transaction has read is no longer so; ALREADY_EXISTS, NOT_FOUND
        or FAILED_PRECONDITION when a precondition fails; INVALID_ARGUMENT for what cannot be written.
        """
        paths = [self.document_path(space, writes.target(request)) for request in requests]
        with self._turn:
            transaction = self._transactions.get(token, space.id, self._now()) if token else None
            if transaction is not None and transaction.read_only and requests:
                raise invalid("Cannot modify entities in a read-only transaction.")
            self._wait_for_turn(space, paths, token)
            try:
                return self._commit(space, requests, paths, stamp, transaction)
            finally:
                self._turn.notify_all()

    def _commit(
        self, space: Space, requests: list[Any], paths: list[str], stamp: Any, transaction: Transaction | None
    ) -> tuple[int, list[Any]]:
        if transaction is not None and not self._still_true(space, transaction):
            self._transactions.lose(transaction, paths)
            raise conflict()
        time = max(micros(self._clock.now()), self._last + 1)
        drafts: dict[str, _Draft] = {}
        answers: list[tuple[_Draft, list[Any]]] = []
        for request, path in zip(requests, paths, strict=True):
            draft = drafts.get(path)
            if draft is None:
                draft = drafts[path] = self._draft(space, path)
            _check_precondition(request, draft, f"{space.root}/{path}")
            after, transformed = writes.apply(request, draft.document, stamp)
            if after is None:
                draft.created = False
            else:
                check_document(path, after.fields)
                draft.created = draft.created or draft.document is None
            draft.document = after
            answers.append((draft, transformed))
        changes = [change for draft in drafts.values() if (change := _change(draft, time))]
        self._check_size(changes)
        with self._store.writing():
            self._store.write(space.id, changes, time)
        self._last = time
        if transaction is not None:
            self._transactions.finish(transaction)
        changed = {change.path for change in changes}
        results = []
        for draft, transformed in answers:
            result = WriteResult(transform_results=transformed)
            if draft.document is not None:
                at = time if draft.path in changed or draft.old is None else draft.old.since
                result.update_time.CopyFrom(timestamp(at))
            results.append(result)
        return time, results

    def _check_size(self, changes: list[Change]) -> None:
        documents = [each for change in changes for each in (change.before, change.after) if each is not None]
        if len(changes) <= SMALL_WRITES and sum(each.ByteSize() for each in documents) <= SMALL_BYTES:
            return
        size = sum(change_size(self.indexes, c.path, c.before, c.after) for c in changes)
        if size > MAX_COMMIT_BYTES:
            # https://github.com/firebase/firebase-tools/issues/1036
            raise invalid("Transaction too big. Decrease transaction size.")

    def _draft(self, space: Space, path: str) -> _Draft:
        old = self.read(space, path, self._last, None)
        if old is None:
            return _Draft(path, None, None, None)
        document = Document.FromString(old.fields)
        return _Draft(path, old, document, document)

    def _still_true(self, space: Space, transaction: Transaction) -> bool:
        """Whether everything that a transaction has read would be read the same now."""
        if transaction.read_only or transaction.snapshot is None:
            return True
        for path, since in transaction.documents.items():
            version = self.read(space, path, self._last, None)
            if (None if version is None else version.since) != since:
                return False
        return all(
            [_identity(v) for v in queries.run(query, self._store, self._last)] == seen
            for query, seen in transaction.queries
        ) and all(
            queries.count(query, self._store, self._last, up_to) == seen
            for query, up_to, seen in transaction.counts
        )

    def _wait_for_turn(self, space: Space, paths: list[str], token: bytes) -> None:
        """Let a retried transaction finish that has one of these documents to itself.

        Not for ever: its client may be dead.
        """

        def free() -> bool:
            return self._transactions.owner(space.id, paths, token) is None

        if not free() and not self._turn.wait_for(free, PATIENCE):
            while owner := self._transactions.owner(space.id, paths, token):
                self._transactions.free(owner)


def _identity(version: Version) -> tuple[int, str, int]:
    return version.collection, version.name, version.since


def _change(draft: _Draft, time: int) -> Change | None:
    """What a commit does to a document; None if it leaves it as it was, which keeps its update_time."""
    if draft.document is None:
        return None if draft.old is None else Change(draft.path, draft.old, draft.before, None, 0)
    if draft.old is None:
        return Change(draft.path, None, None, draft.document, time)
    if not draft.created and draft.document.SerializeToString(deterministic=True) == draft.old.fields:
        return None
    created = time if draft.created else draft.old.created
    return Change(draft.path, draft.old, draft.before, draft.document, created)


def _check_precondition(request: Any, draft: _Draft, name: str) -> None:
    """https://cloud.google.com/firestore/docs/reference/rpc/google.firestore.v1#precondition."""
    precondition = request.current_document
    kind = precondition.WhichOneof("condition_type")
    exists = draft.document is not None
    if kind == "exists":
        if precondition.exists and not exists:
            raise Refused(StatusCode.NOT_FOUND, f"No document to update: {name}")
        if not precondition.exists and exists:
            raise Refused(StatusCode.ALREADY_EXISTS, f"Document already exists: {name}")
    elif kind == "update_time":
        wanted = from_timestamp(precondition.update_time, "update_time of a precondition")
        # A version that this commit itself makes is later than any that can be named; what is not there is 0.
        stored = draft.old.since if draft.old is not None and draft.document is draft.before else 0
        if exists and stored and wanted > stored:
            raise invalid(f"Invalid base version, it is greater than the stored version: {name}")
        if not exists or wanted != stored:
            # https://github.com/GoogleCloudPlatform/spring-cloud-gcp/issues/2163
            raise Refused(
                StatusCode.FAILED_PRECONDITION,
                f"the stored version ({stored}) does not match the required base version ({wanted})",
            )
