"""Slots: how many runs of one customer go on at once, in order of their due time.

A slot is not kept anywhere: it is taken by a run that is under way and has shown life within the lease. So
nothing can be counted wrong, whatever ends a run frees its slot with it, and one that is stuck blocks the
others no longer than the lease.
"""

from datetime import timedelta

from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter

from shared import logs
from shared.accounts.customers import PARALLEL_EXPORTS
from shared.exports import runs
from shared.exports.runs import DELIVERING, PENDING, RUNNING, UNDER_WAY, Run
from shared.gcp.clients import Cloud
from shared.gcp.documents import fields_of, read_time, transact
from shared.gcp.leases import ALIVE

LEASE = timedelta(minutes=30)
"""How long a run that shows no life keeps its slot, by Firestore's time."""


def start_waiting(cloud: Cloud, customer: str) -> list[Run]:
    """Start as many of a customer's waiting runs as it has free slots, the longest due first.

    One transaction reads what is under way and moves the runs on; their functions are told after it. Doing
    it twice, or twice at once, starts no run twice: who comes second has read what the first one changed.
    """

    def take(transaction: firestore.Transaction) -> list[Run]:
        holder = cloud.db.document(f"customers/{customer}").get(transaction=transaction)
        theirs = cloud.db.collection_group("runs").where(filter=FieldFilter("customer", "==", customer))
        slots = fields_of(holder).get("parallel_exports", PARALLEL_EXPORTS)
        alive = (
            theirs.where(filter=FieldFilter("state", "in", list(UNDER_WAY)))
            .where(filter=FieldFilter("beat", ">", read_time(holder) - LEASE))
            .order_by("beat")
            .limit(slots)
        )
        free = slots - len(list(alive.stream(transaction=transaction)))
        if free <= 0:
            return []
        waiting = theirs.where(filter=FieldFilter("state", "==", PENDING)).order_by("due").limit(free)
        started = list(waiting.stream(transaction=transaction))
        for each in started:
            # A run that failed after it was pinned goes on with exactly what was pinned.
            state = DELIVERING if "totals" in fields_of(each) else RUNNING
            began = {
                "state": state,
                "started": firestore.SERVER_TIMESTAMP,
                **ALIVE,
            }
            transaction.update(each.reference, began)
        return [runs.from_snapshot(each) for each in started]

    started = transact(cloud.db, take)
    for run in started:
        with logs.bound(run=run.id, export=run.export, customer=run.customer):
            cloud.messages.publish(run.source.function, run.message)
            logs.info("run started", window_start=run.window.start, window_end=run.window.end)
    return started
