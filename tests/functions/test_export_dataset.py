"""Exports of datasets, from the request to the files."""

import pytest

from tests.subjects.small_dataset import Datasets
from tests.world import World


@pytest.fixture
def datasets(world: World) -> Datasets:
    return Datasets(world)


def test_a_dataset_is_exported_with_its_labels(datasets: Datasets) -> None:
    good = {"state": {"value": "good", "confidence": 0.9}}
    order = datasets.work_order("WO-1", [{"results": good}, {"results": {"state": {"value": "bad"}}}, {}])
    datasets.correct(order, 1, "state", "good")
    id = datasets.create(task_names=["state"])
    shown = datasets.got(f"/{id}")
    assert (shown["total_sample_count"], shown["annotated_sample_count"], shown["status"]) == (3, 2, 1)
    task = datasets.exported(id)
    assert task["status"] == "SUCCESSED", task
    images = sorted(name for name in datasets.files(task) if name.endswith(".jpg"))
    labels = {name: body for name, body in datasets.files(task).items() if name.endswith(".txt")}
    assert len(images) == 3
    assert list(labels.values()) == [b"good\n", b"good\n"]
    lines = datasets.manifest(task)
    assert [line["source"] for line in lines] == [f"obs://acme-bi/sets/1/{name}" for name in images]
    by = [each["annotated-by"] for line in lines for each in line.get("annotation", ())]
    assert sorted(by) == ["auto", "human"]
