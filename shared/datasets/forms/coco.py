"""COCO: one JSON file with all images and labels. https://cocodataset.org/#format-data

- The id of a category is its label's position in the dataset's order, from 1, so it never changes.
- An image without labels is an image without annotations.
- `file_name` is relative to the directory `images`.
- Boxes, polygons and areas are not rounded. In a dataset of type DETECTION `segmentation` is empty.
- The size of an image whose size is unknown is 0.
- Images have keys of ours: `sample_id`, `work_order`, and `usage` where samples are split.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import orjson

from shared.datasets.forms import shapes
from shared.datasets.forms.base import Exported, Form, Joined, Placed, Section
from shared.datasets.samples import SEGMENTATION

IMAGES = "images"

NAME = "annotations/instances_default.json"


@dataclass(frozen=True)
class Coco(Form):
    """Version format Default, annotation format COCO."""

    exported: Exported

    def image(self, placed: Placed) -> str:  # noqa: D102
        return f"{IMAGES}/{placed.sample.name}"

    def joined(self) -> Sequence[Joined]:  # noqa: D102
        info = orjson.dumps({"description": self.exported.dataset, "version": self.exported.version})
        categories = [
            {"id": id, "name": name, "supercategory": ""} for name, id in self._category_ids.items()
        ]
        images = Section("images", b'{"info":' + info + b',"licenses":[],"images":[\n', b",\n")
        annotations = Section("annotations", b'\n],"annotations":[\n', b",\n")
        after = b'\n],"categories":' + orjson.dumps(categories) + b"}\n"
        return [Joined(NAME, "application/json", (images, annotations), after)]

    def give(self, slice: Sequence[Placed]) -> Mapping[str, bytes]:  # noqa: D102
        return {
            "images": b",\n".join(orjson.dumps(_image(placed)) for placed in slice),
            "annotations": b",\n".join(
                orjson.dumps(each) for placed in slice for each in self._annotations(placed)
            ),
        }

    def _annotations(self, placed: Placed) -> Iterable[dict[str, Any]]:
        for id, label in enumerate(placed.sample.labels, start=placed.first):
            shape = shapes.of(label, placed.sample.image, self.exported.type)
            if shape is None:
                continue
            yield {
                "id": id,
                "image_id": placed.number,
                "category_id": self._category_ids[label.name],
                "bbox": shape.box,
                "area": shape.area,
                "segmentation": [list(chain(*shape.corners))] if self.exported.type == SEGMENTATION else [],
                "iscrowd": 0,
            }

    @cached_property
    def _category_ids(self) -> Mapping[str, int]:
        return {name: id for id, name in enumerate(self.exported.labels, start=1)}


def _image(placed: Placed) -> dict[str, Any]:
    sample = placed.sample
    fields = {
        "id": placed.number,
        "file_name": sample.name,
        "width": sample.image.width,
        "height": sample.image.height,
        "sample_id": sample.id,
        "work_order": sample.work_order,
    }
    return fields if placed.usage is None else {**fields, "usage": placed.usage}
