"""A work order with all that its document keeps of it, and the changes that are made to one: pure functions.

Beside the record: the list of its images, tags, parameters, the labels (what an analysis says beyond the
record, for datasets), and how far its analysis is.
"""

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from shared.accounts.customers import Site
from shared.cutting import shown
from shared.errors import Conflict, Invalid, NotFound
from shared.workorders import images
from shared.workorders.images import Image
from shared.workorders.record import (
    DataConformity,
    Input,
    JobConformity,
    Value,
    WorkItem,
    WorkOrder,
    progress,
)

MAX_INPUTS = 5_000
"""How many inputs a work order may have: the lines of their images are stored in its document, which holds
1 MiB."""

DUE, WAITING, DONE, FAILED = "DUE", "WAITING", "DONE", "FAILED"
"""How far a work order's analysis is: to be made, its analyser will answer later, made, or failed."""

Labels = Mapping[str, Mapping[str, Any]]
"""Of each input's id and task's name what an analysis says beyond the record."""


@dataclass(frozen=True)
class StoredWorkOrder:
    """A work order as it is stored.

    images    its images' lines (see `images`), in the order in which they were added
    labels    what an analysis says beyond the record
    checked   how many of the images have been checked, in that order
    analysis  DUE, WAITING, DONE or FAILED; of the latter `failure` says why
    """

    work_order: WorkOrder
    images: bytes = b""
    tags: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, Labels] = field(default_factory=dict)
    checked: int = 0
    analysis: str = DONE
    failure: str = ""

    @property
    def count(self) -> int:
        """How many images it has."""
        return len(self.images) // images.LINE_BYTES

    @property
    def unchecked(self) -> list[Image]:
        """The images that have not been checked."""
        return list(images.decode(self.images[self.checked * images.LINE_BYTES :]))


@dataclass(frozen=True)
class StoredInput:
    """An input that is stored: its task group, its record, and the image as it stands; None where the input
    is a text or a number."""

    task_group: str
    input: Input
    image: Image | None


@dataclass(frozen=True)
class Correction:
    """What a person says a task's value is. `seen` is the date of the correction that they saw, empty where
    there was none; None where they do not say."""

    input_id: str
    task_name: str
    value: Value
    message: str | None
    seen: str | None = None


@dataclass(frozen=True)
class Result:
    """What an analysis says of a task of an input; `label` has what goes beyond the record."""

    input_id: str
    task_name: str
    analyzed_value: Value
    message: str | None
    is_conformity_validated: bool
    label: Mapping[str, Any] = field(default_factory=dict)


def new(site: Site, id: str, name: str) -> StoredWorkOrder:
    """One that nothing is known of yet."""
    return StoredWorkOrder(WorkOrder(id, name, site.id, {}, progress((), site.required), ()))


def change(
    site: Site,
    stored: StoredWorkOrder,
    *,
    metadata: Mapping[str, Any] | None = None,
    tags: Sequence[str] | None = None,
    parameters: Mapping[str, Any] | None = None,
    taken: Iterable[StoredInput] = (),
    corrections: Sequence[Correction] = (),
    at: str = "",
) -> StoredWorkOrder:
    """The same with what is given replaced, and inputs added that it does not have yet; `at` (ISO 8601) is
    the corrections' date.

    NotFound where a correction's input or task is not there, Conflict where it was corrected since, Invalid
    where there are too many inputs. It is due for analysis where images or parameters have changed.
    """
    after = stored
    if metadata is not None:
        after = replace(after, work_order=replace(after.work_order, metadata=metadata))
    if tags is not None:
        after = replace(after, tags=tuple(tags))
    if parameters is not None:
        after = replace(after, parameters=parameters)
    after = _with_inputs(after, taken)
    for correction in corrections:
        after = _corrected(after, correction, at)
    if (after.images, after.parameters) != (stored.images, stored.parameters):
        due = after.count and (site.analysis_url or after.unchecked)
        after = replace(after, analysis=DUE if due else DONE, failure="")
    return _scored(site, after)


def with_checks(
    site: Site, stored: StoredWorkOrder, checks: Mapping[str, Sequence[DataConformity]], checked: int
) -> StoredWorkOrder:
    """The same with what checks found, by input, those found before in front; the first `checked` images are
    checked then. Images that were checked already stay as they are."""
    if checked <= stored.checked:
        return stored
    fresh = {image.id for image in stored.unchecked[: checked - stored.checked]}
    after = _each_input(
        stored,
        lambda one: (
            replace(one, data_conformity=(*one.data_conformity, *checks.get(one.id, ())))
            if one.id in fresh
            else one
        ),
    )
    return _scored(site, replace(after, checked=checked))


