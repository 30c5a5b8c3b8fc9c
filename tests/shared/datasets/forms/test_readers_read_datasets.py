"""Exported datasets are read back with the readers that people use, and compared with the samples."""

from pathlib import Path
from typing import Any

import pytest

from shared.datasets.forms import shapes
from shared.datasets.forms.base import Placed
from shared.datasets.samples import CLASSIFICATION, DETECTION, SEGMENTATION
from tests.subjects.exported_dataset import (
    HARD_NAMES,
    HEIGHT,
    WIDTH,
    classified,
    detected,
    export,
    read,
    segmented,
)

pytestmark = pytest.mark.slow


def stem(placed: Placed) -> str:
    return placed.sample.name.removesuffix(".jpg")


def boxes(placed: Placed) -> list[tuple[str, list[float]]]:
    """The labels that are in the image, with their boxes there."""
    return [
        (label.name, list(shape.box))
        for label in placed.sample.labels
        if (shape := shapes.of(label, placed.sample.image, DETECTION))
    ]


def rounded(labels: list[Any]) -> list[tuple[str, Any]]:
    """datumaro rounds to hundredths of a pixel."""
    return [(name, pytest.approx(box, abs=0.0101)) for name, box in sorted(labels)]


def test_pycocotools_reads_boxes(tmp_path: Path) -> None:
    there = export(tmp_path, detected(), DETECTION, annotation_format="COCO")
    found = read("coco", tmp_path)
    names = [name for _, name in found["categories"]]
    assert found["categories"] == [[id, name] for id, name in enumerate(names, start=1)]
    assert names == ["unused", *HARD_NAMES, "fine", "outside", "flat"]
    assert list(found["images"]) == [each.sample.name for each in there]
    for each in there:
        image = found["images"][each.sample.name]
        assert image["size"] == [WIDTH, HEIGHT]
        assert [(name, box) for name, box, _ in image["labels"]] == boxes(each)
        assert [area for *_, area in image["labels"]] == [box[2] * box[3] for _, box in boxes(each)]


def test_pycocotools_draws_polygons(tmp_path: Path) -> None:
    there = export(tmp_path, segmented(), SEGMENTATION, annotation_format="COCO")
    images = read("coco", tmp_path)["images"]
    first, none, third, outside = (images[each.sample.name] for each in there)
    ((_, box, area),) = first["labels"]
    assert box == [1, 1, 29.5, 39]
    assert first["pixels"] == [pytest.approx(area, rel=0.05)]
    assert none["labels"] == outside["labels"] == []
    assert third["labels"] == [["fine", [50, 30, 14, 18], 14 * 18], ["fine", [2, 3, 4, 5], 20]]
    assert third["pixels"] == [14 * 18, 20]


def test_datumaro_reads_coco(tmp_path: Path) -> None:
    there = export(tmp_path, detected(), DETECTION, annotation_format="COCO")
    found = read("with_datumaro", tmp_path, "coco")
    assert found["categories"] == ["unused", *HARD_NAMES, "fine", "outside", "flat"]
    assert set(found["images"]) == {stem(each) for each in there}
    for each in there:
        image = found["images"][stem(each)]
        assert image["size"] == [WIDTH, HEIGHT]
        assert sorted(boxes(each)) == rounded(image["labels"])


def test_datumaro_reads_polygons_of_coco(tmp_path: Path) -> None:
    there = export(tmp_path, segmented(), SEGMENTATION, annotation_format="COCO")
    images = read("with_datumaro", tmp_path, "coco")["images"]
    first, none, third, outside = (sorted(images[stem(each)]["labels"]) for each in there)
    # the box of each is a label of its own there
    assert first == [
        ["left/right", [1, 1, 29.5, 39]],
        ["left/right", [1, 1, 30.5, 1, 30.5, 20, 10, 40]],
    ]
    assert none == outside == []
    assert third == [
        ["fine", [2, 3, 4, 5]],
        ["fine", [2, 3, 6, 3, 6, 8, 2, 8]],
        ["fine", [50, 30, 14, 18]],
        ["fine", [50, 48, 50, 30, 64, 30, 64, 48]],
    ]


@pytest.mark.parametrize("split", [False, True])
def test_datumaro_reads_voc(tmp_path: Path, split: bool) -> None:
    there = export(tmp_path, detected(), DETECTION, split=split)
    found = read("with_datumaro", tmp_path, "voc")
    assert set(found["images"]) == {stem(each) for each in there}
    for each in there:
        image = found["images"][stem(each)]
        assert image["split"] == {None: "default", "TRAIN": "train", "EVAL": "val"}[each.usage]
        assert image["size"] == [WIDTH, HEIGHT]
        assert [name for name, _ in image["labels"]] == [name for name, _ in boxes(each)]
        for (_, [left, top, width, height]), (_, box) in zip(image["labels"], boxes(each), strict=True):
            assert [left, top] == pytest.approx(box[:2], abs=0.51)
            assert [width, height] == pytest.approx([max(1, box[2]), max(1, box[3])], abs=1)


@pytest.mark.parametrize("split", [False, True])
def test_datumaro_reads_yolo(tmp_path: Path, split: bool) -> None:
    there = export(tmp_path, detected(), DETECTION, "YOLO", split=split)
    found = read("with_datumaro", tmp_path, "yolo")
    assert found["categories"] == ["unused", *HARD_NAMES, "fine", "outside", "flat"]
    assert set(found["images"]) == {stem(each) for each in there}
    for each in there:
        image = found["images"][stem(each)]
        assert image["split"] == ("val" if each.usage == "EVAL" else "train")
        assert sorted(boxes(each)) == rounded(image["labels"])


def test_webdataset_reads_shards(tmp_path: Path) -> None:
    there = export(tmp_path, classified(), CLASSIFICATION, "WebDataset")
    found = read("shards", tmp_path)
    assert list(found) == ["shard"]
    assert [each["key"] for each in found["shard"]] == [stem(each) for each in there]
    for each, placed in zip(found["shard"], there, strict=True):
        assert each["size"] == [WIDTH, HEIGHT]
        assert [label["name"] for label in each["json"]["labels"]] == [
            label.name for label in placed.sample.labels
        ]
        assert each["json"]["sample_id"] == placed.sample.id


def test_webdataset_reads_each_split(tmp_path: Path) -> None:
    there = export(tmp_path, classified(), CLASSIFICATION, "WebDataset", split=True)
    found = read("shards", tmp_path)
    for prefix, usage in (("train", "TRAIN"), ("val", "EVAL")):
        assert [each["key"] for each in found[prefix]] == [
            stem(each) for each in there if each.usage == usage
        ]
