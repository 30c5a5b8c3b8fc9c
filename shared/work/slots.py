"""Slots: how many works of a customer run at once, for a kind that limits it.

A slot is not stored: a work that runs, waits for nothing, and has shown life lately has one. So whatever ends
a work frees its slot, and one that is stuck or waits for something outside keeps no other from running.
"""

from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter

from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, fields_of, read_time
from shared.work.kinds import PENDING, Kind

SLOT_LEASE = timedelta(minutes=30)
"""How long a work that shows no life keeps its slot, by Firestore's time."""

MAX_PENDING = 1_000
"""Among how many pending works of a customer those are looked for that can start, the longest due first; and
how many of its works may wait."""


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
    stuck = {each.get(kind.lane) for each in waiting.stream(transaction=transaction)}
    pending = theirs(("state", "==", PENDING)).order_by("due")
    if stuck:
        able = pending.select([kind.lane]).limit(MAX_PENDING).stream(transaction=transaction)
        chosen = islice((each.reference for each in able if each.get(kind.lane) not in stuck), free)
        return [each.get(transaction=transaction) for each in chosen], now
    return list(pending.limit(free).stream(transaction=transaction)), now
