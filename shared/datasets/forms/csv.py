"""CSV: a row a label, and one for an image without labels. How cells are written: see `shared.formats.csv`.

Labels are as they were given, also outside of the image. A polygon is JSON text: `[[x,y],…]`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.datasets.forms.base import Exported, Form, Joined, Placed, Section
from shared.datasets.samples import CLASSIFICATION, SEGMENTATION, Label
from shared.formats import csv
from shared.formats.base import Column

IMAGES = "images"

NAME = "labels.csv"

BOX = tuple(Column(name, "number") for name in ("x", "y", "width", "height"))
POLYGON = (Column("polygon", "json"),)

_IMAGE_AND_LABEL = (Column("file_name", "text"), Column("label", "text"))
_ABOUT_LABEL = (
    Column("annotated_by", "text"),
    Column("annotated_at", "moment"),
    Column("confidence", "number"),
)
_ABOUT_SAMPLE = (
    Column("usage", "text"),
    Column("hard", "boolean"),
    Column("hard_coefficient", "number"),
    Column("sample_id", "text"),
    Column("site_id", "text"),
    Column("work_order", "text"),
    Column("task_group", "text"),
)

COLUMNS = (*_IMAGE_AND_LABEL, *BOX, *POLYGON, *_ABOUT_LABEL, *_ABOUT_SAMPLE)
"""The columns of a dataset of type SEGMENTATION. Of type DETECTION it has no POLYGON, of type CLASSIFICATION
no BOX either."""


@dataclass(frozen=True)
class Csv(Form):
    """Version format CSV."""

    exported: Exported

    def image(self, placed: Placed) -> str:  # noqa: D102
        return f"{IMAGES}/{placed.sample.name}"

    def joined(self) -> Sequence[Joined]:  # noqa: D102
        header = csv.row(columns(self.exported)) if self.exported.header else b""
        return [Joined(NAME, csv.FORMAT.content_type, (Section("rows", header),))]

    def give(self, slice: Sequence[Placed]) -> Mapping[str, bytes]:  # noqa: D102
        return {"rows": b"".join(row for placed in slice for row in self._rows(placed))}

    def _rows(self, placed: Placed) -> Iterable[bytes]:
        sample, names = placed.sample, columns(self.exported)
        about = {
            "file_name": self.image(placed),
            "usage": placed.usage,
            "hard": sample.hard if self.exported.hard else None,
            "hard_coefficient": sample.hard_coefficient if self.exported.hard else None,
            "sample_id": sample.id,
            "site_id": sample.site_id,
            "work_order": sample.work_order,
            "task_group": sample.task_group,
        }
        for label in sample.labels or (None,):
            values = about if label is None else {**about, **_label(label)}
            yield csv.row(values.get(name) for name in names)


def columns(exported: Exported) -> tuple[str, ...]:
    """The columns of a dataset's file, in their order."""
    left_out: set[Column] = set()
    if exported.type != SEGMENTATION:
        left_out.update(POLYGON)
    if exported.type == CLASSIFICATION:
        left_out.update(BOX)
    return tuple(column.name for column in COLUMNS if column not in left_out)


def _label(label: Label) -> dict[str, Any]:
    return {
        "label": label.name,
        **dict(zip((column.name for column in BOX), label.box or (), strict=False)),
        "polygon": [list(corner) for corner in label.polygon] if label.polygon else None,
        "annotated_by": label.annotated_by,
        "annotated_at": label.at,
        "confidence": label.confidence,
    }
