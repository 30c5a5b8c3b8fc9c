"""Pausing and resuming an export, and suspending one that fails.

A person pauses: the windows that become due meanwhile are left out, and can be backfilled. We suspend: the
windows wait, and are exported, oldest first, when what was wrong is fixed.
"""

from datetime import datetime
from itertools import islice
from typing import Any

from google.cloud import firestore

from shared import audit_trail, logs
from shared.accounts.keys import Caller
from shared.delivery.base import Step, passed
from shared.errors import Conflict
from shared.exports import by_hand, failed, retrying, service
from shared.exports.export import ENDED, PAUSED, SUSPENDED, Export, next_fields
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, fields_of, read_time, transact
from shared.gcp.unreadable import readable
from shared.window import Window

MAX_WAITING = 400
"""How many failed windows of an export are tried again at a due time."""


def pause(cloud: Cloud, caller: Caller, id: str) -> Export:
    """Begin no window from now on; what has begun goes on. Conflict where the export has ended, or was
    deleted."""
    reference = cloud.db.document(f"exports/{id}")

    def change(transaction: firestore.Transaction) -> None:
        snapshot = reference.get(transaction=transaction)
        export = service.owned(caller, id, snapshot)
        service.must_be_alive(export)
        if export.state == ENDED:
            raise Conflict(f"the export {id} has ended: there is nothing to pause")
        if export.state == PAUSED:
            return
        paused = {"state": PAUSED, "paused": read_time(snapshot), "suspended": firestore.DELETE_FIELD}
        transaction.update(reference, paused)
        audit_trail.note(cloud.db, transaction, export.customer, reference.path)

    transact(cloud.db, change)
    return service.get(cloud, caller, id)


def resume(cloud: Cloud, caller: Caller, id: str, skip: bool = False) -> tuple[Export, Window | None]:
    """Go on. A paused export goes on with its open window: the windows that became due while it was paused
    are left out. With `skip` it goes on with the window that begins next. What is left out, if anything, is
    returned as one window. A suspended export also retries all windows that failed (`retrying`). One that is
    active stays as it is.

    Conflict where the export has ended or was deleted, or where `skip` is asked of one that is suspended.
    """
    reference = cloud.db.document(f"exports/{id}")

    def change(transaction: firestore.Transaction) -> Window | None:
        snapshot = reference.get(transaction=transaction)
        export = service.owned(caller, id, snapshot)
        service.must_be_alive(export)
        if export.state == ENDED:
            raise Conflict(
                f"the export {id} has ended: give it another `end`, or make another export; `:retry-failed` "
                "retries its windows that failed"
            )
        if export.state == SUSPENDED and skip:
            raise Conflict(
                f"the export {id} is suspended, and its windows wait: to skip them, pause it first, and then "
                "resume it with `skip`"
            )
        if export.state in (SUSPENDED, PAUSED):
            audit_trail.note(cloud.db, transaction, export.customer, reference.path)
        if export.state == SUSPENDED:
            retried = retrying.asked(read_time(snapshot))
            transaction.update(reference, {**_active(export, export.next_start), **retried})
            logs.info("export resumed", export=id, customer=export.customer)
        if export.state != PAUSED:
            return None
        start = _next_window(export, read_time(snapshot), skip)
        transaction.update(reference, _active(export, start))
        return Window(export.next_start, start) if start > export.next_start else None

    gap = transact(cloud.db, change)
    export = service.get(cloud, caller, id)
    if export.retrying:
        retrying.publish(cloud, export)
    return export, gap


def test(cloud: Cloud, caller: Caller, export: Export) -> list[Step]:
    """Test the connection of an export; one that was suspended goes on if it passes."""
    config = export.config
    steps = config.connector.test(cloud, export.customer, export.account, config.connector_config)
    if passed(steps) and service.get(cloud, caller, export.id).state == SUSPENDED:
        resume(cloud, caller, export.id)
    return steps


def try_again(cloud: Cloud, reference: Any, due: datetime, most: int = MAX_WAITING) -> int:
    """At a due time, have the scheduled windows that failed before wait again, by the config as it is now.

    They go before the window that is due then. Once for each due time, however often it is called. At most
    `most`: returns how many it had wait.
    """

    def again(snapshot: Snapshot) -> bool:
        fields = fields_of(snapshot)
        # A tick that comes late must not have a window tried again that it was itself begun with.
        if fields.get("tried_at", fields["due"]) >= due:
            return False
        tried = {"due_times": fields.get("due_times", 1) + 1, "tried_at": due}
        return by_hand.reopen(cloud, snapshot, tried, newest=True) is not None

    # One that cannot be read keeps no window from beginning.
    reopened = filter(None, readable(cloud.db, failed.oldest(reference, MAX_WAITING, scheduled=True), again))
    return sum(islice(reopened, most))


def _active(export: Export, start: datetime) -> dict[str, Any]:
    ended = {"suspended": firestore.DELETE_FIELD, "paused": firestore.DELETE_FIELD}
    return {**next_fields(export.schedule, start), **ended}


def _next_window(export: Export, now: datetime, skip: bool) -> datetime:
    """Where the window begins with which a paused export goes on. What runs once has one window, which
    waits."""
    schedule, start = export.schedule, export.next_start
    if start >= now or export.config.interval == "once":
        return start
    if skip:
        return schedule.first_boundary_after(now)
    first = schedule.first_not_due(start, now)
    # Where none became due meanwhile, those that had not begun when it was paused are not left out either.
    unchanged = export.paused is not None and first == schedule.first_not_due(start, export.paused)
    return start if unchanged else first
