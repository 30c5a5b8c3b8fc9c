"""YOLO: a text file an image, in the directories that Ultralytics reads.
https://docs.ultralytics.com/datasets/detect/

A line is the label's position in the dataset's order, from 0, and the box's middle, width and height; in a
dataset of type SEGMENTATION the corners of the polygon instead. All are parts of the image's width or height,
from 0 to 1. An image without labels has an empty file.

An image whose size is unknown has no text file, since its labels cannot be said so. It is no picture, and
Ultralytics leaves it out.

Without a split all images are in `train`, and `data.yaml` names that for validation too, which it must name.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from shared.datasets.forms import names, shapes
from shared.datasets.forms.base import Exported, File, Form, Placed
from shared.datasets.forms.shapes import Shape
from shared.datasets.samples import SEGMENTATION
from shared.workorders.images import Image

TRAIN, VAL = "train", "val"

DIGITS = 9
"""How many decimals a number has. Of an image of 100,000 pixels that is a ten-thousandth of a pixel."""


@dataclass(frozen=True)
class Yolo(Form):
    """Version format YOLO."""

    exported: Exported

    def image(self, placed: Placed) -> str:  # noqa: D102
        return f"images/{_split_of(placed)}/{placed.sample.name}"

    def beside(self, placed: Placed) -> Iterable[File]:  # noqa: D102
        image = placed.sample.image
        if not (image.width and image.height):
            return
        lines = []
        for label in placed.sample.labels:
            if (shape := shapes.of(label, image, self.exported.type)) is not None:
                numbers = self._numbers(shape, image)
                lines.append(
                    f"{self._classes[label.name]} {' '.join(f'{each:.{DIGITS}f}' for each in numbers)}\n"
                )
        name = f"labels/{_split_of(placed)}/{names.stem(placed.sample)}.txt"
        yield File(name, "".join(lines).encode(), "text/plain; charset=utf-8")

    def _numbers(self, shape: Shape, image: Image) -> list[float]:
        wide, high = image.width, image.height
        if self.exported.type == SEGMENTATION:
            return [each for x, y in shape.corners for each in (x / wide, y / high)]
        left, top, width, height = shape.box
        return [(left + width / 2) / wide, (top + height / 2) / high, width / wide, height / high]

    def fixed(self) -> Iterable[File]:  # noqa: D102
        lines = [
            f"train: images/{TRAIN}",
            f"val: images/{VAL if self.exported.split else TRAIN}",
            "names:" if self.exported.labels else "names: {}",
            *(f"  {number}: {_quoted(name)}" for name, number in self._classes.items()),
        ]
        yield File("data.yaml", "".join(f"{line}\n" for line in lines).encode(), "application/yaml")

    @cached_property
    def _classes(self) -> Mapping[str, int]:
        return {name: number for number, name in enumerate(self.exported.labels)}


def _split_of(placed: Placed) -> str:
    return VAL if placed.usage == "EVAL" else TRAIN


def _quoted(text: str) -> str:
    """A text as YAML in double quotes: of what is not printable YAML takes some characters for a line's end,
    and some not at all. https://yaml.org/spec/1.2.2/#57-escaped-characters"""
    return '"' + "".join(_escaped(each) for each in text) + '"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
