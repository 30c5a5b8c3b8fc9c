"""YOLO's text files and data.yaml. What datumaro makes of them is tested in test_readers_read_datasets.py."""

from pathlib import Path

import pytest
import yaml

from shared.datasets.samples import DETECTION, SEGMENTATION
from tests.subjects.exported_dataset import (
    HARD_NAMES,
    HEIGHT,
    NOT_XML,
    WIDTH,
    box,
    broken,
    detected,
    export,
    sample,
    segmented,
)


def lines(path: Path) -> list[list[float]]:
    return [[float(each) for each in line.split(" ")] for line in path.read_text().splitlines()]


def test_a_box_is_its_middle_and_size_as_parts_of_the_image(tmp_path: Path) -> None:
    there = export(tmp_path, detected(), DETECTION, "YOLO")
    found = [lines(tmp_path / "labels/train" / each.sample.name.replace(".jpg", ".txt")) for each in there]
    assert [len(each) for each in found] == [len(HARD_NAMES), 0, 2, 1, 1]
    assert [each[0] for each in found[0]] == list(range(1, len(HARD_NAMES) + 1))
    assert found[0][0][1:] == pytest.approx(
        [6.25 / WIDTH, 12.5625 / HEIGHT, 10 / WIDTH, 20.125 / HEIGHT], abs=1e-9
    )
    assert found[3][0][1:] == [0.5, 0.5, 1, 1]


def test_every_number_is_between_0_and_1(tmp_path: Path) -> None:
    for type, samples in ((DETECTION, detected()), (SEGMENTATION, segmented())):
        export(tmp_path / str(type), samples, type, "YOLO")
        numbers = [
            each
            for path in (tmp_path / str(type)).rglob("*.txt")
            for _, *line in lines(path)
            for each in line
        ]
        assert numbers
        assert 0 <= min(numbers) <= max(numbers) <= 1


def test_a_segmentation_dataset_has_polygons_alone(tmp_path: Path) -> None:
    there = export(tmp_path, segmented(), SEGMENTATION, "YOLO")
    first, none, third, outside = (
        lines(tmp_path / "labels/train" / each.sample.name.replace(".jpg", ".txt")) for each in there
    )
    corners = [1, 1, 30.5, 1, 30.5, 20, 10, 40]
    assert first[0][1:] == pytest.approx(
        [each / (HEIGHT if at % 2 else WIDTH) for at, each in enumerate(corners)], abs=1e-9
    )
    assert none == outside == []
    assert [len(each) for each in third] == [9, 9]


@pytest.mark.parametrize("split", [False, True])
def test_images_and_labels_are_in_the_directory_of_their_split(tmp_path: Path, split: bool) -> None:
    there = export(tmp_path, detected(), DETECTION, "YOLO", split=split)
    config = yaml.safe_load((tmp_path / "data.yaml").read_text())
    assert config["train"] == "images/train"
    assert config["val"] == ("images/val" if split else "images/train")
    for each in there:
        directory = config["val" if each.usage == "EVAL" else "train"]
        image = tmp_path / directory / each.sample.name
        assert image.exists()
        # Ultralytics finds labels so
        text = Path(str(image).replace("/images/", "/labels/")).with_suffix(".txt")
        assert text.exists()


def test_the_names_are_those_of_the_labels(tmp_path: Path) -> None:
    names = [
        "plain",
        *HARD_NAMES,
        NOT_XML,
        "\U0001f9ef",
        "\ufeff",
        "\x00\x1f\x7f\x9f\xa0\u2029",
        "'",
        "- a: b",
    ]
    export(tmp_path, [], DETECTION, "YOLO", labels=tuple(names))
    config = yaml.safe_load((tmp_path / "data.yaml").read_bytes())
    assert config["names"] == dict(enumerate(names))


def test_an_empty_dataset_has_no_names(tmp_path: Path) -> None:
    export(tmp_path, [], DETECTION, "YOLO", labels=())
    assert yaml.safe_load((tmp_path / "data.yaml").read_bytes())["names"] == {}


def test_a_picture_that_is_none_has_no_text_file(tmp_path: Path) -> None:
    export(tmp_path, [broken(1, [box("a", 1, 2, 3, 4)]), sample(2)], DETECTION, "YOLO")
    assert len(list((tmp_path / "images").rglob("*.jpg"))) == 2
    assert [path.name for path in (tmp_path / "labels").rglob("*.txt")] == [
        sample(2).name.replace(".jpg", ".txt")
    ]
