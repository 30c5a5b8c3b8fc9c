"""What a person asks of an export's runs: one now, one of the past, one cancelled, one retried."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from google.api_core.exceptions import GoogleAPICallError
from google.cloud import firestore

from shared import audit_trail, logs
from shared.accounts.keys import Caller
from shared.errors import Conflict, FieldProblem, Invalid, NotFound
from shared.exports import failed, names, room, runs, service
from shared.exports.config import ExportConfig
from shared.exports.export import DELETED, Export, next_fields
from shared.exports.runs import BY_HAND, FAILED, SCHEDULE, Run
from shared.exports.schedules import moment
from shared.exports.steps import KIND, document
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, fields_of, read_time, transact
from shared.http.bodies import no_such
from shared.http.idempotency import Repeatable
from shared.window import Window, floor_minute, utc_second
from shared.work import control, stages

_BOUNDS = ("start", "end")


def get_run(cloud: Cloud, caller: Caller, id: str, run: str) -> Snapshot:
    """The document of a run of the caller's export; NotFound where there is none."""
    export = service.get(cloud, caller, id)
    if names.is_run(run):
        snapshot: Snapshot = cloud.db.document(f"{export.path}/runs/{run}").get()
        if snapshot.exists:
            return snapshot
    raise NotFound(f"the export {export.id} has no run {run}")


def run_now(cloud: Cloud, caller: Caller, id: str, repeatable: Repeatable) -> Run:
    """Close the open window at the last whole minute and export it; the next one begins there.

    Conflict where the schedule has ended, or the open window holds no whole minute yet. The run that the same
    request began already is returned as it is.
    """

    def close(export: Export, now: datetime) -> tuple[Window, dict[str, Any]]:
        schedule = export.schedule
        if schedule.window_from(export.next_start) is None:
            raise Conflict(f"the export {id} has ended: use :backfill for a window of the past")
        end = floor_minute(now)
        if schedule.end is not None:
            end = min(end, schedule.end)
        if end <= export.next_start:
            begins = "began" if export.next_start <= now else "begins"
            start, whole = utc_second(export.next_start), export.next_start + timedelta(minutes=1)
            raise Conflict(
                f"the next window {begins} at {start} and holds no whole minute before {utc_second(whole)}: "
                "try again then"
            )
        return Window(export.next_start, end), next_fields(schedule, end, export.state)

    return _begin(cloud, caller, id, repeatable, close)


def backfill(cloud: Cloud, caller: Caller, id: str, body: dict[str, Any], repeatable: Repeatable) -> Run:
    """Export a window of the past again or for the first time, in a run of its own; the schedule stays.

    Invalid where `start` and `end` are no whole minutes of the past, in order; without an offset they are
    times on the clock of the export. Also of an export that has ended; Conflict of one that was deleted.
    """

    def named(export: Export, now: datetime) -> tuple[Window, dict[str, Any]]:
        return _window(body, export.config.zone, now), {}

    return _begin(cloud, caller, id, repeatable, named)


def _begin(
    cloud: Cloud,
    caller: Caller,
    id: str,
    repeatable: Repeatable,
    decide: Callable[[Export, datetime], tuple[Window, dict[str, Any]]],
) -> Run:
    """Begin a run by hand, of the window that `decide` gives for the export and the time, which also gives
    what changes of the export. One transaction, so that nothing begins of an export that is being deleted.

    TooMany where no further run by hand may wait."""
    reference = cloud.db.document(f"exports/{id}")
    run_id = names.run_by_hand(repeatable.id(cloud, id, names.RUN_DIGITS))
    # A request that was first sent when ids were shorter made a run with a short id.
    asked_before = [repeatable.id(cloud, id, names.OLD_RUN_DIGITS)] if repeatable.key else []
    if not any(runs.get(cloud, id, made) for made in [run_id, *asked_before] if repeatable.key):
        room.check_backfill(cloud, caller.customer)

    def begin(transaction: firestore.Transaction) -> Run:
        snapshot = reference.get(transaction=transaction)
        export = service.owned(caller, id, snapshot)
        service.must_be_alive(export)
        for each in (*asked_before, run_id):
            made = reference.collection("runs").document(each).get(transaction=transaction)
            if made.exists and (asked := fields_of(made).get("asked")) is not None:
                repeatable.must_be(asked, each)
                return runs.from_snapshot(made)
        now = read_time(snapshot)
        window, changes = decide(export, now)
        run = runs.of(export, run_id, window, due=now, origin=BY_HAND, user=caller.key)
        transaction.create(made.reference, document(run, now, {"asked": repeatable.asked}))
        if changes:
            transaction.update(reference, changes)
        audit_trail.note(cloud.db, transaction, export.customer, run.path)
        return run

    try:
        run = transact(cloud.db, begin)
    except GoogleAPICallError:
        found = runs.get(cloud, id, run_id)
        if found is None:
            raise
        run = found  # it was done, and only the answer was lost
    stages.start_pending(cloud, KIND, run.customer)
    return run


