"""What an operator asks of all customers' exports: how they stand, the life of one run, a window again."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from google.cloud.firestore_v1 import FieldFilter

from shared import audit_trail
from shared.accounts.keys import Caller
from shared.errors import Conflict, NotFound
from shared.exports import audit, by_hand, names, pausing, retrying, runs, service
from shared.exports.export import ACTIVE, LISTED, PAUSED, SUSPENDED, Export, from_snapshot
from shared.exports.runs import DELIVERING, FAILED, PENDING, RUNNING, Run
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, count, fields_of, moment_in, plain, server_time
from shared.gcp.unreadable import readable
from shared.http.idempotency import Repeatable
from shared.moments import milliseconds
from shared.outbox import mails
from shared.window import Window
from shared.work import pieces, turns
from shared.work.overview import MAX_LISTED, Listed, listed

MAX_FAILED_WINDOWS = 1_000
"""How many failed windows of all exports are counted."""

FAILED_WITHIN = timedelta(days=1)
"""How far back runs that failed are looked for."""


_STEPS = (
    "created",
    "started",
    "planned",
    "parts",
    "delivering",
    "files",
    "slices",
    "mails",
    "finished",
    "heartbeat",
)
"""In which order things happen to a run that happen in one millisecond: stamps know no finer time."""


@dataclass(frozen=True)
class RunNow:
    """A run as it stands. `heartbeat` is when it last showed life; None is not known yet."""

    run: Run
    created: datetime
    heartbeat: datetime
    finished: datetime | None
    error: str | None
    next_action: str | None


@dataclass(frozen=True)
class Overview:
    """How exports stand at a moment of Firestore's.

    under_way  runs that are written or delivered, also those that wait for something outside, the longest due
               first
    pending    runs that wait for a slot, or for a run of their export that waits, the longest due first
    due        active exports whose window was to begin by then, the longest due first
    halted     exports that are paused or suspended
    failed     runs that failed within FAILED_WITHIN
    """

    at: datetime
    under_way: Listed[RunNow]
    pending: Listed[RunNow]
    due: Listed[Export]
    halted: Listed[Export]
    failed: Listed[RunNow]


@dataclass(frozen=True)
class Failing:
    """An export with failed windows: how many, and since when the first of them fails. Where all exports have
    more than MAX_FAILED_WINDOWS, some do not count."""

    customer: str
    export: str
    name: str
    windows: int
    since: datetime


@dataclass(frozen=True)
class Moment:
    """Something that happened in the life of a run."""

    at: datetime
    what: str


@dataclass(frozen=True)
class Life:
    """A run, what is known to have happened to it, in order, and its audit event once it has ended.

    left_out  how many parts, files and slices are more than MAX_LISTED of their kind
    """

    now: RunNow
    moments: Sequence[Moment]
    left_out: int
    event: dict[str, Any] | None


def overview(cloud: Cloud) -> Overview:
    """How all customers' exports stand now, by Firestore's time."""
    at = server_time(cloud.db)
    exports, every_run = cloud.db.collection("exports"), cloud.db.collection_group("runs")
    due = exports.where(filter=FieldFilter("state", "==", ACTIVE)).where(
        filter=FieldFilter("next_due", "<=", at)
    )
    halted = exports.where(filter=FieldFilter("state", "in", [PAUSED, SUSPENDED]))
    under_way = every_run.where(filter=FieldFilter("state", "in", [RUNNING, DELIVERING]))
    pending = every_run.where(filter=FieldFilter("state", "==", PENDING))
    failed = every_run.where(filter=FieldFilter("state", "==", FAILED)).where(
        filter=FieldFilter("finished", ">=", at - FAILED_WITHIN)
    )
    return Overview(
        at=at,
        under_way=listed(cloud, under_way.order_by("due"), _now),
        pending=listed(cloud, pending.order_by("due"), _now),
        due=listed(cloud, due.order_by("next_due"), from_snapshot),
        halted=listed(cloud, halted, from_snapshot),
        failed=listed(cloud, failed.order_by("finished"), _now),
    )


def exports(cloud: Cloud, customer: str | None = None, state: str | None = None) -> list[Export]:
    """All exports, or those of a customer, by customer and the oldest first: those in a state, or else all
    but those that have ended or were deleted."""
    query: Any = cloud.db.collection("exports")
    query = query.where(filter=FieldFilter("state", "in", [state] if state else list(LISTED)))
    if customer is not None:
        query = query.where(filter=FieldFilter("customer", "==", customer))
    found = readable(cloud.db, query.stream(), from_snapshot)
    return sorted(found, key=lambda each: (each.customer, each.created, each.id))


def pause(cloud: Cloud, id: str) -> Export:
    """Pause an export, as its customer does."""
    return pausing.pause(cloud, operator_of(get(cloud, id).customer), id)


def revoke_links(cloud: Cloud, id: str, recipient: str | None = None) -> Export:
    """Withdraw the links of an export, or those of one recipient, as its customer does."""
    return service.revoke_links(cloud, operator_of(get(cloud, id).customer), id, recipient)


def resume(cloud: Cloud, id: str, skip: bool) -> tuple[Export, Window | None]:
    """Resume an export, as its customer does; returns also what is left out."""
    return pausing.resume(cloud, operator_of(get(cloud, id).customer), id, skip)


def cancel(cloud: Cloud, export: str, run: str) -> Run:
    """Cancel a run, as its customer does."""
    found = runs.from_snapshot(_run(cloud, export, run))
    return by_hand.cancel(cloud, operator_of(found.customer), export, run)


def failing(cloud: Cloud) -> list[Failing]:
    """The exports of all customers that have failed windows, the longest failing first."""
    found = (
        cloud.db.collection_group("runs")
        .where(filter=FieldFilter("unexported", "==", True))
        .order_by("first_failed")
        .select(["customer", "export", "config.name", "first_failed"])
    )
    exports: dict[str, Failing] = {}
    for first in readable(cloud.db, turns.first(found, MAX_FAILED_WINDOWS), _failing):
        known = exports.get(first.export, first)
        exports[first.export] = replace(known, windows=known.windows + 1)
    return list(exports.values())


def _failing(run: Snapshot) -> Failing:
    each = fields_of(run)
    return Failing(
        each["customer"], each["export"], each["config"]["name"], 0, moment_in(each, "first_failed")
    )


def retry_failed(cloud: Cloud, id: str) -> Export:
    """Retry all failed windows of an export, as its customer does."""
    return retrying.retry_failed(cloud, operator_of(get(cloud, id).customer), id, Repeatable(None, ""))


def life(cloud: Cloud, export: str, run: str) -> Life:
    """What happened to a run, from its documents' own times. NotFound where there is none."""
    snapshot = _run(cloud, export, run)
    fields = fields_of(snapshot)
    now = _now(snapshot)
    ended = now.run.state in runs.ENDED
    told = {
        "created": f"created, to run at {milliseconds(now.run.due)}",
        "started": "started: it got a slot",
        "planned": f"planned: {now.run.parts} parts",
        "delivering": "delivering: what is delivered is pinned",
        "finished": f"finished: {now.run.state}" if ended else "failed, and was retried since",
        "heartbeat": "last heartbeat",
    }
    moments = {field: [Moment(fields[field], what)] for field, what in told.items() if fields.get(field)}
    if ended:
        moments.pop("heartbeat", None)
    left_out = 0
    planned = snapshot.reference.collection("pieces")
    for group, documents, tell in (
        ("parts", planned.where(filter=FieldFilter("plan", "==", now.run.plans.get(runs.WRITE, ""))), _part),
        ("files", cloud.db.collection(now.run.files), _file),
        ("slices", planned.where(filter=FieldFilter("plan", "==", now.run.plans.get(runs.COPY, ""))), _slice),
        ("mails", snapshot.reference.collection("mails"), _mail),
    ):
        left_out += max(0, count(documents) - MAX_LISTED)
        listed = documents.order_by("__name__").limit(MAX_LISTED).stream()
        moments[group] = [moment for each in listed for moment in tell(each)]
    in_order = [moment for step in _STEPS for moment in moments.get(step, ())]
    return Life(
        now=now,
        moments=sorted(in_order, key=lambda moment: moment.at),
        left_out=left_out,
        event=audit.ordered(fields["audit"]) if fields.get("audit") else None,
    )


