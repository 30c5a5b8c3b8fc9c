"""Making a version: the work orders of a dataset's sites are read as they stood at one moment, in parts."""

import hashlib
from collections import Counter
from dataclasses import asdict
from typing import Any

import orjson
from google.cloud import firestore

from shared import logs
from shared.accounts.customers import sites_of
from shared.clock import elapsed_since, stopwatch
from shared.datasets import dataset as datasets
from shared.datasets import samples
from shared.datasets import task as tasks
from shared.datasets.dataset import MAX_LABELS, MAX_LABELS_BYTES, Dataset, Slice, Version
from shared.datasets.samples import Choice, Sample
from shared.datasets.task import EXPORT, Task
from shared.errors import GiveUp
from shared.formats import json_lines
from shared.gcp.clients import Cloud
from shared.gcp.documents import READABLE, IdRange, id_ranges, read_time, read_together, transact
from shared.gcp.objects import LazyWriter, Stored
from shared.work import pieces
from shared.work.attempts import Attempt
from shared.work.kinds import COMPLETED, Done, End, PlannedTooLongAgo
from shared.workorders import scan

PLAN, READ, PIN, SELECT = "plan", "read", "pin", "select"

SLICE_SAMPLES = 2_000
SLICE_BYTES = 4 * 1024 * 1024
"""How many samples a slice has at most, and after how many bytes of them it ends: it is held in memory when
it is written."""

SLICE_IMAGE_BYTES = 2 * 1024**3
"""After how many bytes of images a slice ends. One attempt copies them, or writes them into one shard, and an
attempt has minutes."""

LINES_TYPE = json_lines.FORMAT.content_type
INDEX_TYPE = "application/json"

PART_DIGITS = 6
"""So that parts and slices are in order as text, too."""


def plan(cloud: Cloud, task: Task, attempt: Attempt) -> Done:
    """Find the slices of the version that is asked for, or cut what a new one is read from into parts."""
    dataset = needed(cloud, task)
    wanted = task.request.version_id if task.does == EXPORT else None
    if dataset.origin is not None:
        wanted = wanted or dataset.current
    if wanted:
        return _selecting(cloud, dataset, needed_version(cloud, dataset, wanted))
    at = read_time(attempt.work)
    theirs = sites_of(cloud.db, dataset.sites, task.customer)
    parts: list[dict[str, Any]] = []
    for site in dataset.sites:
        if site not in theirs:
            raise GiveUp(f"The site {site} is no longer yours.", "Update the dataset's site_ids.")
        ranges = id_ranges(scan.number_of(cloud, site, at), cloud.settings.part_records)
        parts += ({"site": site, **each._asdict()} for each in ranges)
    logs.info("dataset planned", parts=len(parts))
    numbered = ((f"{number:0{PART_DIGITS}}", part) for number, part in enumerate(parts))
    # What the dataset selects may change while its parts are read.
    selected = {"read_time": at, "chosen": list(dataset.tasks)}
    return Done(next=READ, work=selected, plans={READ: numbered})


def needed(cloud: Cloud, task: Task) -> Dataset:
    """The dataset of a task; GiveUp where it was deleted meanwhile."""
    dataset = datasets.get(cloud, task.dataset)
    if dataset is None or dataset.deleted:
        raise GiveUp("The dataset was deleted.", "Create it again, then the task.")
    return dataset


def needed_version(cloud: Cloud, dataset: Dataset, id: str) -> Version:
    """A version of a dataset; LookupError where it is not there: versions are never deleted."""
    version = datasets.get_version(cloud, dataset.id, id)
    if version is None:
        raise LookupError(f"the dataset {dataset.id} has no version {id}")
    return version


def exported(cloud: Cloud, task: Task) -> tuple[Dataset, Version]:
    """What a task exports, once its version is known. Errors as `needed`."""
    if task.version is None:
        raise ValueError(f"the task {task.id} has no version yet")
    dataset = needed(cloud, task)
    return dataset, needed_version(cloud, dataset, task.version)


