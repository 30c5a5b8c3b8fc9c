"""Exporting records: parts are read side by side into staging, and then become the files asked for."""

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import asdict
from typing import Any

import orjson

from shared import exact, logs
from shared.clock import elapsed_since, stopwatch
from shared.formats import FORMATS
from shared.formats.base import Column, Records, Style
from shared.gcp.clients import Cloud
from shared.gcp.documents import READABLE, IdRange, read_time
from shared.gcp.objects import Stored, Writer, gathered
from shared.items import store, types
from shared.items.types import folded
from shared.jobs import filters, planning, rejects
from shared.jobs.job import EXPORT, Job, Progress, ending_of
from shared.sandbox import parts as sandbox
from shared.sandbox import sql
from shared.sandbox.errors import OverLimit, Refused
from shared.sandbox.velocity import Problem, Templates
from shared.sources import SOURCES
from shared.sources.base import Item, Part
from shared.work import pieces
from shared.work.attempts import Attempt
from shared.work.kinds import FAILED, Done, Later, PlannedTooLongAgo
from shared.work.pieces import Piece

WRITE = "write"

MAX_COLUMNS = 10_000
"""How many columns a CSV file may have."""

BLOCK_BYTES = 1024 * 1024
"""How much of a part is read, or gathered before it goes into a stream, at once."""

MAX_NAMES_BYTES = 512 * 1024
"""How many bytes the names of columns may have: a piece's document, which holds 1 MiB, has them."""

TEMPLATE_ROWS = 500
"""How many records are filled into a template at once."""

PART_TYPE = "application/octet-stream"
"""What a part says it is: nobody else reads it."""


def read_part(cloud: Cloud, job: Job, attempt: Attempt) -> Done:
    """Read a part into staging, in the form that is needed next: as JSON Lines those records that the filters
    match, or for a query as columns."""
    if job.read_time is None or read_time(attempt.work) - job.read_time > READABLE:
        raise PlannedTooLongAgo(planning.STAGE)
    name = rejects.staged(job, f"parts/{attempt.piece.name}-{attempt.id}")
    writer = cloud.objects.writer(cloud.settings.staging_bucket, name, PART_TYPE)
    part = _Columns(writer.write) if job.sql else _Lines(job, writer.write)
    try:
        for lines in gathered(_records(cloud, job, attempt), BLOCK_BYTES):
            part.write(lines)
            attempt.heartbeat()
        rows, about = part.close()
        stored = asdict(writer.close()) if rows else None
    except Refused as refused:
        return Done({"refused": str(refused)})
    finally:
        writer.abandon()
    # Of a query only the rows of its result count as processed.
    return Done({"staged": stored, "about": about, **asdict(Progress(0 if job.sql else rows))})


def write(cloud: Cloud, job: Job, attempt: Attempt) -> Done | Later:
    """Make the files of the parts."""
    parts = _parts(cloud, job)
    for part in parts:
        if "refused" in part.fields:
            return Done(next="finish", work=ending_of(FAILED, part.fields["refused"]))
    if job.sql:
        return _query(cloud, job, attempt, parts)
    return _write(cloud, job, attempt, [each for each in parts if each.fields["staged"]])


def _write(cloud: Cloud, job: Job, attempt: Attempt, parts: list[Piece]) -> Done | Later:
    """When the time is up, a file ends after a part, and another attempt begins the next file."""
    began = stopwatch()
    done, files = attempt.fields.get("parts", 0), list(attempt.fields.get("files", ()))
    if done < len(parts) or not files:
        try:
            with _File(cloud, job, attempt, len(files) + 1, _columns(job, parts)) as file:
                for part in parts[done:]:
                    for lines in _blocks(cloud, Stored(**part.fields["staged"])):
                        file.write(lines)
                    done += 1
                    if elapsed_since(began) >= cloud.settings.attempt_seconds:
                        break
                files.append(file.close())
        except (Refused, OverLimit) as refused:
            return Done(next="finish", work=ending_of(FAILED, str(refused)))
    if done < len(parts):
        return Later({"parts": done, "files": files})
    logs.info("export written", files=len(files))
    return Done(next="finish", work={"files": files})


def _query(cloud: Cloud, job: Job, attempt: Attempt, parts: list[Piece]) -> Done:
    tables: dict[str, list[sandbox.Part]] = {}
    for part in parts:
        for table in part.fields["tables"]:
            tables.setdefault(table, []).append(_table_part(cloud, part))
    try:
        with sql.query(job.sql, tables, alive=attempt.heartbeat) as result:
            file = _File(cloud, job, attempt, 1, result.columns)
            with file:
                for lines in result.blocks:
                    file.write(lines)
                written = file.close()
    except (Refused, OverLimit) as refused:
        return Done(next="finish", work=ending_of(FAILED, str(refused)))
    logs.info("query written", rows=written["rows"])
    return Done(next="finish", work={"files": [written]})


def _table_part(cloud: Cloud, part: Piece) -> sandbox.Part:
    staged = Stored(**part.fields["staged"]) if part.fields["staged"] else None
    types = orjson.loads(part.fields["about"])
    return sandbox.Part(types, lambda: cloud.objects.blocks(staged, BLOCK_BYTES) if staged else ())


