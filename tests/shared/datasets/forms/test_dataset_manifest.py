"""A manifest has the lines that ModelArts reads."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from shared.datasets.forms import form_of, manifest
from shared.datasets.samples import CLASSIFICATION, DETECTION, SEGMENTATION, Label
from tests.subjects.exported_dataset import (
    BROKEN,
    ROOT,
    box,
    classified,
    detected,
    export,
    exported,
    placed,
    sample,
    segmented,
)

HUMAN = {"human": True, "at": "2026-11-22T10:30:00.25Z"}


def lines(path: Path) -> list[dict[str, Any]]:
    (file,) = path.glob("*.manifest")
    text = file.read_bytes().decode()
    assert "" not in text.split("\n") or text == ""
    return [json.loads(line) for line in text.split("\n") if line]


def test_a_classified_image(tmp_path: Path) -> None:
    labels = [Label("cat", "task", **HUMAN), Label("dog, or so", "task", confidence=0.8)]  # type: ignore[arg-type]
    one = sample(1, labels, hard=True, hard_coefficient=0.2)
    export(tmp_path, [one, sample(2)], CLASSIFICATION, split=True, hard=True)
    assert [path.name for path in tmp_path.glob("*.manifest")] == ["Meters %2F 2026-V003.manifest"]
    type = "modelarts/image_classification"
    assert lines(tmp_path) == [
        {
            "source": ROOT + one.name,
            "usage": "TRAIN",
            "hard": "true",
            "hard-coefficient": 0.2,
            "id": one.id,
            "annotation": [
                {
                    "type": type,
                    "name": "cat",
                    "property": {},
                    "annotated-by": "human",
                    "creation-time": "2026-11-22 10:30:00",
                },
                {
                    "type": type,
                    "name": "dog, or so",
                    "property": {},
                    "annotated-by": "auto",
                    "confidence": 0.8,
                },
            ],
        },
        {"source": ROOT + sample(2).name, "usage": "TRAIN", "hard": "false", "id": sample(2).id},
    ]


def test_an_image_in_no_split_has_no_usage_and_hard_is_left_out_unless_asked_for(tmp_path: Path) -> None:
    export(tmp_path, [sample(1, hard=True, hard_coefficient=1.0)], CLASSIFICATION)
    assert lines(tmp_path) == [{"source": ROOT + sample(1).name, "id": sample(1).id}]


def test_boxes_in_voc_files(tmp_path: Path) -> None:
    both = sample(1, [box("a", 1, 1, 5, 5, **HUMAN), box("b", 1, 1, 5, 5, confidence=0.5)])
    people = sample(
        2, [box("a", 1, 1, 5, 5, **HUMAN), box("a", 1, 1, 5, 5, **HUMAN | {"at": "2026-11-23T00:00:00Z"})]
    )
    export(tmp_path, [both, people, sample(3)], DETECTION)
    first, second, third = lines(tmp_path)
    file = "Annotations/" + both.name.replace(".jpg", ".xml")
    assert (tmp_path / file).exists()
    assert first["source"] == f"{ROOT}JPEGImages/{both.name}"
    assert first["annotation"] == [
        {
            "type": "modelarts/object_detection",
            "annotation-loc": ROOT + file,
            "annotation-format": "PASCAL VOC",
            "annotated-by": "auto",
            "creation-time": "2026-11-22 10:30:00",
        }
    ]
    assert second["annotation"][0]["annotated-by"] == "human"
    assert second["annotation"][0]["creation-time"] == "2026-11-23 00:00:00"
    assert "annotation" not in third


def test_polygons_have_their_type(tmp_path: Path) -> None:
    export(tmp_path, segmented(), SEGMENTATION)
    assert lines(tmp_path)[0]["annotation"][0]["type"] == "modelarts/image_segmentation"


def test_other_forms_name_the_labels(tmp_path: Path) -> None:
    export(tmp_path, detected(), DETECTION, annotation_format="COCO")
    for line, each in zip(lines(tmp_path), detected(), strict=True):
        assert [label["name"] for label in line.get("annotation", [])] == [
            label.name for label in each.labels
        ]


def test_every_source_is_there(tmp_path: Path) -> None:
    for version_format in ("Default", "CSV", "YOLO", "Parquet", "WebDataset"):
        for type in (CLASSIFICATION, DETECTION):
            if (version_format, type) == ("YOLO", CLASSIFICATION):
                continue
            to = tmp_path / f"{version_format}-{type}"
            samples = detected() if type == DETECTION else classified()
            export(to, samples, type, version_format, split=True)
            found = lines(to)
            assert [line["id"] for line in found] == [each.id for each in samples]
            for line in found:
                path = to / line["source"].removeprefix(ROOT)
                content = path.read_bytes()
                if "member" in line:
                    assert line["member"].encode() in content
                else:
                    assert content.startswith(b"\xff\xd8") or content == BROKEN


def test_an_empty_dataset_has_an_empty_manifest(tmp_path: Path) -> None:
    export(tmp_path, [], CLASSIFICATION)
    assert [path.read_bytes() for path in tmp_path.glob("*.manifest")] == [b""]


def test_its_name_fits_in_a_file_system() -> None:
    of = replace(exported(CLASSIFICATION, []), dataset="ü/" * 500, version="../" * 500)
    name = manifest.joined(of).name
    assert len(name.encode()) <= 255
    assert "/" not in name


def test_slices_give_the_same_bytes_as_one() -> None:
    of = exported(CLASSIFICATION, classified())
    form, at = form_of(of, "Default", None, None), placed(classified())
    apart = [manifest.give(of, form, number, at[number : number + 1]) for number in range(len(at))]
    assert b"\n".join(apart) == manifest.give(of, form, 0, at)
