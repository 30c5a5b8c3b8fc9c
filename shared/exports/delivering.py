"""Steps three and four of a run: pin what is delivered, and deliver its data files.

From the change to DELIVERING on, exactly the objects of the written parts are delivered, whatever is retried:
a part that is done never changes, and what a run is made of is counted in the same transaction.
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from google.api_core.exceptions import AlreadyExists
from google.cloud import firestore

from shared import logs
from shared.clock import elapsed_since, stopwatch
from shared.delivery.base import Connector
from shared.errors import CustomerMustAct
from shared.exports import audit, files, names, runs
from shared.exports.files import Planned
from shared.exports.manifest import File
from shared.exports.runs import Run, Totals, WrittenPart
from shared.gcp.clients import Cloud
from shared.gcp.documents import fields_of
from shared.gcp.objects import Stored
from shared.work.attempts import Attempt
from shared.work.kinds import Done, Later
from shared.workorders.images import LINE_BYTES


@contextlib.contextmanager
def destination(cloud: Cloud, run: Run) -> Iterator[Connector]:
    """The connector to where a run delivers, as the customer's account."""
    config = run.config
    with config.connector.open(cloud, run.customer, run.account, config.connector_config) as connector:
        yield connector


def pin(cloud: Cloud, run: Run, _: Attempt) -> Done:
    """Move a run whose parts are all written to DELIVERING, with the totals of what that delivers, and with
    the slices in which its images are copied.

    CustomerMustAct where a file would have more rows than its format allows, or a mail too many files.
    """
    parts = list(runs.written_parts(cloud, run))
    slices = [each for part in parts for each in _slices(cloud, part)]
    planned = list(files.plan(run, parts))
    mailed = run.config.connector.mailed
    if mailed is not None and len(planned) > mailed.max_files:
        raise CustomerMustAct(
            f"The window has {len(planned)} files; a mail leads to at most {mailed.max_files}.",
            "Raise `max_file_bytes`; then retry what failed with :retry-failed.",
        )
    totals = Totals(
        files=len(planned),
        rows=sum(part.rows for part in parts),
        bytes=sum(file.size for file in planned),
        images=sum(part.images.size // LINE_BYTES for part in parts if part.images),
        slices=len(slices),
    )
    pinned = {"totals": asdict(totals), "delivering": firestore.SERVER_TIMESTAMP}
    return Done(work=pinned, plans={runs.COPY: slices})


def _slices(cloud: Cloud, part: WrittenPart) -> Iterator[tuple[str, dict[str, Any]]]:
    """The slices that a part's images are copied in: each says which bytes of which list it takes."""
    if part.images is None:
        return
    most, listed = cloud.settings.slice_images * LINE_BYTES, asdict(part.images)
    for number, start in enumerate(range(0, part.images.size, most)):
        end = min(start + most, part.images.size)
        yield f"{part.id}-{number}", {"site": part.site, "list": listed, "start": start, "end": end}


def deliver(cloud: Cloud, run: Run, attempt: Attempt) -> Done | Later:
    """Deliver every data file, and write down each that is there, with what it was made of.

    CustomerMustAct where the customer's side refuses.
    """
    pace, joined = _Pace(cloud, attempt), _Joined(cloud, run)
    collection = cloud.db.collection(run.files)
    delivered = {each.id for each in collection.select([]).stream()}
    try:
        with destination(cloud, run) as there:
            for planned in files.plan(run, runs.written_parts(cloud, run)):
                if planned.id in delivered:
                    continue
                staged = joined.file(planned)
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
    except TimeUp:
        return Later()
    return Done()


class TimeUp(Exception):
    """The attempt's time is over; the next goes on from where it is."""


class _Pace:
    """What a delivery that takes long calls now and then: it shows that the attempt is alive, and ends it in
    time."""

    def __init__(self, cloud: Cloud, attempt: Attempt) -> None:
        self._seconds = cloud.settings.attempt_seconds
        self._attempt = attempt
        self._began = stopwatch()

    def __call__(self) -> None:
        if elapsed_since(self._began) >= self._seconds:
            raise TimeUp
        self._attempt.heartbeat()


def delivered_files(cloud: Cloud, run: Run, most: int | None = None) -> Iterator[File]:
    """The data files that are there, in order, at most so many."""
    there = cloud.db.collection(run.files).order_by("__name__")
    for snapshot in (there if most is None else there.limit(most)).stream():
        fields = fields_of(snapshot)
        yield File(**{each.name: fields[each.name] for each in dataclasses.fields(File)})


def first_files(cloud: Cloud, run: Run) -> tuple[File, ...]:
    """The first of the data files that are there: those that the audit names."""
    return audit.first(delivered_files(cloud, run, audit.FILES_NAMED)) if run.totals else ()


class _Joined:
    """Makes one staged object of a file's parts, and what its format puts around and between them. Those are
    the same for every file, and are staged once."""

    def __init__(self, cloud: Cloud, run: Run) -> None:
        self._cloud = cloud
        self._run = run
        self._format = run.config.format
        self._fixed: dict[str, list[Stored]] = {}

    def file(self, planned: Planned) -> Stored:
        """The object that is delivered as a file."""
        format, run = self._format, self._run
        sources = list(planned.parts)
        if format.joinable:
            between = self._staged("separator", format.separator) if len(sources) > 1 else []
            before = self._staged("prefix", format.prefix(run.source.columns, run.config.style))
            behind = self._staged("suffix", format.suffix)
            first, *others = sources
            sources = [*before, first, *(each for part in others for each in (*between, part)), *behind]
        return self._cloud.objects.join(
            self._cloud.settings.staging_bucket,
            lambda numbers: self._name(f"{planned.id}.{numbers}"),
            sources,
            format.content_type,
        )

    def _name(self, file: str) -> str:
        run = self._run
        return names.staged(run.customer, run.export, run.label, f"{file}.{self._format.extension}")

    def _staged(self, name: str, content: bytes) -> list[Stored]:
        if name not in self._fixed:
            bucket, kind = self._cloud.settings.staging_bucket, self._format.content_type
            create = self._cloud.objects.create
            self._fixed[name] = [create(bucket, self._name(name), content, kind)] if content else []
        return self._fixed[name]
