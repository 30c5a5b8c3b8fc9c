"""Labels are cut at the edges of their image."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from shared.datasets.forms import shapes
from shared.datasets.samples import DETECTION, SEGMENTATION, Points
from tests.subjects.exported_dataset import HEIGHT, WIDTH, box, broken, polygon, sample

IMAGE = sample(1).image

coordinates = st.floats(-200, 200, allow_nan=False).map(lambda value: round(value, 3))
corners = st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=9)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ((1.5, 2, 3, 4), (1.5, 2, 3, 4)),
        ((0, 0, WIDTH, HEIGHT), (0, 0, WIDTH, HEIGHT)),
        ((-5, -6, 15, 16), (0, 0, 10, 10)),
        ((60, 40, 10, 10), (60, 40, 4, 8)),
        ((-10, -10, 500, 500), (0, 0, WIDTH, HEIGHT)),
        ((-9, 3, 9, 9), None),
        ((WIDTH, 0, 5, 5), None),
        ((WIDTH, 0, 1e-20, 5), None),
        ((0, HEIGHT, 5, 5), None),
        ((500, 500, 5, 5), None),
        ((3, 3, 0, 4), None),
        ((3, 3, 4, -4), None),
    ],
)
def test_a_box_is_cut_or_left_out(
    given: tuple[float, float, float, float], kept: tuple[float, float, float, float] | None
) -> None:
    shape = shapes.of(box("a", *given), IMAGE, DETECTION)
    assert (shape and shape.box) == kept
    if shape:
        assert shape.cut == (given != kept)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (((1, 1), (9, 1), (9, 9)), ((1, 1), (9, 1), (9, 9))),
        # half of a square is outside
        (((60, 10), (68, 10), (68, 20), (60, 20)), ((60, 10), (64, 10), (64, 20), (60, 20))),
        # a corner of a triangle is cut off
        (((-4, 4), (4, 0), (4, 8)), ((0, 6), (0, 2), (4, 0), (4, 8))),
        # all around the image
        (((-9, -9), (99, -9), (99, 99), (-9, 99)), ((0, 0), (64, 0), (64, 48), (0, 48))),
        (((70, 1), (90, 1), (80, 20)), None),
        (((-9, 20), (-9, -9), (20, -9), (-8, -8)), None),
        # outside, around a corner, and touching both edges: only lines on the edges remain
        (((-9, 20), (0, 20), (-5, 10), (-5, -5), (20, -5), (20, 0), (25, -9), (-9, -9)), None),
        (((1, 1), (5, 1), (9, 1)), None),
    ],
)
def test_a_polygon_is_cut_or_left_out(given: Points, kept: Points | None) -> None:
    shape = shapes.of(polygon("a", *given), IMAGE, SEGMENTATION)
    found = shape and shape.polygon
    assert (found and set(found)) == (kept and set(kept)), found
    if shape and kept:
        assert shape.area == shapes.area(kept)
        assert shape.cut == (given != kept)


@given(corners)
def test_what_is_kept_of_a_polygon_is_in_the_image(points: list[tuple[float, float]]) -> None:
    shape = shapes.of(polygon("a", *points), IMAGE, SEGMENTATION)
    assume(shape)
    assert shape is not None
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in shape.corners), shape
    left, top, width, height = shape.box
    assert width > 0
    assert height > 0
    assert left + width <= WIDTH + 1e-9
    assert top + height <= HEIGHT + 1e-9
    assert shape.cut == any(not (0 <= x <= WIDTH and 0 <= y <= HEIGHT) for x, y in points)
    if not shape.cut:
        assert shape.corners == tuple(points)


@given(st.tuples(coordinates, coordinates, st.floats(0.01, 300), st.floats(0.01, 300)))
def test_a_rectangle_is_cut_like_its_box(at: tuple[float, float, float, float]) -> None:
    left, top, width, height = at
    around = ((left, top), (left + width, top), (left + width, top + height), (left, top + height))
    as_box = shapes.of(box("a", *at), IMAGE, DETECTION)
    as_polygon = shapes.of(polygon("a", *around), IMAGE, SEGMENTATION)
    assume(as_box is None or as_box.area > 1e-6)
    assert (as_box is None) == (as_polygon is None)
    if as_box and as_polygon:
        assert as_polygon.box == pytest.approx(as_box.box)
        assert as_polygon.area == pytest.approx(as_box.area)


def test_a_detection_dataset_has_boxes_alone() -> None:
    label = polygon("a", (1, 1), (9, 1), (9, 9))
    shape = shapes.of(label, IMAGE, DETECTION)
    assert shape == shapes.Shape((1, 1, 8, 8), None, cut=False)
    assert shape.corners == ((1, 1), (9, 1), (9, 9), (1, 9))


def test_a_box_is_a_rectangle_in_a_segmentation_dataset() -> None:
    shape = shapes.of(box("a", 1, 2, 3, 4), IMAGE, SEGMENTATION)
    assert shape is not None
    assert shape.polygon is None
    assert shape.corners == ((1, 2), (4, 2), (4, 6), (1, 6))


def test_where_the_size_is_unknown_only_the_first_edges_cut() -> None:
    image = broken(1).image
    assert shapes.of(box("a", -5, 900, 10, 10), image, DETECTION) == shapes.Shape(
        (0, 900, 5, 10), None, cut=True
    )
    shape = shapes.of(polygon("a", (-1, 900), (1, 900), (1, 901)), image, SEGMENTATION)
    assert shape is not None
    assert all(math.isfinite(each) for each in shape.box)


@pytest.mark.parametrize("far", [1.7e308, -1.7e308, 1e10])
def test_a_label_that_is_farther_than_any_image_is_left_out(far: float) -> None:
    assert shapes.of(box("a", 1, 1, abs(far), 5), IMAGE, DETECTION) is None
    assert shapes.of(box("a", far, 1, 5, 5), broken(1).image, DETECTION) is None
    assert shapes.of(polygon("a", (1, 1), (5, far), (5, 1)), IMAGE, SEGMENTATION) is None


def test_a_label_without_a_place_is_left_out() -> None:
    label = polygon("a", (1, 1), (2, 2))
    assert shapes.of(label, IMAGE, SEGMENTATION) == shapes.Shape((1, 1, 1, 1), None, cut=False)
