"""The use cases of `/v1/exports`: make an export, look at it, run it by hand."""

import contextlib
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from google.api_core.exceptions import AlreadyExists, GoogleAPICallError
from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter

from shared.accounts.customers import get_customer, sites_of
from shared.accounts.keys import Caller
from shared.errors import Conflict, FieldProblem, Invalid, NotFound
from shared.exports import names, runs, slots
from shared.exports.config import ExportConfig, parse
from shared.exports.runs import BY_HAND, FAILED, PENDING, Run
from shared.exports.schedules import Schedule
from shared.exports.tick import ACTIVE, next_fields
from shared.gcp import leases
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, fields_of, read_time, server_time, transact
from shared.window import Window, floor_minute, moment_problem

BACKLOG_MOST = 400
"""How many windows a new export may begin with, all waiting."""


@dataclass(frozen=True)
class Export:
    """An export as it stands."""

    id: str
    customer: str
    account: str
    config: ExportConfig
    version: int
    state: str
    created: datetime
    next_start: datetime
    next_due: datetime | None

    @property
    def schedule(self) -> Schedule:
        """Its schedule, by the newest version of its config."""
        return self.config.schedule(self.created)


def create(cloud: Cloud, caller: Caller, body: dict[str, Any]) -> Export:
    """Make an export of the caller's customer; Invalid naming every field that is wrong."""
    config = parse(body)
    _check_sites(cloud, caller, config)
    now = server_time(cloud.db)
    schedule = config.schedule(now)
    _check_schedule(schedule, now)
    export = Export(
        id=str(uuid.UUID(hex=cloud.new_id())),
        customer=caller.customer,
        account=get_customer(cloud.db, caller.customer).account,
        config=config,
        version=1,
        state=ACTIVE,
        created=now,
        next_start=schedule.start,
        next_due=None,
    )
    reference = cloud.db.document(f"exports/{export.id}")
    version = {"config": config.model_dump(mode="json"), "user": caller.key}
    batch = cloud.db.batch()
    batch.create(
        reference,
        {
            "customer": export.customer,
            "account": export.account,
            "version": export.version,
            "created": now,
            **version,
            **next_fields(schedule, schedule.start),
        },
    )
    batch.create(reference.collection("versions").document("000001"), {**version, "created": now})
    with contextlib.suppress(AlreadyExists):  # the id is new: it is our own write, whose answer was lost
        batch.commit()
    return get(cloud, caller, export.id)


def get(cloud: Cloud, caller: Caller, id: str) -> Export:
    """The caller's export of that id; NotFound where there is none, or it is another customer's."""
    return _owned(caller, id, cloud.db.document(f"exports/{id}").get())


def get_run(cloud: Cloud, caller: Caller, id: str, run: str) -> Snapshot:
    """The document of a run of the caller's export; NotFound where there is none."""
    export = get(cloud, caller, id)
    if names.is_run(run):
        snapshot: Snapshot = cloud.db.document(f"exports/{export.id}/runs/{run}").get()
        if snapshot.exists:
            return snapshot
    raise NotFound(f"the export {export.id} has no run {run}")


def run_now(cloud: Cloud, caller: Caller, id: str) -> Run:
    """Close the open window at the last whole minute and export it; the next one begins there.

    Conflict where the schedule has ended, or the open window holds no whole minute yet.
    """
    reference = cloud.db.document(f"exports/{id}")
    run_id = cloud.new_id()[: names.RUN_DIGITS]

    def begin(transaction: firestore.Transaction) -> Run:
        snapshot = reference.get(transaction=transaction)
        export = _owned(caller, id, snapshot)
        schedule = export.schedule
        if schedule.window_from(export.next_start) is None:
            raise Conflict(f"the export {id} has ended: use :backfill for a window of the past")
        end = floor_minute(read_time(snapshot))
        if schedule.end is not None:
            end = min(end, schedule.end)
        window = Window(export.next_start, end)
        if window.end <= window.start:
            raise Conflict(
                f"the open window began at {names.stamp(window.start)} and holds no whole minute yet: "
                "try again in a minute"
            )
        run = _by_hand(export, caller, run_id, window, read_time(snapshot))
        transaction.create(cloud.db.document(run.path), runs.new_run(run))
        transaction.update(reference, next_fields(schedule, window.end))
        return run

    try:
        run = transact(cloud.db, begin)
    except GoogleAPICallError:
        made = runs.get(cloud, id, run_id)
        if made is None:
            raise
        run = made  # it was done, and only the answer was lost
    slots.start_waiting(cloud, run.customer)
    return run


