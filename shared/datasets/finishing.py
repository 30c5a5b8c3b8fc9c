"""The end of an export: the files that are joined of all slices, and the manifest last."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import orjson
from google.cloud import firestore

from shared import logs
from shared.datasets import dataset as datasets
from shared.datasets import destination, reading
from shared.datasets import task as tasks
from shared.datasets.dataset import Dataset, Origin, Slice, Version
from shared.datasets.forms import manifest
from shared.datasets.forms.base import File, Joined
from shared.datasets.reading import INDEX_TYPE, LINES_TYPE
from shared.datasets.request import NewDataset
from shared.datasets.task import VERSION, WRITE, Task, staged
from shared.datasets.writing import SAMPLES, SECTION_TYPE
from shared.delivery.cloud_storage.bucket import CustomerBucket
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot
from shared.gcp.objects import Stored
from shared.work import pieces
from shared.work.attempts import Attempt
from shared.work.kinds import COMPLETED, FAILED, Done, End, Writes

JOIN, FINISH = "join", "finish"


def join(cloud: Cloud, task: Task, attempt: Attempt) -> Done:
    """Deliver all files but the manifest."""
    _, version = reading.exported(cloud, task)
    exported = destination.exported(task, version)
    form = destination.form(task.request, exported)
    out = _Out(cloud, task, attempt)
    for joined in form.joined():
        out.join(joined)
    for file in form.fixed():
        out.whole(file)
    if missing := [name for piece in out.written for name in piece["missing"]]:
        lines = b"\n".join(orjson.dumps({"file_name": name}) for name in missing)
        name = manifest.joined(exported).name
        out.whole(File(f"{name.removesuffix('.manifest')}.missing.jsonl", lines, LINES_TYPE))
    return Done()


def finish(cloud: Cloud, task: Task, attempt: Attempt) -> Done:
    """Deliver the manifest, and end the task; with that the dataset is there that it makes."""
    dataset, version = reading.exported(cloud, task)
    out = _Out(cloud, task, attempt)
    out.join(manifest.joined(destination.exported(task, version)))
    finished = sum(piece["written"] for piece in out.written)
    missing = sum(len(piece["missing"]) for piece in out.written)
    end = End(COMPLETED, {"finished_count": finished, "missing": missing})
    logs.info("dataset exported", samples=finished, missing=missing)
    new = task.request.new_dataset
    if new is None:
        return Done(end=end)
    return Done(end=end, documents=_documents(cloud, task, attempt, new, dataset, version, out))


def ending(cloud: Cloud, _: firestore.Transaction, work: Snapshot, end: End) -> Writes:
    """What else is written when a task ends: why a dataset has no first version; and how many samples were
    exported by then, so that nobody who looks at the task counts them again."""
    task = tasks.from_snapshot(work)
    if end.state == COMPLETED:
        return Writes()
    if task.does != VERSION:
        return Writes({"finished_count": tasks.finished(cloud, task)})
    if end.state != FAILED:
        return Writes()
    failure = tasks.sentences(end.fields.get("error"), end.fields.get("next_action"))
    return Writes(updates={datasets.path(task.dataset): {"failure": failure}})


class _Out:
    """Brings files of an export to its path."""

    def __init__(self, cloud: Cloud, task: Task, attempt: Attempt) -> None:
        self._cloud = cloud
        self._task = task
        self._attempt = attempt
        self._created: dict[str, Stored] = {}
        place = task.request.path
        self._prefix = place.prefix
        self._bucket: CustomerBucket = destination.bucket_of(cloud, task.customer, place)
        self.written = [each.fields for each in pieces.results(cloud, task.path, task.plans[WRITE])]

    def whole(self, file: File) -> None:
        """Deliver a file that is here as a whole."""
        self._deliver(self._create(file.name, file.content, file.content_type), file.name)

    def join(self, joined: Joined) -> None:
        """Deliver a file that is joined of what the slices gave."""
        parts = list(self._parts(joined)) or [self._create(joined.name, b"", joined.content_type)]
        bucket = self._cloud.settings.staging_bucket
        stored = self._cloud.objects.join(
            bucket, lambda numbers: self._name(f"{joined.name}.{numbers}"), parts, joined.content_type
        )
        if stored == parts[0]:
            # A single part has the content type of a section.
            whole = self._name(f"{joined.name}.whole")
            stored = self._cloud.objects.compose(bucket, whole, parts, joined.content_type)
        self._deliver(stored, joined.name)

    def _parts(self, joined: Joined) -> Iterator[Stored]:
        for section in joined.sections:
            yield from self._some(f"{joined.name}.{section.name}.before", section.before)
            given = (piece["sections"].get(section.name) for piece in self.written)
            for number, each in enumerate(filter(None, given)):
                if number:
                    yield from self._some(f"{joined.name}.{section.name}.between", section.between)
                yield Stored(**each)
        yield from self._some(f"{joined.name}.after", joined.after)

    def _some(self, name: str, content: bytes) -> Iterator[Stored]:
        if content:
            yield self._create(name, content, SECTION_TYPE)

    def _create(self, name: str, content: bytes, content_type: str) -> Stored:
        if name not in self._created:
            bucket = self._cloud.settings.staging_bucket
            self._created[name] = self._cloud.objects.create(bucket, self._name(name), content, content_type)
        return self._created[name]

    def _name(self, file: str) -> str:
        return staged(self._task, f"out/{file}")

    def _deliver(self, stored: Stored, name: str) -> None:
        self._bucket.deliver(stored, f"{self._prefix}{name}")
        self._attempt.heartbeat()


def _documents(
    cloud: Cloud,
    task: Task,
    attempt: Attempt,
    made: NewDataset,
    dataset: Dataset,
    version: Version,
    out: _Out,
) -> dict[str, Any]:
    """The documents of the dataset that a task makes: with a version whose images are the copies."""
    slices = []
    for piece in out.written:
        if given := piece["sections"].get(SAMPLES):
            stored = Stored(**given)
            slices.append(Slice(stored, 0, stored.size, piece["written"], piece["labels"]))
    index = cloud.objects.create(
        cloud.settings.datasets_bucket,
        f"{task.customer}/{task.id}/index-{attempt.id}.json",
        datasets.write_index(slices),
        INDEX_TYPE,
    )
    count = sum(piece["written"] for piece in out.written)
    annotated = sum(piece["annotated"] for piece in out.written)
    at = firestore.SERVER_TIMESTAMP
    new = datasets.fields(
        customer=task.customer,
        name=made.name,
        description=f"Exported from {dataset.name} {version.name}.",
        type=dataset.type,
        sites=dataset.sites,
        tasks=dataset.tasks,
    )
    more = {
        "labels": orjson.dumps(list(version.labels)),
        "current": task.id,
        "version_count": 1,
        "samples": count,
        "annotated": annotated,
        "as_of": version.read_time,
        "origin": asdict(Origin(task.id, made.work_path.bucket, made.work_path.prefix)),
        "created": at,
        "updated": at,
    }
    counts: Counter[str] = Counter()
    for piece in out.written:
        counts.update(orjson.loads(piece["label_samples"]))
    labels = [(name, counts[name]) for name in version.labels]
    name = task.request.dataset_version_name or datasets.numbered(1)
    first = datasets.version_fields(1, name, count, annotated, labels, index, version.read_time)
    # The new dataset is called by the id of the task that makes it: whoever makes it, and however often.
    return {
        datasets.path(task.id): new | more,
        datasets.version_path(task.id, task.id): first | {"created": at},
    }
