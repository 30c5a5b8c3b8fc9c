"""A batch as Firestore holds it: `batches/<batch>`, a work of the engine (`shared.work`). Its slices are the
pieces of its stage IMPORT; `errors` lies below it, too.

States only move forward: WAITING_FOR_UPLOAD until its archive is there, UPLOADED until that is planned,
PROCESSING while its work orders are imported, then COMPLETED, COMPLETED_WITH_ERRORS or FAILED. CANCELLED by
its customer, EXPIRED where no archive came.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any

from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, fields_of, one_of
from shared.gcp.objects import Stored
from shared.outbox.mails import NOT_SENT
from shared.work import pieces
from shared.work.kinds import CANCELLED, COMPLETED, FAILED, PENDING
from shared.work.pieces import CLOSED, DONE, OPEN, QUEUED

WAITING_FOR_UPLOAD, UPLOADED, PROCESSING = "WAITING_FOR_UPLOAD", "UPLOADED", "PROCESSING"
COMPLETED_WITH_ERRORS, EXPIRED = "COMPLETED_WITH_ERRORS", "EXPIRED"
UNDER_WAY = (UPLOADED, PROCESSING)
ENDED = (COMPLETED, COMPLETED_WITH_ERRORS, FAILED, CANCELLED, EXPIRED)
STATES = (PENDING, WAITING_FOR_UPLOAD, *UNDER_WAY, *ENDED)

IMPORT = "import"
"""The stage whose pieces are the slices."""

SESSION_LIFE = timedelta(days=7)
"""How long an upload URL works.
https://cloud.google.com/storage/docs/resumable-uploads#session-uris"""


@dataclass(frozen=True)
class Progress:
    """How far a batch is: its work orders, and of those that were imported the images and their bytes;
    `errors` and `warnings` are what its errors file lists, `codes` the same by their codes."""

    work_orders_done: int = 0
    work_orders_failed: int = 0
    images: int = 0
    bytes: int = 0
    errors: int = 0
    warnings: int = 0
    codes: Mapping[str, int] = field(default_factory=dict)

    def plus(self, other: "Progress") -> "Progress":
        """Both together."""
        counts = {name: getattr(self, name) + getattr(other, name) for name in PROGRESS if name != "codes"}
        return Progress(**counts, codes=dict(Counter(self.codes) + Counter(other.codes)))

    @classmethod
    def of(cls, saved: Mapping[str, Any]) -> "Progress":
        """What a slice has saved; nothing where it has not begun."""
        return cls(**{name: saved[name] for name in PROGRESS if name in saved})


PROGRESS = tuple(each.name for each in fields(Progress))


@dataclass(frozen=True)
class Batch:
    """A batch. What is None is not known yet.

    user         the id of the key that made it
    notify       the addresses that are mailed at its end
    declared     how large its archive was said to be, in bytes
    code_page    the code page of its archive's names, where that was said
    origin       whose pages can use its upload URL, where it was made for a browser
    asked        a hash of the request that made it, where that had an `Idempotency-Key`
    upload_url   a secret in itself; None once it is of no use
    archive      the archive as it stands
    listing      its files, work order by work order (`planning`)
    slices       the plan of its slices, which are pieces
    work_orders  how many work orders the archive holds
    problems     what the plan found wrong with files of no work order, and the folders that can be none; in
                 the end also what the checks of photographs found
    counted      how far it was when that was last counted (`counted`)
    totals       how far it came, once it has ended by itself
    code         what is wrong (`problems`), where it failed
    error        the same as a sentence; for INTERNAL what we met, which is not for its customer
    next_action  what an operator can do about that
    searchable   whether its errors can be found by what they are (`errors_file`): not of a batch from before
                 they could
    not_sent     `address`, `status` and `reason` of each mail about its end that was not sent
    """

    id: str
    customer: str
    site: str
    user: str
    state: str
    created: datetime
    filename: str | None = None
    declared: int | None = None
    code_page: str | None = None
    notify: tuple[str, ...] = ()
    origin: str | None = None
    asked: str = ""
    upload_url: str | None = None
    archive: Stored | None = None
    listing: Stored | None = None
    slices: str | None = None
    work_orders: int | None = None
    problems: Progress = Progress()
    counted: Progress | None = None
    totals: Progress | None = None
    code: str | None = None
    error: str | None = None
    next_action: str | None = None
    finished: datetime | None = None
    searchable: bool = False
    not_sent: Sequence[Mapping[str, str]] = ()

    @property
    def path(self) -> str:
        """Its document."""
        return path(self.id)

    @property
    def reached(self) -> Progress:
        """How far it is, as far as its own document says: once it has ended that is exact, until then it may
        be a minute old."""
        return self.totals or self.counted or self.problems

    @property
    def expires(self) -> datetime:
        """When its upload URL stops working."""
        return self.created + SESSION_LIFE


def path(id: str) -> str:
    """The document of the batch of that id."""
    return f"batches/{id}"


def archive_name(customer: str, batch: str) -> str:
    """What its archive is called in the uploads bucket."""
    return f"{customer}/{batch}.zip"


def from_snapshot(snapshot: Snapshot) -> Batch:
    """The batch that a snapshot holds; it must exist."""
    fields = fields_of(snapshot)
    archive, listing = fields.get("archive"), fields.get("listing")
    counted, totals = fields.get("counted"), fields.get("totals")
    return Batch(
        id=snapshot.id,
        customer=fields["customer"],
        site=fields["site_id"],
        user=fields["user"],
        state=one_of(fields, "state", STATES),
        created=fields["created"],
        filename=fields["filename"],
        declared=fields["declared"],
        code_page=fields.get("code_page"),
        notify=tuple(fields["notify"]),
        origin=fields.get("origin"),
        asked=fields.get("asked", ""),
        upload_url=fields.get("upload_url"),
        archive=Stored(**archive) if archive else None,
        listing=Stored(**listing) if listing else None,
        slices=fields["plans"].get(IMPORT),
        work_orders=fields.get("work_orders"),
        problems=Progress(**fields.get("problems", {})),
        counted=Progress(**counted) if counted else None,
        totals=Progress(**totals) if totals else None,
        code=fields.get("code"),
        error=fields.get("error"),
        next_action=fields.get("next_action"),
        finished=fields.get("finished"),
        searchable=fields.get("searchable", False),
        not_sent=fields.get(NOT_SENT, ()),
    )


def get(cloud: Cloud, id: str) -> Batch | None:
    """The batch of that id, or None."""
    snapshot = cloud.db.document(path(id)).get()
    return from_snapshot(snapshot) if snapshot.exists else None


def counted(cloud: Cloud, batch: Batch) -> Mapping[str, Any]:
    """The field of its document that says how far it is now, so that a list need not read its slices."""
    return {"counted": asdict(progress(cloud, batch))}


def progress(cloud: Cloud, batch: Batch) -> Progress:
    """How far it is: its totals once it has ended by itself, until then what its slices have saved."""
    if batch.totals is not None:
        return batch.totals
    reached = batch.problems
    if batch.slices is not None:
        slices = pieces.of_plan(cloud, batch.path, batch.slices, [OPEN, QUEUED, DONE, CLOSED])
        for snapshot in slices.select(PROGRESS).stream():
            reached = reached.plus(Progress.of(fields_of(snapshot)))
    return reached
