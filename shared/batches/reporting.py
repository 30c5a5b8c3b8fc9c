"""Reporting what the checks of a batch's photographs found, as warnings of the batch.

Photographs are checked by the analysis of their work orders, after they were imported. While that is under
way the batch waits, at most MAX_CHECKS, so that its report and its mail have what was found. It waits for one
work order after the other, and whoever has checked that one wakes it (`analysis.queue.wake`).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

import orjson

from shared import logs
from shared.accounts.customers import Site, get_site
from shared.batches import errors_file
from shared.batches.batch import Batch, Progress
from shared.batches.problems import Problem, problem
from shared.clock import elapsed_since, stopwatch
from shared.errors import NotFound
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, fields_of, read_time
from shared.work.attempts import Attempt
from shared.work.kinds import Documents, Done, Later
from shared.workorders import store
from shared.workorders.stored import DUE, StoredWorkOrder

STAGE = "report"

REPORTED = frozenset({"UNREADABLE", "MISSING"})
"""The codes of checks that are reported: of photographs that show nothing. What is said of the others, as
that one is blurred, stands in the work order alone."""

MAX_CHECKS = timedelta(hours=6)
"""How long a batch waits for its checks after the last import."""

LOOK_AFTER = timedelta(minutes=1)
"""How often a batch that waits looks by itself: whoever should wake it may have died."""

DOCUMENT_BYTES = 256 * 1024
"""How many bytes of photographs' names one document takes; it may hold 1 MiB, and those of one work order
have about that much at most."""


@dataclass(frozen=True)
class Imported:
    """A work order that was imported: its id, its name, and the file of each of its photographs by input."""

    id: str
    name: str
    files: Mapping[str, str]


def documents(batch: Batch, slice_id: str, position: int, imported: Iterable[Imported]) -> Documents:
    """The documents, by path, that remember the photographs of a slice up to that position."""
    blocks: list[list[bytes]] = []
    room = 0
    for each in imported:
        line = orjson.dumps(each) + b"\n"
        if len(line) > room:
            blocks.append([])
            room = DOCUMENT_BYTES
        blocks[-1].append(line)
        room -= len(line)
    return {
        f"{batch.path}/photographs/{slice_id}-{position:06}-{number:03}": {"lines": b"".join(lines)}
        for number, lines in enumerate(blocks)
    }


def report(cloud: Cloud, batch: Batch, attempt: Attempt) -> Done | Later:
    """Write down what the checks found, from where it was saved, and wait for what is not checked."""
    began = stopwatch()
    since = attempt.fields.get("began") or read_time(attempt.work)
    waits = read_time(attempt.work) - since < MAX_CHECKS
    number = attempt.fields.get("warnings", 0)
    try:
        site = get_site(cloud.db, batch.site, batch.customer)
    except NotFound as gone:
        logs.info("nothing more to report", reason=str(gone))
        return _done(batch, number)
    for document in _left(cloud, batch, attempt.fields.get("document", "")):
        first = attempt.fields.get("position", 0) if document.id == attempt.fields.get("document") else 0
        lines = [Imported(**orjson.loads(line)) for line in fields_of(document)["lines"].splitlines()]
        found: list[Problem] = []
        position, later = first, Later()
        for imported in lines[first:]:
            if elapsed_since(began) >= cloud.settings.attempt_seconds and position > first:
                break
            held = _look(cloud, site, imported.id)
            if waits and _is_waited_for(held):
                # Written before it is looked at again: so either it is seen to be checked, or it wakes us.
                attempt.save({"awaits": imported.id})
                held = _look(cloud, site, imported.id)
                if _is_waited_for(held):
                    later = Later(after=LOOK_AFTER)
                    break
            found += _problems(imported, held)
            position += 1
            attempt.heartbeat()
        number += len(found)
        at = {"document": document.id, "position": position, "warnings": number, "began": since}
        attempt.save(at, errors_file.documents(batch, f"{STAGE}-{document.id}", position, found))
        if position < len(lines):
            return later
        document.reference.delete()
        if elapsed_since(began) >= cloud.settings.attempt_seconds:
            return later
    return _done(batch, number)


def _done(batch: Batch, warnings: int) -> Done:
    return Done(work={"problems": asdict(batch.problems.plus(Progress(warnings=warnings)))})


def _left(cloud: Cloud, batch: Batch, after: str) -> Iterator[Snapshot]:
    """The documents that are still to be reported."""
    collection = cloud.db.collection(f"{batch.path}/photographs")
    for each in collection.order_by("__name__").select([]).stream():
        document = collection.document(each.id).get() if each.id >= after else None
        if document is not None and document.exists:  # another attempt may have deleted it
            yield document


def _look(cloud: Cloud, site: Site, id: str) -> StoredWorkOrder | None:
    try:
        return store.look(cloud, site, id).stored
    except NotFound:
        return None


def _is_waited_for(held: StoredWorkOrder | None) -> bool:
    return held is not None and held.analysis == DUE and bool(held.unchecked)


def _problems(imported: Imported, held: StoredWorkOrder | None) -> Sequence[Problem]:
    if held is None:
        return ()
    inputs = [one for item in held.work_order.work_items for one in item.input if one.id in imported.files]
    return [
        problem(each.code, work_order=imported.name, file=imported.files[one.id])
        for one in inputs
        for each in one.data_conformity
        if each.code in REPORTED
    ]


def waker(batch: Batch, function: str) -> Mapping[str, Any]:
    """What the analysis of a work order is given to wake the batch by."""
    return {"function": function, "work": batch.path, "piece": STAGE}
