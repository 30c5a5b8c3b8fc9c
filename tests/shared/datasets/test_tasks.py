"""Versions of datasets, and tasks that export them: looked at in the customer's bucket."""

import json
from collections import Counter
from typing import Any

import pytest

from infra.local.project import topic_path
from infra.local.traffic import Fault
from shared.datasets import reading
from shared.gcp.documents import READABLE
from tests.subjects.small_dataset import Datasets, picture
from tests.world import BUCKET, OTHER_SITE, SITE, World

GOOD = {"state": {"value": "good", "confidence": 0.9}}
BAD = {"state": {"value": "bad", "confidence": 0.4}}
DOOR = {"door": {"value": True, "regions": [{"label": "door", "box": [4, 5, 20.5, 30]}]}}


@pytest.fixture
def datasets(world: World) -> Datasets:
    return Datasets(world)


def bytes_of(datasets: Datasets, task: dict[str, Any]) -> dict[str, bytes]:
    """A task's files, but for the path in them."""
    root = task["path"].removeprefix("gs://").encode()
    return {name: content.replace(root, b"<root>") for name, content in datasets.files(task).items()}


# --- versions


def test_the_same_dataset_exported_twice_has_the_same_bytes(datasets: Datasets) -> None:
    for number in range(4):
        datasets.work_order(f"WO-{number}", [{"results": GOOD}, {"results": BAD}])
    id = datasets.create(task_names=["state"])
    first, second = datasets.exported(id), datasets.exported(id)
    assert first["version_id"] == second["version_id"]
    assert bytes_of(datasets, first) == bytes_of(datasets, second)
    assert len(datasets.got(f"/{id}/versions")["versions"]) == 1


def test_a_corrected_label_makes_a_version_and_the_difference_says_so(datasets: Datasets) -> None:
    order = datasets.work_order("WO-1", [{"results": GOOD}, {"results": BAD}])
    gone = datasets.work_order("WO-2", [{"results": GOOD}])
    id = datasets.create(task_names=["state"])
    first = datasets.exported(id)
    datasets.correct(order, 1, "state", "good")
    datasets.world.request("DELETE", f"/v0.2/work-orders/{gone.id}?site_id={SITE}")
    datasets.work_order("WO-3", [{"results": BAD}, {}])
    second = datasets.exported(id)
    compared = f"/{id}/versions/{first['version_id']}/diff/{second['version_id']}"
    assert datasets.got(compared) == {"added": 2, "removed": 1, "relabelled": 1}
    answer = datasets.send("GET", f"{compared}/samples")
    lines = [json.loads(line) for line in answer.body.splitlines()]
    assert Counter(line["change"] for line in lines) == {"added": 2, "removed": 1, "relabelled": 1}
    [changed] = [line for line in lines if line["change"] == "relabelled"]
    label = {"task": "state", "annotated_by": "auto"}
    assert changed["work_order"] == "WO-1"
    assert changed["labels_before"] == [{"name": "bad", **label}]
    assert changed["labels"] == [{"name": "good", **label, "annotated_by": "human"}]
    back = datasets.got(f"/{id}/versions/{second['version_id']}/diff/{first['version_id']}")
    assert back == {"added": 1, "removed": 2, "relabelled": 1}
    same = datasets.got(f"/{id}/versions/{first['version_id']}/diff/{first['version_id']}")
    assert same == {"added": 0, "removed": 0, "relabelled": 0}


def test_the_difference_is_right_wherever_work_orders_come_and_go(datasets: Datasets) -> None:
    orders = [datasets.work_order(f"WO-{number}", [{"results": GOOD}]) for number in range(12)]
    id = datasets.create(task_names=["state"])
    first = datasets.got(f"/{id}")["current_version_id"]
    for order in orders[::3]:
        datasets.world.request("DELETE", f"/v0.2/work-orders/{order.id}?site_id={SITE}")
    for number in range(12, 24):
        datasets.work_order(f"WO-{number}", [{"results": GOOD}])
    for order in orders[1::3]:
        datasets.correct(order, 0, "state", "bad")
    second = datasets.exported(id)["version_id"]
    found = datasets.got(f"/{id}/versions/{first}/diff/{second}")
    assert found == {"added": 12, "removed": 4, "relabelled": 4}
    assert datasets.got(f"/{id}/versions/{second}/diff/{first}") == {**found, "added": 4, "removed": 12}


def test_a_version_exports_again_byte_for_byte_whatever_changed_since(datasets: Datasets) -> None:
    order = datasets.work_order("WO-1", [{"results": DOOR}, {}])
    id = datasets.create(dataset_type=1)
    before = datasets.exported(id, annotation_format="COCO")
    datasets.correct(order, 0, "door", "gate")
    regions = [{"label": "a", "box": [0, 0, 1, 1]}]
    datasets.work_order("WO-0", [{"results": {"a": {"value": 1, "regions": regions}}}])
    newest = datasets.exported(id, annotation_format="COCO")
    again = datasets.exported(id, annotation_format="COCO", version_id=before["version_id"])
    assert newest["version_id"] != before["version_id"] == again["version_id"]
    assert bytes_of(datasets, before) == bytes_of(datasets, again)
    assert bytes_of(datasets, before).keys() != bytes_of(datasets, newest).keys()


