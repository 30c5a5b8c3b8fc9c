"""Reporting what the checks of a batch's photographs found, as warnings of the batch.

Photographs are checked by the analysis of their work orders, after they were imported. While that is under
way the batch waits, at most MAX_CHECKS, so that its report and its mail have what was found. Work orders are
read in groups. It waits for the last one of a group that is not checked, and whoever has checked that one
wakes it (`analysis.queue.wake`).
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
from shared.workorders import images, pictures, store
from shared.workorders.images import Image
from shared.workorders.stored import DUE, StoredWorkOrder

STAGE = "report"

REPORTED = frozenset(
    {
        "UNREADABLE",
        "MISSING",
        "TAKES_TOO_LONG",
        "TAKES_TOO_MUCH_MEMORY",
        "LOW_RESOLUTION",
        "BLURRED",
        "TOO_DARK",
        "TOO_BRIGHT",
        "DUPLICATE",
    }
)
"""The codes of our checks, all of which are reported. An analyser's are not known to `problems`."""

READ_TOGETHER = 20
"""How many work orders are read with one call. Each may have 1 MiB."""

MAX_WARNINGS = 1_000
"""How many warnings of one work order are listed; how many more there are is the last. They are written with
one commit, which may hold 10 MiB. https://cloud.google.com/firestore/quotas#writes_and_transactions"""

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
    reached = Progress.of(attempt.fields)
    try:
        site = get_site(cloud.db, batch.site, batch.customer)
    except NotFound as gone:
        logs.info("nothing more to report", reason=str(gone))
        return _done(batch, reached)
    for document in _left(cloud, batch, attempt.fields.get("document", "")):
        first = attempt.fields.get("position", 0) if document.id == attempt.fields.get("document") else 0
        lines = [Imported(**orjson.loads(line)) for line in fields_of(document)["lines"].splitlines()]
        found: list[Problem] = []
        position, later = first, None
        while position < len(lines) and later is None:
            if elapsed_since(began) >= cloud.settings.attempt_seconds and position > first:
                later = Later()
                break
            group = lines[position : position + READ_TOGETHER]
            held = _checked(cloud, site, group, attempt) if waits else _look(cloud, site, group)
            for imported in group:
                if waits and _is_waited_for(held.get(imported.id)):
                    later = Later(after=LOOK_AFTER)
                    break
                found += _problems(imported, held.get(imported.id))
                position += 1
            attempt.heartbeat()
        reached = reached.plus(Progress(**errors_file.counted(found)))
        at = {"document": document.id, "position": position, "began": since, **asdict(reached)}
        attempt.save(at, errors_file.documents(batch, f"{STAGE}-{document.id}", position, found))
        if later is not None:
            return later
        document.reference.delete()
        if elapsed_since(began) >= cloud.settings.attempt_seconds:
            return Later()
    return _done(batch, reached)


def _done(batch: Batch, reached: Progress) -> Done:
    return Done(work={"problems": asdict(batch.problems.plus(reached))})


def _left(cloud: Cloud, batch: Batch, after: str) -> Iterator[Snapshot]:
    """The documents that are still to be reported."""
    collection = cloud.db.collection(f"{batch.path}/photographs")
    for each in collection.order_by("__name__").select([]).stream():
        document = collection.document(each.id).get() if each.id >= after else None
        if document is not None and document.exists:  # another attempt may have deleted it
            yield document


Held = Mapping[str, StoredWorkOrder]
"""Work orders by their ids, without those that are gone."""


def _checked(cloud: Cloud, site: Site, group: Sequence[Imported], attempt: Attempt) -> Held:
    """These work orders, and what is awaited written down: the last of them that is not checked.

    It is written before that one is looked at once more: so either it is seen to be checked, or it wakes us.
    """
    awaited = None
    while True:
        held = _look(cloud, site, group)
        due = [each.id for each in group if _is_waited_for(held.get(each.id))]
        if not due or due[-1] == awaited:
            return held
        awaited = due[-1]
        attempt.save({"awaits": awaited})


def _look(cloud: Cloud, site: Site, group: Sequence[Imported]) -> Held:
    return {id: each.stored for id, each in store.look_at(cloud, site, [one.id for one in group]).items()}


def _is_waited_for(held: StoredWorkOrder | None) -> bool:
    return held is not None and held.analysis == DUE and bool(held.unchecked)


def _problems(imported: Imported, held: StoredWorkOrder | None) -> Sequence[Problem]:
    """What the checks found in the photographs that were imported, of a work order that is still there."""
    if held is None:
        return ()
    stored = {image.id: image for image in images.decode(held.images)}
    same = images.originals(list(stored.values()))
    found = [
        problem(
            check.code,
            work_order=imported.name,
            file=imported.files[one.id],
            detail=_detail(check.code, stored.get(one.id), imported.files.get(same.get(one.id, ""))),
        )
        for item in held.work_order.work_items
        for one in item.input
        if one.id in imported.files
        for check in one.data_conformity
        if check.code in REPORTED
    ]
    if (more := len(found) - MAX_WARNINGS) > 0:
        detail = f"{more:,} more of this work order are not listed."
        found[MAX_WARNINGS:] = [problem("MORE_WARNINGS", work_order=imported.name, detail=detail)]
    return found


def _detail(code: str, image: Image | None, original: str | None) -> str:
    """A sentence about this photograph, where a code says something that can be told more exactly."""
    if code == "LOW_RESOLUTION" and image is not None:
        side = f"its shorter side should have {pictures.SIDE_GOOD} or more"
        return f"It has {image.width:,} × {image.height:,} pixels: {side}."
    if code == "DUPLICATE" and original:
        return f"It is the same as “{original}”."
    return ""


def waker(batch: Batch, function: str) -> Mapping[str, Any]:
    """What the analysis of a work order is given to wake the batch by."""
    return {"function": function, "work": batch.path, "piece": STAGE}
