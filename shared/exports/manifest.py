"""The manifest: what a run delivered, written last. Where it stands, everything it lists is there
(docs/contracts/delivered-files.md).

It holds no clock and no attempt, so that whoever writes it, and however often, writes the same bytes.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import orjson

from shared.exports.runs import Run
from shared.window import utc_second
from shared.workorders.record import SCHEMA

VERSION = 1
"""The version of the manifest's own form."""


@dataclass(frozen=True)
class File:
    """A data file as it was delivered: `name` is where it stands; of all sites, `site_id` is null."""

    name: str
    site_id: str | None
    rows: int
    bytes: int
    crc32c: str


@dataclass(frozen=True)
class LostImage:
    """An image that a delivered record refers to and that is not there, or is something else."""

    site_id: str
    id: str
    file_extension: str


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
    head = {
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
