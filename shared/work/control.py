"""What is asked of a work from outside: create it, cancel it, try it again."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from operator import methodcaller
from typing import Any

from google.api_core.exceptions import AlreadyExists
from google.cloud import firestore

from shared import audit_trail
from shared.errors import Conflict
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, fields_of, read_time, transact
from shared.work import pieces, stages
from shared.work.attempts import WAITS_NO_LONGER
from shared.work.changed import Changed
from shared.work.kinds import CANCELLED, FAILED, PENDING, Done, End, Kind, Writes
from shared.work.lifetimes import REMOVE_AFTER
from shared.work.pieces import CLOSED, OPEN, QUEUED


def new(kind: str, customer: str, at: datetime) -> dict[str, Any]:
    """The engine's fields of a work that is being created, at Firestore's time `at`; `kind` is its kind's
    name."""
    return {
        "kind": kind,
        "customer": customer,
        "state": PENDING,
        "stage": None,
        "plan": None,
        "plans": {},
        "open": True,
        "heartbeat": at,
        "created": firestore.SERVER_TIMESTAMP,
        **WAITS_NO_LONGER,
    }


def create(
    cloud: Cloud,
    kind: Kind[Any],
    reference: Any,
    customer: str,
    fields: Mapping[str, Any],
    after: timedelta | None = None,
    also: Callable[[firestore.WriteBatch], None] = lambda _: None,
) -> None:
    """Create a work and have it run: at once, or `after` that time, unless a message comes before. One that
    is there already stays as it is, and is published again. `also` adds writes to the commit that creates
    it."""

    snapshot = reference.get()
    begun: stages.Begun | None = None
    if not snapshot.exists:
        now = read_time(snapshot)
        document = {**fields, **new(kind.name, customer, now)}
        batch = cloud.db.batch()
        batch.create(reference, document)
        also(batch)
        audit_trail.note(cloud.db, batch, customer, reference.path)
        if kind.slots is None:
            begun = stages.begin(kind, batch, Changed(reference, document), now, after)
        # Another one is as good. Or it is our own, and the first answer was lost.
        with contextlib.suppress(AlreadyExists):
            batch.commit()
    if after is not None:
        return
    if begun is not None:
        stages.resume(cloud, kind, begun.work, begun.first)
    elif snapshot.exists:
        stages.resume(cloud, kind, snapshot)
    # A pending one is not published: where its kind has slots, it starts when it gets one.
    stages.start_pending(cloud, kind, customer)


def stand(cloud: Cloud, kind: Kind[Any], reference: Any, customer: str, plan: str) -> None:
    """Have the document of a standing work there, whose pieces all belong to one plan. They are written by
    whoever makes them due, and published with `stages.publish_queued`."""
    snapshot = reference.get()
    if snapshot.exists:
        return
    (stage,) = kind.stages
    standing = {"state": stage.state, "stage": stage.name, "plan": plan, "plans": {stage.name: plan}}
    with contextlib.suppress(AlreadyExists):  # another one is as good
        reference.create({**new(kind.name, customer, read_time(snapshot)), **standing})


def cancel(cloud: Cloud, kind: Kind[Any], reference: Any) -> bool:
    """Cancel a work, as `cancel_alone`, and start what waited for its slot."""
    if not cancel_alone(cloud, kind, reference, asked=True):
        return False
    stages.start_pending(cloud, kind, reference.get().get("customer"))
    return True


def cancel_alone(cloud: Cloud, kind: Kind[Any], reference: Any, *, asked: bool = False) -> bool:
    """Cancel a work; False where it is cancelled already, or being closed. Nothing is started in its slot:
    whoever cancels many does that in the end. `asked`: somebody asks for this one, and not for something that
    it is a part of; the audit trail says who.

    A work whose kind has a stage `closing` moves to it, and the attempts at the stage before count no more.
    Conflict where it has ended, or is at a stage that finishes: unless it waits there for something outside,
    and no attempt is at it.
    """

    begun: stages.Begun | None = None

    def write(transaction: firestore.Transaction) -> Writes | None:
        nonlocal begun
        work = reference.get(transaction=transaction)
        closing = kind.closing is not None and work.get("open") and work.get("stage") == kind.closing
        if closing or work.get("state") == CANCELLED:
            return None
        must_be_cancellable(cloud, kind, transaction, work)
        if asked:
            audit_trail.note(cloud.db, transaction, work.get("customer"), reference.path)
        if kind.closing is not None:
            done = Done(next=kind.closing)
            begun = stages.move(cloud, kind, transaction, work, done, {}, read_time(work))
            return Writes()
        end = End(CANCELLED)
        writes = kind.ending(cloud, transaction, work, end)
        # Its pieces are closed by whoever meets them.
        stages.write_end(cloud, transaction, work, end, writes)
        return writes

    writes = transact(cloud.db, write)
    if writes is None:
        return False
    stages.publish(cloud, writes)
    if begun is not None:
        stages.resume(cloud, kind, begun.work, begun.first)
    return True


def must_be_cancellable(
    cloud: Cloud, kind: Kind[Any], transaction: firestore.Transaction, work: Snapshot
) -> None:
    """Conflict where a work has ended, or is at a stage that finishes and does not wait there, in the
    transaction that read it."""
    fields = fields_of(work)
    refused = f"the {kind.name} {work.id} is {fields['state']} and cannot be cancelled"
    if not fields["open"]:
        raise Conflict(f"{refused}: it has ended")
    if fields["state"] == PENDING or kind.stage(fields["stage"]).cancellable:
        return
    if not fields["waiting"]:
        raise Conflict(f"{refused}: it finishes")
    if pieces.any_alive(cloud, work.reference.path, fields["plan"], read_time(work), transaction):
        raise Conflict(f"{refused}: it is being tried right now, try again in a minute")


def retry(
    cloud: Cloud,
    kind: Kind[Any],
    seen: Snapshot,
    changes: Callable[[firestore.Transaction], Mapping[str, Any] | None] = lambda _: {},
) -> bool:
    """Have a work that failed run again from where it was; from its first stage where what it had planned is
    too old. False where it has not failed, or has changed since `seen` was read.

    Where its kind has slots it is pending then, and `stages.start_pending` starts it.

    `changes` may read in the transaction: it returns what else changes of the work, or None where the work is
    not to run again.

    Its pieces are opened first: a death in between leaves it failed, and the next retry opens them again. So
    does this one where a piece was closed meanwhile.
    """
    fields = fields_of(seen)
    if fields["state"] != FAILED:
        return False
    anew = kind.replans(kind.parse(seen), read_time(seen))
    plans = [] if anew is not None else _plans_left(kind, fields)
    for plan in plans:
        _open_again(cloud, seen, plan)
    reference = seen.reference

    def write(transaction: firestore.Transaction) -> bool:
        work = reference.get(transaction=transaction)
        if work.get("state") != FAILED or work.update_time != seen.update_time:
            return False
        if any(
            each.get("name") != pieces.GATE
            for plan in plans
            for each in _of_plan(cloud, seen, plan, [CLOSED]).limit(2).stream(transaction=transaction)
        ):
            raise _ClosedMeanwhile
        more = changes(transaction)
        if more is None:
            return False
        now = read_time(work)
        again = {**WAITS_NO_LONGER, "state": PENDING, "open": True, "heartbeat": now, **more}
        again |= dict.fromkeys(("error", "next_action", REMOVE_AFTER), firestore.DELETE_FIELD)
        if anew is not None:
            again |= {"stage": None, "plan": None, "plans": {}, **anew}
        transaction.update(reference, again)
        audit_trail.note(cloud.db, transaction, fields["customer"], reference.path)
        if kind.slots is None:
            stages.begin(kind, transaction, Changed(reference, {**fields, **again}), now)
        return True

    try:
        written = transact(cloud.db, write)
    except _ClosedMeanwhile:
        return retry(cloud, kind, seen, changes)
    if written:
        stages.resume(cloud, kind, reference.get())
    return written


class _ClosedMeanwhile(Exception):
    """A message or the sweep has closed a piece again, as the work had not been retried yet."""


def _plans_left(kind: Kind[Any], fields: Mapping[str, Any]) -> list[str]:
    """The plans of a work's stage and of those to come."""
    names = [stage.name for stage in kind.stages]
    return [
        fields["plans"][each] for each in names[names.index(fields["stage"]) :] if each in fields["plans"]
    ]


def _of_plan(cloud: Cloud, work: Snapshot, plan: str, status: Sequence[str]) -> Any:
    return pieces.of_plan(cloud, work.reference.path, plan, status).select(["name"])


def _open_again(cloud: Cloud, work: Snapshot, plan: str) -> None:
    now = read_time(work)
    left = _of_plan(cloud, work, plan, [OPEN, QUEUED, CLOSED])
    again = (
        methodcaller("update", each.reference, pieces.untried(now, QUEUED))
        for each in left.stream()
        if each.get("name") != pieces.GATE
    )
    pieces.in_commits(cloud.db, again)