def cancel(cloud: Cloud, caller: Caller, id: str, run_id: str) -> Run:
    """End a run that has not begun to deliver; nothing of it lands. One that is cancelled already stays so.

    Conflict where it has ended, or is being delivered, since it finishes then: unless it waits for something
    outside, and is not being tried right now. What it delivered by then has no manifest.
    """
    reference = get_run(cloud, caller, id, run_id).reference
    cancelled = control.cancel(cloud, KIND, reference)
    run = runs.from_snapshot(reference.get())
    if cancelled:
        with logs.bound(run=run.id, export=run.export, customer=run.customer):
            logs.info("run cancelled", by=caller.key)
    return run


def retry(cloud: Cloud, caller: Caller, id: str, run_id: str, repeatable: Repeatable) -> Run:
    """Take up a run that failed; what it had pinned is delivered, exactly that, to where it was to go.

    Conflict where it has not failed, or its export was deleted; TooMany where no further run may wait.
    """
    service.must_be_alive(service.get(cloud, caller, id))
    snapshot = get_run(cloud, caller, id, run_id)
    if repeatable.key and (snapshot.to_dict() or {}).get("retried") == repeatable.key:
        return runs.from_snapshot(snapshot)
    if snapshot.get("state") == FAILED:
        room.check_run(cloud, caller.customer)
    run = reopen(cloud, snapshot, {"retried": repeatable.key})
    if run is None:
        service.must_be_alive(service.get(cloud, caller, id))
        state = runs.from_snapshot(snapshot.reference.get()).state
        raise Conflict(f"the run {run_id} is {state}: only a run that FAILED can be retried")
    stages.start_pending(cloud, KIND, run.customer)
    return run


def reopen(cloud: Cloud, snapshot: Snapshot, changes: dict[str, Any], *, newest: bool = False) -> Run | None:
    """Have a run that failed wait for a slot again, with these changes. It goes by its own version of the
    config, with the login that its export has now, or by the `newest`. As an edit may have fixed the cause, a
    newer one has the due times counted anew at which the run fails.

    None where it has not failed, its export was deleted, or it has changed since `snapshot` was read: then
    another caller reopened it, and it may even have failed again.
    """
    found = runs.from_snapshot(snapshot)
    if found.state != FAILED:
        return None
    owner = snapshot.reference.parent.parent

    def again(transaction: firestore.Transaction) -> dict[str, Any] | None:
        export = owner.get(["state", "config", "version", "user"], transaction=transaction)
        if export.get("state") == DELETED:
            return None
        config, version = ExportConfig.model_validate(export.get("config")), export.get("version")
        opened = {"audit": firestore.DELETE_FIELD, **failed.tried_again(), **changes}
        if not newest or version == found.version:
            return {**opened, "config": found.config.reached_as(config).model_dump(mode="json")}
        by = {"user": export.get("user")} if found.origin == SCHEDULE else {}
        return {**opened, **by, "due_times": 1, **runs.by_config(found, config, version)}

    if not control.retry(cloud, KIND, snapshot, again):
        return None
    return runs.from_snapshot(snapshot.reference.get())


def _window(body: dict[str, Any], timezone: ZoneInfo, now: datetime) -> Window:
    problems = [
        FieldProblem(field, no_such("field", field, _BOUNDS)) for field in body if field not in _BOUNDS
    ]
    bounds = {}
    for field in _BOUNDS:
        try:
            bounds[field] = moment(body[field], timezone)
        except KeyError:
            problems.append(FieldProblem(field, "is needed"))
        except ValueError as wrong:
            problems.append(FieldProblem(field, str(wrong)))
        else:
            if bounds[field] > now:
                at, by = utc_second(bounds[field]), utc_second(now)
                problems.append(FieldProblem(field, f"lies in the future: it is {by}, try again at {at}"))
    if not problems and bounds["end"] <= bounds["start"]:
        problems.append(FieldProblem("end", "must come after `start`"))
    if problems:
        raise Invalid(problems)
    return Window(bounds["start"], bounds["end"])
