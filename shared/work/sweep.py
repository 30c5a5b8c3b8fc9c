"""The sweep of every minute: whatever nobody is alive at is published again, whatever kind of work it is.

A piece says itself when it is to be looked at: its `next` is a lease after its last heartbeat, the end of its
backoff, or a quarter of an hour after it was published. Publishing once more is always safe.
"""

from datetime import datetime
from typing import Any

from google.cloud.firestore_v1 import FieldFilter

from shared import logs
from shared.clock import elapsed_since, stopwatch
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, change
from shared.gcp.unreadable import MALFORMED, report
from shared.work import pieces, turns
from shared.work.kinds import PENDING
from shared.work.pieces import CLOSED, GATE, LOST, OPEN, QUEUED, READY, SHARDS, STALLED
from shared.work.stages import publish_queued, publish_ready

MAX_SWEPT = 500
"""How many pieces one tick resumes, and some of each customer where there are more (`turns.due`); the next
one resumes the rest."""

MAX_QUEUED = 200
"""How many queued pieces, and those of works that have ended: they can be many, and keep no retry waiting."""

SWEEP_SECONDS = 25
"""For how long one tick resumes pieces. After an outage there can be more than that resumes: the others are
still due at the next tick, which comes a minute later."""

REPORT_SWEPT = 4
"""How often a piece is published, and nobody begins it, before that is an error in the log."""


def sweep(cloud: Cloud, at: datetime) -> None:
    """Publish every piece again that is to be looked at by `at`, customers in turn, for SWEEP_SECONDS. What
    fails here is logged and stops nothing else."""
    found: list[Snapshot] = []
    for status, most in ((OPEN, MAX_SWEPT), (GATE, MAX_SWEPT), (QUEUED, MAX_QUEUED), (READY, MAX_QUEUED)):
        query = (
            cloud.db.collection_group("pieces")
            .where(filter=FieldFilter("status", "==", status))
            .where(filter=FieldFilter("shard", "in", list(range(SHARDS))))
        )
        found += turns.due(cloud, query, "next", at, most, f"pieces_{status.lower()}")
    lines: set[tuple[str, str]] = set()
    began = stopwatch()
    for number, snapshot in enumerate(turns.in_turn(found)):
        if elapsed_since(began) >= SWEEP_SECONDS:
            logs.warning("pieces are left to the next tick", resumed=number, left=len(found) - number)
            return
        customer = str((snapshot.to_dict() or {}).get("customer"))
        work = snapshot.reference.parent.parent.path
        ids = {"customer": customer, "work": work, "piece": snapshot.id, **logs.ids_of(work)}
        ids["document"] = snapshot.reference.path
        with logs.bound(**ids):
            try:
                if snapshot.get("status") != READY:
                    _resume(cloud, snapshot, at)
                elif (line := (customer, snapshot.get("function"))) not in lines:
                    lines.add(line)
                    publish_ready(cloud, *line, at)
            except MALFORMED as failure:
                change(cloud.db, snapshot, {"next": at + LOST})  # it makes room for others
                report(cloud.db, snapshot.reference.path, failure)
            except Exception as failure:
                logs.error("a stalled piece could not be resumed", exception=failure)


def _resume(cloud: Cloud, snapshot: Snapshot, at: datetime) -> None:
    work = snapshot.reference.parent.parent.get()
    plan = snapshot.get("plan")
    counts = work.exists and (plan == work.get("plan") or plan in (work.get("plans") or {}).values())
    if not work.exists or not work.get("open") or not counts:
        change(cloud.db, snapshot, pieces.ended(CLOSED))
        return
    if work.get("state") == PENDING or plan != work.get("plan"):
        # Its pieces are published when it starts, or when it comes to their stage.
        change(cloud.db, snapshot, {"next": at + LOST})
        return
    function, swept = snapshot.get("function"), snapshot.get("swept") + 1
    again: dict[str, Any] = {"next": at + STALLED, "swept": swept}
    if snapshot.get("status") == OPEN:
        again["in_line"] = True
    if not change(cloud.db, snapshot, again):
        return
    if snapshot.get("status") == QUEUED:
        publish_queued(cloud, work, function, plan)
        return
    message = pieces.message(work.reference.path, snapshot.id)
    cloud.messages.publish(function, message)
    if snapshot.get("status") == GATE or snapshot.get("tries"):
        return
    if swept < REPORT_SWEPT:
        logs.warning("a stalled piece is resumed")
    else:
        logs.error(
            "nobody begins a piece: see that its function is deployed and starts",
            function=function,
            published=swept,
        )