def test_categories_keep_their_ids_when_labels_are_added(datasets: Datasets) -> None:
    def order(name: str, label: str) -> None:
        regions = [{"label": label, "box": [1, 1, 5, 5]}]
        datasets.work_order(name, [{"results": {"look": {"value": label, "regions": regions}}}])

    def categories(task: dict[str, Any]) -> dict[str, int]:
        found = json.loads(datasets.files(task)["annotations/instances_default.json"])["categories"]
        return {each["name"]: each["id"] for each in found}

    order("WO-1", "meter")
    id = datasets.create(dataset_type=1)
    assert categories(datasets.exported(id, annotation_format="COCO")) == {"meter": 1}
    order("WO-0", "antenna")
    assert categories(datasets.exported(id, annotation_format="COCO")) == {"meter": 1, "antenna": 2}


def test_parts_and_slices_change_no_byte(datasets: Datasets, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(9):
        datasets.work_order(f"WO-{number}", [{"results": DOOR}, {}])
    id = datasets.create(dataset_type=1)
    whole = datasets.exported(id, annotation_format="COCO")
    monkeypatch.setenv("WAYBILL_PART_RECORDS", "3")
    monkeypatch.setattr(reading, "SLICE_SAMPLES", 2)
    other = datasets.create("Again", dataset_type=1)
    assert len(slices(datasets, other)) > 4
    cut = datasets.exported(other, annotation_format="COCO")

    def renamed(task: dict[str, Any]) -> dict[str, bytes]:
        found = bytes_of(datasets, task)
        return {name.replace("Again", "Meters"): found[name].replace(b"Again", b"Meters") for name in found}

    assert renamed(cut) == renamed(whole)


def slices(datasets: Datasets, id: str) -> list[Any]:
    from shared.datasets import dataset as stored

    found = stored.get(datasets.world.cloud, id)
    assert found
    assert found.current
    version = stored.get_version(datasets.world.cloud, id, found.current)
    assert version
    return stored.slices(datasets.world.cloud, version)


def test_a_part_whose_time_is_up_leaves_the_rest_to_another(
    datasets: Datasets, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        datasets.work_order(f"WO-{number}", [{"results": GOOD}])
    monkeypatch.setenv("WAYBILL_ATTEMPT_SECONDS", "0")
    id = datasets.create(task_names=["state"])
    assert len(slices(datasets, id)) == 4
    assert datasets.got(f"/{id}")["total_sample_count"] == 4


def test_a_plan_that_is_too_old_is_made_anew(datasets: Datasets, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets.work_order("WO-1", [{"results": GOOD}])
    body = {"dataset_name": "Late", "dataset_type": 0, "site_ids": [SITE]}
    id = datasets.send("POST", "", body).body["dataset_id"]
    assert datasets.world.step(), "it is planned"
    datasets.world.wait(READABLE * 2)
    datasets.work_order("WO-2", [{"results": GOOD}])
    datasets.world.settle()
    assert datasets.got(f"/{id}")["total_sample_count"] == 2


# --- what is exported


def test_a_dataset_without_samples_is_exported_as_empty_files(datasets: Datasets) -> None:
    id = datasets.create(dataset_type=1)
    shown = datasets.got(f"/{id}")
    assert (shown["total_sample_count"], shown["labels"], shown["status"]) == (0, [], 1)
    task = datasets.exported(id, annotation_format="COCO")
    assert (task["status"], task["progress"], task["total_sample_count"]) == ("SUCCESSED", 100.0, 0), task
    files = datasets.files(task)
    assert files["Meters-V001.manifest"] == b""
    coco = json.loads(files["annotations/instances_default.json"])
    assert (coco["images"], coco["annotations"], coco["categories"]) == ([], [], [])


def test_what_a_person_says_is_not_there_is_no_label(datasets: Datasets) -> None:
    order = datasets.work_order("WO-1", [{"results": DOOR}])
    datasets.correct(order, 0, "door", False)
    id = datasets.create(dataset_type=1)
    assert datasets.got(f"/{id}")["annotated_sample_count"] == 0


def test_files_say_what_they_are(datasets: Datasets) -> None:
    datasets.work_order("WO-1", [{"results": GOOD}])
    task = datasets.exported(datasets.create(), version_format="CSV")
    stored = {each.name.rpartition("/")[2]: each for each in datasets.world.suite.storage.list(BUCKET)}
    types = {name: stored[name].content_type for name in ("labels.csv", "Meters-V001.manifest")}
    assert types == {
        "labels.csv": "text/csv; charset=utf-8",
        "Meters-V001.manifest": "application/x-ndjson",
    }, task


@pytest.mark.parametrize("export_type", [0, 1, 2, 3])
def test_each_type_of_export_has_its_samples(datasets: Datasets, export_type: int) -> None:
    datasets.work_order("WO-1", [{"results": GOOD}, {}, {"results": BAD}])
    id = datasets.create(task_names=["state"])
    bad = [{"label_list": {"labels": [{"name": "bad"}]}}] if export_type == 3 else []
    task = datasets.exported(id, export_type=export_type, export_params={"search_conditions": bad})
    labels = [[each["name"] for each in line.get("annotation", ())] for line in datasets.manifest(task)]
    expected = {0: [["good"], ["bad"]], 1: [[]], 2: [["good"], [], ["bad"]], 3: [["bad"]]}
    assert labels == expected[export_type]
    assert task["total_sample_count"] == task["finished_sample_count"] == len(labels)


def test_several_tasks_make_labels_that_say_what_they_are_of(datasets: Datasets) -> None:
    values = {"state": "good", "locked": True, "reading": 12.5, "none": None}
    results = {task: {"value": value} for task, value in values.items()}
    datasets.work_order("WO-1", [{"results": results}])
    id = datasets.create()
    names = [each["name"] for each in datasets.got(f"/{id}")["labels"]]
    assert names == ["locked:true", "reading:12.5", "state:good"]
    [line] = datasets.manifest(datasets.exported(id))
    assert sorted(each["name"] for each in line["annotation"]) == names


@pytest.mark.slow
def test_photographs_of_one_visit_are_in_one_split(datasets: Datasets) -> None:
    for number in range(24):
        datasets.work_order(f"WO-{number}", [{"results": GOOD}, {"results": BAD}])
    id = datasets.create(task_names=["state"])
    params = {"ratio_sample_usage": True, "train_sample_ratio": "0.5"}
    first = datasets.manifest(datasets.exported(id, export_params=params))
    again = datasets.manifest(datasets.exported(id, export_params=params))
    assert [line["usage"] for line in first] == [line["usage"] for line in again]
    sides: dict[str, set[str]] = {}
    for line in first:
        order = line["source"].rpartition("/")[2].partition("_")[0]
        sides.setdefault(order, set()).add(line["usage"])
    assert all(len(usages) == 1 for usages in sides.values()), sides
    assert Counter(next(iter(usages)) for usages in sides.values()).keys() == {"TRAIN", "EVAL"}
    more = datasets.manifest(datasets.exported(id, export_params={**params, "train_sample_ratio": 0.9}))
    train = {line["id"] for line in first if line["usage"] == "TRAIN"}
    assert train <= {line["id"] for line in more if line["usage"] == "TRAIN"}, "more train on the same"
    plain = datasets.manifest(datasets.exported(id))
    assert all("usage" not in line for line in plain)


def test_hard_samples_are_named_where_that_is_asked_for(datasets: Datasets) -> None:
    order = datasets.work_order("WO-1", [{"results": GOOD}, {"results": BAD}])
    datasets.correct(order, 1, "state", "good")
    id = datasets.create(task_names=["state"])
    cleared = datasets.manifest(datasets.exported(id))
    assert all("hard" not in line for line in cleared)
    kept = datasets.manifest(datasets.exported(id, export_params={"clear_hard_property": False}))
    assert [(line["hard"], line["hard-coefficient"]) for line in kept] == [("false", 0.1), ("true", 0.6)]


HOSTILE = [
    "a,b",
    'say "hi"',
    "in/out",
    "two\nlines",
    "😀",
    "שלום עולם",
    "50%",
    "..",
    " ",
    "<b>&",
    "a" * 2_000,
]


@pytest.mark.parametrize("form", ["tile", "tree", "CSV", "Parquet", "WebDataset"])
def test_labels_that_are_hard_to_write_are_kept(datasets: Datasets, form: str) -> None:
    datasets.work_order("WO-1", [{"results": {"state": {"value": value}}} for value in HOSTILE])
    id = datasets.create(task_names=["state"])
    given: dict[str, Any] = {"tile": {}, "tree": {"export_format": 1}}.get(form, {"version_format": form})
    task = datasets.exported(id, **given)
    assert task["status"] == "SUCCESSED", task
    assert [line["annotation"][0]["name"] for line in datasets.manifest(task)] == HOSTILE
    images = [name for name in datasets.files(task) if name.endswith(".jpg")]
    assert len(images) == (0 if form == "WebDataset" else len(HOSTILE))
    if form == "tree":
        assert len({name.rpartition("/")[0] for name in images}) == len(HOSTILE)
        assert all(name.count("/") == 1 for name in images)


def test_an_image_with_two_labels_cannot_be_in_a_tree(datasets: Datasets) -> None:
    both = {"state": {"value": "good"}, "locked": {"value": True}}
    datasets.work_order("WO-1", [{"results": both}])
    id = datasets.create()
    task = datasets.exported(id, export_format=1)
    assert (task["status"], task["error_code"]) == ("FAILED", "ModelArts.4401"), task
    assert "locked:true" in task["error_msg"], task
    assert "use export_format 2" in task["error_msg"], task
    assert datasets.files(task) == {}


GIVEN = (("annotation_format", "COCO"), ("annotation_format", "VOC"), ("version_format", "WebDataset"))


def test_images_that_are_gone_are_left_out_and_named(datasets: Datasets) -> None:
    order = datasets.work_order("WO-1", [{"results": DOOR}, {"results": DOOR}, {}])
    id = datasets.create(dataset_type=1)
    gone = order.work_items[0].input[1].id
    bucket = f"{datasets.world.suite.project}-images"
    datasets.world.suite.storage.remove(bucket, f"acme/{SITE}/{gone}.jpg")
    for field, value in GIVEN:
        task = datasets.exported(id, **{field: value})
        counts = [task[f"{which}_sample_count"] for which in ("total", "finished", "missing")]
        assert (task["status"], counts) == ("SUCCESSED", [3, 2, 1]), task
        files = datasets.files(task)
        assert gone[:8] in json.loads(files["Meters-V001.missing.jsonl"])["file_name"]
        assert gone not in [line["id"] for line in datasets.manifest(task)]
        rest = {name: body for name, body in files.items() if not name.endswith(".missing.jsonl")}
        assert not [name for name, body in rest.items() if gone[:8].encode() in name.encode() + body]


@pytest.mark.slow
def test_an_image_of_100_megabytes_is_exported(datasets: Datasets) -> None:
    from shared.workorders.store import Photograph

    large = picture("large") + bytes(100 * 1024 * 1024)
    datasets.world.work_order(
        "WO-1",
        photos=[
            Photograph("meter", "meter-1.jpg", large, {}, (), ()),
            Photograph("meter", "meter-2.jpg", picture("x"), {}, (), ()),
        ],
    )
    id = datasets.create()
    [name] = [name for name in datasets.files(datasets.exported(id)) if name.endswith(".jpg")][:1]
    assert name
    task = datasets.exported(id, version_format="WebDataset")
    assert large in datasets.files(task)["shard-000000.tar"]


# --- where to


def refused(datasets: Datasets, dataset: str, status: int, code: str, **body: Any) -> str:
    """What a request for a task is refused with."""
    answer = datasets.send("POST", f"/{dataset}/export-tasks", body)
    assert (answer.status, answer.body["error_code"]) == (status, code), answer
    assert answer.body["message"] == answer.body["error_msg"]
    message: str = answer.body["error_msg"]
    return message


def test_two_tasks_into_one_path_at_once_are_not_possible(datasets: Datasets) -> None:
    datasets.work_order("WO-1", [{"results": GOOD}])
    id = datasets.create()
    path = f"gs://{BUCKET}/one/"
    first = datasets.begin(id, path)
    assert first in refused(datasets, id, 409, "ModelArts.4358", path=path)
    assert first in refused(datasets, id, 409, "ModelArts.4358", path=f"/{BUCKET}/one")
    again = datasets.send("POST", f"/{id}/export-tasks", {"path": path})
    assert (again.status, again.body["existing_id"]) == (409, first)
    datasets.settled()
    assert "Meters-V001.manifest" in refused(datasets, id, 409, "ModelArts.4358", path=path)
    datasets.exported(id, f"gs://{BUCKET}/one/deeper/")


def test_a_path_whose_task_was_cancelled_is_free_again(datasets: Datasets) -> None:
    datasets.work_order("WO-1", [{"results": GOOD}])
    id = datasets.create()
    path = f"gs://{BUCKET}/one/"
    first = datasets.begin(id, path)
    assert datasets.send("DELETE", f"/{id}/export-tasks/{first}").status == 204
    assert datasets.exported(id, path)["status"] == "SUCCESSED"


def test_a_path_with_something_in_it_is_refused(datasets: Datasets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "SLICE_SAMPLES", 1)
    datasets.work_order("WO-1", [{"results": GOOD}, {"results": BAD}])
    id = datasets.create(task_names=["state"])
    path = f"gs://{BUCKET}/tree/"
    datasets.world.suite.storage.put(BUCKET, "tree/", b"")
    begun = datasets.begin(id, path, export_format=1)
    while datasets.task(id, begun)["finished_sample_count"] == 0:
        assert datasets.world.step()
    assert datasets.send("DELETE", f"/{id}/export-tasks/{begun}").status == 204
    datasets.settled()
    # Corrected meanwhile, the same image would be in two directories.
    said = refused(datasets, id, 409, "ModelArts.4358", path=path, export_format=1)
    assert f"gs://{BUCKET}/tree/" in said, said
    assert "choose a path that is empty" in said, said
    # Nor may an export surround others.
    refused(datasets, id, 409, "ModelArts.4358", path=f"gs://{BUCKET}/")
    datasets.exported(id, f"gs://{BUCKET}/tre/")


def test_two_customers_paths_are_two(datasets: Datasets) -> None:
    datasets.world.stranger()
    theirs = Datasets(datasets.world, "globex")
    datasets.world.suite.storage.create_bucket("shared-bucket")
    for customer in (datasets.world.acme, datasets.world.onboard("globex", "globex")):
        datasets.world.grant("shared-bucket", customer)
    id = datasets.create()
    their_id = theirs.create(site_ids=["aaaaaaaa-1111-4222-8333-944455566677"])
    datasets.begin(id, "gs://shared-bucket/x/")
    theirs.begin(their_id, "gs://shared-bucket/x/")


def test_a_path_that_the_account_may_not_write_is_refused_with_a_sentence(datasets: Datasets) -> None:
    id = datasets.create()
    datasets.world.suite.storage.create_bucket("not-granted")
    said = refused(datasets, id, 400, "ModelArts.4358", path="gs://not-granted/x/")
    assert "customer-acme-data-export@" in said, said
    assert "storage.objects.create" in said, said
    said = refused(datasets, id, 400, "ModelArts.4312", path="gs://no-such-bucket-here/x/")
    assert "does not exist" in said, said
    assert "no-such-bucket-here" in said, said


def test_another_file_in_the_path_fails_the_task_and_stays(datasets: Datasets) -> None:
    order = datasets.work_order("WO-1", [{"results": GOOD}])
    id = datasets.create()
    digits = order.work_items[0].input[0].id.replace("-", "")[:12]
    name = f"one/WO-1_meter_{digits}.jpg"
    begun = datasets.begin(id, f"gs://{BUCKET}/one/")
    datasets.world.suite.storage.put(BUCKET, name, b"mine")
    datasets.settled()
    task = datasets.task(id, begun)
    assert task["status"] == "FAILED", task
    assert f"gs://{BUCKET}/{name}" in task["error_msg"], task
    assert datasets.world.landed()[name] == b"mine"
    assert not [each for each in datasets.files(task) if each.endswith(".manifest")]


def test_a_permission_that_is_withdrawn_meanwhile_fails_the_task(datasets: Datasets) -> None:
    datasets.work_order("WO-1", [{"results": GOOD}])
    id = datasets.create()
    task = datasets.begin(id)
    datasets.world.suite.storage.revoke(BUCKET, datasets.world.acme.account)
    datasets.settled()
    shown = datasets.task(id, task)
    assert shown["status"] == "FAILED", shown
    assert "create the task again" in shown["error_msg"], shown


def test_where_batches_of_copies_are_refused_images_are_copied_by_themselves(datasets: Datasets) -> None:
    datasets.work_order("WO-1", [{"results": GOOD}, {}])
    id = datasets.create()
    datasets.world.suite.traffic.arm("storage.batch", Fault("error", status=501), times=1_000_000)
    task = datasets.exported(id)
    assert (task["status"], task["finished_sample_count"]) == ("SUCCESSED", 2), task


# --- a dataset of its own


def test_a_new_dataset_has_its_own_copy(datasets: Datasets) -> None:
    order = datasets.work_order("WO-1", [{"results": GOOD}, {"results": BAD}, {}])
    id = datasets.create(task_names=["state"])
    params = {
        "export_dest": "NEW_DATASET",
        "export_new_dataset_name": "Copied",
        "export_new_dataset_work_path": f"/{BUCKET}/copied/",
    }
    task = datasets.exported(id, export_type=0, export_params=params)
    assert task["status"] == "SUCCESSED", task
    [copied] = [each for each in datasets.got()["datasets"] if each["dataset_name"] == "Copied"]
    assert (copied["total_sample_count"], copied["annotated_sample_count"]) == (2, 2)
    # Whatever becomes of the first one, the copy stays.
    datasets.correct(order, 0, "state", "bad")
    storage, bucket = datasets.world.suite.storage, f"{datasets.world.suite.project}-images"
    for each in storage.list(bucket):
        storage.remove(bucket, each.name)
    again = datasets.exported(copied["dataset_id"])
    assert (again["status"], again["finished_sample_count"], again["missing_sample_count"]) == (
        "SUCCESSED",
        2,
        0,
    )
    assert [line["annotation"][0]["name"] for line in datasets.manifest(again)] == ["good", "bad"]
    shards = datasets.exported(copied["dataset_id"], version_format="WebDataset")
    assert shards["finished_sample_count"] == 2
    assert datasets.send("POST", f"/{copied['dataset_id']}/versions").status == 400
    answer = datasets.send("PUT", f"/{copied['dataset_id']}", {"site_ids": [OTHER_SITE]})
    assert (answer.status, answer.body["error_code"]) == (400, "ModelArts.0104"), answer


def test_a_new_dataset_counts_its_own_labels(datasets: Datasets) -> None:
    datasets.work_order("WO-1", [{"results": GOOD}, {"results": GOOD}, {"results": BAD}])
    id = datasets.create(task_names=["state"])
    params = {
        "export_dest": "NEW_DATASET",
        "export_new_dataset_name": "Copied",
        "export_new_dataset_work_path": f"/{BUCKET}/copied/",
        "search_conditions": [{"label_list": {"labels": [{"name": "good"}]}}],
    }
    made = datasets.exported(id, export_params=params)["task_id"]
    labels = datasets.got(f"/{made}")["labels"]
    assert [(each["name"], each["count"]) for each in labels] == [("bad", 0), ("good", 2)], "in their order"


@pytest.mark.parametrize("form", ["Default", "WebDataset"])
def test_a_copy_that_can_no_longer_be_read_is_named(datasets: Datasets, form: str) -> None:
    datasets.work_order("WO-1", [{"results": GOOD}])
    storage = datasets.world.suite.storage
    storage.create_bucket("copies")
    datasets.world.grant("copies", datasets.world.acme)
    params = {
        "export_dest": "NEW_DATASET",
        "export_new_dataset_name": "Copied",
        "export_new_dataset_work_path": "/copies/copied/",
    }
    made = datasets.exported(datasets.create(), export_params=params)["task_id"]
    storage.revoke("copies", datasets.world.acme.account)
    task = datasets.exported(made, version_format=form)
    assert task["status"] == "FAILED", task
    assert "storage.objects.get on the bucket copies" in task["error_msg"], task


def test_the_name_of_a_new_dataset_is_its_own(datasets: Datasets) -> None:
    id = datasets.create()
    params = {
        "export_dest": "NEW_DATASET",
        "export_new_dataset_name": "Copied",
        "export_new_dataset_work_path": f"/{BUCKET}/copied/",
    }
    answer = datasets.send("POST", f"/{id}/export-tasks", {"export_params": params})
    assert answer.status == 200, "a path is not needed"
    assert datasets.task(id, answer.body["task_id"])["path"] == f"/{BUCKET}/copied/"
    datasets.send("DELETE", f"/{id}/export-tasks/{answer.body['task_id']}")
    first = datasets.begin(id, export_params=params)
    other = {**params, "export_new_dataset_work_path": f"/{BUCKET}/other/"}
    assert "Copied" in refused(datasets, id, 409, "ModelArts.4351", path=f"/{BUCKET}/p/", export_params=other)
    answer = datasets.send("POST", "", {"dataset_name": "Copied", "site_ids": [SITE]})
    assert (answer.status, answer.body["existing_id"]) == (409, first), "the task that is to make it"
    datasets.send("DELETE", f"/{id}/export-tasks/{first}")
    assert datasets.exported(id, export_params=other)["status"] == "SUCCESSED"
    answer = datasets.send("POST", "", {"dataset_name": "Copied", "site_ids": [SITE]})
    [copied] = [each for each in datasets.got("")["datasets"] if each["dataset_name"] == "Copied"]
    assert (answer.status, answer.body["existing_id"]) == (409, copied["dataset_id"])


# --- tasks


def test_counts_and_progress_move_and_are_true(datasets: Datasets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "SLICE_SAMPLES", 2)
    for number in range(3):
        datasets.work_order(f"WO-{number}", [{"results": GOOD}, {"results": BAD}])
    id = datasets.create()
    task = datasets.begin(id)
    seen = [(datasets.task(id, task)["status"], 0, 0, 0.0)]
    while datasets.world.step():
        shown = datasets.task(id, task)
        state = (
            shown["status"],
            shown["total_sample_count"],
            shown["finished_sample_count"],
            shown["progress"],
        )
        if state != seen[-1]:
            seen.append(state)
    assert seen == [
        ("INIT", 0, 0, 0.0),
        ("RUNNING", 0, 0, 0.0),
        ("RUNNING", 6, 0, 0.0),
        ("RUNNING", 6, 2, 33.3),
        ("RUNNING", 6, 4, 66.7),
        ("RUNNING", 6, 6, 99.9),
        ("SUCCESSED", 6, 6, 100.0),
    ]


def test_the_making_of_a_version_can_be_followed(datasets: Datasets) -> None:
    datasets.work_order("WO-1", [{"results": GOOD}])
    id = datasets.create()
    answer = datasets.send("POST", f"/{id}/versions")
    assert answer.status == 200, answer
    task = answer.body["task_id"]
    assert datasets.task(id, task)["status"] == "INIT"
    datasets.settled()
    shown = datasets.task(id, task)
    assert (shown["status"], shown["progress"]) == ("SUCCESSED", 100.0)
    assert shown["version_id"] == datasets.got(f"/{id}")["current_version_id"]


def test_a_task_can_be_cancelled_until_it_finishes(datasets: Datasets) -> None:
    datasets.work_order("WO-1", [{"results": GOOD}])
    id = datasets.create()
    for steps in range(20):
        task = datasets.begin(id)
        for _ in range(steps):
            datasets.world.step()
        before = datasets.task(id, task)["status"]
        answer = datasets.send("DELETE", f"/{id}/export-tasks/{task}")
        datasets.settled()
        shown = datasets.task(id, task)
        manifests = [name for name in datasets.files(shown) if name.endswith(".manifest")]
        if before == "SUCCESSED":
            assert (answer.status, shown["status"], len(manifests)) == (409, "SUCCESSED", 1)
            break
        assert (answer.status, shown["status"], manifests) == (204, "FAILED", []), shown
        assert (shown["error_code"], shown["error_msg"]) == ("ModelArts.4401", "The task was cancelled.")
        assert datasets.send("DELETE", f"/{id}/export-tasks/{task}").status == 204, "cancelled once is enough"
    assert steps > 3, "it was cancelled at several stages"


def test_tasks_are_listed_by_pages_and_by_marker(datasets: Datasets) -> None:
    id = datasets.create()
    ids = []
    for number in range(5):
        ids.append(datasets.begin(id, export_type=3 if number % 2 else 2))
        datasets.settled()
        datasets.world.wait(READABLE)
    ids.reverse()

    def listed(query: str) -> list[str]:
        found = datasets.got(f"/{id}/export-tasks?{query}")
        return [each["task_id"] for each in found["export_tasks"]]

    assert datasets.got(f"/{id}/export-tasks")["total_count"] == 5, "the making of versions is none"
    assert listed("") == ids
    assert [listed(f"limit=2&offset={page}") for page in range(4)] == [ids[:2], ids[2:4], ids[4:], []]
    marked, seen = listed("limit=2"), []
    while marked:
        seen += marked
        marked = listed(f"limit=2&offset=7&marker={marked[-1]}")
    assert seen == ids
    assert listed("export_type=3") == listed("export_type=4") == ids[1::2]
    assert datasets.send("GET", f"/{id}/export-tasks?limit=101").status == 400
    answer = datasets.send("GET", f"/{id}/export-tasks?marker=nothing")
    assert (answer.status, answer.body["error_code"]) == (404, "ModelArts.4359")


def test_a_task_is_its_datasets(datasets: Datasets) -> None:
    id, other = datasets.create(), datasets.create("Other")
    task = datasets.exported(id)["task_id"]
    for method in ("GET", "DELETE"):
        answer = datasets.send(method, f"/{other}/export-tasks/{task}")
        assert (answer.status, answer.body["error_code"]) == (404, "ModelArts.4359"), answer
    answer = datasets.send("GET", f"/{other}/export-tasks?marker={task}")
    assert (answer.status, answer.body["error_code"]) == (404, "ModelArts.4359"), answer


def test_only_so_many_tasks_are_under_way(world: World, datasets: Datasets) -> None:
    id = datasets.create()
    world.cloud.db.document("customers/acme").update({"dataset_tasks": 2})
    datasets.begin(id)
    datasets.begin(id)
    assert "dataset_tasks is 2 tasks" in refused(
        datasets, id, 409, "ModelArts.4409", path=f"gs://{BUCKET}/third/"
    )
    datasets.settled()
    datasets.begin(id)


# --- datasets


def test_a_dataset_is_found_by_its_id_and_not_by_its_name(datasets: Datasets) -> None:
    id = datasets.create("Meters")
    answer = datasets.send("GET", "/Meters")
    assert (answer.status, answer.body["error_code"]) == (404, "ModelArts.4352"), answer
    assert datasets.got(f"/{id}")["dataset_name"] == "Meters"
    found = datasets.got("?search_content=eter")
    assert (found["total_number"], found["datasets"][0]["dataset_id"]) == (1, id)
    assert datasets.got("?search_content=other")["datasets"] == []


def test_datasets_are_listed_by_pages(datasets: Datasets) -> None:
    ids = []
    for number in range(3):
        ids.append(datasets.create(f"Set-{number}"))
        datasets.world.wait(READABLE)
    found = [datasets.got(f"?limit=2&offset={page}") for page in range(3)]
    assert [[each["dataset_id"] for each in page["datasets"]] for page in found] == [ids[:0:-1], ids[:1], []]
    assert {page["total_number"] for page in found} == {3}


def test_a_name_is_one_datasets(datasets: Datasets) -> None:
    first = datasets.create("Meters")
    answer = datasets.send("POST", "", {"dataset_name": "Meters", "site_ids": [SITE]})
    assert (answer.status, answer.body["error_code"]) == (409, "ModelArts.4351"), answer
    assert answer.body["existing_id"] == first
    assert datasets.send("PUT", f"/{first}", {"dataset_name": "Doors"}).status == 200
    second = datasets.create("Meters")
    answer = datasets.send("PUT", f"/{second}", {"dataset_name": "Doors"})
    assert (answer.status, answer.body["existing_id"]) == (409, first)
    assert datasets.send("DELETE", f"/{first}").status == 204
    assert datasets.send("PUT", f"/{second}", {"dataset_name": "Doors"}).status == 200
    assert datasets.got(f"/{second}")["dataset_name"] == "Doors"


def test_what_a_dataset_selects_can_change(datasets: Datasets) -> None:
    datasets.work_order("WO-1", [{"results": GOOD}])
    datasets.work_order("WO-2", [{"results": BAD}, {}], site=datasets.world.other_site)
    id = datasets.create(task_names=["state"])
    assert (
        datasets.send("PUT", f"/{id}", {"site_ids": [SITE, OTHER_SITE], "description": "both"}).status == 200
    )
    datasets.settled()
    shown = datasets.got(f"/{id}")
    assert (shown["total_sample_count"], shown["annotated_sample_count"], shown["description"]) == (
        3,
        2,
        "both",
    )
    assert [(each["name"], each["count"]) for each in shown["labels"]] == [("good", 1), ("bad", 1)]
    assert datasets.send("PUT", f"/{id}", {"task_names": ["other"]}).status == 200
    datasets.settled()
    assert datasets.got(f"/{id}")["annotated_sample_count"] == 0


def test_a_deleted_dataset_is_gone_and_its_tasks_end(datasets: Datasets) -> None:
    datasets.work_order("WO-1", [{"results": GOOD}])
    id = datasets.create()
    task = datasets.begin(id)
    assert datasets.send("DELETE", f"/{id}").status == 204
    assert datasets.world.cloud.db.document(f"dataset_tasks/{task}").get().get("state") == "CANCELLED"
    datasets.settled()
    for method, path in (("GET", ""), ("PUT", ""), ("DELETE", ""), ("GET", f"/export-tasks/{task}")):
        answer = datasets.send(method, f"/{id}{path}", {} if method == "PUT" else None)
        assert (answer.status, answer.body["error_code"]) == (404, "ModelArts.4352"), (method, path, answer)
    assert datasets.world.open_pieces() == []
    assert datasets.got()["total_number"] == 0


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"dataset_name": "x", "data_sources": [], "work_path": "/b/", "work_path_type": 0}, "site_ids"),
        ({"dataset_name": "x"}, "site_ids"),
        ({"dataset_name": "x", "site_ids": []}, "site_ids"),
        ({"dataset_name": "x", "site_ids": ["nowhere"]}, "site_ids[0]"),
        ({"dataset_name": "x", "site_ids": [SITE, "a/b"]}, "site_ids[1]"),
        ({"dataset_name": "x", "site_ids": ["a/b/c"]}, "site_ids[0]"),
        ({"dataset_name": "x", "site_ids": [".."]}, "site_ids[0]"),
        ({"dataset_name": "x", "site_ids": ["__x__"]}, "site_ids[0]"),
        ({"dataset_name": "a b", "site_ids": [SITE]}, "dataset_name"),
        ({"dataset_name": "x", "site_ids": [SITE], "dataset_type": 200}, "0 (image classification)"),
        ({"dataset_name": "x", "site_ids": [SITE], "dataset_typ": 1}, "dataset_typ"),
    ],
)
def test_a_dataset_that_cannot_be_is_refused(datasets: Datasets, body: dict[str, Any], said: str) -> None:
    answer = datasets.send("POST", "", body)
    assert (answer.status, answer.body["error_code"]) == (400, "ModelArts.0104"), answer
    assert said in answer.body["error_msg"], answer


