"""Where in an image a label is. PASCAL VOC, COCO and YOLO share the rules:

- A label is cut at the edges of its image. A label of which nothing is left is left out, and so is one with a
  coordinate beyond MAX_COORDINATE.
- Only a dataset of type SEGMENTATION has polygons. A label that has a box alone is that rectangle there.
- Of an image whose size is unknown only the left and the upper edge are known. It is no picture.
"""

import math
from dataclasses import dataclass

from shared.datasets.samples import SEGMENTATION, Box, Label, Points
from shared.workorders.images import Image

MIN_CORNERS = 3

MAX_COORDINATE = 1e9
"""In pixels, or the same below zero. What is computed of much greater numbers is not finite."""

_NOTHING = 1e-9
# Square pixels that remain of nothing: a polygon that lies outside can leave a line along the edges.

X, Y = 0, 1


@dataclass(frozen=True, slots=True)
class Shape:
    """Where a label is, within its image.

    box      left, top, width and height, in pixels
    polygon  its corners, where the label is a polygon; `box` is around it then
    cut      whether a part was outside of the image
    """

    box: Box
    polygon: Points | None
    cut: bool

    @property
    def corners(self) -> Points:
        """Those of the polygon, or else of the box."""
        if self.polygon is not None:
            return self.polygon
        left, top, width, height = self.box
        right, bottom = left + width, top + height
        return (left, top), (right, top), (right, bottom), (left, bottom)

    @property
    def area(self) -> float:
        """In square pixels."""
        return self.box[2] * self.box[3] if self.polygon is None else area(self.polygon)


def of(label: Label, image: Image, type: int) -> Shape | None:
    """Where a label is within its image, in a dataset of that type; None where no part of it is there."""
    right, bottom = (image.width, image.height) if image.width and image.height else (math.inf, math.inf)
    if label.box is None or any(abs(each) > MAX_COORDINATE for each in label.box):
        return None
    if type == SEGMENTATION and label.polygon is not None and len(label.polygon) >= MIN_CORNERS:
        return _polygon(label.polygon, right, bottom)
    return _box(label.box, right, bottom)


def _box(box: Box, right: float, bottom: float) -> Shape | None:
    left, top, width, height = map(float, box)
    if not (width > 0 and height > 0):
        return None
    if 0 <= left < right and 0 <= top < bottom and left + width <= right and top + height <= bottom:
        return Shape((left, top, width, height), None, cut=False)
    x, y = max(left, 0.0), max(top, 0.0)
    width, height = min(left + width, float(right)) - x, min(top + height, float(bottom)) - y
    return Shape((x, y, width, height), None, cut=True) if width > 0 and height > 0 else None


def _polygon(polygon: Points, right: float, bottom: float) -> Shape | None:
    """Sutherland and Hodgman: the polygon is cut at one edge after the other.
    https://doi.org/10.1145/360767.360802"""
    whole = tuple((float(x), float(y)) for x, y in polygon)
    kept = whole
    for axis, limit in ((X, right), (Y, bottom)):
        kept = _cut(kept, axis, 0.0, 1)
        kept = _cut(kept, axis, float(limit), -1)
    if not kept:
        return None
    box = _around(kept)
    cut = kept != whole
    if not (box[2] > 0 and box[3] > 0) or (cut and area(kept) < _NOTHING):
        return None
    return Shape(box, kept, cut)


def _cut(points: Points, axis: int, limit: float, side: int) -> Points:
    """What lies on one side of a line: above the limit (1) or below it (-1)."""
    kept = []
    for at, point in enumerate(points):
        before = points[at - 1]
        inside = side * point[axis] >= side * limit
        if inside != (side * before[axis] >= side * limit):
            kept.append(_crossing(before, point, axis, limit))
        if inside:
            kept.append(point)
    return tuple(kept)


def _crossing(
    one: tuple[float, float], other: tuple[float, float], axis: int, limit: float
) -> tuple[float, float]:
    across = 1 - axis
    part = (limit - one[axis]) / (other[axis] - one[axis])
    at = one[across] + part * (other[across] - one[across])
    return (limit, at) if axis == X else (at, limit)


def _around(points: Points) -> Box:
    left, top = min(x for x, _ in points), min(y for _, y in points)
    return left, top, max(x for x, _ in points) - left, max(y for _, y in points) - top


def area(polygon: Points) -> float:
    """The area of a polygon in square pixels, by the shoelace formula."""
    x0, y0 = polygon[0]
    twice = 0.0
    for at, (x, y) in enumerate(polygon):
        before_x, before_y = polygon[at - 1]
        twice += (before_x - x0) * (y - y0) - (x - x0) * (before_y - y0)
    return abs(twice) / 2
