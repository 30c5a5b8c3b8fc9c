"""PASCAL VOC files keep the rules of ModelArts' parser.
https://github.com/huawei-clouds/modelarts-dataset-sdk"""

import json
from pathlib import Path
from xml.dom import minidom
from xml.dom.minidom import Element, Text

import pytest

from shared.datasets.samples import DETECTION, SEGMENTATION, Label
from tests.subjects.exported_dataset import (
    HARD_NAMES,
    NOT_XML,
    box,
    broken,
    detected,
    export,
    polygon,
    sample,
    segmented,
)

POSITIONS = {"bndbox", "polygon"}
WHOLE = {"width", "height", "depth", "xmin", "ymin", "xmax", "ymax"}


def children(element: Element) -> list[Element]:
    return [each for each in element.childNodes if isinstance(each, Element)]


def text(element: Element) -> str:
    """What the vendor's parser takes: the first node's data."""
    assert len(element.childNodes) == 1, element.toxml()
    (node,) = element.childNodes
    assert isinstance(node, Text)
    return node.data


def parse(path: Path) -> tuple[dict[str, str], list[dict[str, str | list[int]]]]:
    """The fields of a file, and its objects with their position. It fails where the vendor's parser would."""
    fields: dict[str, str] = {}
    objects: list[dict[str, str | list[int]]] = []
    for each in children(minidom.parse(str(path)).documentElement):  # type: ignore[arg-type]
        assert each.childNodes, f"{each.tagName} is empty"
        if each.tagName == "size":
            fields |= {child.tagName: str(int(text(child))) for child in children(each)}
        elif each.tagName != "object":
            fields[each.tagName] = text(each)
        else:
            found: dict[str, str | list[int]] = {}
            positions = [child for child in children(each) if child.tagName in POSITIONS]
            assert len(positions) == 1, each.toxml()
            for child in children(each):
                assert child.childNodes, f"{child.tagName} is empty"
                if child in positions:
                    found[child.tagName] = [int(text(number)) for number in children(child)]
                else:
                    found[child.tagName] = text(child)
            objects.append(found)
    return fields, objects


def files(path: Path) -> list[Path]:
    return sorted((path / "Annotations").iterdir())


def test_boxes_are_whole_pixels(tmp_path: Path) -> None:
    export(tmp_path, detected(), DETECTION)
    assert len(files(tmp_path)) == 5
    parsed = [parse(file) for file in files(tmp_path)]
    for (fields, _), each in zip(parsed, detected(), strict=True):
        assert fields == {
            "folder": "JPEGImages",
            "filename": each.name,
            "width": "64",
            "height": "48",
            "depth": "3",
            "segmented": "0",
        }
        assert (tmp_path / fields["folder"] / fields["filename"]).exists()
    assert [one["name"] for one in parsed[0][1]] == list(HARD_NAMES)
    assert parsed[0][1][0]["bndbox"] == [1, 3, 11, 23]
    assert parsed[1][1] == []
    assert [(one["bndbox"], one["truncated"]) for one in parsed[2][1]] == [
        ([0, 0, 10, 10], "1"),
        ([61, 40, 64, 48], "1"),
    ]
    assert parsed[2][1][1]["confidence"] == "0.5"
    assert [(one["name"], one["bndbox"], one["truncated"]) for one in parsed[3][1]] == [
        ("fine", [0, 0, 64, 48], "0")
    ]
    assert [(one["name"], one["bndbox"]) for one in parsed[4][1]] == [("fine", [10, 10, 11, 11])]


def test_polygons_are_closed_and_whole(tmp_path: Path) -> None:
    small = sample(5, [polygon("tiny", (10.1, 10.1), (10.3, 10.1), (10.3, 10.4))])
    export(tmp_path, [*segmented(), small], SEGMENTATION)
    first, none, third, outside, tiny = (parse(file) for file in files(tmp_path))
    assert first[0]["segmented"] == "1"
    assert first[1][0]["polygon"] == [1, 1, 31, 1, 31, 20, 10, 40, 1, 1]
    assert third[1][1]["bndbox"] == [2, 3, 6, 8]
    assert none[1] == outside[1] == []
    assert tiny[1][0]["bndbox"] == [10, 10, 11, 11]


def test_what_xml_cannot_hold_is_replaced(tmp_path: Path) -> None:
    export(tmp_path, [sample(1, [box(NOT_XML, 1, 1, 5, 5), box("", 1, 1, 5, 5)])], DETECTION)
    (file,) = files(tmp_path)
    names = [one["name"] for one in parse(file)[1]]
    assert names == ["bell��", "�"]
    assert json.loads((tmp_path / "dataset_meta.json").read_bytes()) == {"labels": ["unused", *names]}


@pytest.mark.parametrize(("hard", "difficult"), [(True, "1"), (False, "0")])
def test_a_hard_sample_is_difficult_where_that_is_asked_for(
    tmp_path: Path, hard: bool, difficult: str
) -> None:
    export(tmp_path, [sample(1, [box("a", 1, 1, 5, 5)], hard=True)], DETECTION, hard=hard)
    assert parse(files(tmp_path)[0])[1][0]["difficult"] == difficult


def test_a_picture_that_is_none_has_no_size(tmp_path: Path) -> None:
    export(tmp_path, [broken(1, [box("a", 100, 200, 5, 5)])], DETECTION)
    fields, (one,) = parse(files(tmp_path)[0])
    assert not {"width", "height", "depth"} & set(fields)
    assert one["bndbox"] == [100, 200, 105, 205]


def test_a_label_without_a_place_is_no_object(tmp_path: Path) -> None:
    export(tmp_path, [sample(1, [Label("a", "task")])], DETECTION)
    assert parse(files(tmp_path)[0])[1] == []


@pytest.mark.parametrize("split", [False, True])
def test_the_lists_name_each_image_once(tmp_path: Path, split: bool) -> None:
    there = export(tmp_path, detected(), DETECTION, split=split)
    lists = {path.name: path.read_text().splitlines() for path in (tmp_path / "ImageSets/Main").iterdir()}
    stems = {
        usage: [each.sample.name[:-4] for each in there if each.usage == usage]
        for usage in ("TRAIN", "EVAL", None)
    }
    expected = (
        {"train.txt": stems["TRAIN"], "val.txt": stems["EVAL"]} if split else {"default.txt": stems[None]}
    )
    assert lists == expected


def test_an_empty_dataset_has_empty_lists(tmp_path: Path) -> None:
    export(tmp_path, [], DETECTION, split=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "ImageSets/Main").iterdir()} == {
        "train.txt": b"",
        "val.txt": b"",
    }
