"""A piece as Firestore holds it, at `<work>/pieces/<id>`. A piece is the only thing that is ever executed.

Its id is the name of its stage where that is one piece, else `<plan>.<name>`: a plan is one attempt's list of
the pieces of a stage, and counts once the work's document names it. Pieces of a plan that never counted are
closed by the sweep.

customer, function  whose it is, and the function that does it
stage, plan, name   where it belongs
status              QUEUED (to be published later), READY (of a kind `in_turn`: to be published from `next`),
                    OPEN, DONE or CLOSED (not needed any more)
in_line             whether it is published, and nobody has begun it
attempts            how many attempts began it since it last got on
tries               how many of its attempts failed since it last got on
holder, heartbeat   the attempt that is at it, or that did it, and when that was last alive
woken               whether a message came while that was at it
waits_for, since    what it waits for since its first failed try, and since when
retry_at            when it may be tried again after a failed try
next                when the sweep looks at it; None where it does not
swept               how often the sweep published it since an attempt last began it
shard               spreads `next`, which grows, over the index
remove_after        when Firestore deletes it (`lifetimes`)
"""

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter

from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, count, fields_of
from shared.work.lifetimes import PIECES_KEPT, REMOVE_AFTER

QUEUED, READY, OPEN, DONE, CLOSED = "QUEUED", "READY", "OPEN", "DONE", "CLOSED"

LEASE = timedelta(minutes=3)
"""How long an attempt that shows no life keeps others from its piece."""

STALLED = timedelta(minutes=15)
"""How long after it was published a piece that nobody began is published again."""

LOST = timedelta(days=1)
"""After which time a piece that is still queued is looked at: its plan may never have counted."""

SHARDS = 16
"""Over how many values the index of `next` is spread: an index on a time takes about 500 writes a second.
https://cloud.google.com/firestore/docs/best-practices#high_read_write_and_delete_rates_to_a_narrow_document_range"""

COMMIT_PIECES = 100
"""How many pieces are written with one commit. It may hold 10 MiB, index entries counted.
https://cloud.google.com/firestore/quotas#writes_and_transactions"""

GATE = "~gate"
"""The name of the piece of a planned stage that has no step: by it the sweep finds a stage whose queue or end
nobody saw to."""

_OWN = (
    "customer",
    "function",
    "stage",
    "plan",
    "name",
    "status",
    "in_line",
    "attempts",
    "tries",
    "holder",
    "heartbeat",
    "woken",
    "waits_for",
    "since",
    "retry_at",
    "next",
    "swept",
    "shard",
)
"""The engine's own fields; what else a document has is its kind's."""


Write = Callable[[firestore.WriteBatch], None]
"""Adds a write to a commit."""


@dataclass(frozen=True)
class Piece:
    """A piece as it was read. `fields` are those of its kind."""

    path: str
    customer: str
    function: str
    stage: str
    plan: str
    name: str
    status: str
    attempts: int
    tries: int
    holder: str | None
    heartbeat: datetime
    waits_for: str | None
    since: datetime | None
    retry_at: datetime | None
    fields: Mapping[str, Any]

    @property
    def work(self) -> str:
        """The path of its work's document."""
        return self.path.rpartition("/pieces/")[0]

    @property
    def id(self) -> str:
        """Its document's id."""
        return self.path.rpartition("/")[2]

    @property
    def ended(self) -> bool:
        """Whether there is nothing left to do."""
        return self.status in (DONE, CLOSED)

    @property
    def message(self) -> dict[str, str]:
        """The message by which its function is asked to do it."""
        return message(self.work, self.id)


def in_commits(
    db: firestore.Client,
    writes: Iterable[Write],
    between: Callable[[], None] = lambda: None,
) -> None:
    """Do these writes, COMMIT_PIECES with one commit; `between` is called after each full one."""
    writes = iter(writes)
    while some := list(islice(writes, COMMIT_PIECES)):
        batch = db.batch()
        for write in some:
            write(batch)
        batch.commit()
        if len(some) == COMMIT_PIECES:
            between()


def create_all(
    db: firestore.Client, transaction: firestore.Transaction, documents: Mapping[str, Mapping[str, Any]]
) -> None:
    """Create these documents, by their paths, in a transaction."""
    for path, content in documents.items():
        transaction.create(db.document(path), dict(content))


def message(work: str, piece: str) -> dict[str, str]:
    """The one form of message of all work: the path of the work's document, and the id of a piece."""
    return {"work": work, "piece": piece}


def id_of(plan: str, name: str) -> str:
    """The id of a piece of a plan."""
    return f"{plan}.{name}"