def backfill(cloud: Cloud, caller: Caller, id: str, body: dict[str, Any]) -> Run:
    """Export a window of the past again or for the first time, in a run of its own; the schedule stays.

    Invalid where `start` and `end` are no whole minutes of the past, in order.
    """
    snapshot = cloud.db.document(f"exports/{id}").get()
    export = _owned(caller, id, snapshot)
    window = _window(body, read_time(snapshot))
    run_id = cloud.new_id()[: names.RUN_DIGITS]
    run = _by_hand(export, caller, run_id, window, read_time(snapshot))
    with contextlib.suppress(AlreadyExists):  # the id is new: it is our own write, whose answer was lost
        cloud.db.document(run.path).create(runs.new_run(run))
    slots.start_waiting(cloud, run.customer)
    return run


def retry(cloud: Cloud, caller: Caller, id: str, run_id: str) -> Run:
    """Take up a run that failed; what it had pinned is delivered, exactly that.

    Conflict where it has not failed. Its parts and slices are opened first: a death in between leaves it
    failed, and the next retry begins here again.
    """
    snapshot = get_run(cloud, caller, id, run_id)
    reference = snapshot.reference
    _must_have_failed(snapshot)
    for group in ("parts", "slices"):
        unwritten = reference.collection(group).where(filter=FieldFilter("written", "==", False))
        for each in unwritten.stream():
            each.reference.update(leases.new_work())

    def take_up(transaction: firestore.Transaction) -> Run:
        run = _must_have_failed(reference.get(transaction=transaction))
        transaction.update(reference, {"state": PENDING, "audit": firestore.DELETE_FIELD, "sweeps": 0})
        return run

    run = transact(cloud.db, take_up)
    slots.start_waiting(cloud, run.customer)
    return run


def _must_have_failed(snapshot: Snapshot) -> Run:
    run = runs.from_snapshot(snapshot)
    if run.state != FAILED:
        raise Conflict(f"the run {run.id} is {run.state}: only a run that FAILED can be retried")
    return run


def _by_hand(export: Export, caller: Caller, id: str, window: Window, asked: datetime) -> Run:
    return Run(
        id=id,
        export=export.id,
        customer=export.customer,
        account=export.account,
        version=export.version,
        config=export.config,
        window=window,
        due=asked,
        origin=BY_HAND,
        user=caller.key,
        state=PENDING,
    )


def _owned(caller: Caller, id: str, snapshot: Snapshot) -> Export:
    if not snapshot.exists or snapshot.get("customer") != caller.customer:
        raise NotFound(f"there is no export {id}")
    return from_snapshot(snapshot)


def from_snapshot(snapshot: Snapshot) -> Export:
    """The export that a snapshot holds; it must exist."""
    fields = fields_of(snapshot)
    return Export(
        id=snapshot.id,
        customer=fields["customer"],
        account=fields["account"],
        config=ExportConfig.model_validate(fields["config"]),
        version=fields["version"],
        state=fields["state"],
        created=fields["created"],
        next_start=fields["next_start"],
        next_due=fields["next_due"],
    )


def _check_sites(cloud: Cloud, caller: Caller, config: ExportConfig) -> None:
    known = sites_of(cloud.db, config.site_ids, caller.customer)
    problems = [
        FieldProblem(f"site_ids[{number}]", f"there is no site {site} of yours")
        for number, site in enumerate(config.site_ids)
        if site not in known
    ]
    if problems:
        raise Invalid(problems)


def _check_schedule(schedule: Schedule, now: datetime) -> None:
    if schedule.window_from(schedule.start) is None:
        raise Invalid.field("end", "comes before the first window: it must be after `start` and creation")
    start = schedule.start
    for _ in range(BACKLOG_MOST):
        window = schedule.window_from(start)
        if window is None or window.end > now:
            return
        start = window.end
    raise Invalid.field(
        "start",
        f"lies more than {BACKLOG_MOST} windows back: export the past with `once`, or with :backfill",
    )


def _window(body: dict[str, Any], now: datetime) -> Window:
    problems = [FieldProblem(field, "there is no such field") for field in body if field not in _BOUNDS]
    bounds = {}
    for field in _BOUNDS:
        try:
            at = datetime.fromisoformat(body[field])
        except KeyError:
            problems.append(FieldProblem(field, "is needed"))
        except (TypeError, ValueError):
            problems.append(FieldProblem(field, "must be a time such as 2026-11-23T00:00:00Z"))
        else:
            problem = moment_problem(at)
            if problem is not None:
                problems.append(FieldProblem(field, problem))
            elif at > now:
                problems.append(FieldProblem(field, "lies in the future"))
            else:
                bounds[field] = floor_minute(at)
    if not problems and bounds["end"] <= bounds["start"]:
        problems.append(FieldProblem("end", "must come after `start`"))
    if problems:
        raise Invalid(problems)
    return Window(bounds["start"], bounds["end"])


_BOUNDS = ("start", "end")
