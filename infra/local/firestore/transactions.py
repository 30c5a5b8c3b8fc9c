"""Open transactions: what each has read, how long it may live, and whose turn it is after a conflict.

https://cloud.google.com/firestore/docs/transaction-data-contention
"""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field

from grpc import StatusCode

from infra.local.firestore.errors import Refused, invalid
from infra.local.firestore.queries import Query

MAX_LIFE = 270 * 1_000_000
"""Microseconds a transaction may live (https://cloud.google.com/firestore/quotas#writes_and_transactions)."""
MAX_IDLE = 60 * 1_000_000
"""Microseconds it may go without a request."""

_FINISHED_KEPT = 1_000


@dataclass
class Transaction:
    """One transaction. `snapshot` is the time at which it reads: set by its first read, or given."""

    token: bytes
    space: int
    read_only: bool
    began: int
    used: int
    lineage: bytes
    """The token of the first attempt, by which a client keeps its place in the line."""
    wanted: frozenset[tuple[int, str]] = frozenset()
    """What it gets to itself, because an attempt before it lost it."""
    snapshot: int | None = None
    documents: dict[str, int | None] = field(default_factory=dict)
    """Path of each document read, and its update_time as it was seen; None where it was missing."""
    queries: list[tuple[Query, list[tuple[int, str, int]]]] = field(default_factory=list)
    counts: list[tuple[Query, int | None, int]] = field(default_factory=list)


class Transactions:
    """The transactions that are open. Not safe to share: its user holds a lock around every call.

    A transaction that lost a conflict is begun again by the client, which names the one before
    (`retry_transaction`) to keep its place in the line. It then has what that attempt touched to itself, so
    that it cannot lose again and again: production, which locks what is read, is as fair.
    """

    def __init__(self) -> None:
        self._open: dict[bytes, Transaction] = {}
        self._lost: dict[bytes, set[str]] = {}
        """Lineage of a transaction that lost a conflict -> what that attempt read and wrote: paths of
        documents and of collections, and `*id` for the collections of an id."""
        self._finished: dict[bytes, None] = {}
        self._owners: dict[tuple[int, str], bytes] = {}

    def begin(self, space: int, *, read_only: bool, now: int, retry: bytes = b"") -> Transaction:
        """Open one; `retry` is the token of the attempt before."""
        self._drop_expired(now)
        token = secrets.token_bytes(16)
        transaction = Transaction(token, space, read_only, now, now, lineage=retry or token)
        self._open[token] = transaction
        transaction.wanted = frozenset((space, path) for path in self._lost.pop(retry, ()))
        return transaction

    def claim(self, transaction: Transaction) -> bool:
        """Give a transaction what it wants to itself; False, and nothing, if another has some of it."""
        for space, path in transaction.wanted:
            if any((space, above) in self._owners for above in _above(path)):
                return False
            if any(other == space and path in _above(owned) for other, owned in self._owners):
                return False
        self._owners.update(dict.fromkeys(transaction.wanted, transaction.token))
        return True

    def get(self, token: bytes, space: int, now: int) -> Transaction:
        """The open transaction of a token; INVALID_ARGUMENT for one that is over or was never there."""
        self._drop_expired(now)
        transaction = self._open.get(token)
        if transaction is None or transaction.space != space:
            if token in self._finished:
                # https://github.com/googleapis/nodejs-firestore/pull/1347
                raise invalid("The referenced transaction has expired or is no longer valid.")
            # https://github.com/googleapis/repo-automation-bots/issues/4481
            raise invalid("Invalid transaction.")
        transaction.used = now
        return transaction

    def is_finished(self, token: bytes) -> bool:
        """Whether a token was good once."""
        return token in self._finished

    def finish(self, transaction: Transaction) -> None:
        """Close one, and free what it had to itself."""
        self._open.pop(transaction.token, None)
        self._finished[transaction.token] = None
        while len(self._finished) > _FINISHED_KEPT:
            self._finished.pop(next(iter(self._finished)))
        self.free(transaction.token)

    def lose(self, transaction: Transaction, written: Iterable[str]) -> None:
        """Close one that met a conflict; its next attempt gets its documents to itself."""
        self.finish(transaction)
        asked = [seen[0] for seen in transaction.queries] + [seen[0] for seen in transaction.counts]
        collections = {f"*{query.group}" if query.across else query.path for query in asked}
        self._lost[transaction.lineage] = {*transaction.documents, *written, *collections}
        while len(self._lost) > _FINISHED_KEPT:
            self._lost.pop(next(iter(self._lost)))

    def owner(self, space: int, paths: Iterable[str], but: bytes) -> bytes | None:
        """The transaction, other than `but`, that has one of these documents to itself."""
        for path in paths:
            for above in _above(path):
                token = self._owners.get((space, above))
                if token is not None and token != but:
                    return token
        return None

    def free(self, token: bytes) -> None:
        """Take from a transaction what it had to itself."""
        for key in [key for key, owner in self._owners.items() if owner == token]:
            del self._owners[key]

    def _drop_expired(self, now: int) -> None:
        for transaction in list(self._open.values()):
            if now - transaction.began > MAX_LIFE or now - transaction.used > MAX_IDLE:
                self.finish(transaction)


def _above(path: str) -> tuple[str, ...]:
    """A document's path and what it belongs to: its collection, and all collections of that id."""
    collection = path.rpartition("/")[0]
    return path, collection, f"*{collection.rpartition('/')[2]}"


def conflict() -> Refused:
    """The answer to a transaction whose reads are no longer true; clients then try again."""
    return Refused(StatusCode.ABORTED, "Too much contention on these documents. Please try again.")
