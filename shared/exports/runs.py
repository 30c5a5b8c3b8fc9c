"""A run as Firestore holds it, at `exports/<export>/runs/<run>`: a work with parts and slices as its pieces.

States: PENDING until the customer has a free slot, RUNNING while it is planned and written, DELIVERING from
the transaction that pins what is delivered, then COMPLETED, FAILED or CANCELLED.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from google.cloud import firestore

from shared.exports import names
from shared.exports.config import ExportConfig
from shared.exports.export import Export
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, fields_of, moment_in, one_of
from shared.gcp.objects import Stored
from shared.sources.base import Part, Selection, Source
from shared.window import Window
from shared.work import pieces
from shared.work.kinds import CANCELLED as CANCELLED
from shared.work.kinds import COMPLETED as COMPLETED
from shared.work.kinds import FAILED as FAILED
from shared.work.kinds import PENDING as PENDING
from shared.work.pieces import Piece

RUNNING, DELIVERING = "RUNNING", "DELIVERING"
ENDED = (COMPLETED, FAILED, CANCELLED)
STATES = (PENDING, RUNNING, DELIVERING, *ENDED)

WRITE, COPY = "write", "copy"
"""The stages that have many pieces: parts that are written, and slices of images that are copied."""

PIN = "pin"
"""The stage between those, in which it is settled what is delivered."""

WRITTEN_BY = ("site_ids", "export_type", "file_format", "date_format", "timezone", "export_images")
"""What of a config decides what a run writes into staging, and under which names it is delivered."""

DELIVERED_BY = ("connector_type", "connector_config", "split", "max_file_bytes")
"""What of a config decides how a run delivers what is staged."""

STAGED_FOR = timedelta(days=29)
"""How long a run can go on with what it staged: staging is kept for 30 days (infra/bundle.yaml)."""

READABLE_FOR = timedelta(days=6, hours=22)
"""How long after a run was planned its parts can be written: Firestore can be read as of seven days ago.
https://cloud.google.com/firestore/docs/pitr"""

SCHEDULE, BY_HAND = "Schedule", "Run"
"""Where a run came from, in the words of the audit (docs/contracts/audit-event.md)."""


@dataclass(frozen=True)
class Run:
    """A run. What is None is not known yet.

    due        when it was to start; of a run by hand, when it was asked for
    origin     SCHEDULE or BY_HAND
    user       the id of the key that configured or asked for it
    read_time  the moment whose data it exports
    planned    when it was planned
    parts      how many parts it was planned in
    totals     what is delivered, pinned with the change to DELIVERING
    plans      by stage, the plan whose pieces count
    replanned  how often it was planned or pinned anew: what it had planned was too old, or its config changed
    waits_for  what it waits for outside, and `since` when
    stage      the stage that it is at, was at when it ended, or goes on from
    times      by stage, when it last `began`, and when it `ended` since
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
    planned: datetime | None = None
    parts: int | None = None
    totals: "Totals | None" = None
    plans: Mapping[str, str] = field(default_factory=dict)
    replanned: int = 0
    waits_for: str | None = None
    since: datetime | None = None
    stage: str | None = None
    times: Mapping[str, Mapping[str, datetime]] = field(default_factory=dict)

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
    def ended(self) -> bool:
        """Whether it has ended."""
        return self.state in ENDED

    @property
    def label(self) -> str:
        """What stands for it in the names of its files."""
        return names.label(self.id, self.replanned)

    @property
    def files(self) -> str:
        """The collection of the files that it delivered."""
        return f"{self.path}/files{self.replanned or ''}"


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


def of(export: Export, id: str, window: Window, *, due: datetime, origin: str, user: str) -> Run:
    """A run of an export that is being created, by the newest version of its config."""
    return Run(
        id=id,
        export=export.id,
        customer=export.customer,
        account=export.account,
        version=export.version,
        config=export.config,
        window=window,
        due=due,
        origin=origin,
        user=user,
        state=PENDING,
    )


def new_run(run: Run) -> dict[str, Any]:
    """A run's own fields, of one that is being created."""
    return {
        "export": run.export,
        "account": run.account,
        "version": run.version,
        "config": run.config.model_dump(mode="json"),
        "window_start": run.window.start,
        "window_end": run.window.end,
        "due": run.due,
        "origin": run.origin,
        "user": run.user,
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
        window=Window(moment_in(fields, "window_start"), moment_in(fields, "window_end")),
        due=moment_in(fields, "due"),
        origin=fields["origin"],
        user=fields["user"],
        state=one_of(fields, "state", STATES),
        started=fields.get("started"),
        read_time=fields.get("read_time"),
        planned=fields.get("planned"),
        parts=fields.get("parts"),
        totals=Totals(**totals) if totals else None,
        plans=dict(fields["plans"]),
        replanned=fields.get("replanned", 0),
        waits_for=fields["waits_for"],
        since=fields["since"],
        stage=fields.get("stage"),
        times=fields.get("stage_times", {}),
    )


