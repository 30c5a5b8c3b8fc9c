"""Exporting a version: its samples are selected and counted, then written slice by slice, side by side."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import orjson

from shared import logs
from shared.datasets import destination, filters, reading, samples, shards
from shared.datasets import task as tasks
from shared.datasets.forms import manifest
from shared.datasets.forms.base import File, Form, Placed
from shared.datasets.reading import SELECT
from shared.datasets.samples import Sample
from shared.datasets.task import WRITE, Task
from shared.delivery.base import Copy
from shared.gcp.clients import Cloud
from shared.gcp.many import Many
from shared.gcp.objects import Stored
from shared.work import pieces
from shared.work.attempts import Attempt
from shared.work.kinds import FAILED, Done, End

COUNT = "count"

SAMPLES = "samples"
"""The section in which a slice's samples are staged, where they become a dataset of their own."""

SECTION_TYPE = "application/octet-stream"
"""What a staged section says it is: nobody else reads it."""

WRITTEN_TOGETHER = 64
"""How many small files are written before the attempt shows life again."""


def select(cloud: Cloud, task: Task, attempt: Attempt) -> Done:
    """Count the samples of a slice that are to be exported, and their labels, and see whether the form can
    hold them. Where all are exported, and the form can hold any, the version has the numbers."""
    export = _Export(cloud, task)
    if export.takes_all and export.form.holds_all:
        return Done({name: attempt.fields[name] for name in ("samples", "labels")} | {"problem": None})
    number = labels = 0
    problem = None
    for sample in export.samples(attempt.fields):
        number += 1
        labels += len(sample.labels)
        problem = problem or export.form.problem(Placed(sample, number, labels))
    return Done({"samples": number, "labels": labels, "problem": problem})


def count(cloud: Cloud, task: Task, attempt: Attempt) -> Done:
    """Number the samples and their labels through all slices. A task whose form cannot hold a sample fails
    before anything is written."""
    slices: list[tuple[str, dict[str, Any]]] = []
    number = first = 1
    for piece in pieces.results(cloud, task.path, task.plans[SELECT]):
        fields = piece.fields
        if fields["problem"]:
            return Done(end=End(FAILED, {"error": fields["problem"]}))
        if fields["samples"]:
            given = {name: fields[name] for name in ("stored", "start", "end")}
            slices.append((piece.name, {**given, "slice": len(slices), "number": number, "first": first}))
        number += fields["samples"]
        first += fields["labels"]
    logs.info("samples counted", samples=number - 1, slices=len(slices))
    return Done(next=WRITE, work={"total": number - 1}, plans={WRITE: slices})


def write(cloud: Cloud, task: Task, attempt: Attempt) -> Done:
    """Write a slice: its images, the small files beside them, and its share of the files that are joined.

    An image that is gone is left out of all files, and named. What the first attempt found stands.
    CustomerMustAct where the bucket refuses, or has something else where a file is to be.
    """
    export = _Export(cloud, task)
    form, number = export.form, attempt.fields["slice"]
    selected = list(export.placed(attempt.fields))
    missing, generations = _copied(export, selected, attempt)
    for shard in form.shards(number, selected):
        missing |= shards.write(
            cloud, export.bucket, export.prefix, shard, export.source, export.origin, attempt
        )
    placed = [each for each in selected if each.sample.id not in missing]
    small = [file for each in placed for file in form.beside(each)]
    small += form.whole(number, placed)
    _create(export, small, attempt)
    sections = {**form.give(placed), manifest.SECTION: manifest.give(export.exported, form, number, placed)}
    if export.makes_dataset:
        own = [_pinned(each.sample, generations[each.sample.id]) for each in placed]
        sections[SAMPLES] = b"".join(samples.encode(own))
    staged = {
        name: _staged(cloud, task, attempt, name, content) for name, content in sections.items() if content
    }
    return Done(
        {
            "written": len(placed),
            "annotated": sum(bool(each.sample.labels) for each in placed),
            "labels": sum(len(each.sample.labels) for each in placed),
            "missing": [each.sample.name for each in selected if each.sample.id in missing],
            "label_samples": _counted(placed) if export.makes_dataset else b"",
            "sections": {name: asdict(each) for name, each in staged.items()},
        }
    )


def _counted(placed: Sequence[Placed]) -> bytes:
    """How many samples have a label of each name, as JSON."""
    counts = Counter(name for each in placed for name in {label.name for label in each.sample.labels})
    return orjson.dumps(counts)


