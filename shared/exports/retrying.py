"""Retrying what failed: each failed window of an export is exported again, by its config as it is now.

Whoever asks for it sets `retry_asked` on the export, and that is all the call does. The function
`begin_exports` then retries the windows that failed by that time, oldest first, in parts of READ_AT_ONCE.
After each it writes down how far it is, so it may die anywhere: the tick publishes it until all are retried.
No window begins meanwhile, since the older ones go first.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter

from shared import audit_trail, logs
from shared.accounts.keys import Caller
from shared.clock import elapsed_since, stopwatch
from shared.exports import by_hand, failed, room, service
from shared.exports.export import BEGIN_FUNCTION, Export
from shared.exports.failed import READ_AT_ONCE
from shared.exports.steps import KIND
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, fields_of, moment_in, plain, read_time, transact
from shared.gcp.unreadable import readable
from shared.http.idempotency import Repeatable
from shared.work import stages

RETRY_SECONDS = 4
"""For how long one message retries windows: the next tick, a minute later, publishes another."""

MAX_AT_ONCE = 10
"""Of how many exports of one customer windows are retried at once, those that were asked for first. With
RETRY_SECONDS this leaves others some of each minute, also where the function has one instance."""

_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)


def retry_failed(cloud: Cloud, caller: Caller, id: str, repeatable: Repeatable) -> Export:
    """Have every window of an export that failed exported again, by the config as it is now; nothing where
    the same request asked for it already.

    Conflict where the export was deleted.
    """
    reference = cloud.db.document(f"exports/{id}")

    def ask(transaction: firestore.Transaction) -> None:
        snapshot = reference.get(transaction=transaction)
        service.must_be_alive(service.owned(caller, id, snapshot))
        if repeatable.key is None or fields_of(snapshot).get("retried") != repeatable.key:
            transaction.update(reference, {**asked(read_time(snapshot)), "retried": repeatable.key})
            audit_trail.note(cloud.db, transaction, caller.customer, reference.path)

    transact(cloud.db, ask)
    export = service.get(cloud, caller, id)
    publish(cloud, export)
    return export


def asked(at: datetime) -> dict[str, Any]:
    """The fields of an export whose windows that failed by `at` are to be retried."""
    return {"retry_asked": at, "retry_after": None}


def publish(cloud: Cloud, export: Export) -> None:
    """Have the failed windows of an export retried; by a later tick, where MAX_AT_ONCE others of its customer
    were asked for before."""
    before: Any = (
        cloud.db.collection("exports")
        .where(filter=FieldFilter("customer", "==", export.customer))
        .where(filter=FieldFilter("retry_asked", ">", _EARLIEST))
        .order_by("retry_asked")
        .select([])
        .limit(MAX_AT_ONCE)
    )
    if export.id in [each.id for each in before.stream()]:
        cloud.messages.publish(BEGIN_FUNCTION, message(export.id, export.customer))


def message(export: str, customer: str) -> Mapping[str, Any]:
    """The message that has the failed windows of an export retried."""
    return {"customer": customer, "retry": export}


def perform(cloud: Cloud, export: str, customer: str) -> None:
    """Retry failed windows of an export until none is left, or RETRY_SECONDS have passed. Doing it twice, or
    twice at once, retries no window twice."""
    reference, began = cloud.db.document(f"exports/{export}"), stopwatch()
    with logs.bound(export=export, customer=customer):
        while _retry_some(cloud, reference, customer) and elapsed_since(began) < RETRY_SECONDS:
            pass
        stages.start_pending(cloud, KIND, customer)


def _retry_some(cloud: Cloud, reference: Any, customer: str) -> bool:
    """Retry the failed windows that come next, at most READ_AT_ONCE and no more than may wait; returns
    whether to go on with others. Where no further run may wait, a later tick has the others retried."""
    fields = fields_of(reference.get(["retry_asked", "retry_after"]))
    asked = fields.get("retry_asked")
    if asked is None:
        return False
    most = min(READ_AT_ONCE, room.runs_left(cloud, customer))
    if most == 0:
        logs.warning("failed windows are not retried yet: no further run may wait")
        return False
    found = failed.oldest(reference, most, after=fields["retry_after"])
    # One that cannot be read would keep all others from being retried, and new windows from beginning.
    retried = sum(readable(cloud.db, found, lambda snapshot: _retried(cloud, snapshot, asked)))
    others = len(found) == most
    reached = {"retry_after": found[-1].id} if others else {"retry_asked": None, "retry_after": None}

    def write(transaction: firestore.Transaction) -> None:
        # Where it was asked for again meanwhile, that begins with the oldest window.
        if plain(reference.get(["retry_asked"], transaction=transaction).get("retry_asked")) == asked:
            transaction.update(reference, reached)

    transact(cloud.db, write)
    logs.info("failed windows are retried", windows=retried, others=others)
    return others


def _retried(cloud: Cloud, snapshot: Snapshot, asked: datetime) -> bool:
    if moment_in(fields_of(snapshot), "finished") > asked:
        return False  # it has been retried, and failed again
    changes = {"due_times": 1, "retry_asked": asked}
    return by_hand.reopen(cloud, snapshot, changes, newest=True) is not None
