"""A job as Firestore holds it: `jobs/<job>`, a work of the engine (`shared.work`).

Below it lie `rejects`, the records that could not be imported, and `files`, what can be downloaded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any

from shared import exact
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, fields_of
from shared.gcp.objects import Stored
from shared.work import pieces
from shared.work.kinds import CANCELLED, COMPLETED, FAILED, PENDING
from shared.work.pieces import CLOSED, DONE, OPEN, QUEUED

INITIALIZED, ACCEPTED, PROCESSING = "INITIALIZED", "ACCEPTED", "PROCESSING"
REJECTED, CANCELING = "REJECTED", "CANCELING"
WAITING, UNDER_WAY = (PENDING, INITIALIZED), (ACCEPTED, PROCESSING, CANCELING)
"""The states of a job whose file is to come, or is not looked at yet; and of one that has begun."""

ENDED = (COMPLETED, REJECTED, FAILED, CANCELLED)

STATUSES: Mapping[str, str] = {
    PENDING: "Initialized",
    INITIALIZED: "Initialized",
    ACCEPTED: "Accepted",
    PROCESSING: "Processing",
    COMPLETED: "Completed",
    REJECTED: "Rejected",
    CANCELING: "Canceling",
    CANCELLED: "Canceled",
    FAILED: "Failed",
}
"""What clients are shown, by the state of the job's document (docs/contracts/jobs.md)."""

IMPORT, EXPORT = "import", "export"
"""What a job does. These are also the names of the stages in which records are read."""

"""What the id of an upload looks like."""

UPLOAD_LIFE = timedelta(days=7)
"""How long an upload URL works. https://cloud.google.com/storage/docs/resumable-uploads#session-uris"""

NOT_LISTED = ("template", "sql", "filters", "layout", "link")
"""The fields of a job that lists do not need: each may be long."""

LINK_LIFE = timedelta(days=7)
"""How long the links of a job work, from its end (docs/contracts/jobs.md)."""


@dataclass(frozen=True)
class Progress:
    """How far a job is: the records that were processed, and those of them that were rejected. `first` says
    what was wrong with the first of those."""

    processed: int = 0
    rejected: int = 0
    first: str = ""

    def plus(self, other: "Progress") -> "Progress":
        """Both together."""
        processed, rejected = self.processed + other.processed, self.rejected + other.rejected
        return Progress(processed, rejected, self.first or other.first)

    @classmethod
    def of(cls, saved: Mapping[str, Any]) -> "Progress":
        """What a piece has saved; nothing where it has not begun."""
        return cls(**{name: saved[name] for name in PROGRESS if name in saved})


PROGRESS = tuple(each.name for each in fields(Progress))


@dataclass(frozen=True)
class Job:
    """A job. What is None is not known yet, or not so.

    does          import or export
    user          the id of the key that made it
    name          as its maker calls it
    item_type     the type of the items, as it was written
    content_type  as it was written; `csv` is what it means
    email         who is mailed at its end, or empty
    community     what the maker's token called the customer
    upload        of an import: the id of its file's upload
    merge         of an import: whether records are merged into the items that are there
    header_row    whether a CSV file has a header row, or is to have one
    template      a Velocity template, or empty
    sql, filters  of an export: what is exported
    file          of an import: its file as it stands
    layout        of an import: how the file is read, once that was found out
    read_time     of an export: as of when it is read
    reached       of an export that was planned anew: how many records were read before
    ending        how the job is to end, once that is decided: `state` and `reason`
    totals        how far it came, once it has ended by itself
    link          what the link to its files is made of (`links.derived`), and the ids of `files`
    reason        how it ended, in a sentence; for a fault of ours what we met, which is not for its customer
    mails_not_sent  `address`, `status` and `reason` of the mail about its end, where it was not sent
    """

    id: str
    customer: str
    user: str
    does: str
    name: str
    item_type: str
    content_type: str
    csv: bool
    email: str
    community: str
    state: str
    created: datetime
    upload: str | None = None
    merge: bool = False
    header_row: bool = True
    template: str = ""
    sql: str = ""
    filters: Mapping[str, Any] | None = None
    file: Stored | None = None
    layout: Mapping[str, Any] | None = None
    read_time: datetime | None = None
    reached: int = 0
    ending: Mapping[str, str] | None = None
    plans: Mapping[str, str] | None = None
    totals: Progress | None = None
    link: Mapping[str, Any] | None = None
    reason: str = ""
    error: str | None = None
    started: datetime | None = None
    finished: datetime | None = None
    mails_not_sent: Sequence[Mapping[str, str]] = ()

    @property
    def path(self) -> str:
        """Its document."""
        return path(self.id)

    @property
    def status(self) -> str:
        """What clients are shown of its state."""
        accepted = self.state in (PENDING, INITIALIZED) and (self.file is not None or self.does == EXPORT)
        return STATUSES[ACCEPTED if accepted else self.state]


def path(id: str) -> str:
    """The document of the job of that id."""
    return f"jobs/{id}"


def digits(id: str) -> str:
    """The id of a job as 32 hex digits: the id of the upload of its own file, and of its link."""
    return id.replace("-", "")


def upload_name(customer: str, upload: str) -> str:
    """What the file of an upload is called in the uploads bucket."""
    return f"{customer}/jobs/{upload}"


def from_snapshot(snapshot: Snapshot) -> Job:
    """The job that a snapshot holds; it must exist. Of a snapshot of LISTED it has nothing else."""
    fields = fields_of(snapshot)
    file, totals, filters = (fields.get(name) for name in ("file", "totals", "filters"))
    return Job(
        id=snapshot.id,
        file=Stored(**file) if file else None,
        totals=Progress(**totals) if totals else None,
        filters=exact.loads(filters) if filters else None,
        **{name: fields[name] for name in _REQUIRED},
        **{name: fields[name] for name in _OPTIONAL if fields.get(name) is not None},
    )


def get(cloud: Cloud, id: str) -> Job | None:
    """The job of that id, or None."""
    snapshot = cloud.db.document(path(id)).get()
    return from_snapshot(snapshot) if snapshot.exists else None


def progress(cloud: Cloud, job: Job) -> Progress:
    """How far it is: its totals once it has ended by itself, until then what its pieces have saved."""
    if job.totals is not None:
        return job.totals
    plan = (job.plans or {}).get(EXPORT, job.does)
    reached = Progress()
    statuses = [OPEN, QUEUED, DONE, CLOSED]
    for snapshot in pieces.of_plan(cloud, job.path, plan, statuses).select(PROGRESS).stream():
        reached = reached.plus(Progress.of(fields_of(snapshot)))
    return replace(reached, processed=max(reached.processed, job.reached))


def ending_of(state: str, reason: str, **more: Any) -> dict[str, Any]:
    """The field that says how a job is to end."""
    return {"ending": {"state": state, "reason": reason}, **more}


_REQUIRED = (
    "customer",
    "user",
    "does",
    "name",
    "item_type",
    "content_type",
    "csv",
    "email",
    "community",
    "state",
    "created",
)
_OPTIONAL = tuple(
    each.name for each in fields(Job) if each.name not in (*_REQUIRED, "id", "file", "totals", "filters")
)

LISTED = tuple(each.name for each in fields(Job) if each.name not in ("id", *NOT_LISTED))
"""The fields of a job that lists need."""
