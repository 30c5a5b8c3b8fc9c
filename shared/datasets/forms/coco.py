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
from typing import Any, NotRequired

import orjson
from typing_extensions import TypedDict

from shared.datasets.forms import shapes
from shared.datasets.forms.base import Exported, Form, Joined, Placed, Section
from shared.datasets.samples import SEGMENTATION

IMAGES = "images"

NAME = "annotations/instances_default.json"


class Info(TypedDict):
    """The dataset and its version."""

    description: str
    version: str


class Image(TypedDict):
    """An image."""

    id: int
    file_name: str
    width: int
    height: int
    sample_id: str
    work_order: str
    usage: NotRequired[str]


class Annotation(TypedDict):
    """A label of an image."""

    id: int
    image_id: int
    category_id: int
    bbox: list[float]
    area: float
    segmentation: list[list[float]]
    iscrowd: int


class Category(TypedDict):
    """A label of the dataset."""

    id: int
    name: str
    supercategory: str


class File(TypedDict):
    """The labels of a dataset in COCO's format."""

    info: Info
    licenses: list[Any]
    images: list[Image]
    annotations: list[Annotation]
    categories: list[Category]


@dataclass(frozen=True)
class Coco(Form):
    """Version format Default, annotation format COCO."""

    exported: Exported

    def image(self, placed: Placed) -> str:  # noqa: D102
        return f"{IMAGES}/{placed.sample.name}"

    def joined(self) -> Sequence[Joined]:  # noqa: D102
        about: Info = {"description": self.exported.dataset, "version": self.exported.version}
        info = orjson.dumps(about)
        categories: list[Category] = [
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

    def _annotations(self, placed: Placed) -> Iterable[Annotation]:
        for id, label in enumerate(placed.sample.labels, start=placed.first):
            shape = shapes.of(label, placed.sample.image, self.exported.type)
            if shape is None:
                continue
            yield {
                "id": id,
                "image_id": placed.number,
                "category_id": self._category_ids[label.name],
                "bbox": list(shape.box),
                "area": shape.area,
                "segmentation": [list(chain(*shape.corners))] if self.exported.type == SEGMENTATION else [],
                "iscrowd": 0,
            }

    @cached_property
    def _category_ids(self) -> Mapping[str, int]:
        return {name: id for id, name in enumerate(self.exported.labels, start=1)}


def _image(placed: Placed) -> Image:
    sample = placed.sample
    fields: Image = {
        "id": placed.number,
        "file_name": sample.name,
        "width": sample.image.width,
        "height": sample.image.height,
        "sample_id": sample.id,
        "work_order": sample.work_order,
    }
    return fields if placed.usage is None else {**fields, "usage": placed.usage}