class _Export:
    """What all steps of an export need to know of it."""

    def __init__(self, cloud: Cloud, task: Task) -> None:
        self.cloud = cloud
        self.task = task
        self.request = task.request
        self.dataset, version = reading.exported(cloud, task)
        self.exported = destination.exported(task, version)
        self.form: Form = destination.form(self.request, self.exported)
        place = self.request.path
        self.prefix = place.prefix
        self.bucket = destination.bucket_of(cloud, task.customer, place)
        self.origin = destination.origin_of(cloud, self.dataset)
        self.makes_dataset = self.request.new_dataset is not None
        self._matches: Callable[[Sample], bool] = filters.matcher(self.request, task.created)
        self.takes_all = self._matches is filters.every

    def samples(self, slice: Mapping[str, Any]) -> Iterator[Sample]:
        """The samples of a slice that are to be exported."""
        lines = self.cloud.objects.read(Stored(**slice["stored"]), slice["start"], slice["end"])
        found = map(samples.decode, lines.splitlines())
        return found if self.takes_all else filter(self._matches, found)

    def source(self, sample: Sample) -> Stored:
        """Where the image of a sample is."""
        return destination.source_of(self.cloud, self.dataset, sample)

    def placed(self, slice: Mapping[str, Any]) -> Iterator[Placed]:
        """The same at their places."""
        number, first = slice["number"], slice["first"]
        for sample in self.samples(slice):
            yield Placed(sample, number, first, destination.usage(self.request, sample))
            number += 1
            first += len(sample.labels)


def _copied(
    export: _Export, placed: Sequence[Placed], attempt: Attempt
) -> tuple[set[str], Mapping[str, int]]:
    """Copy the images of those that have a place for one: the ids of those whose image is gone, and where the
    export makes a dataset the generation of each copy, by the sample's id."""
    copies = {}
    for each in placed:
        if (name := export.form.image(each)) is not None:
            image = each.sample.image
            copies[f"{export.prefix}{name}"] = (
                each.sample.id,
                Copy(
                    source_name=export.source(each.sample).name,
                    generation=image.generation,
                    size=image.size,
                    crc32c=image.crc32c,
                    name=f"{export.prefix}{name}",
                ),
            )
    if not copies:
        return set(), {}
    from shared.delivery.cloud_storage.copying import copy_images  # loads aiohttp; other pieces need none

    result = copy_images(
        export.bucket,
        [copy for _, copy in copies.values()],
        source_bucket=export.source(placed[0].sample).bucket,
        storage_url=export.cloud.settings.storage_url,
        max_batch=export.cloud.settings.copy_batch,
        on_progress=lambda _: attempt.heartbeat(),
        generations=export.makes_dataset,
        origin=export.origin,
    )
    if result.conflicts:
        raise export.bucket.taken(result.conflicts[0].name)
    logs.info("images copied", copied=result.copied, present=result.present, missing=len(result.missing))
    missing = {copies[copy.name][0] for copy in result.missing}
    return missing, {copies[name][0]: generation for name, generation in result.generations.items()}


def _create(export: _Export, files: Sequence[File], attempt: Attempt) -> None:
    """Write small files into the customer's bucket, side by side."""
    if not files:
        return
    bucket = export.bucket

    async def create() -> None:
        async with Many(bucket.objects, export.cloud.settings.storage_url) as many:
            for start in range(0, len(files), WRITTEN_TOGETHER):
                together = files[start : start + WRITTEN_TOGETHER]
                names = [f"{export.prefix}{file.name}" for file in together]
                await asyncio.gather(
                    *(
                        many.create(bucket.bucket, name, file.content, file.content_type)
                        for name, file in zip(names, together, strict=True)
                    )
                )
                attempt.heartbeat()

    with bucket.explained():
        asyncio.run(create())


def _staged(cloud: Cloud, task: Task, attempt: Attempt, section: str, content: bytes) -> Stored:
    name = f"{attempt.piece.name}-{attempt.id}.{section}"
    if section == SAMPLES:
        at = f"{task.customer}/{task.dataset}/{task.id}/{name}"
        return cloud.objects.create(cloud.settings.datasets_bucket, at, content, reading.LINES_TYPE)
    return cloud.objects.create(
        cloud.settings.staging_bucket, tasks.staged(task, name), content, SECTION_TYPE
    )


def _pinned(sample: Sample, generation: int) -> Sample:
    return replace(sample, image=replace(sample.image, generation=generation))