def new(
    customer: str, function: str, stage: str, plan: str, name: str, at: datetime, status: str = OPEN
) -> dict[str, Any]:
    """The engine's fields of a piece that nobody has begun, at Firestore's time `at`."""
    return {
        "customer": customer,
        "function": function,
        "stage": stage,
        "plan": plan,
        "name": name,
        "shard": zlib.crc32(f"{customer}{plan}{name}".encode()) % SHARDS,
        REMOVE_AFTER: at + PIECES_KEPT,
        **untried(at, status),
    }


def untried(at: datetime, status: str = OPEN) -> dict[str, Any]:
    """The fields of a piece that changes to nobody having begun it."""
    return {
        "status": status,
        "in_line": status == OPEN,
        "attempts": 0,
        "tries": 0,
        "holder": None,
        "heartbeat": at,
        "woken": False,
        "swept": 0,
        "waits_for": None,
        "since": None,
        "retry_at": None,
        "next": at + {QUEUED: LOST, READY: timedelta()}.get(status, STALLED),
    }


def resting(at: datetime, after: timedelta) -> dict[str, Any]:
    """The fields of a piece that rests until a message comes, or until so long after `at`. It takes nobody's
    room among the pieces that are published."""
    return {**untried(at, QUEUED), "next": at + after}


def ended(status: str) -> dict[str, Any]:
    """The fields of a piece that ends."""
    return {
        "status": status,
        "in_line": False,
        "holder": None,
        "waits_for": None,
        "since": None,
        "retry_at": None,
        "next": None,
    }


def parse(snapshot: Snapshot) -> Piece:
    """The piece in a snapshot. LookupError where it is not there."""
    fields = fields_of(snapshot)
    fields.setdefault("in_line", False)  # one that was written before there were lines
    known = {name: fields.pop(name) for name in _OWN}
    del known["next"], known["swept"], known["shard"], known["woken"], known["in_line"]
    fields.pop(REMOVE_AFTER, None)  # one from before there was such a field has none
    return Piece(path=snapshot.reference.path, fields=fields, **known)


def of_plan(cloud: Cloud, work: str, plan: str, status: Sequence[str]) -> Any:
    """A query for the pieces of a plan that have one of these states, to be ordered by name or counted."""
    planned = cloud.db.collection(f"{work}/pieces").where(filter=FieldFilter("plan", "==", plan))
    return planned.where(filter=FieldFilter("status", "in", list(status)))


def any_alive(cloud: Cloud, work: str, plan: str, now: datetime, transaction: Any) -> bool:
    """Whether an attempt is alive at a piece of a plan, or at the stage's only piece."""
    begun = of_plan(cloud, work, plan, [OPEN]).select(["holder", "heartbeat"])
    found = [fields_of(each) for each in begun.stream(transaction=transaction)]
    return any(each["holder"] and now - each["heartbeat"] < LEASE for each in found)


def results(cloud: Cloud, work: str, plan: str) -> Iterator[Piece]:
    """The pieces of a plan that are done, in the order of their names."""
    query = of_plan(cloud, work, plan, [DONE]).order_by("__name__")
    return (parse(each) for each in query.stream())


def open_left(cloud: Cloud, work: str, plan: str) -> bool:
    """Whether pieces of a plan are still to be done, by a strong count."""
    return count(of_plan(cloud, work, plan, [OPEN, QUEUED]), up_to=1) > 0


def published(db: firestore.Client, customer: str, function: str, up_to: int) -> int:
    """How many pieces of a customer a function has to do, at most so many."""
    return count(_of_function(db, customer, function, "status", OPEN), up_to=up_to)


def in_line(db: firestore.Client, customer: str, function: str, up_to: int) -> int:
    """How many of these nobody has begun, at most so many."""
    return count(_of_function(db, customer, function, "in_line", True), up_to=up_to)


def ready(db: firestore.Client, customer: str, function: str, at: datetime, most: int) -> list[Snapshot]:
    """The pieces of a customer that are READY for a function at `at`, the longest ready first; without their
    fields, and at most so many."""
    query = _of_function(db, customer, function, "status", READY).where(filter=FieldFilter("next", "<=", at))
    return list(query.order_by("next").select([]).limit(most).stream())


def _of_function(db: firestore.Client, customer: str, function: str, field: str, value: Any) -> Any:
    query: Any = db.collection_group("pieces")
    for name, wanted in (("customer", customer), ("function", function), (field, value)):
        query = query.where(filter=FieldFilter(name, "==", wanted))
    return query
