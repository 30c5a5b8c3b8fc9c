"""Step four of a run: pin what is delivered, and deliver its data files.

From the change to DELIVERING on, exactly the objects of the written parts are delivered, whatever is retried:
a part that is done never changes, and what a run is made of is counted in the same transaction.
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from dataclasses import asdict

from google.api_core.exceptions import AlreadyExists
from google.cloud import firestore

from shared import logs
from shared.clock import elapsed_since, stopwatch
from shared.delivery.base import Connector
from shared.errors import CustomerMustAct
from shared.exports import files, names, runs
from shared.exports.files import Planned
from shared.exports.manifest import File
from shared.exports.runs import DELIVERING, RUNNING, Run, Totals, WrittenPart
from shared.gcp.clients import Cloud
from shared.gcp.documents import fields_of, transact
from shared.gcp.leases import ALIVE, BEAT_SECONDS
from shared.gcp.objects import COMPOSE_MOST, Stored
from shared.workorders.images import LINE_BYTES


@contextlib.contextmanager
def destination(cloud: Cloud, run: Run) -> Iterator[Connector]:
    """The connector to where a run delivers, as the customer's account."""
    config = run.config
    with config.connector.open(cloud, run.customer, run.account, config.connector_config) as connector:
        yield connector


def pin(cloud: Cloud, run: Run) -> Run:
    """Move a run whose parts are all written to DELIVERING, with the totals of what that delivers.

    CustomerMustAct where a file would have more rows than its format allows, or a mail too many files.
    """
    parts = list(runs.written_parts(cloud, run))
    slices = sum(len(slices_of(cloud, part)) for part in parts)
    planned = list(files.plan(run, parts))
    mailed = run.config.connector.mailed
    if mailed is not None and len(planned) > mailed.max_files:
        raise CustomerMustAct(
            f"The window has {len(planned)} files; a mail leads to at most {mailed.max_files}.",
            "Raise `max_file_bytes`, or export more often; then export this window with :backfill.",
        )
    totals = Totals(
        files=len(planned),
        rows=sum(part.rows for part in parts),
        bytes=sum(file.size for file in planned),
        images=sum(part.images.size // LINE_BYTES for part in parts if part.images),
        slices=slices,
    )
    reference = cloud.db.document(run.path)

    def move(transaction: firestore.Transaction) -> None:
        if reference.get(transaction=transaction).get("state") == RUNNING:
            pinned = {
                "state": DELIVERING,
                "totals": asdict(totals),
                "delivering": firestore.SERVER_TIMESTAMP,
                **ALIVE,
            }
            transaction.update(reference, pinned)

    transact(cloud.db, move)
    return runs.from_snapshot(reference.get())


def slices_of(cloud: Cloud, part: WrittenPart) -> list[str]:
    """The ids of the slices that a part's images are copied in; the n-th of `<part>-<n>` takes the n-th
    `settings.slice_images` lines of the part's list."""
    if part.images is None:
        return []
    count = -(-part.images.size // (cloud.settings.slice_images * LINE_BYTES))
    return [f"{part.id}-{number}" for number in range(count)]


def deliver_files(cloud: Cloud, run: Run) -> None:
    """Deliver every data file, and write down each that is there, with what it was made of.

    TimeUp where the attempt's time is over before all are there; CustomerMustAct where the customer's side
    refuses.
    """
    pace = _Pace(cloud, run)
    collection = cloud.db.collection(f"{run.path}/files")
    delivered = {each.id for each in collection.select([]).stream()}
    with destination(cloud, run) as there:
        for planned in files.plan(run, runs.written_parts(cloud, run)):
            if planned.id in delivered:
                continue
            staged = _joined(cloud, run, planned)
            there.deliver(staged, planned.name, pace)
            file = File(
                name=run.config.connector_config.place(planned.name),
                site_id=planned.site,
                rows=planned.rows,
                bytes=staged.size,
                crc32c=staged.crc32c,
            )
            with contextlib.suppress(AlreadyExists):  # another attempt delivered the very same
                collection.document(planned.id).create({**asdict(file), "staged": asdict(staged)})
                logs.info("file delivered", file=planned.id, rows=file.rows, bytes=file.bytes)
            pace()


class TimeUp(Exception):
    """The attempt's time is over; the next goes on from where it is."""


class _Pace:
    """What a delivery that takes long calls now and then: it shows that the run is alive, and ends the
    attempt in time."""

    def __init__(self, cloud: Cloud, run: Run) -> None:
        self._cloud = cloud
        self._run = run
        self._began = self._beaten = stopwatch()

    def __call__(self) -> None:
        if elapsed_since(self._began) >= self._cloud.settings.attempt_seconds:
            raise TimeUp
        if elapsed_since(self._beaten) >= BEAT_SECONDS:
            runs.show_life(self._cloud, self._run)
            self._beaten = stopwatch()


def delivered_files(cloud: Cloud, run: Run) -> Iterator[File]:
    """The data files that are there, in order."""
    for snapshot in cloud.db.collection(f"{run.path}/files").order_by("__name__").stream():
        fields = fields_of(snapshot)
        yield File(**{each.name: fields[each.name] for each in dataclasses.fields(File)})


def _joined(cloud: Cloud, run: Run, planned: Planned) -> Stored:
    """One staged object of a file's parts, and what its format puts around and between them: 32 at a time,
    then those, until one is left."""
    bucket, format = cloud.settings.staging_bucket, run.config.format

    def staged(file: str) -> str:
        return names.staged(run.customer, run.export, run.id, f"{file}.{format.extension}")

    def fixed(name: str, content: bytes) -> list[Stored]:
        if not content:
            return []
        return [cloud.objects.create(bucket, staged(name), content, format.content_type)]

    sources = list(planned.parts)
    if format.joinable:
        between = fixed("separator", format.separator) if len(sources) > 1 else []
        before = fixed("prefix", format.prefix(run.source.columns))
        behind = fixed("suffix", format.suffix)
        first, *others = sources
        sources = [*before, first, *(each for part in others for each in (*between, part)), *behind]
    level = 0
    while len(sources) > 1:
        groups = [sources[i : i + COMPOSE_MOST] for i in range(0, len(sources), COMPOSE_MOST)]
        sources = [
            cloud.objects.compose(
                bucket, staged(f"{planned.id}.{level}-{number}"), group, format.content_type
            )
            for number, group in enumerate(groups)
        ]
        level += 1
    return sources[0]
