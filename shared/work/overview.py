"""What operators look at, across all customers: which works are under way, which have failed, and which wait
for something outside. It is the same for every kind."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from google.cloud.firestore_v1 import FieldFilter

from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, count, fields_of, moment_in
from shared.gcp.unreadable import readable
from shared.work import turns
from shared.work.kinds import FAILED, Kind

MAX_LISTED = 200
"""How many works of each list are shown: what a person can read."""

_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)

T = TypeVar("T")


@dataclass(frozen=True)
class WorkNow(Generic[T]):
    """A work as it stands. Times are Firestore's.

    work       what its kind's steps are given
    stage      the stage that it is in, or in which it ended
    heartbeat  when it last showed life
    waits_for  what it waits for, if it does, and since when
    """

    id: str
    customer: str
    work: T
    stage: str | None
    created: datetime
    heartbeat: datetime
    waits_for: str | None
    since: datetime | None


@dataclass(frozen=True)
class Listed(Generic[T]):
    """The first MAX_LISTED of a list, and how many more there are."""

    shown: Sequence[T]
    left: int


def in_states(cloud: Cloud, kind: Kind[T], states: Sequence[str]) -> Listed[WorkNow[T]]:
    """The works of a kind that are in one of these states, the longest without a heartbeat first."""
    query = _all(cloud, kind).where(filter=FieldFilter("state", "in", list(states)))
    return _listed(cloud, kind, query.order_by("heartbeat"))


def failed(cloud: Cloud, kind: Kind[T], since: datetime) -> Listed[WorkNow[T]]:
    """The works of a kind that have failed since then, the first to fail first."""
    query = _all(cloud, kind).where(filter=FieldFilter("state", "==", FAILED))
    return _listed(cloud, kind, query.where(filter=FieldFilter("finished", ">=", since)).order_by("finished"))


def open_of(cloud: Cloud, kind: Kind[Any], customer: str) -> Any:
    """The query of a customer's works of a kind that have not ended."""
    query = _all(cloud, kind).where(filter=FieldFilter("customer", "==", customer))
    return query.where(filter=FieldFilter("open", "==", True))


def waiting(cloud: Cloud, kind: Kind[T]) -> Listed[WorkNow[T]]:
    """The open works of a kind that wait for something outside, the longest first."""
    query = _all(cloud, kind).where(filter=FieldFilter("open", "==", True))
    return _listed(cloud, kind, query.where(filter=FieldFilter("since", ">", _EARLIEST)).order_by("since"))


def _all(cloud: Cloud, kind: Kind[Any]) -> Any:
    return cloud.db.collection_group(kind.collection)


def listed(cloud: Cloud, query: Any, parse: Callable[[Snapshot], T]) -> Listed[T]:
    """The first that a query finds, in its order, and how many more; where there are more, customers in
    turn. Those that cannot be read are left out."""
    found = list(turns.first(query, MAX_LISTED))
    left = max(0, count(query) - MAX_LISTED) if len(found) == MAX_LISTED else 0
    return Listed(list(readable(cloud.db, found, parse)), left)


def _listed(cloud: Cloud, kind: Kind[T], query: Any) -> Listed[WorkNow[T]]:
    return listed(cloud, query, lambda each: _now(kind, each))


def _now(kind: Kind[T], snapshot: Snapshot) -> WorkNow[T]:
    fields = fields_of(snapshot)
    return WorkNow(
        id=snapshot.id,
        customer=fields["customer"],
        work=kind.parse(snapshot),
        stage=fields["stage"],
        created=moment_in(fields, "created"),
        heartbeat=moment_in(fields, "heartbeat"),
        waits_for=fields["waits_for"],
        since=fields["since"],
    )