def test_too_many_labels_are_refused_with_what_to_do(
    datasets: Datasets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_LABELS", 2)
    for value in ("a", "b"):
        datasets.work_order(f"WO-{value}", [{"results": {"state": {"value": value}}}])
    id = datasets.create()
    assert datasets.exported(id)["status"] == "SUCCESSED"
    datasets.work_order("WO-c", [{"results": {"state": {"value": "c"}}}])
    task = datasets.exported(id)
    assert task["status"] == "FAILED", task
    assert "task_names" in task["error_msg"], task


def test_another_customers_project_and_dataset_are_not_to_be_seen(datasets: Datasets) -> None:
    datasets.world.stranger()
    theirs = Datasets(datasets.world, "globex")
    datasets.work_order("WO-1", [{"results": GOOD}])
    id = datasets.create()
    task = datasets.exported(id)
    version = task["version_id"]
    paths = (
        f"/{id}",
        f"/{id}/versions",
        f"/{id}/versions/{version}",
        f"/{id}/versions/{version}/diff/{version}",
        f"/{id}/versions/{version}/diff/{version}/samples",
        f"/{id}/export-tasks",
        f"/{id}/export-tasks/{task['task_id']}",
    )
    for path in paths:
        answer = theirs.send("GET", path)
        assert (answer.status, answer.body["error_code"]) == (404, "ModelArts.4352"), (path, answer)
        own = datasets.world.request("GET", f"/v2/acme/datasets{path}", headers={"X-Auth-Token": theirs.key})
        assert (own.status, own.body["error_code"]) == (404, "ModelArts.0210"), (path, own)
    for method, path in (("DELETE", f"/{id}"), ("DELETE", f"/{id}/export-tasks/{task['task_id']}")):
        assert theirs.send(method, path).status == 404
    assert theirs.send("POST", f"/{id}/export-tasks", {"path": f"gs://{BUCKET}/x/"}).status == 404
    assert theirs.got()["total_number"] == 0
    # A version of one's own dataset does not lead to another's.
    mine = theirs.create(site_ids=["aaaaaaaa-1111-4222-8333-944455566677"])
    assert theirs.send("GET", f"/{mine}/versions/{version}").status == 404
    answer = theirs.send("POST", "", {"dataset_name": "Spy", "site_ids": [SITE]})
    assert (answer.status, answer.body["error_code"]) == (400, "ModelArts.0104"), answer


def test_a_site_that_is_no_longer_theirs_is_not_read(datasets: Datasets) -> None:
    datasets.work_order("WO-1", [{"results": GOOD}])
    id = datasets.create()
    datasets.world.onboard("globex", "globex")
    datasets.world.cloud.db.document(f"sites/{SITE}").update({"customer": "globex"})
    task = datasets.exported(id)
    assert task["status"] == "FAILED", task
    assert f"The site {SITE} is no longer yours." in task["error_msg"], task


def test_a_dataset_whose_first_version_cannot_be_made_says_why(
    datasets: Datasets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_LABELS", 0)
    datasets.work_order("WO-1", [{"results": GOOD}])
    id = datasets.create()
    shown = datasets.got(f"/{id}")
    assert shown["status"] == 4
    assert "task_names" in shown["error_msg"], shown
    monkeypatch.setattr(reading, "MAX_LABELS", 10)
    assert datasets.exported(id)["status"] == "SUCCESSED"
    assert datasets.got(f"/{id}")["status"] == 1


def test_a_version_that_was_read_earlier_and_made_later_is_not_the_newest(datasets: Datasets) -> None:
    order = datasets.work_order("WO-1", [{"results": GOOD}])
    id = datasets.create(task_names=["state"])
    world = datasets.world
    slow = datasets.begin(id)
    assert world.step(), "the slow one is planned"
    held = world.suite.pubsub.take([topic_path("export_dataset", world.suite.project)])
    assert held is not None
    datasets.correct(order, 0, "state", "bad")
    world.wait(READABLE / 2)
    quick = datasets.exported(id)
    world.suite.pubsub.hand_over(held, world.push)
    world.settle()
    old = datasets.task(id, slow)
    assert old["status"] == "SUCCESSED", old
    assert datasets.got(f"/{id}")["current_version_id"] == quick["version_id"] != old["version_id"]


def test_a_dataset_that_did_not_change_keeps_nothing_more(datasets: Datasets) -> None:
    datasets.work_order("WO-1", [{"results": GOOD}])
    id = datasets.create()
    bucket = f"{datasets.world.suite.project}-datasets"
    before = datasets.world.landed(bucket).keys()
    assert len(before) == 2, "the samples, and the list of their slices"
    datasets.exported(id)
    assert datasets.world.landed(bucket).keys() == before


@pytest.mark.parametrize("value", [None, ""])
def test_a_region_whose_value_a_person_emptied_is_no_label(datasets: Datasets, value: str | None) -> None:
    regions = [{"label": label, "box": [1, 1, 9, 9]} for label in ("crack", "rust")]
    order = datasets.work_order("WO-1", [{"results": {"damage": {"value": "crack", "regions": regions}}}])
    datasets.correct(order, 0, "damage", value)
    shown = datasets.got(f"/{datasets.create(dataset_type=1)}")
    assert [each["name"] for each in shown["labels"]] == ["rust"], shown
