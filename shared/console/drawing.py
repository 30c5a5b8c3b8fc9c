"""Drawing a sample: its boxes and polygons, in SVG over its photograph.

A drawing is in pixels of the image as it is stored, so a small photograph beneath it must not be turned.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MARKS = 12
"""How many boxes and polygons of a sample are drawn: more are not told apart, and a page must stay light."""

CORNERS = 48
"""How many corners of a polygon are drawn: of one that has more, some are left out evenly."""

COLOURS = 6
"""How many colours the stylesheet has for labels. A mark has a number, too, since colours repeat."""


@dataclass(frozen=True)
class Mark:
    """A box, or the corners of a polygon as SVG has them, with its number in the legend.

    colour  the number of its class in the stylesheet
    x, y    where its number stands
    """

    number: int
    colour: int
    x: float
    y: float
    box: Sequence[float] | None = None
    points: str = ""


@dataclass(frozen=True)
class Drawing:
    """What is drawn over a photograph of `width` and `height` pixels; `letter` is how high its numbers are.

    left_out  how many marks are not drawn
    """

    width: int
    height: int
    letter: float
    marks: Sequence[Mark]
    left_out: int


def of_sample(sample: Mapping[str, Any], labels: Sequence[str]) -> Drawing | None:
    """The drawing of a sample as the API answers it; `labels` are the dataset's, whose order gives the
    colours. None where nothing can be drawn: it is no picture."""
    image = sample["image"]
    if not image["width"] or not image["height"]:
        return None
    placed = [(number, each) for number, each in enumerate(sample["labels"], 1) if each["box"] is not None]
    letter = round(max(image["width"], image["height"]) / 18, 1)
    marks = [_mark(number, each, labels, letter) for number, each in placed[:MARKS]]
    return Drawing(image["width"], image["height"], letter, marks, len(placed) - len(marks))


def colour(label: str, labels: Sequence[str]) -> int:
    """The colour of a label."""
    return labels.index(label) % COLOURS if label in labels else 0


def _mark(number: int, label: Mapping[str, Any], labels: Sequence[str], letter: float) -> Mark:
    left, top, width, height = (round(each, 1) for each in label["box"])
    at = {"x": left, "y": round(top + letter, 1)}
    shade = colour(label["name"], labels)
    if label["polygon"] is None:
        return Mark(number, shade, **at, box=(left, top, max(width, 0), max(height, 0)))
    corners = label["polygon"]
    step = -(-len(corners) // CORNERS)
    points = " ".join(f"{round(x, 1):g},{round(y, 1):g}" for x, y in corners[::step])
    return Mark(number, shade, **at, points=points)