def with_results(site: Site, stored: StoredWorkOrder, results: Sequence[Result]) -> StoredWorkOrder:
    """The same with an analysis's results, in place of those of the same input and task; what a person
    corrected stays corrected. Results of inputs that it does not have are left out."""
    by_input: dict[str, list[Result]] = {}
    for result in results:
        by_input.setdefault(result.input_id, []).append(result)
    after = _each_input(
        stored, lambda one: replace(one, job_conformity=_merged(one.job_conformity, by_input.get(one.id, ())))
    )
    ids = input_ids(stored)
    labels = {id: dict(tasks) for id, tasks in stored.labels.items()}
    for result in results:
        if result.input_id not in ids:
            continue
        tasks = labels.setdefault(result.input_id, {})
        tasks.pop(result.task_name, None)
        if result.label:
            tasks[result.task_name] = dict(result.label)
    return _scored(site, replace(after, labels={id: tasks for id, tasks in labels.items() if tasks}))


def image_ids(stored: StoredWorkOrder) -> frozenset[str]:
    """The ids of its inputs that have an image."""
    return frozenset(image.id for image in images.decode(stored.images))


def input_ids(stored: StoredWorkOrder) -> frozenset[str]:
    """The ids of its inputs."""
    return frozenset(each.id for item in stored.work_order.work_items for each in item.input)


def _with_inputs(stored: StoredWorkOrder, taken: Iterable[StoredInput]) -> StoredWorkOrder:
    known = set(input_ids(stored))
    work_order, lines = stored.work_order, stored.images
    for one in taken:
        if one.input.id in known:
            continue
        if len(known) >= MAX_INPUTS:
            raise Invalid.field("inputs", f"a work order may have at most {MAX_INPUTS}")
        known.add(one.input.id)
        lines += images.encode(one.image) if one.image else b""
        item = work_order.work_item(one.task_group) or WorkItem(
            id=str(uuid.uuid5(uuid.UUID(work_order.id), one.task_group)), name=one.task_group
        )
        work_order = work_order.with_work_item(replace(item, input=(*item.input, one.input)))
    return replace(stored, work_order=work_order, images=lines)


def _corrected(stored: StoredWorkOrder, correction: Correction, at: str) -> StoredWorkOrder:
    if correction.input_id not in input_ids(stored):
        raise NotFound(f"the work order {stored.work_order.id} has no input {correction.input_id}")

    def correct(one: Input) -> Input:
        if one.id != correction.input_id:
            return one
        there = [each for each in one.job_conformity if each.task_name == correction.task_name]
        if not there:
            raise NotFound(f"the input has no result of the task {shown(correction.task_name)} to correct")
        seen = correction.seen
        if seen is not None and any(
            (each.corrected_date or "") != seen and each.corrected_value != correction.value for each in there
        ):
            raise Conflict(
                f"the value of {shown(correction.task_name)} was corrected by somebody else meanwhile: look "
                "at what it is now, and correct that"
            )
        results = tuple(
            replace(
                result,
                corrected_value=correction.value,
                corrected_date=at,
                message=correction.message or result.message,
            )
            if result.task_name == correction.task_name
            else result
            for result in one.job_conformity
        )
        return replace(one, job_conformity=results)

    return _each_input(stored, correct)


def _merged(known: tuple[JobConformity, ...], results: Sequence[Result]) -> tuple[JobConformity, ...]:
    merged = {each.task_name: each for each in known}
    for result in results:
        before = merged.get(result.task_name)
        corrected = before is not None and before.corrected_date is not None
        merged[result.task_name] = JobConformity(
            task_name=result.task_name,
            analyzed_value=result.analyzed_value,
            corrected_value=before.corrected_value if before else None,
            corrected_date=before.corrected_date if before else None,
            message=before.message if before and corrected else result.message,
            is_conformity_validated=result.is_conformity_validated,
        )
    return tuple(merged.values())


def _each_input(stored: StoredWorkOrder, change: Callable[[Input], Input]) -> StoredWorkOrder:
    items = tuple(
        replace(item, input=tuple(change(each) for each in item.input))
        for item in stored.work_order.work_items
    )
    return replace(stored, work_order=replace(stored.work_order, work_items=items))


def _scored(site: Site, stored: StoredWorkOrder) -> StoredWorkOrder:
    score = progress(stored.work_order.work_items, site.required)
    return replace(stored, work_order=replace(stored.work_order, progress_score=score))