def read(cloud: Cloud, task: Task, attempt: Attempt) -> Done:
    """Read a part: its samples go into an object, as JSON Lines, and the slices of that are written down.

    When the time is up, the part ends where it is, and the rest becomes a part of its own.
    """
    at = task.read_time
    if at is None or read_time(attempt.work) - at > READABLE:
        raise PlannedTooLongAgo(PLAN)
    needed(cloud, task)
    choice = Choice(task.type, task.chosen)
    began, fields = stopwatch(), attempt.fields
    part = IdRange(fields["first"], fields["before"])
    name = tasks.staged(task, f"{attempt.piece.name}-{attempt.id}.jsonl")
    rest = {}
    with LazyWriter(cloud.objects, cloud.settings.staging_bucket, name, LINES_TYPE) as lines:
        written = _Part(lines)
        for found in scan.standing(cloud, fields["site"], part, at):
            if written.bytes and elapsed_since(began) >= cloud.settings.attempt_seconds:
                rest = {f"{attempt.piece.name}r": {**fields, "first": found.id}}
                break
            written.add(samples.of_record(found.record, found.images, found.labels, found.created, choice))
            attempt.heartbeat()
        return Done(written.close(), rest=rest)


class _Part:
    """The samples of a part as they are written."""

    def __init__(self, lines: LazyWriter) -> None:
        self._lines = lines
        self.bytes = 0
        self._slices: list[list[int]] = []
        self._start = self._total = self._annotated = 0
        self._samples = self._slice_labels = self._image_bytes = 0
        self._labels: Counter[str] = Counter()
        self._sum = 0

    def add(self, some: list[Sample]) -> None:
        """Add the samples of a work order."""
        for sample, line in zip(some, samples.encode(some), strict=True):
            self._lines.write(line)
            self.bytes += len(line)
            self._samples += 1
            self._slice_labels += len(sample.labels)
            self._image_bytes += sample.image.size
            self._total += 1
            self._annotated += bool(sample.labels)
            self._labels.update({label.name for label in sample.labels})
            self._sum += int.from_bytes(hashlib.sha256(line).digest())
            if (
                self._samples == SLICE_SAMPLES
                or self.bytes - self._start >= SLICE_BYTES
                or self._image_bytes >= SLICE_IMAGE_BYTES
            ):
                self._cut()

    def close(self) -> dict[str, Any]:
        """Make the object visible; returns the fields of the piece."""
        self._cut()
        stored = self._lines.close()
        about = orjson.dumps(self._labels)
        return {
            "stored": asdict(stored) if stored else None,
            "slices": orjson.dumps(self._slices),
            "samples": self._total,
            "annotated": self._annotated,
            # The document would not hold more of them.
            "labels": about
            if len(about) <= 2 * MAX_LABELS_BYTES and len(self._labels) <= MAX_LABELS
            else None,
            "sum": f"{self._sum % 2**256:x}",
        }

    def _cut(self) -> None:
        if self._samples:
            self._slices.append([self._start, self.bytes, self._samples, self._slice_labels])
        self._start, self._samples, self._slice_labels, self._image_bytes = self.bytes, 0, 0, 0


