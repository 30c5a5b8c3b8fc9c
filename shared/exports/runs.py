"""A run and its parts as Firestore holds them: `exports/<export>/runs/<run>`, and below it `parts`, `files`,
`slices`.

States: PENDING until the customer has a free slot, RUNNING while it is planned and written, DELIVERING from
the transaction that pins what is delivered, then COMPLETED or FAILED.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter

from shared.exports.config import ExportConfig
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, fields_of, transact
from shared.gcp.leases import ALIVE
from shared.gcp.objects import Stored
from shared.sources.base import Part, Selection, Source
from shared.window import Window

PENDING, RUNNING, DELIVERING = "PENDING", "RUNNING", "DELIVERING"
COMPLETED, FAILED, CANCELLED = "COMPLETED", "FAILED", "CANCELLED"
UNDER_WAY = (RUNNING, DELIVERING)
ENDED = (COMPLETED, FAILED, CANCELLED)

SCHEDULE, BY_HAND = "Schedule", "Run"
"""Where a run came from, in the words of the audit (docs/contracts/audit-event.md)."""


@dataclass(frozen=True)
class Run:
    """A run. What is None is not known yet.

    due        when it was to start; of a run by hand, when it was asked for
    origin     SCHEDULE or BY_HAND
    user       the id of the key that configured or asked for it
    read_time  the moment whose data it exports
    parts      how many parts it was planned in
    totals     what is delivered, pinned with the change to DELIVERING
    """

    id: str
    export: str
    customer: str
    account: str
    version: int
    config: ExportConfig
    window: Window
    due: datetime
    origin: str
    user: str
    state: str
    started: datetime | None = None
    read_time: datetime | None = None
    parts: int | None = None
    totals: "Totals | None" = None

    @property
    def path(self) -> str:
        """Its document."""
        return f"exports/{self.export}/runs/{self.id}"

    @property
    def source(self) -> Source:
        """What it exports."""
        return self.config.source

    @property
    def selection(self) -> Selection:
        """What it wants of its source; ValueError before it is planned."""
        if self.read_time is None:
            raise ValueError(f"the run {self.id} is not planned")
        return Selection(self.customer, self.config.site_ids, self.window, self.read_time)

    @property
    def message(self) -> dict[str, str]:
        """What its function is sent to take it on."""
        return {"customer": self.customer, "export": self.export, "run": self.id}


@dataclass(frozen=True)
class Totals:
    """What a run delivers: data files, their rows and bytes, images, and slices to copy those in."""

    files: int
    rows: int
    bytes: int
    images: int
    slices: int


STAGED = ("lines", "images", "deleted")
"""What a part stages, each in an object of its own."""


@dataclass(frozen=True)
class WrittenPart:
    """A part that is written: the staged objects, None where there is nothing to put in one."""

    id: str
    site: str
    rows: int
    lines: Stored | None
    images: Stored | None
    deleted: Stored | None


def new_run(run: Run) -> dict[str, Any]:
    """The document of a run that is being created."""
    return {
        "customer": run.customer,
        "account": run.account,
        "version": run.version,
        "config": run.config.model_dump(mode="json"),
        "window_start": run.window.start,
        "window_end": run.window.end,
        "due": run.due,
        "origin": run.origin,
        "user": run.user,
        "state": run.state,
        "created": firestore.SERVER_TIMESTAMP,
    }


def from_snapshot(snapshot: Snapshot) -> Run:
    """The run that a snapshot holds; it must exist."""
    fields = fields_of(snapshot)
    totals = fields.get("totals")
    return Run(
        id=snapshot.id,
        export=snapshot.reference.parent.parent.id,
        customer=fields["customer"],
        account=fields["account"],
        version=fields["version"],
        config=ExportConfig.model_validate(fields["config"]),
        window=Window(fields["window_start"], fields["window_end"]),
        due=fields["due"],
        origin=fields["origin"],
        user=fields["user"],
        state=fields["state"],
        started=fields.get("started"),
        read_time=fields.get("read_time"),
        parts=fields.get("parts"),
        totals=Totals(**totals) if totals else None,
    )


def get(cloud: Cloud, export: str, run: str) -> Run | None:
    """The run of that id, or None."""
    snapshot = cloud.db.document(f"exports/{export}/runs/{run}").get()
    return from_snapshot(snapshot) if snapshot.exists else None


def show_life(cloud: Cloud, run: Run) -> None:
    """Write down that the run is alive, unless it is in another state by now."""
    reference = cloud.db.document(run.path)

    def beat(transaction: firestore.Transaction) -> None:
        if reference.get(transaction=transaction).get("state") == run.state:
            transaction.update(reference, ALIVE)

    transact(cloud.db, beat)


def part_id(number: int) -> str:
    """The id of the n-th part: in order as text, too."""
    return f"{number:06}"


def rest_id(part: str) -> str:
    """The id of the part that takes what a part left: in order right behind it, as text, too."""
    whole, _, number = part.partition("r")
    return f"{whole}r{int(number or 0) + 1:05}"


def part_of(snapshot: Snapshot) -> Part:
    """What a part's document says there is to write."""
    fields = fields_of(snapshot)
    return Part(fields["site"], fields["first"], fields["before"], fields["after"])


def written_part(part: WrittenPart) -> dict[str, Any]:
    """The result that is added to a part's document."""
    staged = {name: getattr(part, name) for name in STAGED}
    return {
        "rows": part.rows,
        **{name: asdict(stored) if stored else None for name, stored in staged.items()},
    }


def unwritten(cloud: Cloud, run: Run) -> Any:
    """A query for the parts that are not written yet."""
    return cloud.db.collection(f"{run.path}/parts").where(filter=FieldFilter("written", "==", False))


def written_parts(cloud: Cloud, run: Run) -> Iterator[WrittenPart]:
    """The parts of a run in order, all of which are written."""
    for snapshot in cloud.db.collection(f"{run.path}/parts").order_by("__name__").stream():
        yield _written(snapshot)


def written_part_of(cloud: Cloud, run: Run, id: str) -> WrittenPart:
    """One part, which is written."""
    return _written(cloud.db.document(f"{run.path}/parts/{id}").get())


def _written(snapshot: Snapshot) -> WrittenPart:
    fields = fields_of(snapshot)
    staged = {name: fields[name] for name in STAGED}
    return WrittenPart(
        id=snapshot.id,
        site=fields["site"],
        rows=fields["rows"],
        **{name: Stored(**stored) if stored else None for name, stored in staged.items()},
    )
