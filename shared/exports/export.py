"""An export as Firestore holds it: `exports/<export>`, below it `versions` of its config and its `runs`.

States: ACTIVE with windows to come; PAUSED by a person; SUSPENDED by us, since its oldest window failed at
five due times; ENDED without windows to come; DELETED, which is only there to be read.
"""

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from shared.exports.config import ExportConfig
from shared.exports.schedules import Schedule
from shared.gcp.documents import Snapshot, fields_of, moment_in, one_of, read_time
from shared.work.kinds import COMPLETED, FAILED

ACTIVE, PAUSED, SUSPENDED, ENDED, DELETED = "ACTIVE", "PAUSED", "SUSPENDED", "ENDED", "DELETED"
STATES = (ACTIVE, PAUSED, SUSPENDED, ENDED, DELETED)
LISTED = (ACTIVE, PAUSED, SUSPENDED)
"""What the list of exports shows unless it is asked for others."""

OUTCOMES = (COMPLETED, FAILED)
"""What can come of an export's last run. One that a person cancelled is passed over: it says nothing of the
export, and the deletion of an export cancels any number."""

BEGIN_FUNCTION = "begin_exports"
"""The function that begins the windows of exports, and retries those that failed."""

NEVER = datetime.min.replace(tzinfo=UTC)

MAX_DUE_TIMES = 5
"""At how many due times a window may fail before its export is suspended."""


@dataclass(frozen=True)
class LastOutcome:
    """What came of the run of an export that ended last: one of OUTCOMES, and when that was."""

    run: str
    status: str
    ended: datetime


@dataclass(frozen=True)
class Export:
    """An export as it stands.

    user        the id of the key that configured it last
    next_start  where its next window begins; next_due when that is exported, None where there is none
    paused      when it was paused, if it is
    suspended   `error` and `next_action` of the run for which it was suspended
    retrying    whether its failed windows are being retried
    last        what came of the run that ended last, if one has
    seen        when it stood so, by Firestore
    """

    id: str
    customer: str
    account: str
    user: str
    config: ExportConfig
    version: int
    state: str
    created: datetime
    next_start: datetime
    next_due: datetime | None
    paused: datetime | None = None
    suspended: dict[str, Any] | None = None
    retrying: bool = False
    last: "LastOutcome | None" = None
    seen: datetime = field(default=NEVER, compare=False)

    @property
    def path(self) -> str:
        """Its document."""
        return f"exports/{self.id}"

    @property
    def schedule(self) -> Schedule:
        """Its schedule, by the newest version of its config."""
        return self.config.schedule(self.created)


def from_snapshot(snapshot: Snapshot) -> Export:
    """The export that a snapshot holds; it must exist."""
    fields = fields_of(snapshot)
    return Export(
        id=snapshot.id,
        customer=fields["customer"],
        account=fields["account"],
        user=fields["user"],
        config=ExportConfig.model_validate(fields["config"]),
        version=fields["version"],
        state=one_of(fields, "state", STATES),
        created=moment_in(fields, "created"),
        next_start=moment_in(fields, "next_start"),
        next_due=None if fields["next_due"] is None else moment_in(fields, "next_due"),
        # An export that ended or was deleted keeps what it was before.
        paused=fields.get("paused") if fields["state"] == PAUSED else None,
        suspended=fields.get("suspended") if fields["state"] == SUSPENDED else None,
        retrying=fields.get("retry_asked") is not None,
        last=LastOutcome(**last) if (last := fields.get("last_outcome")) else None,
        seen=read_time(snapshot),
    )


def ended_fields(outcome: LastOutcome) -> dict[str, Any]:
    """The fields of an export of which a run ends. They are written with that end: so what was written last
    is of the run that ended last."""
    return {"last_outcome": asdict(outcome)}


def next_fields(schedule: Schedule, start: datetime, state: str = ACTIVE) -> dict[str, Any]:
    """The fields of an export in that state whose next window begins at `start`; without one it has ENDED."""
    window = schedule.window_from(start)
    if window is None:
        return {"state": ENDED, "next_start": start, "next_due": None}
    return {"state": state, "next_start": start, "next_due": schedule.due(window)}
