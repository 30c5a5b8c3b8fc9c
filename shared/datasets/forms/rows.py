"""A sample as a row: what Parquet files and WebDataset shards say of it. Labels are as they were given, also
outside of the image."""

from collections.abc import Mapping
from typing import Any

from shared.datasets.forms.base import Exported, Placed
from shared.datasets.samples import Label


def of(exported: Exported, indices: Mapping[str, int], placed: Placed, file_name: str) -> dict[str, Any]:
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


def _label(indices: Mapping[str, int], label: Label) -> dict[str, Any]:
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
