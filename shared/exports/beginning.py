"""What the function `begin_exports` does: it begins the windows that are due of some exports of one customer,
retries the failed windows of one export (`retrying`), or completes the deletion of one (`deleting`).

The tick (`tick`) publishes one message for each customer and MAX_EXPORTS exports, so that they begin side by
side. A message that is lost costs a minute: the next tick publishes what is still due.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from google.cloud import firestore

from shared import logs
from shared.clock import elapsed_since, stopwatch
from shared.exports import deleting, names, pausing, retrying, room, runs
from shared.exports.export import ACTIVE, from_snapshot, next_fields
from shared.exports.runs import SCHEDULE
from shared.exports.steps import KIND, document
from shared.gcp.clients import Cloud
from shared.gcp.documents import fields_of, read_time, transact
from shared.gcp.messages import Message
from shared.work import stages

MAX_EXPORTS = 50
"""How many exports one message names. All are of one customer, so that those of a customer who has no more of
them due at once begin in order of due time."""

MAX_WINDOWS = 10
"""How many windows one message begins of one export that is behind; a later tick publishes it again."""

BEGIN_SECONDS = 20
"""For how long one message begins windows: others wait for no more of a customer's. The next tick publishes
what is left."""

PUBLISHED = "turns/begin_exports"
"""The document that says which tick was the last to publish more than one message of a customer."""

BEGIN_WITHIN = timedelta(minutes=2)
"""How long after the publish time of its tick a window has begun: its run is pending then, or running. That
holds for 10,000 exports due at once, and 100 instances of the function
(https://cloud.google.com/run/docs/configuring/max-instances). An export that is more than MAX_WINDOWS behind
takes further ticks."""


def bodies(customer: str, exports: Sequence[str], at: datetime) -> list[Mapping[str, Any]]:
    """The messages that name the exports of a customer that are due at `at`, the tick's publish time. All but
    the first have `more`: the next tick's stand for them."""
    return [
        {"customer": customer, "exports": list(exports[start : start + MAX_EXPORTS]), "at": at.isoformat()}
        | ({"more": True} if start else {})
        for start in range(0, len(exports), MAX_EXPORTS)
    ]


def note_published(cloud: Cloud, at: datetime) -> None:
    """Write down that a tick has published more than one message of a customer."""
    cloud.db.document(PUBLISHED).set({"at": at})


def begin(cloud: Cloud, message: Message) -> None:
    """Begin every scheduled window of these exports that was due at `at`. Windows of an export that failed
    before run again first. Then start the customer's pending runs, as many as there are free slots. A message
    with `retry` has the failed windows of that export retried, one with `delete` its deletion completed.

    A message that is delivered twice, or late, begins no window twice. One with `more` is left to the next
    tick's messages once there are any. An export that fails here is logged and stops no other; the next tick,
    a minute later, publishes it again. So it does where no further run of the customer may wait: windows that
    are due then begin when others have ended.
    """
    if message.get("delete"):
        deleting.perform(cloud, message["delete"], message["customer"])
        return
    if message.get("retry"):
        retrying.perform(cloud, message["retry"], message["customer"])
        return
    at, began = datetime.fromisoformat(message["at"]), stopwatch()
    if message.get("more") and _published_again(cloud, at):
        return  # or messages would pile up where a customer has more due than can be begun in a minute
    left = room.runs_left(cloud, message["customer"])
    for export in message["exports"]:
        if left <= 0 or elapsed_since(began) >= BEGIN_SECONDS:
            break
        with logs.bound(export=export, customer=message["customer"]):
            try:
                left -= _begin(cloud, export, at, left)
            except Exception as failure:
                logs.error("a window that is due could not begin", exception=failure)
    if left <= 0:
        logs.warning("windows that are due wait: no further run may", customer=message["customer"])
    start_pending(cloud, message["customer"])


def start_pending(cloud: Cloud, customer: str) -> None:
    """Start as many of a customer's pending runs as there are free slots. A failure is logged: the next tick
    tries again."""
    with logs.bound(customer=customer):
        try:
            stages.start_pending(cloud, KIND, customer)
        except Exception as failure:
            logs.error("pending runs could not be started", exception=failure)


def _published_again(cloud: Cloud, at: datetime) -> bool:
    """Whether a later tick has published what is still due of customers with many exports."""
    last: Any = cloud.db.document(PUBLISHED).get()
    return bool(last.exists and fields_of(last)["at"] > at)


def _begin(cloud: Cloud, export: str, at: datetime, left: int) -> int:
    """Begin windows of an export, and try again those that failed: at most `left` runs. Returns how many."""
    reference = cloud.db.document(f"exports/{export}")
    found = reference.get(["state", "next_due", "retry_asked"])
    if not found.exists or not _due(fields := fields_of(found), at):
        return 0  # it has begun already, or was paused or deleted since
    if fields.get("retry_asked"):
        return 0  # what failed goes first: a later tick publishes it again
    begun = pausing.try_again(cloud, reference, fields["next_due"], left)
    for _ in range(min(MAX_WINDOWS, left - begun)):
        begun += 1
        if not _begin_window(cloud, reference, at):
            break
    return begun


def _begin_window(cloud: Cloud, reference: Any, at: datetime) -> bool:
    """Begin the export's next scheduled window if it was due at `at`: the only way in which one begins.
    Returns whether another one was due then.

    One transaction checks `next_due`, creates the run, pinned to the newest version of the config, and
    moves `next_start` to the window's end.
    """

    def begin(transaction: firestore.Transaction) -> bool:
        snapshot = reference.get(transaction=transaction)
        if not snapshot.exists:
            return False
        found = from_snapshot(snapshot)
        if (
            found.retrying
            or found.next_due is None
            or not _due({"state": found.state, "next_due": found.next_due}, at)
        ):
            return False
        schedule = found.schedule
        window = schedule.window_from(found.next_start)
        if window is None:
            raise ValueError(f"the export {found.id} is active and has no window after {found.next_start}")
        id = names.scheduled_run(found.id, window)
        run = runs.of(found, id, window, due=found.next_due, origin=SCHEDULE, user=found.user)
        following = next_fields(schedule, window.end)
        transaction.create(cloud.db.document(run.path), document(run, read_time(snapshot)))
        transaction.update(reference, following)
        return _due(following, at)

    return transact(cloud.db, begin)


def _due(fields: Mapping[str, Any], at: datetime) -> bool:
    """Whether an export with these fields has a window that was due at `at`."""
    return fields["state"] == ACTIVE and fields["next_due"] is not None and fields["next_due"] <= at
