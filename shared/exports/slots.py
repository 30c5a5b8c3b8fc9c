"""Slots: how many runs of one customer go on at once, in order of their due time.

A slot is a lease on the customer's document, never a counter: `slots` maps a run to the time, by Firestore,
at which the slot is free again whatever became of the run. Whatever ends a run frees its slot and starts the
next.
"""

from datetime import datetime, timedelta
from typing import Any

from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter

from shared import logs
from shared.accounts.customers import PARALLEL_EXPORTS
from shared.exports import runs
from shared.exports.runs import PENDING, RUNNING, Run
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, fields_of, read_time, transact

LEASE = timedelta(hours=6)
"""How long a run may hold its slot."""


def start_waiting(cloud: Cloud, customer: str) -> list[Run]:
    """Start as many of a customer's waiting runs as it has free slots, the longest due first.

    One transaction takes the slots and makes the runs RUNNING; their functions are told after it. Doing it
    twice, or twice at once, starts no run twice.
    """

    def take(transaction: firestore.Transaction) -> list[Run]:
        reference = cloud.db.document(f"customers/{customer}")
        snapshot = reference.get(transaction=transaction)
        fields, now = fields_of(snapshot), read_time(snapshot)
        held = _held(fields, now)
        free = fields.get("parallel_exports", PARALLEL_EXPORTS) - len(held)
        if free <= 0:
            return []
        waiting = (
            cloud.db.collection_group("runs")
            .where(filter=FieldFilter("customer", "==", customer))
            .where(filter=FieldFilter("state", "==", PENDING))
            .order_by("due")
            .limit(free)
        )
        started = list(waiting.stream(transaction=transaction))
        for each in started:
            held[_slot(each.reference)] = now + LEASE
            transaction.update(each.reference, {"state": RUNNING, "started": firestore.SERVER_TIMESTAMP})
        if started:
            transaction.update(reference, {"slots": held})
        return [runs.from_snapshot(each) for each in started]

    started = transact(cloud.db, take)
    for run in started:
        cloud.messages.publish(run.source.function, run.message)
        with logs.bound(run=run.id, export=run.export, customer=run.customer):
            logs.info("run started", window_start=run.window.start, window_end=run.window.end)
    return started


def without(customer: Snapshot, run: Run) -> dict[str, Any]:
    """The change to a customer's document that frees a run's slot, and those whose lease has ended."""
    held = _held(fields_of(customer), read_time(customer))
    held.pop(f"{run.export}:{run.id}", None)
    return {"slots": held}


def _held(fields: dict[str, Any], now: datetime) -> dict[str, datetime]:
    return {slot: until for slot, until in fields.get("slots", {}).items() if until > now}


def _slot(run: Any) -> str:
    return f"{run.parent.parent.id}:{run.id}"
