"""PASCAL VOC: an XML file an image, as ModelArts, datumaro and torchvision read it.
https://support.huaweicloud.com/intl/en-us/dataprepare-modelarts/dataprepare-modelarts-0015.html

ModelArts takes whole numbers alone, one position an object, and no empty element.

Coordinates are whole pixels from the image's left and upper edge, which are 0, so a box is `xmax - xmin`
wide. That is how datumaro (`coordinate_mode` "dm-zero-based", its default) and CVAT read them; ModelArts and
torchvision leave them as they are. The devkit of 2012 counts pixels from 1. A box has at least one pixel.

A polygon is closed, as those of ModelArts are: its last corner is its first. A polygon that has less than
three corners in whole pixels becomes its box.

XML 1.0 does not have all characters (https://www.w3.org/TR/xml/#charsets): one that it lacks is U+FFFD.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

import orjson

from shared.datasets.forms import names, shapes
from shared.datasets.forms.base import Exported, File, Form, Joined, Placed, Section
from shared.datasets.forms.shapes import MIN_CORNERS, Shape
from shared.datasets.samples import SEGMENTATION, Box, Label

IMAGES, ANNOTATIONS, LISTS = "JPEGImages", "Annotations", "ImageSets/Main"

LABELS = "dataset_meta.json"
"""The names of the labels in their order, as datumaro reads them. Its `labelmap.txt` cannot hold a colon.
https://open-edge-platform.github.io/datumaro/latest/docs/data-formats/formats/pascal_voc.html"""

_LISTS = {"TRAIN": "train", "EVAL": "val", None: "default"}

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_REPLACEMENT = "\ufffd"


@dataclass(frozen=True)
class Voc(Form):
    """Version format Default, annotation format VOC."""

    exported: Exported

    def image(self, placed: Placed) -> str:  # noqa: D102
        return f"{IMAGES}/{placed.sample.name}"

    def annotation(self, placed: Placed) -> str:  # noqa: D102
        return f"{ANNOTATIONS}/{names.stem(placed.sample)}.xml"

    def beside(self, placed: Placed) -> Iterable[File]:  # noqa: D102
        yield File(self.annotation(placed), annotation(self.exported, placed), "application/xml")

    def joined(self) -> Sequence[Joined]:
        """The lists of images, by split."""
        return [
            Joined(f"{LISTS}/{name}.txt", "text/plain; charset=utf-8", (Section(name),))
            for name in (("train", "val") if self.exported.split else ("default",))
        ]

    def give(self, slice: Sequence[Placed]) -> Mapping[str, bytes]:  # noqa: D102
        lists: dict[str, list[str]] = {}
        for placed in slice:
            lists.setdefault(_LISTS[placed.usage], []).append(f"{names.stem(placed.sample)}\n")
        return {name: "".join(stems).encode() for name, stems in lists.items()}

    def fixed(self) -> Iterable[File]:  # noqa: D102
        labels = list(dict.fromkeys(_as_xml(name) for name in self.exported.labels))
        yield File(LABELS, orjson.dumps({"labels": labels}), "application/json")


def annotation(exported: Exported, placed: Placed) -> bytes:
    """The XML of a sample. It has a size where that is known."""
    sample, image = placed.sample, placed.sample.image
    lines = [
        "<annotation>",
        f"  <folder>{IMAGES}</folder>",
        f"  <filename>{sample.name}</filename>",
    ]
    if image.width and image.height:
        size = f"<width>{image.width}</width><height>{image.height}</height><depth>3</depth>"
        lines.append(f"  <size>{size}</size>")
    lines.append(f"  <segmented>{int(exported.type == SEGMENTATION)}</segmented>")
    for label in sample.labels:
        if (shape := shapes.of(label, image, exported.type)) is not None:
            lines += _object(label, shape, difficult=exported.hard and sample.hard)
    lines.append("</annotation>\n")
    return "\n".join(lines).encode()


def _object(label: Label, shape: Shape, difficult: bool) -> Iterable[str]:
    yield "  <object>"
    # A parser makes a line feed of a carriage return that is not written as a reference.
    yield f"    <name>{escape(_as_xml(label.name), {chr(13): '&#13;'})}</name>"
    yield "    <pose>Unspecified</pose>"
    yield f"    <truncated>{int(shape.cut)}</truncated>"
    yield "    <occluded>0</occluded>"
    yield f"    <difficult>{int(difficult)}</difficult>"
    if label.confidence is not None:
        yield f"    <confidence>{label.confidence}</confidence>"
    yield f"    {_position(shape)}"
    yield "  </object>"


def _as_xml(name: str) -> str:
    return _NOT_XML.sub(_REPLACEMENT, name) or _REPLACEMENT


def _position(shape: Shape) -> str:
    corners = _whole_corners(shape)
    if len(corners) < MIN_CORNERS:
        xmin, ymin, xmax, ymax = _whole_box(shape.box)
        return (
            f"<bndbox><xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax></bndbox>"
        )
    closed = [*corners, corners[0]]
    points = (f"<x{at}>{x}</x{at}><y{at}>{y}</y{at}>" for at, (x, y) in enumerate(closed, start=1))
    return f"<polygon>{''.join(points)}</polygon>"


def _whole_corners(shape: Shape) -> list[tuple[int, int]]:
    """The corners of the polygon without those that are the same as the one before."""
    corners: list[tuple[int, int]] = []
    for x, y in shape.polygon or ():
        corner = _nearest(x), _nearest(y)
        if not corners or corner != corners[-1]:
            corners.append(corner)
    if len(corners) > 1 and corners[0] == corners[-1]:
        corners.pop()
    return corners


def _whole_box(box: Box) -> tuple[int, int, int, int]:
    left, top, width, height = box
    xmin, xmax = _whole(left, left + width)
    ymin, ymax = _whole(top, top + height)
    return xmin, ymin, xmax, ymax


def _whole(start: float, end: float) -> tuple[int, int]:
    low, high = _nearest(start), _nearest(end)
    return (low, high) if low < high else (math.floor(start), math.floor(start) + 1)


def _nearest(value: float) -> int:
    return math.floor(value + 0.5)
