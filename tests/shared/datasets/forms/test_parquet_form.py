"""Parquet files have a row for each sample."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from shared.datasets.samples import CLASSIFICATION, DETECTION, SEGMENTATION, Sample
from tests.subjects.exported_dataset import (
    broken,
    classified,
    content_of,
    detected,
    export,
    sample,
    segmented,
)

arrow: Any = pyarrow.parquet  # it has no types


def rows(path: Path) -> list[dict[str, Any]]:
    files = sorted((path / "data").iterdir())
    return [row for file in files for row in arrow.read_table(file).to_pylist()]


@pytest.mark.parametrize(
    ("samples", "type"),
    [(classified(), CLASSIFICATION), (detected(), DETECTION), (segmented(), SEGMENTATION)],
)
def test_each_sample_has_a_row_with_its_labels(tmp_path: Path, samples: list[Sample], type: int) -> None:
    there = export(tmp_path, samples, type, "Parquet", split=True, hard=True)
    names = ["unused", *dict.fromkeys(label.name for each in samples for label in each.labels)]
    for row, placed in zip(rows(tmp_path), there, strict=True):
        each = placed.sample
        assert (tmp_path / row["file_name"]).read_bytes() == content_of(each)
        assert row["usage"] == placed.usage
        assert (row["sample_id"], row["work_order"], row["site_id"]) == (
            each.id,
            each.work_order,
            each.site_id,
        )
        assert (row["width"], row["height"]) == (each.image.width, each.image.height)
        assert row["hard"] is each.hard
        assert json.loads(row["metadata"]) == each.metadata
        assert [label["name"] for label in row["labels"]] == [label.name for label in each.labels]
        for found, label in zip(row["labels"], each.labels, strict=True):
            assert names[found["index"]] == label.name
            assert found["annotated_by"] == ("human" if label.human else "auto")
            assert found["annotated_at"] == label.at
            assert found["confidence"] == label.confidence
            assert (found["box"] and tuple(found["box"])) == label.box
            assert (found["polygon"] and tuple(map(tuple, found["polygon"]))) == label.polygon


def test_a_slice_is_a_file_and_the_same_samples_make_the_same_bytes(tmp_path: Path) -> None:
    contents = []
    for name in ("once", "again"):
        export(tmp_path / name, classified(), CLASSIFICATION, "Parquet")
        contents.append({path.name: path.read_bytes() for path in (tmp_path / name / "data").iterdir()})
    assert contents[0] == contents[1]
    assert sorted(contents[0]) == [f"{number:05}.parquet" for number in range(len(contents[0]))]


def test_a_slice_without_samples_has_the_same_columns(tmp_path: Path) -> None:
    export(tmp_path, detected(), DETECTION, "Parquet")
    schemas = {str(arrow.read_schema(file)) for file in (tmp_path / "data").iterdir()}
    assert len(schemas) == 1


def test_a_picture_that_is_none_has_no_size(tmp_path: Path) -> None:
    export(tmp_path, [broken(1), sample(2, metadata=None)], CLASSIFICATION, "Parquet")
    first, second = rows(tmp_path)
    assert first["width"] is first["height"] is first["hard"] is None
    assert second["metadata"] == "{}"
