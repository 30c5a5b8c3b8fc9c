"""A CSV file has a row for each label."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from shared.datasets.samples import CLASSIFICATION, DETECTION, SEGMENTATION, Sample
from shared.formats.csv import unguarded
from tests.subjects.exported_dataset import classified, detected, export, sample, segmented


def rows(path: Path) -> list[dict[str, str]]:
    """The rows; a `'` before a text keeps spreadsheets from running it, and is taken off."""
    with (path / "labels.csv").open(newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file, strict=True))
    return [{name: unguarded(value) for name, value in row.items()} for row in found]


@pytest.mark.parametrize(
    ("samples", "type"),
    [(classified(), CLASSIFICATION), (detected(), DETECTION), (segmented(), SEGMENTATION)],
)
def test_each_label_has_a_row(tmp_path: Path, samples: list[Sample], type: int) -> None:
    export(tmp_path, samples, type, "CSV", split=True)
    found = rows(tmp_path)
    expected = [(each, label) for each in samples for label in each.labels or (None,)]
    assert len(found) == len(expected)
    for row, (each, label) in zip(found, expected, strict=True):
        assert (tmp_path / row["file_name"]).name == each.name
        assert (tmp_path / row["file_name"]).exists()
        assert row["sample_id"] == each.id
        assert row["work_order"] == each.work_order
        assert row["usage"] in ("TRAIN", "EVAL")
        if label is None:
            assert row["label"] == row["annotated_by"] == ""
            continue
        assert row["label"] == label.name
        assert row["annotated_by"] == ("human" if label.human else "auto")
        assert row["confidence"] == ("" if label.confidence is None else str(label.confidence))
        if type != CLASSIFICATION:
            assert tuple(float(row[name]) for name in ("x", "y", "width", "height")) == label.box
        if type == SEGMENTATION:
            polygon = tuple(map(tuple, json.loads(row["polygon"]))) if row["polygon"] else None
            assert polygon == label.polygon


def test_the_header_is_left_out_where_that_is_asked_for(tmp_path: Path) -> None:
    contents = []
    for header in (True, False):
        export(tmp_path / str(header), classified(), CLASSIFICATION, "CSV", header=header)
        contents.append((tmp_path / str(header) / "labels.csv").read_bytes())
    header_line = (
        b"file_name,label,annotated_by,annotated_at,confidence,usage,hard,hard_coefficient,sample_id,site_id,"
        b"work_order,task_group\r\n"
    )
    assert contents[0] == header_line + contents[1]


@pytest.mark.parametrize(("hard", "cells"), [(True, ("true", "0.25")), (False, ("", ""))])
def test_hard_is_written_where_that_is_asked_for(tmp_path: Path, hard: bool, cells: Any) -> None:
    export(tmp_path, [sample(1, hard=True, hard_coefficient=0.25)], CLASSIFICATION, "CSV", hard=hard)
    (row,) = rows(tmp_path)
    assert (row["hard"], row["hard_coefficient"]) == cells


def test_an_empty_dataset_has_its_header(tmp_path: Path) -> None:
    export(tmp_path, [], DETECTION, "CSV")
    assert (
        (tmp_path / "labels.csv").read_bytes().startswith(b"file_name,label,x,y,width,height,annotated_by,")
    )
    assert rows(tmp_path) == []
