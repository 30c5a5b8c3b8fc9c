"""The manifest: what a run delivered, written last. Where it stands, everything it lists is there
(docs/contracts/delivered-files.md).

It holds no clock and no attempt, so that whoever writes it, and however often, writes the same bytes.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated

import orjson
from pydantic import Field
from typing_extensions import TypedDict

from shared.exports.runs import Run
from shared.http.bodies import Moment, documented
from shared.window import utc_second
from shared.workorders.record import SCHEMA

VERSION = 1
"""The version of the manifest's own form."""


Count = Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class File:
    """A data file as it was delivered: `name` is where it stands; of all sites, `site_id` is null."""

    name: str
    site_id: str | None
    rows: Count
    bytes: Count
    crc32c: str


@dataclass(frozen=True)
class LostImage:
    """An image that a delivered record refers to and that is not there, or is something else."""

    site_id: str
    id: str
    file_extension: str


@documented
class Window(TypedDict):
    """The window of a run."""

    start: Moment
    """Where it begins."""
    end: Moment
    """Where it ends."""
    timezone: str
    """The time zone of the export's days, weeks and months."""


@documented
class Images(TypedDict):
    """The images that the records of a run refer to."""

    exported: bool
    """Whether images are delivered."""
    referenced: Count
    """How many images the records refer to."""
    missing: list[LostImage]
    """The images that are gone from Waybill."""
    conflicts: list[LostImage]
    """The images that were not delivered, since another object has their name."""


@documented
class Head(TypedDict):
    """What a manifest says before its lists."""

    manifest_version: int
    """The version of the manifest's form."""
    schema_version: int
    """The version of the form of the data files' rows."""
    export_id: str
    """The export."""
    export_name: str
    """The export's name at the time."""
    run: str
    """The run."""
    export_type: str
    """What was exported."""
    file_format: str
    """The format of the data files."""
    site_ids: tuple[str, ...]
    """The sites of the export."""
    window: Window
    """The window that was exported."""
    read_at: Moment
    """The time whose state of the data was exported."""
    rows: Count
    """How many rows the files have together."""
    bytes: Count
    """How large the files are together."""


@documented
class Manifest(Head):
    """What a run delivered. It is written last: where it is, everything that it lists is there."""

    files: list[File]
    """The data files."""
    images: Images
    """The images that the records refer to."""
    deleted: list[str]
    """The ids of the work orders that were deleted in the window."""


def pieces(
    run: Run,
    *,
    files: Iterable[File],
    missing: Iterable[LostImage],
    conflicts: Iterable[LostImage],
    deleted: Iterable[str],
) -> Iterator[bytes]:
    """The manifest's bytes, piece by piece: no list in it is ever held whole."""
    if run.totals is None or run.read_time is None:
        raise ValueError(f"the run {run.id} has nothing pinned yet")
    head: Head = {
        "manifest_version": VERSION,
        "schema_version": SCHEMA,
        "export_id": run.export,
        "export_name": run.config.name,
        "run": run.id,
        "export_type": run.config.export_type,
        "file_format": run.config.file_format,
        "site_ids": run.config.site_ids,
        "window": {
            "start": utc_second(run.window.start),
            "end": utc_second(run.window.end),
            "timezone": run.config.timezone,
        },
        "read_at": utc_second(run.read_time),
        "rows": run.totals.rows,
        "bytes": run.totals.bytes,
    }
    yield orjson.dumps(head)[:-1]
    yield b',"files":'
    yield from _array(files)
    yield b',"images":{"exported":%b,"referenced":%d,"missing":' % (
        b"true" if run.config.export_images else b"false",
        run.totals.images,
    )
    yield from _array(missing)
    yield b',"conflicts":'
    yield from _array(conflicts)
    yield b'},"deleted":'
    yield from _array(deleted)
    yield b"}\n"


def _array(values: Iterable[object]) -> Iterator[bytes]:
    separator = b"["
    for value in values:
        yield separator + orjson.dumps(value)
        separator = b","
    yield b"[]" if separator == b"[" else b"]"
