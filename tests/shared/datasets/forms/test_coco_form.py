"""A COCO file is one JSON document, however many slices it is joined of. What readers make of it is tested in
test_readers_read_datasets.py."""

import json
from pathlib import Path
from typing import Any

import pytest

from shared.datasets.samples import DETECTION, SEGMENTATION, Sample
from tests.subjects.exported_dataset import HARD_NAMES, box, broken, detected, export, sample, segmented


def exported(to: Path, samples: list[Sample], type: int = DETECTION, **changes: Any) -> dict[str, Any]:
    export(to, samples, type, annotation_format="COCO", **changes)
    found: dict[str, Any] = json.loads((to / "annotations/instances_default.json").read_bytes())
    assert list(found) == ["info", "licenses", "images", "annotations", "categories"]
    return found


def test_ids_are_the_numbers_of_samples_labels_and_names(tmp_path: Path) -> None:
    found = exported(tmp_path, detected())
    assert [each["id"] for each in found["images"]] == [1, 2, 3, 4, 5]
    assert [each["name"] for each in found["categories"]] == [
        "unused",
        *HARD_NAMES,
        "fine",
        "outside",
        "flat",
    ]
    assert [each["id"] for each in found["categories"]] == list(range(1, 5 + len(HARD_NAMES)))
    many = len(HARD_NAMES)
    # two labels of the fourth and one of the fifth are outside
    kept = [*range(1, many + 1), many + 1, many + 2, many + 3, many + 6]
    assert [each["id"] for each in found["annotations"]] == kept
    fine = many + 2
    assert [(each["image_id"], each["category_id"]) for each in found["annotations"]] == [
        *((1, category) for category in range(2, many + 2)),
        (3, fine),
        (3, fine),
        (4, fine),
        (5, fine),
    ]


def test_boxes_are_not_rounded(tmp_path: Path) -> None:
    (first, *_, last) = exported(tmp_path, detected())["annotations"]
    assert first["bbox"] == [1.25, 2.5, 10.0, 20.125]
    assert first["area"] == 201.25
    assert first["segmentation"] == []
    assert first["iscrowd"] == 0
    assert last["bbox"] == [10.2, 10.3, 0.1, 0.1]


def test_polygons_have_their_area(tmp_path: Path) -> None:
    first, cut, rectangle = exported(tmp_path, segmented(), SEGMENTATION)["annotations"]
    assert first["segmentation"] == [[1, 1, 30.5, 1, 30.5, 20, 10, 40]]
    assert first["bbox"] == [1, 1, 29.5, 39]
    # by hand: (1·1 − 30.5·1) + (30.5·20 − 30.5·1) + (30.5·40 − 10·20) + (10·1 − 1·40), halved
    assert first["area"] == (-29.5 + 579.5 + 1020 - 30) / 2
    assert cut["area"] == 14 * 18
    assert rectangle["segmentation"] == [[2, 3, 6, 3, 6, 8, 2, 8]]
    assert rectangle["area"] == 20


def test_an_image_has_where_it_comes_from(tmp_path: Path) -> None:
    found = exported(tmp_path, [sample(1), sample(2), sample(3)], split=True)["images"]
    assert found[0] == {
        "id": 1,
        "file_name": sample(1).name,
        "width": 64,
        "height": 48,
        "sample_id": sample(1).id,
        "work_order": "WO/1, first",
        "usage": "TRAIN",
    }
    assert found[2]["usage"] == "EVAL"
    assert (tmp_path / "images" / found[0]["file_name"]).exists()


def test_a_picture_that_is_none_has_the_size_0(tmp_path: Path) -> None:
    found = exported(tmp_path, [broken(1, [box("a", 100, 200, 5, 5)])])
    assert (found["images"][0]["width"], found["images"][0]["height"]) == (0, 0)
    assert found["annotations"][0]["bbox"] == [100, 200, 5, 5]


@pytest.mark.parametrize("samples", [[], [sample(1)], [sample(1), sample(2), sample(3)]])
def test_a_dataset_without_labels_is_json(tmp_path: Path, samples: list[Sample]) -> None:
    found = exported(tmp_path, samples)
    assert len(found["images"]) == len(samples)
    assert found["annotations"] == []
