"""Whole exports are read back with the readers that people use, and compared with the records."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from pyarrow import parquet

from tests.subjects.exported_dataset import read
from tests.subjects.small_dataset import Datasets
from tests.world import SITE, World

pytestmark = pytest.mark.slow

BOXES = {"meter": [4.0, 5.0, 20.0, 30.0], "door": [30.0, 2.0, 10.0, 8.0]}

Expected = dict[str, list[tuple[str, list[float]]]]
"""Of each input's id its labels, with their boxes."""


@pytest.fixture
def datasets(world: World) -> Datasets:
    return Datasets(world)


def seeded(datasets: Datasets) -> str:
    """Three work orders with boxes, one of them corrected, as a dataset of the type detection."""
    for number in range(3):
        photos: list[dict[str, Any]] = []
        for label, box in BOXES.items():
            regions = [{"label": label, "box": box}, {"label": "screw", "box": [1, 1, 2, 2]}]
            photos.append({"results": {"part": {"value": label, "confidence": 0.5, "regions": regions}}})
        order = datasets.work_order(f"WO-{number}", [*photos, {}])
        if number == 1:
            datasets.correct(order, 1, "part", "gate")
    return datasets.create(dataset_type=1)


def expected(datasets: Datasets) -> Expected:
    """What the records and the analysis say."""
    found: Expected = {}
    for record in datasets.world.imported().values():
        for each in record["work_items"][0]["input"]:
            found[each["id"]] = []
            for result in each["job_conformity"]:
                analysed = result["analyzed_value"]
                value = result["corrected_value"] if result["corrected_date"] else analysed
                found[each["id"]] = [(value, BOXES[analysed]), ("screw", [1, 1, 2, 2])]
    return found


def downloaded(datasets: Datasets, id: str, to: Path, **given: Any) -> dict[str, str]:
    """Export into a directory; the id of each sample by its image's name there."""
    task = datasets.exported(id, **given)
    assert task["status"] == "SUCCESSED", task
    for name, content in datasets.files(task).items():
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        (to / name).write_bytes(content)
    lines = datasets.manifest(task)
    return {(line.get("member") or line["source"]).rpartition("/")[2]: line["id"] for line in lines}


def rounded(labels: list[Any]) -> list[Any]:
    return sorted((name, [round(each) for each in box]) for name, box, *_ in labels)


def named(labels: list[dict[str, Any]]) -> list[Any]:
    return [(each["name"], each["box"]) for each in labels]


@pytest.mark.parametrize(
    ("reader", "form", "given"),
    [
        ("coco", (), {"annotation_format": "COCO"}),
        ("with_datumaro", ("coco",), {"annotation_format": "COCO"}),
        ("with_datumaro", ("voc",), {"annotation_format": "VOC"}),
        ("with_datumaro", ("yolo",), {"version_format": "YOLO"}),
    ],
)
def test_readers_see_what_the_records_say(
    datasets: Datasets, tmp_path: Path, reader: str, form: tuple[str, ...], given: dict[str, str]
) -> None:
    id = seeded(datasets)
    ids = downloaded(datasets, id, tmp_path, **given)
    stems = {name.rpartition(".")[0]: sample for name, sample in ids.items()}
    images = read(reader, tmp_path, *form)["images"]
    seen = {stems[name.removesuffix(".jpg")]: rounded(image["labels"]) for name, image in images.items()}
    assert seen == {sample: rounded(labels) for sample, labels in expected(datasets).items()}
    assert all(image["size"] == [64, 48] for image in images.values())


def test_webdataset_sees_what_the_records_say(datasets: Datasets, tmp_path: Path) -> None:
    id = seeded(datasets)
    downloaded(datasets, id, tmp_path, version_format="WebDataset")
    found = read("shards", tmp_path)["shard"]
    seen = {
        each["json"]["sample_id"]: rounded(
            [(label["name"], label["box"]) for label in each["json"]["labels"]]
        )
        for each in found
    }
    assert seen == {sample: rounded(labels) for sample, labels in expected(datasets).items()}
    assert all(each["size"] == [64, 48] for each in found)


def test_parquet_has_what_the_records_say(datasets: Datasets, tmp_path: Path) -> None:
    id = seeded(datasets)
    downloaded(datasets, id, tmp_path, version_format="Parquet")
    table: Any = parquet.read_table(tmp_path / "data")  # type: ignore[no-untyped-call]
    rows = table.to_pylist()
    seen = {
        row["sample_id"]: rounded([(each["name"], each["box"]) for each in row["labels"]]) for row in rows
    }
    assert seen == {sample: rounded(labels) for sample, labels in expected(datasets).items()}
    assert all((tmp_path / row["file_name"]).is_file() for row in rows)
    assert {orjson.dumps(row["site_id"]) for row in rows} == {orjson.dumps(SITE)}
