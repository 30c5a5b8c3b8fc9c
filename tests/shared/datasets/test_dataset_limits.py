"""How much there may be of datasets, and what is said of more."""

from typing import Any

import pytest

from shared.datasets import reading
from shared.work import pieces
from tests.subjects.small_dataset import Datasets, picture
from tests.world import BUCKET, SITE, World

NEW = {
    "export_dest": "NEW_DATASET",
    "export_new_dataset_name": "Copied",
    "export_new_dataset_work_path": f"/{BUCKET}/copied/",
}


@pytest.fixture
def datasets(world: World) -> Datasets:
    return Datasets(world)


def test_only_so_many_datasets_can_be_created_and_exported_to(world: World, datasets: Datasets) -> None:
    world.cloud.db.document("customers/acme").update({"datasets": 1})
    id = datasets.create()
    requests: list[tuple[str, dict[str, Any]]] = [
        ("", {"dataset_name": "Other", "site_ids": [SITE]}),
        (f"/{id}/export-tasks", {"path": f"gs://{BUCKET}/x/", "export_params": NEW}),
    ]
    for path, body in requests:
        answer = datasets.send("POST", path, body)
        assert (answer.status, answer.body["error_code"]) == (409, "ModelArts.4351"), (path, answer)
        assert (
            "the limit datasets is 1 datasets, and 1 are in use: delete some" in answer.body["error_msg"]
        ), answer
    assert datasets.send("DELETE", f"/{id}").status == 204
    datasets.create()


def test_a_task_may_name_as_many_samples_as_its_document_can_hold(datasets: Datasets) -> None:
    id = datasets.create()
    body = {"path": f"gs://{BUCKET}/x/", "export_params": {"samples": ["x" * 64] * 10_000}}
    assert datasets.send("POST", f"/{id}/export-tasks", body).status == 200
    values = ["x" * 2_000] * 100
    searched = {"op": "OR", "props": {"a": values, "b": values, "c": values, "d": values}}
    body = {"path": f"gs://{BUCKET}/y/", "export_params": {"search_conditions": [{"metadata": searched}]}}
    answer = datasets.send("POST", f"/{id}/export-tasks", body)
    assert (answer.status, answer.body["error_code"]) == (400, "ModelArts.0104"), answer
    assert "at most 786,432 bytes" in answer.body["error_msg"], answer


def test_what_is_ignored_of_a_task_may_be_anything(datasets: Datasets) -> None:
    id = datasets.create()
    sent: dict[str, Any] = {"status": "S" * 1_000_000, "progress": [[], {}], "dataset_id": None}
    for number, (field, value) in enumerate(sent.items()):
        task = datasets.begin(id, f"gs://{BUCKET}/{number}/", **{field: value})
        assert datasets.task(id, task)["status"] == "INIT", field
    nested = b'{"path": "gs://%b/deep/", "error_msg": %b}' % (BUCKET.encode(), b"[" * 100 + b"]" * 100)
    answer = datasets.send("POST", f"/{id}/export-tasks", nested)
    assert answer.status == 200, answer


def test_a_slice_has_so_many_bytes_of_images(datasets: Datasets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "SLICE_IMAGE_BYTES", 1_000)
    order = datasets.work_order("WO-1", [{}] * 7)
    size = len(picture("WO-1-0"))
    assert 500 <= size < 1_000, "two are enough"
    task = datasets.exported(datasets.create(), version_format="WebDataset")
    shards = [name for name in datasets.files(task) if name.endswith(".tar")]
    assert shards == [f"shard-{number:06}.tar" for number in range(4)], order


def test_a_list_of_datasets_does_not_read_their_labels(
    datasets: Datasets, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets.work_order("WO-1", [{"results": {"state": {"value": "good"}}}])
    id = datasets.create()
    reference = datasets.world.cloud.db.document(f"datasets/{id}")
    reference.update({"labels": b"none that can be read"})
    [shown] = datasets.got()["datasets"]
    assert (shown["dataset_id"], shown["total_sample_count"], shown["labels"]) == (id, 1, [])


def test_a_list_of_tasks_leaves_out_what_may_be_long(datasets: Datasets) -> None:
    id = datasets.create()
    long = {"samples": ["x"], "search_conditions": [{"hard": "1"}]}
    task = datasets.begin(id, export_params={**long, "sample_state": "__ALL__"})
    [listed] = datasets.got(f"/{id}/export-tasks")["export_tasks"]
    assert listed["export_params"].keys().isdisjoint(long), listed
    assert listed["export_params"]["sample_state"] == "__ALL__"
    assert datasets.task(id, task)["export_params"].items() >= long.items()


def begun(datasets: Datasets, id: str) -> str:
    """A task that has written some of its samples."""
    task = datasets.begin(id)
    while not datasets.task(id, task)["finished_sample_count"]:
        assert datasets.world.step()
    return task


def test_the_samples_of_tasks_that_have_ended_are_not_counted_again(
    datasets: Datasets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "SLICE_SAMPLES", 1)
    datasets.work_order("WO-1", [{}, {}, {}])
    id = datasets.create()
    cancelled = begun(datasets, id)
    assert datasets.send("DELETE", f"/{id}/export-tasks/{cancelled}").status == 204
    begun(datasets, id)
    datasets.world.suite.storage.revoke(BUCKET, datasets.world.acme.account)
    datasets.settled()
    with monkeypatch.context() as counting:
        counting.delattr(pieces, "of_plan")
        listed = datasets.got(f"/{id}/export-tasks")["export_tasks"]
    assert [each["status"] for each in listed] == ["FAILED"] * 2, listed
    assert all(each["finished_sample_count"] for each in listed), listed
