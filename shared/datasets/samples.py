"""A sample of a dataset: an image with its labels. Pure functions make samples of a work order's document,
and JSON Lines of samples.

What a sample is made of never changes once its dataset's version is made: its image is named with its
generation, its labels are values.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from shared.workorders import images
from shared.workorders.images import Image

CLASSIFICATION, DETECTION, SEGMENTATION = 0, 1, 3
"""The types of datasets that photographs of work orders can be. The labels of the first are about the whole
image, those of the others about a box or a polygon in it.
https://support.huaweicloud.com/intl/en-us/api-modelarts/ListDatasets.html"""

NAME_PART = 60
"""How many characters of a work order's and of a task group's name go into a sample's name."""

NAME_DIGITS = 12
"""How many hex digits of its input's id end a sample's name. They tell the photographs of one task group of
one work order apart, at most 5,000."""

Box = tuple[float, float, float, float]
"""Left, top, width and height, in pixels of the image as it is stored."""

Points = tuple[tuple[float, float], ...]
"""The corners of a polygon, x and y each, in pixels of the image as it is stored."""


HUMAN, AUTO = "human", "auto"
"""Who made a label: a person, or the analysis.
https://support.huaweicloud.com/intl/en-us/api-modelarts/ListSamples.html"""


@dataclass(frozen=True, slots=True)
class Label:
    """What an image shows.

    name        the label's name
    task        the task whose result it is
    human       whether a person corrected the result
    at          when a person did, as records have it; else None
    confidence  of the analysis, between 0 and 1; None where it says none, or a person corrected it
    box         where in the image, for a dataset of type DETECTION or SEGMENTATION
    polygon     the same more exactly, where the analysis says so; `box` is around it then
    """

    name: str
    task: str
    human: bool = False
    at: str | None = None
    confidence: float | None = None
    box: Box | None = None
    polygon: Points | None = None

    @property
    def annotated_by(self) -> str:
        """Who made it: HUMAN or AUTO."""
        return HUMAN if self.human else AUTO


@dataclass(frozen=True, slots=True)
class Sample:
    """An image with its labels.

    id                its input's id, by which it is found in export records
    name              its file's name, which no other sample of its dataset has
    site_id           its site
    work_order        the name of its work order
    work_order_id     the id of that
    task_group        what it was photographed for
    added             when its work order was created, as records have it
    image             the image as it stands in our bucket
    labels            its labels, in the order of the tasks and regions
    review            how far its review is, as the analyser says: one word for each chosen task that has one
    labelers          who labelled it, as the analyser says
    hard              whether it is hard to label: the analyser says so, or a person corrected it
    hard_coefficient  how hard, from 0 to 1: 1 less the confidence of the analysis; None where it says none
    metadata          its attributes: the metadata of its work order, and over them its own
    """

    id: str
    name: str
    site_id: str
    work_order: str
    work_order_id: str
    task_group: str
    added: str
    image: Image
    labels: tuple[Label, ...] = ()
    review: tuple[str, ...] = ()
    labelers: tuple[str, ...] = ()
    hard: bool = False
    hard_coefficient: float | None = None
    metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Choice:
    """Which results become labels.

    type   the dataset's type: CLASSIFICATION, DETECTION or SEGMENTATION
    tasks  the tasks whose results do; none for all
    """

    type: int
    tasks: tuple[str, ...] = ()


def of_record(
    record: bytes, lines: bytes, labels: Mapping[str, Any], added: str, choice: Choice
) -> list[Sample]:
    """The samples of a work order in the order of its record, from that record, the lines of its images, and
    what an analysis says beyond the record."""
    fields = orjson.loads(record)
    by_id = {image.id: image for image in images.decode(lines)}
    made = []
    for item in fields["work_items"]:
        for one in item["input"]:
            image = by_id.get(one["id"])
            if image is not None:
                made.append(
                    _sample(fields, item["name"], one, image, labels.get(one["id"], {}), added, choice)
                )
    return made