def rerun(cloud: Cloud, export: str, run: str) -> Run:
    """Have a run's window exported again: the run itself if it failed, in a run of its own if it has
    completed or was cancelled.

    NotFound where there is none; Conflict while it is under way, or where its export was deleted.
    """
    found = runs.from_snapshot(_run(cloud, export, run))
    caller = operator_of(found.customer)
    once = Repeatable(None, "")
    if found.state == FAILED:
        return by_hand.retry(cloud, caller, export, run, once)
    if found.state not in runs.ENDED:
        raise Conflict(f"the run {run} is {found.state}: it can run again when it has ended")
    return by_hand.backfill(cloud, caller, export, audit.bounds(found.window), once)


def get(cloud: Cloud, id: str) -> Export:
    """The export of that id, whosever it is, or NotFound."""
    snapshot = cloud.db.document(f"exports/{id}").get()
    if not snapshot.exists:
        raise NotFound(f"there is no export {id}")
    return from_snapshot(snapshot)


def operator_of(customer: str) -> Caller:
    """The operator, acting for a customer."""
    return Caller(customer, audit_trail.OPERATOR, frozenset(["exports"]))


def _run(cloud: Cloud, export: str, run: str) -> Snapshot:
    if names.is_run(run):
        snapshot = cloud.db.document(f"exports/{export}/runs/{run}").get()
        if snapshot.exists:
            return snapshot
    raise NotFound(f"the export {export} has no run {run}")