def pin(cloud: Cloud, task: Task, attempt: Attempt) -> Done:
    """Make the version of all parts, or find that there is one of the very same samples.

    CustomerMustAct where there are too many labels.
    """
    at = task.read_time
    if at is None:
        raise ValueError(f"the task {task.id} was not planned")
    parts = [each.fields for each in pieces.results(cloud, task.path, task.plans[READ])]
    counts = _counts(parts)
    # A sum does not depend on how the samples were cut into parts.
    total = sum(int(part["sum"], 16) for part in parts) % 2**256
    content = f"{task.dataset}\n{sum(part['samples'] for part in parts)}\n{total:x}"
    id = hashlib.sha256(content.encode()).hexdigest()[:32]
    samples_count, annotated = (sum(part[name] for part in parts) for name in ("samples", "annotated"))
    version = cloud.db.document(datasets.version_path(task.dataset, id))
    owner = cloud.db.document(datasets.path(task.dataset))
    # Most tasks find that nothing has changed. What they read leaves staging with its age.
    index = None if version.get().exists else _kept(cloud, task, attempt, parts)

    def write(transaction: firestore.Transaction) -> None:
        there, dataset = read_together(cloud.db, [version, owner], transaction)
        known = datasets.from_snapshot(dataset)
        labels = _order(known, counts)
        changes: dict[str, Any] = {"labels": orjson.dumps(labels), "failure": None}
        if known.as_of is None or known.as_of <= at:
            # Else another task has read it since, and made its version before.
            counted = {"samples": samples_count, "annotated": annotated}
            changes |= {"current": id, "as_of": at, **counted}
        if index is not None and not there.exists:
            number = known.version_count + 1
            ordered = [(name, counts.get(name, 0)) for name in labels]
            asked = task.request.dataset_version_name if task.does == EXPORT else None
            name = asked or datasets.numbered(number)
            fields = datasets.version_fields(number, name, samples_count, annotated, ordered, index, at)
            transaction.create(version, {**fields, "created": firestore.SERVER_TIMESTAMP})
            changes["version_count"] = number
        transaction.update(owner, {**changes, "updated": firestore.SERVER_TIMESTAMP})

    transact(cloud.db, write)
    logs.info("version made", version=id, samples=samples_count)
    if task.does != EXPORT:
        done = {"version": id, "total": samples_count, "finished_count": samples_count}
        return Done(end=End(COMPLETED, done))
    dataset = needed(cloud, task)
    return _selecting(cloud, dataset, needed_version(cloud, dataset, id))


def _counts(parts: list[Any]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for part in parts:
        counts.update(orjson.loads(part["labels"]) if part["labels"] else {})
        if not part["labels"] or len(counts) > MAX_LABELS:
            raise _too_many()
    return counts


def _order(dataset: Dataset, counts: Counter[str]) -> list[str]:
    """The labels of a dataset in their order: new ones come last, by name."""
    labels = [*dataset.labels, *sorted(counts.keys() - set(dataset.labels))]
    if len(labels) > MAX_LABELS or len(orjson.dumps(labels)) > MAX_LABELS_BYTES:
        raise _too_many()
    return labels


def _too_many() -> GiveUp:
    return GiveUp(
        f"The dataset has more than {MAX_LABELS:,} different labels, or their names are too long.",
        "Create a dataset whose task_names are the tasks whose values are classes: values such as a meter's "
        "reading are none.",
    )


def _kept(cloud: Cloud, task: Task, attempt: Attempt, parts: list[Any]) -> Stored:
    """Copy what was read from staging to where it is kept; returns the object that lists its slices."""
    bucket, folder = cloud.settings.datasets_bucket, f"{task.customer}/{task.dataset}/{task.id}"
    slices: list[Slice] = []
    for number, part in enumerate(each for each in parts if each["stored"]):
        kept = cloud.objects.copy(Stored(**part["stored"]), bucket, f"{folder}/{number:0{PART_DIGITS}}.jsonl")
        slices += (Slice(kept, *each) for each in orjson.loads(part["slices"]))
        attempt.heartbeat()
    return cloud.objects.create(bucket, f"{folder}/index.json", datasets.write_index(slices), INDEX_TYPE)


def _selecting(cloud: Cloud, dataset: Dataset, version: Version) -> Done:
    """The stage in which samples are selected, of a version. The dataset may be renamed from then on: its
    files have the name that it has now."""
    found = datasets.slices(cloud, version)
    numbered = (
        (f"{number:0{PART_DIGITS}}", {**each._asdict(), "stored": asdict(each.stored)})
        for number, each in enumerate(found)
    )
    return Done(next=SELECT, work={"version": version.id, "name": dataset.name}, plans={SELECT: numbered})
