"""`GET /v1/overview`: how a customer's exports stand: what is due, what runs, and what waits for somebody.
`GET /v1/statistics`: what their runs brought, day by day.

Each list of the overview has its first SHOWN entries, so that it costs the same however many there are.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from shared.accounts.callers import Call
from shared.exports import runs, statistics
from shared.exports.answers import Bounds, Count, RunStatus
from shared.exports.audit import bounds
from shared.exports.export import ACTIVE, SUSPENDED, Export, from_snapshot
from shared.exports.runs import DELIVERING, PENDING, RUNNING
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, fields_of
from shared.gcp.unreadable import readable
from shared.http.bodies import Moment, documented
from shared.http.routes import Route
from shared.moments import milliseconds
from shared.window import Window

SHOWN = 10
"""How many entries each list has."""

MAX_DAYS = 31
"""How many days of statistics one answer has: a document is read for each."""

WAITING_ADVICE = (
    "See that your server or bucket answers: the export's connection test tells. The run is tried again by "
    "itself."
)
"""What people are told to do about a run that waits."""

_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)

T = TypeVar("T")


@documented
class DueExport(TypedDict):
    """An export whose next window is to come."""

    export_id: str
    """Its id."""
    export_name: str
    """Its name."""
    next_window_start: Moment
    """Where its next window begins."""
    next_due: Moment
    """When that window is exported."""


@documented
class SuspendedExport(TypedDict):
    """An export that is suspended: its windows wait for somebody."""

    export_id: str
    """Its id."""
    export_name: str
    """Its name."""
    error: str | None
    """What went wrong."""
    next_action: str | None
    """What to do about it."""
    call: str
    """The call that has it go on after that."""


@documented
class OpenRun(TypedDict):
    """A run that has not ended."""

    run_id: str
    """Its id."""
    export_id: str
    """The id of its export."""
    export_name: str
    """The name of its export."""
    window: Bounds
    """The window that it exports."""
    status: RunStatus
    """How far it is."""
    due: Moment
    """When it was due."""
    started: Moment | None
    """When it started; null while it waits for its turn."""


@documented
class WaitingRun(OpenRun):
    """A run that cannot go on now. It is tried again by itself."""

    waits_for: str
    """What it waits for outside."""
    waits_since: Moment
    """Since when it waits for that."""
    next_action: str
    """What to do about it."""


@documented
class FailedRun(TypedDict):
    """A run that failed, and whose window no run has exported since."""

    run_id: str
    """Its id."""
    export_id: str
    """The id of its export."""
    export_name: str
    """The name of its export."""
    window: Bounds
    """The window that it was to export."""
    failed: Moment
    """When it failed first."""
    error: str | None
    """Why it failed."""
    next_action: str | None
    """What to do about it."""
    call: str
    """The call that exports the window after that."""


@documented
class More(TypedDict):
    """Which lists have more entries than are shown."""

    due: bool
    """Whether `due` has."""
    running: bool
    """Whether `running` has."""
    pending: bool
    """Whether `pending` has."""
    waiting: bool
    """Whether `waiting` has."""
    suspended: bool
    """Whether `suspended` has."""
    failed: bool
    """Whether `failed` has."""


@documented
class Overview(TypedDict):
    """How a customer's exports stand. Each list has at most 10 entries."""

    due: list[DueExport]
    """Exports whose next window is to come, the next one first."""
    running: list[OpenRun]
    """Runs that are written or delivered, the longest due first; those that wait are among them."""
    pending: list[OpenRun]
    """Runs that wait for their turn, the longest due first."""
    waiting: list[WaitingRun]
    """Runs that cannot go on now, the longest waiting first."""
    suspended: list[SuspendedExport]
    """Exports that are suspended, the newest first."""
    failed: list[FailedRun]
    """Runs that failed, the last to fail first."""
    more: More
    """Which lists have more."""


class Days(BaseModel):
    """Which days are asked for."""

    days: int = Field(default=30, ge=1, le=MAX_DAYS, description="How many days, today (UTC) included.")


@documented
class Day(TypedDict):
    """What the runs brought that ended on a day."""

    day: str
    """The day in UTC, as `2026-11-23`."""
    records: Count
    """How many records the runs delivered that were completed."""
    images: Count
    """How many images they delivered."""
    completed: Count
    """How many runs were completed."""
    failed: Count
    """How many runs failed, and have not been completed since."""


@documented
class Statistics(TypedDict):
    """What the runs of all exports brought, day by day."""

    days: list[Day]
    """The days without a gap, the oldest first; the last one is today (UTC), and goes on."""


