"""A bucket of Waybill's own is no place of a customer's, at whichever door it is named."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from infra.bundle import Bundle
from shared.accounts.keys import create_key
from shared.delivery.cloud_storage import connection_test
from shared.gcp.urls import bucket_in
from shared.settings import OWN_BUCKETS, Settings
from tests.subjects.small_dataset import Datasets
from tests.world import BUCKET, World

OWN = [f"waybill-local-{each}" for each in OWN_BUCKETS]


def test_they_are_all_buckets_that_are_deployed() -> None:
    deployed = {*Bundle.load().buckets, "function-source"}
    assert set(OWN_BUCKETS) == deployed
    assert '"${var.project}-function-source"' in Path("infra/terraform/storage.tf").read_text()
    assert Settings(project="p").own_buckets == {f"p-{each}" for each in deployed}


@pytest.mark.parametrize("bucket", OWN)
def test_an_export_to_one_is_refused_when_it_is_made_and_when_it_is_edited(world: World, bucket: str) -> None:
    place = {"storage_uri": f"gs://{bucket}/acme", "export_images": True}
    export = world.export()
    made = world.request("POST", "/v1/exports", _body(place))
    edited = world.request("PATCH", f"/v1/exports/{export}", {"connector_config": place})
    for answer in (made, edited):
        assert answer.status == 400, answer
        (error,) = answer.body["errors"]
        assert error["field"] == "connector_config.storage_uri"
        assert f"{bucket} is a bucket of Waybill's own" in error["message"]


def test_an_export_that_names_one_already_fails_with_the_reason_and_writes_nothing(world: World) -> None:
    """Its document was written before this was refused."""
    world.work_order("WO_1", photographs=1)
    export = world.export()
    bucket = world.cloud.settings.staging_bucket
    config = {"config.connector_config.storage_uri": f"gs://{bucket}/acme"}
    world.cloud.db.document(f"exports/{export}").update(config)
    (first, *others) = world.request("POST", f"/v1/exports/{export}:test").body["steps"]
    assert (first["name"], first["verdict"]) == ("uri", "failed")
    assert "Waybill's own" in first["sentence"]
    assert {each["verdict"] for each in others} == {"skipped"}
    world.run_due(datetime(2026, 11, 23, 2, tzinfo=UTC))
    (event,) = world.audit(export)
    assert event["status"] == "FAILED"
    assert "a bucket of Waybill's own" in event["error"]
    assert "storage_uri" in event["next_action"]


@pytest.mark.parametrize("path", ["gs://{}/sets/", "/{}/sets/"])
def test_a_dataset_is_not_exported_to_one(world: World, path: str) -> None:
    datasets = Datasets(world)
    id = datasets.create()
    for fields in (
        {"path": path.format(OWN[0])},
        {
            "path": "",
            "export_params": {
                "export_dest": "NEW_DATASET",
                "export_new_dataset_name": "More",
                "export_new_dataset_work_path": path.format(OWN[0]),
            },
        },
    ):
        answer = datasets.send("POST", f"/{id}/export-tasks", fields)
        assert (answer.status, answer.body["error_code"]) == (400, "ModelArts.4358"), answer
        assert f"{OWN[0]} is a bucket of Waybill's own" in answer.body["error_msg"]


def test_the_operators_test_of_one_says_why(world: World) -> None:
    steps = connection_test.run(world.cloud, world.acme.account, f"gs://{OWN[0]}/acme")
    assert (steps[0].name, steps[0].verdict) == ("uri", "failed")
    assert OWN[0] in steps[0].sentence


@pytest.mark.parametrize(
    "url",
    [
        "gs://{}/acme/x.jpg",
        "https://storage.googleapis.com/{}/acme/x.jpg",
        "https://{}.storage.googleapis.com/acme/x.jpg",
        "https://STORAGE.cloud.google.com/{}/x.jpg",
    ],
)
def test_a_photograph_in_one_is_not_fetched(world: World, url: str) -> None:
    key = create_key(world.cloud.db, customer="acme", scopes=["batches"], site=world.site.id)
    made = world.request("POST", "/v0.2/work-orders", {"name": "WO_1"}, key=key)
    assert made.status == 201, made
    sent = {"name": "meter", "data": {"type": "image", "value": url.format(OWN[2])}}
    answer = world.request(
        "POST", f"/v0.2/work-orders/{made.body['id']}/analyze", {"inputs": [sent]}, key=key
    )
    assert answer.status == 400, answer
    assert f"{OWN[2]}, a bucket of Waybill's own" in str(answer.body)


def test_what_is_no_url_of_cloud_storage_names_no_bucket() -> None:
    assert bucket_in("https://example.com/waybill-local-images/x.jpg") is None
    assert bucket_in("https://[::1/x.jpg") is None
    assert bucket_in(f"gs://{BUCKET}/x.jpg") == BUCKET


def _body(place: dict[str, object]) -> dict[str, object]:
    return {
        "name": "Nightly",
        "site_ids": ["3f2a1c9e-5b7d-4e8f-9a6b-1c2d3e4f5a6b"],
        "interval": "daily",
        "connector_type": "cloud_storage",
        "connector_config": place,
    }
