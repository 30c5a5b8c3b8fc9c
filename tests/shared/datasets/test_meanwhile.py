"""What changes of datasets while tasks, and other requests, are under way."""

from typing import Any

import pytest

from shared.accounts.keys import Caller
from shared.datasets import claims, service
from tests.subjects.small_dataset import Datasets
from tests.world import BUCKET, SITE, World

GOOD = {"state": {"value": "good"}}
BAD = {"state": {"value": "bad"}}

CALLER = Caller("acme", "a-key", frozenset({"datasets"}))


@pytest.fixture
def datasets(world: World) -> Datasets:
    return Datasets(world)


def test_a_version_is_of_one_selection_whatever_changes_while_it_is_read(
    datasets: Datasets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAYBILL_PART_RECORDS", "1")
    for number in range(6):
        datasets.work_order(f"WO-{number}", [{"results": GOOD | {"locked": {"value": True}}}])
    id = datasets.create(task_names=["state"])
    task = datasets.begin(id)
    for _ in range(4):
        assert datasets.world.step(), "some parts are read"
    assert datasets.send("PUT", f"/{id}", {"task_names": ["locked"]}).status == 200
    datasets.settled()
    lines = datasets.manifest(datasets.task(id, task))
    assert [each["name"] for line in lines for each in line["annotation"]] == ["good"] * 6
    assert [each["name"] for each in datasets.got(f"/{id}")["labels"] if each["count"]] == ["true"]


def test_a_dataset_that_is_deleted_twice_frees_its_name_once(datasets: Datasets) -> None:
    first = datasets.create("Meters")
    # Two requests have found it before either deletes it.
    found = service.get(datasets.world.cloud, CALLER, first)
    service.delete(datasets.world.cloud, CALLER, found)
    datasets.create("Meters")
    service.delete(datasets.world.cloud, CALLER, found)
    answer = datasets.send("POST", "", {"dataset_name": "Meters", "site_ids": [SITE]})
    assert (answer.status, answer.body["error_code"]) == (409, "ModelArts.4351"), answer


def test_a_change_whose_request_died_has_its_version_made_by_the_next(
    datasets: Datasets, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets.work_order("WO-1", [{"results": GOOD}])
    id = datasets.create(task_names=["state"])

    def die(*_: Any) -> None:
        raise SystemExit

    with monkeypatch.context() as dying:
        dying.setattr(service, "_create_task", die)
        with pytest.raises(SystemExit):
            datasets.send("PUT", f"/{id}", {"task_names": ["other"]})
    assert datasets.send("PUT", f"/{id}", {"task_names": ["other"]}).status == 200
    datasets.settled()
    assert datasets.got(f"/{id}")["annotated_sample_count"] == 0


def test_a_path_whose_task_ends_while_another_is_begun_is_refused(
    datasets: Datasets, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets.work_order("WO-1", [{"results": GOOD}])
    id = datasets.create(task_names=["state"])
    path = f"gs://{BUCKET}/one/"
    datasets.begin(id, path)
    take = claims.take

    def late(*given: Any) -> None:
        datasets.settled()
        take(*given)

    monkeypatch.setattr(claims, "take", late)
    answer = datasets.send("POST", f"/{id}/export-tasks", {"path": path})
    assert (answer.status, answer.body["error_code"]) == (409, "ModelArts.4358"), answer
    assert "Meters-V001.manifest" in answer.body["error_msg"], answer


def test_files_have_the_name_of_their_dataset_before_it_was_renamed(datasets: Datasets) -> None:
    order = datasets.work_order("WO-1", [{"results": GOOD}, {}])
    id = datasets.create("Meters", task_names=["state"])
    gone = order.work_items[0].input[1].id
    datasets.world.suite.storage.remove(f"{datasets.world.suite.project}-images", f"acme/{SITE}/{gone}.jpg")
    task = datasets.begin(id)
    while datasets.task(id, task)["finished_sample_count"] == 0:
        assert datasets.world.step()
    assert datasets.send("PUT", f"/{id}", {"dataset_name": "Renamed"}).status == 200
    datasets.settled()
    names = [name for name in datasets.files(datasets.task(id, task)) if "V001" in name]
    assert sorted(names) == ["Meters-V001.manifest", "Meters-V001.missing.jsonl"]
