"""A bucket's definite refusals: connection test, run and dataset task say the same of each, at once."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from infra.local.traffic import Fault
from shared.delivery.base import Copy, passed
from shared.delivery.cloud_storage import connection_test
from shared.delivery.cloud_storage.bucket import CustomerBucket
from shared.delivery.cloud_storage.copying import copy_images
from shared.errors import CustomerMustAct, Retry
from shared.gcp import objects
from shared.gcp.objects import Stored
from tests.subjects.small_dataset import Datasets
from tests.subjects.small_run import MORNING
from tests.world import BUCKET, World

ALWAYS = 1_000_000


@dataclass(frozen=True)
class Case:
    """What Storage answers, and what is said of it."""

    status: int
    reason: str
    message: str
    what: str
    fix: str

    @property
    def fault(self) -> Fault:
        return Fault("error", self.status, message=self.message, reason=self.reason)


CASES = {
    "requester pays": Case(
        400,
        "required",
        "Bucket is a requester pays bucket but no user project provided.",
        "Requester Pays",
        "Turn Requester Pays off",
    ),
    "key disabled": Case(
        400,
        "cloudKmsDisabledKey",
        "Cloud KMS key projects/acme/locations/eu/keyRings/r/cryptoKeys/k is disabled.",
        "encryption key",
        "Enable that key",
    ),
    "key withdrawn": Case(
        403,
        "forbidden",
        "Permission denied on Cloud KMS key. Please ensure that your Cloud Storage service account has been "
        "authorized to use this key.",
        "encryption key",
        "roles/cloudkms.cryptoKeyEncrypterDecrypter",
    ),
    "perimeter": Case(
        403,
        "vpcServiceControls",
        "Request is prohibited by organization's policy. vpcServiceControlsUniqueIdentifier: b-7Q",
        "VPC Service Controls perimeter",
        "ingress rule",
    ),
    "billing off": Case(
        403,
        "accountDisabled",
        "The billing account for the owning project is disabled in state absent",
        "billing of the project",
        "billing on",
    ),
    "retention": Case(
        412,
        "retentionPolicyNotMet",
        "Object is subject to bucket's retention policy.",
        "retention policy",
        "Change that policy",
    ),
    "organisation's policy": Case(
        412,
        "conditionNotMet",
        "'us' violates constraint 'constraints/gcp.resourceLocations'",
        "organisation policy",
        "organisation's administrators",
    ),
    "address": Case(
        403,
        "forbidden",
        "There is an IP filtering condition that is preventing access to the resource.",
        "IP filter",
        "IP filter",
    ),
    "domain": Case(
        403, "forbidden", "The country is not allowed.", "names no missing permission", "Change the settings"
    ),
    "unknown": Case(400, "invalid", "Something new.", "names no missing permission", "Change the settings"),
}

cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def told(case: Case, said: str) -> None:
    assert case.what in said, said
    assert f'Cloud Storage says: "{case.message}" (status {case.status}).' in said, said
    assert case.fix in said, said


def customer_bucket(world: World, name: str = BUCKET) -> CustomerBucket:
    return CustomerBucket(world.cloud.as_customer(world.acme.account), world.acme.account, name)


def image(world: World) -> Copy:
    stored = world.cloud.objects.create(world.cloud.settings.images_bucket, "acme/s/1", b"1", "image/jpeg")
    return Copy(stored.name, stored.generation, stored.size, stored.crc32c, "1.jpg")


def copy(world: World) -> None:
    settings = world.cloud.settings
    url, images = settings.storage_url, settings.images_bucket
    copy_images(customer_bucket(world), [image(world)], source_bucket=images, storage_url=url)


@cases
def test_the_connection_test_says_it(world: World, case: Case) -> None:
    world.suite.traffic.arm("storage.uploads.start", case.fault, times=ALWAYS)
    steps = connection_test.run(world.cloud, world.acme.account, f"gs://{BUCKET}/waybill")
    assert not passed(steps)
    told(case, steps[-1].sentence)


@cases
@pytest.mark.parametrize("at", ["storage.objects.rewrite", "storage.objects.get"])
def test_a_run_says_it_at_its_first_attempt(world: World, case: Case, at: str) -> None:
    world.work_order("WO_1")
    export = world.export()
    world.suite.traffic.arm(at, case.fault, times=ALWAYS, resource=BUCKET if at.endswith("get") else "")
    world.run_due(MORNING)
    (event,) = world.audit(export)
    assert event["status"] == "FAILED"
    told(case, f"{event['error']} {event['next_action']}")
    assert "retry the run" in event["next_action"]
    assert not world.failures


@cases
def test_copying_images_says_it_at_the_first_answer(world: World, case: Case) -> None:
    world.suite.traffic.arm("storage.objects.rewrite", case.fault, times=ALWAYS)
    with pytest.raises(CustomerMustAct) as raised:
        copy(world)
    told(case, f"{raised.value} {raised.value.next_action}")
    assert len(world.suite.traffic.calls("storage.objects.rewrite")) == 1


@cases
@pytest.mark.parametrize(
    ("at", "form"),
    [
        ("storage.objects.insert", {"version_format": "Default"}),
        ("storage.uploads.chunk", {"version_format": "WebDataset"}),
        ("storage.objects.rewrite", {"version_format": "Default"}),
    ],
    ids=["labels", "shards", "images"],
)
def test_a_dataset_task_says_it_at_its_first_attempt(
    world: World, monkeypatch: pytest.MonkeyPatch, case: Case, at: str, form: dict[str, str]
) -> None:
    monkeypatch.setattr(objects, "WHOLE_BYTES", 1)  # a shard is a stream, however small the photographs here
    datasets = Datasets(world)
    datasets.work_order("WO-1", [{"results": {"state": {"value": "good"}}}])
    id = datasets.create()
    task = datasets.begin(id, **form)
    world.suite.traffic.arm(at, case.fault, times=ALWAYS, resource="" if "rewrite" in at else BUCKET)
    datasets.settled()
    shown = datasets.task(id, task)
    assert shown["status"] == "FAILED", shown
    told(case, shown["error_msg"])
    assert "create the task again" in shown["error_msg"]


@cases
def test_a_task_whose_path_is_refused_is_not_made(world: World, case: Case) -> None:
    datasets = Datasets(world)
    id = datasets.create()
    world.suite.traffic.arm("storage.uploads.start", case.fault, times=ALWAYS)
    answer = datasets.send("POST", f"/{id}/export-tasks", {"path": f"gs://{BUCKET}/x/"})
    assert answer.status == 400, answer
    told(case, answer.body["error_msg"])


# --- what is not the customer's


@pytest.mark.parametrize("reason", ["rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded"])
def test_a_limit_that_passes_is_waited_out(world: World, reason: str) -> None:
    limit = Fault("error", 403, message="Too much.", reason=reason)
    world.suite.traffic.arm("storage.objects.rewrite", limit, times=2)
    copy(world)
    assert list(world.landed()) == ["1.jpg"]
    world.suite.traffic.arm("storage.objects.get", limit, resource=BUCKET)
    with pytest.raises(Retry, match="does not take it now"):
        customer_bucket(world).deliver(Stored("staging", "x", 1, 1, "AAAAAA=="), "x")


def test_a_key_of_ours_is_not_the_customers(world: World) -> None:
    key = f"projects/{world.suite.project}/locations/eu/keyRings/r/cryptoKeys/k"
    message = f"Cloud KMS key {key} is disabled."
    fault = Fault("error", 400, message=message, reason="cloudKmsDisabledKey")
    world.suite.traffic.arm("storage.objects.rewrite", fault, times=ALWAYS)
    with pytest.raises(Retry, match="is disabled"):
        copy(world)


def test_firestores_refusal_of_a_heartbeat_is_not_the_buckets(world: World) -> None:
    def heartbeat(_: object) -> None:
        world.cloud.db.document("exports/none").update({"alive": True})

    settings = world.cloud.settings
    with pytest.raises(Exception, match="No document to update"):
        copy_images(
            customer_bucket(world),
            [image(world)],
            source_bucket=settings.images_bucket,
            storage_url=settings.storage_url,
            on_progress=heartbeat,
        )


# --- a dataset whose images are in the customer's own bucket

Break = Callable[[World], None]


def no_get(world: World) -> None:
    world.suite.storage.revoke("acme-copies", world.acme.account, "storage.objects.get")


def no_bucket(world: World) -> None:
    world.suite.storage.delete_bucket("acme-copies")


@pytest.mark.parametrize("form", ["Default", "WebDataset"])
@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (no_get, "permission storage.objects.get on the bucket acme-copies."),
        (no_bucket, "The bucket acme-copies does not exist."),
    ],
    ids=["get", "bucket"],
)
def test_the_bucket_that_a_dataset_was_copied_into_is_named(
    world: World, break_it: Break, says: str, form: str
) -> None:
    world.suite.storage.create_bucket("acme-copies")
    world.grant("acme-copies", world.acme)
    datasets = Datasets(world)
    datasets.work_order("WO-1", [{"results": {"state": {"value": "good"}}}])
    params = {
        "export_dest": "NEW_DATASET",
        "export_new_dataset_name": "Copied",
        "export_new_dataset_work_path": "/acme-copies/copied/",
    }
    assert datasets.exported(datasets.create(), export_params=params)["status"] == "SUCCESSED"
    [copied] = [each for each in datasets.got()["datasets"] if each["dataset_name"] == "Copied"]
    break_it(world)
    task = datasets.exported(copied["dataset_id"], version_format=form)
    assert task["status"] == "FAILED", task
    assert says in task["error_msg"], task