def _now(snapshot: Snapshot) -> RunNow:
    fields = fields_of(snapshot)
    ended = fields.get("audit") or {}
    return RunNow(
        run=runs.from_snapshot(snapshot),
        created=moment_in(fields, "created"),
        heartbeat=moment_in(fields, "heartbeat"),
        finished=moment_in(fields, "finished") if fields.get("finished") else None,
        error=ended.get("error"),
        next_action=ended.get("next_action"),
    )


def _part(snapshot: Snapshot) -> Iterator[Moment]:
    yield from _piece(snapshot, "part", "to be written", lambda fields: f"{fields['rows']} rows")


def _slice(snapshot: Snapshot) -> Iterator[Moment]:
    yield from _piece(
        snapshot,
        "slice",
        "of the images to be copied",
        lambda fields: f"{len(fields['missing'])} images missing",
    )


def _piece(
    snapshot: Snapshot, what: str, to_be: str, result: Callable[[Mapping[str, Any]], str]
) -> Iterator[Moment]:
    """What a piece says of itself: that it is planned, and done, or when somebody last was at it."""
    piece = pieces.parse(snapshot)
    if piece.name == pieces.GATE:
        return
    name = f"{what} {piece.name}" + (f" of {piece.fields['site']}" if what == "part" else "")
    yield Moment(_made(snapshot), f"{name} {to_be}")
    attempts = f"{piece.attempts} attempt{'' if piece.attempts == 1 else 's'}"
    if piece.status == pieces.DONE:
        yield Moment(_milliseconds(piece.heartbeat), f"{name} done: {result(piece.fields)}, {attempts}")
    elif piece.attempts or piece.tries:
        at_it = f"attempt {piece.holder} is at it" if piece.holder else "nobody is at it"
        why = f"; it waits for: {piece.waits_for}" if piece.waits_for else ""
        yield Moment(_milliseconds(piece.heartbeat), f"{name} not done: {attempts}, {at_it}{why}")


def _file(snapshot: Snapshot) -> Iterator[Moment]:
    yield Moment(_made(snapshot), f"file of {snapshot.id} delivered")


def _mail(snapshot: Snapshot) -> Iterator[Moment]:
    mail = mails.from_snapshot(snapshot)
    name = f"mail ({mail.letter}) to {mail.address}"
    yield Moment(_made(snapshot), f"{name} to be sent")
    if mail.finished:
        yield Moment(mail.finished, f"{name} {mail.state}" + (f": {mail.reason}" if mail.reason else ""))


def _made(snapshot: Snapshot) -> datetime:
    """When a document was made."""
    return _milliseconds(plain(snapshot.create_time))


def _milliseconds(at: datetime) -> datetime:
    """A time in milliseconds as server timestamps are: it is put in order with those."""
    return at.replace(microsecond=at.microsecond // 1000 * 1000)