def get(cloud: Cloud, export: str, run: str) -> Run | None:
    """The run of that id, or None."""
    snapshot = cloud.db.document(f"exports/{export}/runs/{run}").get()
    return from_snapshot(snapshot) if snapshot.exists else None


def replans(run: Run, now: datetime) -> dict[str, Any] | None:
    """What changes of a run that failed where what it planned is too old: it is planned anew, and reads and
    delivers its window under other names. None where it goes on from where it was."""
    if run.planned is None:
        return None
    unreadable = run.totals is None and now - run.planned >= READABLE_FOR
    if not unreadable and now - run.planned < STAGED_FOR:
        return None
    return _again_without(run, *_PLANNED, *_PINNED)


def by_config(run: Run, config: ExportConfig, version: int) -> dict[str, Any]:
    """What changes of a run that failed and is retried by a newer config.

    It is planned anew where that writes something else. Where that only delivers otherwise than before, what
    is written is delivered anew. In both cases under other names, as some may be there already. Else the run
    goes on from where it was.
    """
    changes = {"config": config.model_dump(mode="json"), "version": version}
    old = run.config.reached_as(config)
    if _differ(old, config, WRITTEN_BY):
        anew = _again_without(run, *_PLANNED, *_PINNED)
        return {**changes, **anew, "stage": None, "plan": None, "plans": {}}
    if run.totals is None or not _differ(old, config, DELIVERED_BY):
        return changes
    back = {"stage": PIN, "plan": PIN, "plans": {WRITE: run.plans[WRITE]}}
    return {**changes, **_again_without(run, *_PINNED), **back}


_PLANNED, _PINNED = ("read_time", "planned", "parts"), ("totals", "delivering")


def _again_without(run: Run, *fields: str) -> dict[str, Any]:
    """What changes of a run that goes back to before these fields were known."""
    return {**dict.fromkeys(fields, firestore.DELETE_FIELD), "replanned": run.replanned + 1}


def _differ(one: ExportConfig, other: ExportConfig, fields: tuple[str, ...]) -> bool:
    return any(getattr(one, field) != getattr(other, field) for field in fields)


def part_id(number: int) -> str:
    """The id of the n-th part: in order as text, too."""
    return f"{number:06}"


def rest_id(part: str) -> str:
    """The id of the part that takes what a part left: in order right behind it, as text, too."""
    whole, _, number = part.partition("r")
    return f"{whole}r{int(number or 0) + 1:05}"


def part_of(piece: Piece) -> Part:
    """What a piece says there is to write."""
    fields = piece.fields
    return Part(fields["site"], fields["first"], fields["before"], fields["after"])


def written_part(part: WrittenPart) -> dict[str, Any]:
    """The result that is added to a part's piece."""
    staged = {name: getattr(part, name) for name in STAGED}
    return {
        "rows": part.rows,
        **{name: asdict(stored) if stored else None for name, stored in staged.items()},
    }


def written_parts(cloud: Cloud, run: Run) -> Iterator[WrittenPart]:
    """The parts of a run in order, all of which are written."""
    return (_written(piece) for piece in pieces.results(cloud, run.path, run.plans[WRITE]))


def _written(piece: Piece) -> WrittenPart:
    staged = {name: piece.fields[name] for name in STAGED}
    return WrittenPart(
        id=piece.name,
        site=piece.fields["site"],
        rows=piece.fields["rows"],
        **{name: Stored(**stored) if stored else None for name, stored in staged.items()},
    )
