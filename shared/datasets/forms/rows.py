"""A sample as a row: what Parquet files and WebDataset shards say of it. Labels are as they were given, also
outside of the image."""

from collections.abc import Mapping
from typing import Any

from typing_extensions import TypedDict

from shared.datasets.forms.base import Exported, Placed
from shared.datasets.samples import Label
from shared.http.bodies import documented


@documented
class LabelRow(TypedDict):
    """A label of a sample."""

    name: str
    """The label."""
    index: int
    """Its position in the dataset's list of labels, from 0."""
    task: str
    """The task whose result it is."""
    annotated_by: str
    """`human` where a person corrected it, else `auto`."""
    annotated_at: str | None
    """When a person did."""
    confidence: float | None
    """The analyser's, from 0 to 1."""
    box: list[float] | None
    """Left, top, width and height in pixels, as the analyser gave them."""
    polygon: list[list[float]] | None
    """Its corners, each as x and y in pixels."""


@documented
class Row(TypedDict):
    """A sample. In Parquet `metadata` is JSON text."""

    file_name: str
    """Where its image is."""
    width: int | None
    """The image's width in pixels; null where it is no picture."""
    height: int | None
    """The image's height in pixels; null where it is no picture."""
    labels: list[LabelRow]
    """Its labels."""
    usage: str | None
    """`TRAIN` or `EVAL`, where samples are split."""
    hard: bool | None
    """Whether it is hard to label; null where the export leaves that out."""
    hard_coefficient: float | None
    """How hard, from 0 to 1."""
    sample_id: str
    """The id of its input, as records have it."""
    site_id: str
    """Its site."""
    work_order: str
    """The name of its work order."""
    work_order_id: str
    """The id of its work order."""
    task_group: str
    """What it was photographed for."""
    added: str
    """When its work order was created."""
    metadata: dict[str, Any]
    """The metadata of its work order, and over them its own."""


def of(exported: Exported, indices: Mapping[str, int], placed: Placed, file_name: str) -> Row:
    """What is said of a sample. `indices` has the position of each label in the dataset's order, from 0."""
    sample = placed.sample
    return {
        "file_name": file_name,
        "width": sample.image.width or None,
        "height": sample.image.height or None,
        "labels": [_label(indices, label) for label in sample.labels],
        "usage": placed.usage,
        "hard": sample.hard if exported.hard else None,
        "hard_coefficient": sample.hard_coefficient if exported.hard else None,
        "sample_id": sample.id,
        "site_id": sample.site_id,
        "work_order": sample.work_order,
        "work_order_id": sample.work_order_id,
        "task_group": sample.task_group,
        "added": sample.added,
        "metadata": dict(sample.metadata or {}),
    }


def _label(indices: Mapping[str, int], label: Label) -> LabelRow:
    return {
        "name": label.name,
        "index": indices[label.name],
        "task": label.task,
        "annotated_by": label.annotated_by,
        "annotated_at": label.at,
        "confidence": label.confidence,
        "box": [float(each) for each in label.box] if label.box is not None else None,
        "polygon": [[float(x), float(y)] for x, y in label.polygon] if label.polygon is not None else None,
    }


def indices(exported: Exported) -> Mapping[str, int]:
    """The position of each label in the dataset's order, from 0."""
    return {name: index for index, name in enumerate(exported.labels)}