def _sample(
    order: Mapping[str, Any],
    group: str,
    one: Mapping[str, Any],
    image: Image,
    beyond: Mapping[str, Any],
    added: str,
    choice: Choice,
) -> Sample:
    results = [
        each for each in one["job_conformity"] if not choice.tasks or each["task_name"] in choice.tasks
    ]
    found: list[Label] = []
    review, labelers = dict[str, None](), dict[str, None]()
    hard, coefficient = False, None
    for result in results:
        more = beyond.get(result["task_name"], {})
        found += _labels(result, more, choice)
        if more.get("review"):
            review[more["review"]] = None
        if more.get("labeler"):
            labelers[more["labeler"]] = None
        corrected = _corrected(result) and result["corrected_value"] != result["analyzed_value"]
        hard = hard or more.get("hard", False) or corrected
        if (confidence := more.get("confidence")) is not None:
            coefficient = max(coefficient or 0.0, round(1 - confidence, 6))
    return Sample(
        id=one["id"],
        name=_name(order["name"], group, image),
        site_id=order["site_id"],
        work_order=order["name"],
        work_order_id=order["id"],
        task_group=group,
        added=added,
        image=image,
        labels=tuple(found),
        review=tuple(review),
        labelers=tuple(labelers),
        hard=hard,
        hard_coefficient=coefficient,
        metadata={**order["metadata"], **one["metadata"]},
    )


def _corrected(result: Mapping[str, Any]) -> bool:
    return result["corrected_date"] is not None


def _labels(result: Mapping[str, Any], more: Mapping[str, Any], choice: Choice) -> Iterator[Label]:
    human = _corrected(result)
    value = result["corrected_value"] if human else result["analyzed_value"]
    confidence = None if human else more.get("confidence")
    at = result["corrected_date"] if human else None
    if choice.type == CLASSIFICATION:
        if (name := text_of(value)) is not None:
            yield Label(
                label_name(result["task_name"], name, choice), result["task_name"], human, at, confidence
            )
        return
    # What the analysis called by the value that a person corrected is what that person calls it. Where that
    # is nothing, it is no label.
    if human and value is False:
        return  # the analysis marked what is not there
    before, after = text_of(result["analyzed_value"]), text_of(value)
    for region in more.get("regions", ()):
        name = after if human and region["label"] == before else region["label"]
        polygon = tuple((x, y) for x, y in region["polygon"]) if region.get("polygon") else None
        box = _around(polygon) if polygon else tuple(region["box"]) if region.get("box") else None
        if box is not None and name is not None:
            yield Label(name, result["task_name"], human, at, confidence, box, polygon)


def label_name(task: str, value: str, choice: Choice) -> str:
    """What a task's value is called as a label. Where a dataset has several tasks it begins with the task:
    `true` alone would not say what is true."""
    return value if len(choice.tasks) == 1 else f"{task}:{value}"


def text_of(value: Any) -> str | None:
    """A result's value as a label has it, or None where there is none."""
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _around(polygon: Points) -> Box:
    left, top = min(x for x, _ in polygon), min(y for _, y in polygon)
    return left, top, max(x for x, _ in polygon) - left, max(y for _, y in polygon) - top


def _name(order: str, group: str, image: Image) -> str:
    digits = image.id.replace("-", "")[:NAME_DIGITS]
    return f"{_plain(order)}_{_plain(group)}_{digits}.{image.file_extension}"


def _plain(name: str) -> str:
    """A name as any file system and any tool can have it."""
    return re.sub("[^A-Za-z0-9-]+", "-", name)[:NAME_PART].strip("-") or "-"


def encode(samples: Iterable[Sample]) -> Iterator[bytes]:
    """The samples as JSON Lines, a line each."""
    for sample in samples:
        yield orjson.dumps(sample) + b"\n"


def decode(line: bytes) -> Sample:
    """What `encode` made of a sample."""
    fields = orjson.loads(line)
    fields["image"] = Image(**fields["image"])
    fields["labels"] = tuple(_label(each) for each in fields["labels"])
    fields["review"] = tuple(fields["review"])
    fields["labelers"] = tuple(fields["labelers"])
    return Sample(**fields)


def _label(fields: dict[str, Any]) -> Label:
    if fields["box"] is not None:
        fields["box"] = tuple(fields["box"])
    if fields["polygon"] is not None:
        fields["polygon"] = tuple((x, y) for x, y in fields["polygon"])
    return Label(**fields)
