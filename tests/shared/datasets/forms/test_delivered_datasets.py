"""The files of datasets are as docs/contracts/schemas/ says, and every field there is in one of them."""

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet

from shared.datasets.forms.base import Placed
from shared.datasets.samples import CLASSIFICATION, DETECTION, SEGMENTATION, Sample
from tests.delivered import Delivered
from tests.shared.exports.landed import read_csv
from tests.subjects.exported_dataset import classified, detected, export, segmented
from tests.subjects.small_dataset import Datasets
from tests.world import World

arrow: Any = pyarrow  # it has no types

FORMS = {
    "tree": ("Default", None, 1),
    "voc": ("Default", "VOC", None),
    "coco": ("Default", "COCO", None),
    "csv": ("CSV", None, None),
    "parquet": ("Parquet", None, None),
    "webdataset": ("WebDataset", None, None),
}


def hard(samples: list[Sample]) -> list[Sample]:
    return [replace(each, hard=True, hard_coefficient=0.25) for each in samples]


def exported(folder: Path, form: str, samples: list[Sample], type: int) -> list[Placed]:
    version, annotation, tree = FORMS[form]
    return export(folder, samples, type, version, annotation, tree, split=True, hard=True)


def test_the_files_have_the_fields_of_their_schemas_and_all_of_them(tmp_path: Path) -> None:
    seen = Delivered()
    kinds = [
        ("csv", hard(segmented()), SEGMENTATION),
        ("csv", hard(detected()), DETECTION),
        ("csv", hard(classified()), CLASSIFICATION),
        ("parquet", hard(segmented()), SEGMENTATION),
        ("parquet", hard(classified()), CLASSIFICATION),
        ("webdataset", hard(detected()), DETECTION),
        ("voc", hard(detected()), DETECTION),
        ("coco", hard(segmented()), SEGMENTATION),
    ]
    for number, (form, samples, type) in enumerate(kinds):
        folder = tmp_path / str(number)
        exported(folder, form, samples, type)
        checked(folder, seen)
    for name in ("manifest", "sample", "labels", "coco"):
        assert seen.left(f"dataset-{name}.v1.json") == set(), name


def checked(folder: Path, seen: Delivered) -> None:
    """Check each file in a folder that has a schema."""
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".manifest":
            for line in path.read_bytes().splitlines():
                seen.check("dataset-manifest.v1.json", json.loads(line))
        elif path.suffix == ".parquet":
            for row in arrow.parquet.read_table(path).to_pylist():
                seen.check("dataset-sample.v1.json", {**row, "metadata": json.loads(row["metadata"])})
        elif path.suffix == ".tar":
            for name, content in members(path.read_bytes()):
                if name.endswith(".json"):
                    seen.check("dataset-sample.v1.json", json.loads(content))
        elif path.name == "labels.csv":
            for row in read_csv(path.read_bytes()):
                cells = {name: cell or "" for name, cell in row.items()}
                seen.check("dataset-labels.v1.json", cells)
        elif path.name == "instances_default.json":
            seen.check("dataset-coco.v1.json", json.loads(path.read_bytes()))


def members(shard: bytes) -> list[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(shard)) as tar:
        return [(each.name, tar.extractfile(each).read()) for each in tar]  # type: ignore[union-attr]


def test_the_list_of_missing_images_has_the_fields_of_its_schema(world: World) -> None:
    datasets = Datasets(world)
    order = datasets.work_order("WO-1", [{}, {}])
    id = datasets.create()
    [image, *_] = order.work_items[0].input
    storage, images = world.suite.storage, f"{world.suite.project}-images"
    [name] = [each.name for each in storage.list(images, "acme/") if image.id in each.name]
    storage.remove(images, name)
    files = datasets.files(datasets.exported(id))
    [missing] = [content for name, content in files.items() if name.endswith(".missing.jsonl")]
    seen = Delivered()
    for line in missing.splitlines():
        seen.check("dataset-missing.v1.json", json.loads(line))
    assert seen.left("dataset-missing.v1.json") == set()
