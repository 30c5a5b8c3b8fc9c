"""Importing records: read some, see what each asks for, and commit them together with how far the job is.

One transaction writes the items, the rejects and the position. So each record is imported once, whatever
dies, and what is counted is true; after a cancel nothing more is written.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import Any

from google.cloud import firestore

from shared import exact
from shared.clock import elapsed_since, stopwatch
from shared.gcp.clients import Cloud
from shared.items import changes, store, types
from shared.items.changes import Change, Unusable
from shared.items.types import ItemType
from shared.jobs import planning, reading, rejects
from shared.jobs.job import Job, Progress, ending_of
from shared.jobs.reading import Broken, Position, Problem, Record, strict_json
from shared.jobs.rejects import Reject
from shared.sandbox.errors import OverLimit, Refused
from shared.sandbox.velocity import Problem as TemplateProblem
from shared.sandbox.velocity import Templates
from shared.work.attempts import Attempt
from shared.work.kinds import FAILED, Done, Later

CHUNK_RECORDS = 300
"""How many records one transaction imports."""

CHUNK_BYTES = 3 * 1024 * 1024
"""How many bytes of records one transaction imports, but for one record that is larger. A commit may have
10 MiB. https://cloud.google.com/firestore/quotas#writes_and_transactions"""


@dataclass(frozen=True)
class _Read:
    """A record that was read: what it asks for, or why it cannot."""

    record: Record
    change: Change | None
    reason: str = ""


def import_records(cloud: Cloud, job: Job, attempt: Attempt) -> Done | Later:
    """Import the records of a file, from where the last attempt had committed."""
    began = stopwatch()
    layout = planning.layout_of(job)
    of = types.get(cloud, job.customer, job.item_type) or ItemType(job.item_type)
    importer = _Importer(cloud, job, of, attempt)
    position = Position(**attempt.fields["position"]) if "position" in attempt.fields else layout.start
    read, size = planning.reader(cloud, job)
    source = reading.records(read, size, layout, position)
    try:
        with ExitStack() as stack:
            if job.template:
                importer.templates = stack.enter_context(Templates(job.template))
            broken = attempt.fields.get("broken", "")
            chunks = _chunks(source) if not broken else iter(())
            for chunk, broken in chunks:
                importer.commit(chunk, broken)
                if elapsed_since(began) >= cloud.settings.attempt_seconds:
                    return Later()
    except (Refused, OverLimit) as refused:
        broken = str(refused)
    return Done(next="finish", work=ending_of(FAILED, broken) if broken else {})


def _chunks(source: Iterator[Record]) -> Iterator[tuple[list[Record], str]]:
    """The records, as many together as one transaction takes, and why nothing behind them can be read."""
    chunk: list[Record] = []
    size = 0
    try:
        for record in source:
            if chunk and (len(chunk) == CHUNK_RECORDS or size + len(record.raw) > CHUNK_BYTES):
                yield chunk, ""
                chunk, size = [], 0
            chunk.append(record)
            size += len(record.raw)
    except Broken as broken:
        yield chunk, str(broken)
        return
    if chunk:
        yield chunk, ""


class _Importer:
    """Commits chunks of records, one after another."""

    def __init__(self, cloud: Cloud, job: Job, of: ItemType, attempt: Attempt) -> None:
        self._cloud = cloud
        self._job = job
        self._of = of
        self._attempt = attempt
        self.templates: Templates | None = None
        self._progress = Progress.of(attempt.fields)

    def commit(self, chunk: Sequence[Record], broken: str) -> None:
        """Import some records. `broken` says why nothing behind them can be read: that is committed with
        them, since nobody who goes on behind them would see it."""
        read = [self._read(record) for record in self._filled_in(chunk)]
        keys = {each.change.key for each in read if each.change and each.change.needs_item}
        after = self._progress

        def write(transaction: firestore.Transaction) -> dict[str, Any]:
            nonlocal after
            job = self._job
            known = store.read(self._cloud, job.customer, job.item_type, keys, transaction)
            written, rejected = _applied(read, known)
            store.write(self._cloud, job.customer, job.item_type, written, transaction)
            for path, document in rejects.documents(self._cloud, job, rejected).items():
                transaction.create(self._cloud.db.document(path), document)
            first = f"Line {rejected[0].line}: {rejected[0].reason}" if rejected else ""
            after = self._progress.plus(Progress(len(chunk), len(rejected), first))
            position = {"position": asdict(chunk[-1].end)} if chunk else {}
            return {**asdict(after), **position, "broken": broken}

        self._attempt.commit(write)
        self._progress = after

    def _filled_in(self, chunk: Sequence[Record]) -> list[Record]:
        """The same records, with what the template makes of each row in its place."""
        if self.templates is None:
            return list(chunk)
        rows = [record.value for record in chunk if record.value is not None]
        made = iter(self.templates.render(rows))
        return [record if record.value is None else _of_template(record, next(made)) for record in chunk]

    def _read(self, record: Record) -> _Read:
        if record.problem is not None:
            return _Read(record, None, record.problem.message)
        try:
            return _Read(record, changes.parse(record.value or {}, self._of, merge=self._job.merge))
        except Unusable as unusable:
            return _Read(record, None, str(unusable))


def _of_template(record: Record, made: str | TemplateProblem) -> Record:
    if isinstance(made, TemplateProblem):
        return replace(record, value=None, problem=Problem("", made.sentence))
    value, problem = strict_json.parse(made.strip().encode(), "utf-8", record.line)
    if problem is not None:
        problem = Problem(problem.field, f"The template made no item of this row. {problem.message}")
    return replace(record, value=value, problem=problem)


def _applied(
    read: Sequence[_Read], known: dict[str, dict[str, Any]]
) -> tuple[dict[str, bytes | None], list[Reject]]:
    """What becomes of the items, and which records are rejected; `known` are the items as they are."""
    items: dict[str, dict[str, Any] | None] = dict(known)
    written: dict[str, bytes | None] = {}
    rejected = []
    for each in read:
        record, change, reason = each.record, each.change, each.reason
        if change is not None:
            try:
                items[change.key] = after = changes.applied(change, items.get(change.key))
                written[change.key] = None if after is None else exact.dumps(after)
                continue
            except Unusable as unusable:
                reason = str(unusable)
        rejected.append(Reject(record.number, record.line, record.raw, reason))
    return written, rejected
