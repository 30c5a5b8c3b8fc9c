"""What a job or a dataset is asked for twice with one `Idempotency-Key` is done once, and a dataset that was
changed meanwhile is not overwritten."""

from typing import Any

import pytest

from tests.subjects.small_dataset import Datasets
from tests.subjects.small_job import Jobs
from tests.world import BUCKET, SITE, World

ONCE = {"Idempotency-Key": "a-double-click"}

FIELDS = {"itemType": "Technician", "contentType": "text/plain"}


def jobs_made(jobs: Jobs) -> int:
    return len(list(jobs.world.cloud.db.collection("jobs").select([]).stream()))


@pytest.mark.parametrize(
    ("path", "given"),
    [
        ("import", {"files": {"file": ("a.csv", b"id\n1\n")}, "data": FIELDS}),
        # It is rejected: there is no file.
        pytest.param("import", {"data": FIELDS}, marks=pytest.mark.slow),
        pytest.param("export", {"data": FIELDS}, marks=pytest.mark.slow),
    ],
)
def test_a_job_that_is_sent_twice_is_made_once(world: World, path: str, given: dict[str, Any]) -> None:
    jobs = Jobs(world)
    first, second = (jobs.post(path, **given, headers=ONCE) for _ in range(2))
    assert (first["jobId"], jobs_made(jobs)) == (second["jobId"], 1)
    assert jobs.ended(first["jobId"])["jobId"] == jobs.post(path, **given, headers=ONCE)["jobId"]
    other = jobs.post(path, **given, headers={"Idempotency-Key": "another"})
    without = [jobs.post(path, **given) for _ in range(2)]
    assert len({each["jobId"] for each in (first, other, *without)}) == jobs_made(jobs) == 4


def test_the_keys_of_two_customers_make_two_jobs(world: World) -> None:
    world.onboard("globex", "globex")
    ids = {Jobs(world, who).post("export", data=FIELDS, headers=ONCE)["jobId"] for who in ("acme", "globex")}
    assert len(ids) == 2


@pytest.fixture
def datasets(world: World) -> Datasets:
    return Datasets(world)


def send(datasets: Datasets, method: str, path: str, body: Any, **headers: str) -> Any:
    sent = {"X-Auth-Token": datasets.key, **{name.replace("_", "-"): each for name, each in headers.items()}}
    return datasets.world.request(method, f"/v2/acme/datasets{path}", body, headers=sent)


@pytest.mark.slow
def test_a_dataset_its_version_and_its_export_are_made_once(datasets: Datasets) -> None:
    body = {"dataset_name": "Meters", "site_ids": [SITE]}
    first, second = (send(datasets, "POST", "", body, Idempotency_Key="a") for _ in range(2))
    assert (first.status, first.body) == (second.status, second.body)
    id = first.body["dataset_id"]
    datasets.settled()
    for path, more in ((f"/{id}/versions", None), (f"/{id}/export-tasks", {"path": f"gs://{BUCKET}/one/"})):
        tasks = [send(datasets, "POST", path, more, Idempotency_Key="b") for _ in range(2)]
        datasets.settled()
        tasks.append(send(datasets, "POST", path, more, Idempotency_Key="b"))
        assert {each.status for each in tasks} == {200}, tasks
        assert len({each.body["task_id"] for each in tasks}) == 1
    other = send(datasets, "POST", "", {**body, "dataset_name": "Doors"}, Idempotency_Key="a")
    assert (other.status, other.body["existing_id"]) == (409, id), "the key was used for something else"
    assert datasets.got()["total_number"] == 1


def test_a_dataset_that_was_changed_meanwhile_is_not_overwritten(datasets: Datasets) -> None:
    id = datasets.create()
    seen = datasets.got(f"/{id}")["revision"]
    changed = send(datasets, "PUT", f"/{id}", {"description": "mine"}, If_Match=f'"{seen}"')
    assert changed.status == 200, changed
    late = send(datasets, "PUT", f"/{id}", {"description": "theirs"}, If_Match=f'"{seen}"')
    assert (late.status, late.body["error_msg"]) == (
        412,
        f"the dataset Meters was changed meanwhile, and is at version {seen + 1} now: look at it, and send "
        f'your change again with `If-Match: "{seen + 1}"`',
    )
    shown = datasets.got(f"/{id}")
    assert (shown["description"], shown["revision"]) == ("mine", seen + 1)
    assert send(datasets, "PUT", f"/{id}", {"description": "any"}).status == 200
    datasets.exported(id)
    assert datasets.got(f"/{id}")["revision"] == seen + 2, "a new version of samples is no change by hand"
