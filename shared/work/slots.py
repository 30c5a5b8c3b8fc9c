"""Slots: how many works of a customer run at once, for a kind that limits it.

A slot is not stored: a work that runs, waits for nothing, and has shown life lately has one. So whatever ends
a work frees its slot, and one that is stuck or waits for something outside keeps no other from running.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter

from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, fields_of, read_time
from shared.gcp.unreadable import readable
from shared.work.kinds import PENDING, Kind

SLOT_LEASE = timedelta(minutes=30)
"""How long a work that shows no life keeps its slot, by Firestore's time."""

MAX_PENDING = 1_000
"""Among how many pending works of a customer those are looked for that can start, the longest due first; and
how many of its works may wait."""

LOOKED_AT = 50
"""How many further pending works are read at once where some of the first ones cannot start."""


def startable(
    cloud: Cloud, kind: Kind[Any], customer: str, transaction: firestore.Transaction
) -> tuple[list[Snapshot], datetime]:
    """The pending works of a customer that can start now, the longest due first, and Firestore's time.

    A work whose lane waits for something outside cannot start: it would wait for the same.
    """
    if kind.slots is None:
        raise LookupError(f"works of the kind {kind.name} need no slots")
    holder = cloud.db.document(f"customers/{customer}").get(transaction=transaction)
    now, slots = read_time(holder), kind.slots(fields_of(holder))
    states = sorted({stage.state for stage in kind.stages})

    def theirs(*conditions: tuple[str, str, Any]) -> Any:
        query = cloud.db.collection_group(kind.collection)
        for field, operator, value in (("customer", "==", customer), *conditions):
            query = query.where(filter=FieldFilter(field, operator, value))
        return query

    running = theirs(
        ("waiting", "==", False), ("state", "in", states), ("heartbeat", ">", now - SLOT_LEASE)
    ).limit(slots)
    free = slots - len(list(running.stream(transaction=transaction)))
    if free <= 0:
        return [], now
    waiting = theirs(("waiting", "==", True)).select([kind.lane]).limit(MAX_PENDING)
    stuck = {_lane(kind, each) for each in waiting.stream(transaction=transaction)}
    pending = theirs(("state", "==", PENDING)).order_by("due")
    able: Iterator[Snapshot]
    if stuck:
        named = pending.select([kind.lane]).limit(MAX_PENDING).stream(transaction=transaction)
        able = (
            each.reference.get(transaction=transaction) for each in named if _lane(kind, each) not in stuck
        )
    else:
        able = _pending(pending, free, transaction)
    return list(islice((each for each in able if _can_start(cloud, kind, each, transaction)), free)), now


def _pending(query: Any, free: int, transaction: firestore.Transaction) -> Iterator[Snapshot]:
    """The pending works, at most MAX_PENDING: first as many as there are free slots, since that is all that
    is needed, unless some of them cannot start."""
    after, most, seen = None, free, 0
    while seen < MAX_PENDING:
        following = query if after is None else query.start_after(after)
        found = list(following.limit(most).stream(transaction=transaction))
        yield from found
        if len(found) < most:
            return
        after, most, seen = found[-1], LOOKED_AT, seen + len(found)


def _can_start(cloud: Cloud, kind: Kind[Any], work: Snapshot, transaction: firestore.Transaction) -> bool:
    """Whether a pending work can be read, and what it belongs to is still there."""

    def start(each: Snapshot) -> Any:
        return kind.parse(each), kind.starts_at(fields_of(each))

    return bool(list(readable(cloud.db, [work], start))) and not kind.abandoned(cloud, transaction, work)


def _lane(kind: Kind[Any], work: Snapshot) -> str:
    """The lane of a work; an empty text where its document does not say."""
    return str((work.to_dict() or {}).get(kind.lane, ""))
