"""A task that exports every sample takes their numbers from the version: the files are those of a task that
counts the samples itself."""

from typing import Any

import pytest

from shared.datasets import reading
from shared.workorders import store
from shared.workorders.store import PlainInput
from tests.subjects.small_dataset import Datasets
from tests.world import BUCKET, SITE, World

DOOR = {"label": "door", "box": [4, 5, 20.5, 30]}
LOCK = {"label": "lock", "box": [8, 9, 3, 4]}


@pytest.fixture
def datasets(world: World, monkeypatch: pytest.MonkeyPatch) -> Datasets:
    monkeypatch.setattr(reading, "SLICE_SAMPLES", 2)
    made = Datasets(world)
    for number in range(4):
        both = {"entry": {"value": True, "regions": [DOOR, LOCK]}}
        one = {"entry": {"value": True, "regions": [DOOR]}}
        made.work_order(f"WO-{number}", [{"results": both}, {}, {"results": one}])
    return made


def files(datasets: Datasets, dataset: str, **asked: Any) -> dict[str, bytes]:
    task = datasets.exported(dataset, annotation_format="COCO", **asked)
    assert (task["status"], task["finished_sample_count"]) == ("SUCCESSED", 12), task
    root = task["path"].removeprefix("gs://").encode()
    return {name: content.replace(root, b"<root>") for name, content in datasets.files(task).items()}


def test_every_sample_is_exported_with_the_numbers_that_a_count_gives(datasets: Datasets) -> None:
    id = datasets.create(dataset_type=1)
    any_hardness = {"search_conditions": [{"hard": "0"}, {"hard": "1"}]}
    counted = files(datasets, id, export_type=3, export_params=any_hardness)
    assert files(datasets, id, export_type=2) == counted


@pytest.mark.slow
def test_a_copied_dataset_knows_the_numbers_of_its_samples(datasets: Datasets) -> None:
    id = datasets.create(dataset_type=1)
    params = {
        "export_dest": "NEW_DATASET",
        "export_new_dataset_name": "Copied",
        "export_new_dataset_work_path": f"/{BUCKET}/copied/",
    }
    datasets.exported(id, export_type=2, export_params=params)
    [copied] = [each for each in datasets.got()["datasets"] if each["dataset_name"] == "Copied"]
    found = files(datasets, copied["dataset_id"], export_type=2)
    name = "annotations/instances_default.json"
    original = files(datasets, id, export_type=2)[name]
    assert found[name].replace(b"Copied", b"Meters") == original


def test_a_text_and_a_number_are_no_samples(datasets: Datasets) -> None:
    world = datasets.world
    for number in range(4):
        id = store.work_order_id(SITE, f"WO-{number}")
        store.add_inputs(
            world.cloud, world.site, id, [PlainInput("meter", number), PlainInput("meter", "text")]
        )
    exported = files(datasets, datasets.create(dataset_type=1), export_type=2)
    assert len([name for name in exported if name.endswith(".jpg")]) == 12


def test_a_tree_refuses_two_labels_also_of_every_sample(datasets: Datasets) -> None:
    both = {"state": {"value": "good"}, "locked": {"value": True}}
    datasets.work_order("WO-9", [{"results": both}])
    id = datasets.create(task_names=["state", "locked"])
    task = datasets.exported(id, export_type=2, export_format=1)
    assert (task["status"], task["error_code"]) == ("FAILED", "ModelArts.4401"), task
    assert "use export_format 2" in task["error_msg"], task