class _Lines:
    """A part of a plain export: its records as JSON Lines, and their fields where a CSV file needs those."""

    def __init__(self, job: Job, put: Callable[[bytes], None]) -> None:
        self._job = job
        self._put = put
        self._columns: dict[str, None] = {}
        self._rows = 0

    def write(self, lines: bytes) -> None:
        """Add those of the records that the filters match."""
        if self._job.filters is None and not self._job.csv:
            self._rows += lines.count(b"\n")
            self._put(lines)
            return
        matching = []
        for line in lines.splitlines(keepends=True):
            record = exact.loads(line)
            if self._job.filters is None or filters.matches(self._job.filters, record):
                matching.append(line)
                if not record.keys() <= self._columns.keys():
                    self._columns.update(dict.fromkeys(record))
        self._rows += len(matching)
        self._put(b"".join(matching))
        _check_number(self._columns)

    def close(self) -> tuple[int, bytes]:
        """How many records there are, and their fields as JSON."""
        about = orjson.dumps(list(self._columns))
        if len(about) > MAX_NAMES_BYTES:
            raise Refused("The names of the records' fields are too long for a CSV file.")
        return self._rows, about


class _Columns:
    """A part of a table for a query."""

    def __init__(self, put: Callable[[bytes], None]) -> None:
        self._writer = sandbox.PartWriter(put)
        self.write = self._writer.write

    def close(self) -> tuple[int, bytes]:
        """How many records there are, and what else a query must know of the part, as JSON."""
        types = self._writer.close()
        return types["rows"], orjson.dumps(types)


def _records(cloud: Cloud, job: Job, attempt: Attempt) -> Iterator[bytes]:
    """The records of a part, some at a time, as JSON Lines."""
    fields = attempt.fields
    if job.read_time is None:
        raise ValueError(f"the job {job.id} was not planned")
    source = types.SOURCES.get(folded(fields["type"]))
    if source is None:
        part = IdRange(fields["first"], fields["before"])
        for found in store.scan(cloud, job.customer, fields["type"], part, job.read_time):
            yield found.record + b"\n"
        return
    read = Part(**fields["part"])
    selection = planning.selection(job, [read.site], job.read_time)
    for item in SOURCES[source].items(cloud, selection, read):
        if isinstance(item, Item):
            yield item.lines


def _parts(cloud: Cloud, job: Job) -> list[Piece]:
    plan = (job.plans or {}).get(EXPORT)
    if plan is None:
        raise ValueError(f"the job {job.id} has no parts")
    return list(pieces.results(cloud, job.path, plan))


def _columns(job: Job, parts: Iterable[Piece]) -> list[Column]:
    """The fields of all parts: of our own types as their source has them, of items as texts. Refused where
    they are too many for one file."""
    names = dict.fromkeys(name for part in parts for name in orjson.loads(part.fields["about"]))
    _check_number(names)
    source = types.SOURCES.get(folded(job.item_type))
    known = {column.name: column for column in SOURCES[source].columns} if source else {}
    return [known.get(name, Column(name, "text")) for name in names]


def _check_number(names: Sized) -> None:
    if len(names) > MAX_COLUMNS:
        raise Refused(f"The records have more than {MAX_COLUMNS:,} different fields.")


def _blocks(cloud: Cloud, staged: Stored) -> Iterator[bytes]:
    """A staged part of lines, whole lines at a time."""
    left = b""
    for read in cloud.objects.blocks(staged, BLOCK_BYTES):
        block = left + read
        end = block.rfind(b"\n") + 1
        left = block[end:]
        if end:
            yield block[:end]


class _File:
    """A file of records that is being written."""

    def __init__(
        self, cloud: Cloud, job: Job, attempt: Attempt, number: int, columns: Sequence[Column]
    ) -> None:
        format = FORMATS["csv" if job.csv else "json-array"]
        name = rejects.staged(job, f"result-{number}-{attempt.id}.{format.extension}")
        self._attempt = attempt
        self._suffix = format.suffix
        self._writer: Writer = cloud.objects.writer(cloud.settings.staging_bucket, name, format.content_type)
        self._templates = Templates(job.template, row="item") if job.template else None
        self._records: Records = format.records(columns, Style(), self._writer.write)
        self._rows = 0
        # What a template makes has columns that only its writer knows.
        if not job.csv or (job.header_row and not job.template):
            self._writer.write(format.prefix(columns, Style()))

    def write(self, lines: bytes) -> None:
        """Add records: whole JSON Lines. Refused where the template cannot be filled in with one."""
        if self._templates is None:
            self._records.write(lines)
        else:
            self._fill_in(self._templates, lines.splitlines())
        self._rows += lines.count(b"\n")
        self._attempt.heartbeat()

    def _fill_in(self, templates: Templates, lines: list[bytes]) -> None:
        for start in range(0, len(lines), TEMPLATE_ROWS):
            for made in templates.render(
                [exact.loads(line) for line in lines[start : start + TEMPLATE_ROWS]]
            ):
                if isinstance(made, Problem):
                    raise Refused(made.sentence)
                self._writer.write(made.removesuffix("\n").encode() + b"\n")

    def close(self) -> dict[str, Any]:
        """Make the file visible; returns its rows, and how it stands."""
        self._records.close()
        self._writer.write(self._suffix)
        return {"rows": self._rows, "staged": asdict(self._writer.close())}

    def __enter__(self) -> "_File":
        if self._templates is not None:
            self._templates.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._writer.abandon()
        if self._templates is not None:
            self._templates.__exit__(*error)
