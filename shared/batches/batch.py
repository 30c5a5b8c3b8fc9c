"""A batch as Firestore holds it: `batches/<batch>`, below it `archive_slices` and `errors`.

Statuses only move forward: WAITING_FOR_UPLOAD until its archive is there, UPLOADED until that is planned,
PROCESSING while its work orders are taken in, then COMPLETED, COMPLETED_WITH_ERRORS or FAILED. CANCELLED by
its customer, EXPIRED where no archive came.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

from google.cloud import firestore

from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, fields_of, transact
from shared.gcp.leases import ALIVE
from shared.gcp.objects import Stored

WAITING_FOR_UPLOAD, UPLOADED, PROCESSING = "WAITING_FOR_UPLOAD", "UPLOADED", "PROCESSING"
COMPLETED, COMPLETED_WITH_ERRORS, FAILED = "COMPLETED", "COMPLETED_WITH_ERRORS", "FAILED"
CANCELLED, EXPIRED = "CANCELLED", "EXPIRED"
UNDER_WAY = (UPLOADED, PROCESSING)
ENDED = (COMPLETED, COMPLETED_WITH_ERRORS, FAILED, CANCELLED, EXPIRED)

FUNCTION = "ingest_work_orders"
"""The function that takes a batch on."""


@dataclass(frozen=True)
class Progress:
    """How far a batch is: its work orders, and of those that were taken in the images and their bytes;
    `errors` and `warnings` are what its errors file lists."""

    work_orders_done: int = 0
    work_orders_failed: int = 0
    images: int = 0
    bytes: int = 0
    errors: int = 0
    warnings: int = 0

    def plus(self, other: "Progress") -> "Progress":
        """Both together."""
        return Progress(**{name: count + getattr(other, name) for name, count in asdict(self).items()})


PROGRESS = tuple(each.name for each in fields(Progress))


@dataclass(frozen=True)
class Batch:
    """A batch. What is None is not known yet.

    user         the id of the key that made it
    notify       the addresses that are mailed at its end
    declared     how large its archive was said to be, in bytes
    upload_url   a secret in itself; None once the archive is there
    expires      when its upload URL stops working
    archive      the archive as it stands
    plan         its work orders, slice by slice (`planning`)
    slices       how many those are
    work_orders  how many work orders the archive holds
    problems     what the plan found wrong with files of no work order
    totals       how far it came, once it has ended by itself
    error        code and message, where it failed
    """

    id: str
    customer: str
    site: str
    user: str
    status: str
    created: datetime
    expires: datetime
    filename: str | None = None
    declared: int | None = None
    notify: tuple[str, ...] = ()
    upload_url: str | None = None
    archive: Stored | None = None
    plan: Stored | None = None
    slices: int | None = None
    work_orders: int | None = None
    problems: Progress = Progress()
    totals: Progress | None = None
    error: Mapping[str, str] | None = None
    finished: datetime | None = None

    @property
    def path(self) -> str:
        """Its document."""
        return f"batches/{self.id}"

    def slices_in(self, cloud: Cloud) -> firestore.CollectionReference:
        """The documents of its slices. Not called as an export's are: what looks for those through all
        collections of a name is not to find these."""
        return cloud.db.collection(f"{self.path}/archive_slices")

    @property
    def message(self) -> dict[str, str]:
        """What a function is sent to take it on."""
        return {"customer": self.customer, "batch": self.id}


def archive_name(customer: str, batch: str) -> str:
    """What its archive is called in the uploads bucket."""
    return f"{customer}/{batch}.zip"


def new_batch(batch: Batch) -> dict[str, Any]:
    """The document of a batch that is being created."""
    return {
        "customer": batch.customer,
        "site_id": batch.site,
        "user": batch.user,
        "status": batch.status,
        "created": batch.created,
        "expires": batch.expires,
        "filename": batch.filename,
        "declared": batch.declared,
        "notify": list(batch.notify),
        "upload_url": batch.upload_url,
        **ALIVE,
    }


def ended(status: str, **more: Any) -> dict[str, Any]:
    """The fields of a batch that ends so: nothing can be uploaded any more."""
    return {
        "status": status,
        "upload_url": firestore.DELETE_FIELD,
        "finished": firestore.SERVER_TIMESTAMP,
        **more,
    }


def from_snapshot(snapshot: Snapshot) -> Batch:
    """The batch that a snapshot holds; it must exist."""
    fields = fields_of(snapshot)
    archive, plan, totals = (fields.get(name) for name in ("archive", "plan", "totals"))
    return Batch(
        id=snapshot.id,
        customer=fields["customer"],
        site=fields["site_id"],
        user=fields["user"],
        status=fields["status"],
        created=fields["created"],
        expires=fields["expires"],
        filename=fields["filename"],
        declared=fields["declared"],
        notify=tuple(fields["notify"]),
        upload_url=fields.get("upload_url"),
        archive=Stored(**archive) if archive else None,
        plan=Stored(**plan) if plan else None,
        slices=fields.get("slices"),
        work_orders=fields.get("work_orders"),
        problems=Progress(**fields.get("problems", {})),
        totals=Progress(**totals) if totals else None,
        error=fields.get("error"),
        finished=fields.get("finished"),
    )


def get(cloud: Cloud, id: str) -> Batch | None:
    """The batch of that id, or None."""
    snapshot = cloud.db.document(f"batches/{id}").get()
    return from_snapshot(snapshot) if snapshot.exists else None


def progress(cloud: Cloud, batch: Batch) -> Progress:
    """How far it is: its totals once it has ended by itself, until then what its slices say."""
    if batch.totals is not None:
        return batch.totals
    reached = batch.problems
    if batch.slices:
        for snapshot in batch.slices_in(cloud).select(PROGRESS).stream():
            reached = reached.plus(Progress(**fields_of(snapshot)))
    return reached


def move(
    cloud: Cloud,
    batch: Batch,
    decide: Callable[[Batch], Mapping[str, Any] | None],
    more: Mapping[str, Mapping[str, Any]] | None = None,
) -> Batch:
    """Change a batch in one transaction to what `decide` makes of it as it stands, None being no change, and
    make these documents with it. Returns it as it is then."""
    reference = cloud.db.document(batch.path)

    def write(transaction: firestore.Transaction) -> None:
        changes = decide(from_snapshot(reference.get(transaction=transaction)))
        if changes is None:
            return
        transaction.update(reference, {**changes, **ALIVE})
        for path, content in (more or {}).items():
            transaction.set(cloud.db.document(path), dict(content))

    transact(cloud.db, write)
    return from_snapshot(reference.get())
