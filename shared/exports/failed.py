"""The windows of an export that failed: those that no run has exported since.

The transaction that fails a run sets its field `unexported`. That is taken back when the run is tried again,
or when a run by hand has exported all of its window.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from google.cloud.firestore_v1 import FieldFilter

from shared.exports.runs import BY_HAND, SCHEDULE, Run
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, change, count, fields_of
from shared.gcp.unreadable import readable
from shared.window import Window

READ_AT_ONCE = 100
"""How many failed windows are read at once."""


@dataclass(frozen=True)
class Failed:
    """How many windows of an export failed: the oldest of them, and when that failed first."""

    count: int
    oldest: Window | None = None
    since: datetime | None = None


NONE_FAILED = Failed(0)


def fails(run: Mapping[str, Any], at: datetime) -> dict[str, Any]:
    """What changes of a run with these fields that fails at `at`."""
    return {"unexported": "redone_by" not in run, "first_failed": run.get("first_failed", at)}


def tried_again() -> dict[str, Any]:
    """What changes of a run that failed and is tried again."""
    return {"unexported": False}


def summary(cloud: Cloud, export: str) -> Failed:
    """How many windows of the export of that id failed."""
    reference = cloud.db.document(f"exports/{export}")
    first = oldest(reference, 1)
    if not first:
        return NONE_FAILED
    fields = fields_of(first[0])
    window = Window(fields["window_start"], fields["window_end"])
    return Failed(max(count(_unexported(reference)), 1), window, fields["first_failed"])


def oldest(reference: Any, most: int, *, scheduled: bool = False, after: str | None = None) -> list[Snapshot]:
    """The runs of the export's failed windows, oldest first: at most so many, only those of the schedule, and
    only those that follow the run of the id `after`."""
    query = _unexported(reference)
    if scheduled:
        query = query.where(filter=FieldFilter("origin", "==", SCHEDULE))
    return list(_following(reference, query.order_by("window_start"), after).limit(most).stream())


def mark_redone(cloud: Cloud, run: Run, on_progress: Callable[[], None]) -> None:
    """Have failed windows count as exported that lie within the window that `run`, by hand, has exported by
    the same version of the config or a newer one. Doing it twice is doing it once."""
    if run.origin != BY_HAND:
        return

    def exported(snapshot: Snapshot) -> bool:
        fields = fields_of(snapshot)
        return bool(fields["window_end"] <= run.window.end and fields["version"] <= run.version)

    for snapshot in _within(cloud.db.document(f"exports/{run.export}"), run.window):
        if any(readable(cloud.db, [snapshot], exported)):
            change(cloud.db, snapshot, {"unexported": False, "redone_by": run.id})
        on_progress()


def _within(reference: Any, window: Window) -> Iterator[Snapshot]:
    """The runs of the failed windows that begin in a window."""
    query = _unexported(reference)
    for operator, bound in ((">=", window.start), ("<", window.end)):
        query = query.where(filter=FieldFilter("window_start", operator, bound))
    query, after = query.order_by("window_start").limit(READ_AT_ONCE), None
    while found := list(_following(reference, query, after).stream()):
        yield from found
        after = found[-1].id


def _unexported(reference: Any) -> Any:
    return reference.collection("runs").where(filter=FieldFilter("unexported", "==", True))


def _following(reference: Any, query: Any, after: str | None) -> Any:
    return query if after is None else query.start_after(reference.collection("runs").document(after).get())