def of(cloud: Cloud, customer: str) -> Overview:
    """How the exports of a customer stand now."""

    def exports(state: str) -> Any:
        return _where(cloud.db.collection("exports"), customer=customer, state=state)

    def of_runs(**fields: Any) -> Any:
        return _where(cloud.db.collection_group("runs"), customer=customer, **fields)

    under_way = of_runs().where(filter=FieldFilter("state", "in", [RUNNING, DELIVERING]))
    waits = of_runs(open=True).where(filter=FieldFilter("since", ">", _EARLIEST))
    newest = firestore.Query.DESCENDING
    due, more_due = _first(cloud, exports(ACTIVE).order_by("next_due"), _due)
    running, more_running = _first(cloud, under_way.order_by("due"), _open)
    pending, more_pending = _first(cloud, of_runs(state=PENDING).order_by("due"), _open)
    waiting, more_waiting = _first(cloud, waits.order_by("since"), _waiting)
    suspended, more_suspended = _first(
        cloud, exports(SUSPENDED).order_by("created", direction=newest), _suspended
    )
    failed, more_failed = _first(
        cloud, of_runs(unexported=True).order_by("first_failed", direction=newest), _failed
    )
    return {
        "due": due,
        "running": running,
        "pending": pending,
        "waiting": waiting,
        "suspended": suspended,
        "failed": failed,
        "more": {
            "due": more_due,
            "running": more_running,
            "pending": more_pending,
            "waiting": more_waiting,
            "suspended": more_suspended,
            "failed": more_failed,
        },
    }


def _where(query: Any, **fields: Any) -> Any:
    for name, value in fields.items():
        query = query.where(filter=FieldFilter(name, "==", value))
    return query


def _first(cloud: Cloud, query: Any, parse: Callable[[Snapshot], T]) -> tuple[list[T], bool]:
    """The first SHOWN that a query finds, and whether there are more."""
    found = list(query.limit(SHOWN + 1).stream())
    return list(readable(cloud.db, found[:SHOWN], parse)), len(found) > SHOWN


def _due(snapshot: Snapshot) -> DueExport:
    export = from_snapshot(snapshot)
    if export.next_due is None:
        raise ValueError("an active export has no next window")
    return {
        "export_id": export.id,
        "export_name": export.config.name,
        "next_window_start": milliseconds(export.next_start),
        "next_due": milliseconds(export.next_due),
    }


def _suspended(snapshot: Snapshot) -> SuspendedExport:
    export: Export = from_snapshot(snapshot)
    why = export.suspended or {}
    return {
        "export_id": export.id,
        "export_name": export.config.name,
        "error": why.get("error"),
        "next_action": why.get("next_action"),
        "call": f"POST /v1/exports/{export.id}:resume",
    }


def _open(snapshot: Snapshot) -> OpenRun:
    run = runs.from_snapshot(snapshot)
    return {
        "run_id": run.id,
        "export_id": run.export,
        "export_name": run.config.name,
        "window": _window(run.window),
        "status": run.state,
        "due": milliseconds(run.due),
        "started": milliseconds(run.started) if run.started else None,
    }


def _waiting(snapshot: Snapshot) -> WaitingRun:
    run = runs.from_snapshot(snapshot)
    if run.waits_for is None or run.since is None:
        raise ValueError("it says since when it waits, and not for what, or the other way round")
    return {
        **_open(snapshot),
        "waits_for": run.waits_for,
        "waits_since": milliseconds(run.since),
        "next_action": WAITING_ADVICE,
    }


def _failed(snapshot: Snapshot) -> FailedRun:
    run, fields = runs.from_snapshot(snapshot), fields_of(snapshot)
    return {
        "run_id": run.id,
        "export_id": run.export,
        "export_name": run.config.name,
        "window": _window(run.window),
        "failed": milliseconds(fields["first_failed"]),
        "error": fields.get("error"),
        "next_action": fields.get("next_action"),
        "call": f"POST /v1/exports/{run.export}/runs/{run.id}:retry",
    }


def _window(window: Window) -> Bounds:
    made = bounds(window)
    return {"start": made["start"], "end": made["end"]}


def _show(call: Call) -> Overview:
    return of(call.cloud, call.caller.customer)


def _count(call: Call, query: Days) -> Statistics:
    found = statistics.of(call.cloud, call.caller.customer, query.days)
    return {"days": [cast(Day, {"day": day, **sums}) for day, sums in found.items()]}


ROUTES = [
    Route(
        method="GET",
        path="/v1/overview",
        handler=_show,
        summary="Show what is due, runs, failed, or waits for somebody",
        scope="exports",
        answer=Overview,
    ),
    Route(
        method="GET",
        path="/v1/statistics",
        handler=_count,
        summary="Show what the runs of all exports brought, day by day",
        scope="exports",
        query=Days,
        answer=Statistics,
    ),
]
"""To be answered by the function that serves `/v1`."""
