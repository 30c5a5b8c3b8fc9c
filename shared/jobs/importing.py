"""Importing records: read some, see what each asks for, and commit them together with how far the job is.

One transaction writes the items, the rejects and the position. So each record is imported once, whatever
dies, and what is counted is true; after a cancel nothing more is written.
"""

from collections.abc import Iterator, Mapping, Sequence
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
from shared.jobs.reading import MAX_RECORD_BYTES, Broken, Position, Problem, Record, strict_json
from shared.jobs.rejects import MAX_REASON, Reject
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

MAX_WRITTEN_BYTES = 5 * 1024 * 1024
"""How many bytes of items one transaction writes, but for one item that is larger. They can be far more than
the records that ask for them: a merge writes the whole item, and a template makes a long item of a short
row."""

MAX_READ_BYTES = 16 * 1024 * 1024
"""How many bytes of items are in memory because records are merged into them, but for one item more."""


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
        left = read[self._commit(read, broken) :]
        while left:
            left = left[self._commit(left, broken) :]

    def _commit(self, read: Sequence[_Read], broken: str) -> int:
        """Commit as many of these records as fit into one transaction; returns how many."""
        keys = dict.fromkeys(each.change.key for each in read if each.change and each.change.needs_item)
        after, done = self._progress, 0

        def write(transaction: firestore.Transaction) -> dict[str, Any]:
            nonlocal after, done
            job = self._job
            known = store.read(self._cloud, job.customer, job.item_type, keys, MAX_READ_BYTES, transaction)
            done, written, rejected = _applied(read, known, self._of)
            store.write(self._cloud, job.customer, job.item_type, written, transaction)
            for path, document in rejects.documents(self._cloud, job, rejected).items():
                transaction.create(self._cloud.db.document(path), document)
            first = f"Line {rejected[0].line}: {rejected[0].reason}" if rejected else ""
            after = self._progress.plus(Progress(done, len(rejected), first))
            position = {"position": asdict(read[done - 1].record.end)} if done else {}
            return {**asdict(after), **position, "broken": broken if done == len(read) else ""}

        self._attempt.commit(write)
        self._progress = after
        return done

    def _filled_in(self, chunk: Sequence[Record]) -> list[Record]:
        """The same records, with what the template makes of each row in its place."""
        if self.templates is None:
            return list(chunk)
        rows = [record.value for record in chunk if record.value is not None]
        made = iter(self.templates.render(rows))
        return [record if record.value is None else _of_template(record, next(made)) for record in chunk]

    def _read(self, record: Record) -> _Read:
        if record.problem is not None:
            return _Read(record, None, _reason(record.problem))
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


def _reason(problem: Problem) -> str:
    """What is wrong with a record, and with which of its fields."""
    if problem.field in problem.message:
        return problem.message
    return f"{problem.field}: {problem.message}"


def _applied(
    read: Sequence[_Read], known: Mapping[str, dict[str, Any] | None], of: ItemType
) -> tuple[int, dict[str, bytes | None], list[Reject]]:
    """How many of the records fit into one transaction, what becomes of the items, and which of those records
    are rejected. `known` are the items as they are, None where there is none; the first record that needs an
    item that is not among them is left for the next transaction."""
    items = dict(known)
    written: dict[str, bytes | None] = {}
    rejected = []
    done = size = 0
    for each in read:
        record, change, reason = each.record, each.change, each.reason
        if change is not None:
            if change.needs_item and change.key not in items:
                break
            try:
                after = changes.applied(change, items.get(change.key), of)
                content = None if after is None else _content(after)
            except Unusable as unusable:
                reason = str(unusable)
            else:
                size += len(content or b"") - len(written.get(change.key) or b"")
                if done and size > MAX_WRITTEN_BYTES:
                    break
                items[change.key], written[change.key] = after, content
        if reason:
            rejected.append(Reject(record.number, record.line, record.raw, reason[:MAX_REASON]))
        done += 1
    return done, written, rejected


def _content(item: dict[str, Any]) -> bytes:
    content = exact.dumps(item)
    if len(content) > MAX_RECORD_BYTES:
        raise Unusable(f"The item would have more than {MAX_RECORD_BYTES // 2**20} MiB: remove fields.")
    return content
