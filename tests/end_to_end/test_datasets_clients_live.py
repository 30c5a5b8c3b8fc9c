"""The clients of `/v2` that others wrote, through the front door, on functions in processes of their own."""

from collections.abc import Iterator

import pytest
import requests
from keystoneauth1.identity import generic
from keystoneauth1.session import Session

from infra.local.demo_customer import CUSTOMER
from tests.subjects.dataset_clients import Vendor, header
from tests.subjects.processes import Running, running_suite

pytestmark = pytest.mark.slow

DATASETS = "/v2/{project_id}/datasets"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running_suite(tmp_path_factory.mktemp("suite")) as running:
        yield running


def test_the_vendors_client_signs_at_the_front_door(running: Running) -> None:
    vendor = Vendor(running.suite.url, running.key, project=CUSTOMER)
    listed = vendor.ask("GET", DATASETS, query_params=[("limit", 10), ("offset", 0), ("dataset_name", "é b")])
    assert listed["datasets"] == []
    refused = vendor.refused("GET", f"{DATASETS}/{{dataset_id}}", path_params={"dataset_id": "é b"})
    assert (refused.status_code, refused.error_code) == (404, "ModelArts.4352")
    refused = vendor.refused("POST", DATASETS, body={"dataset_name": "é"})
    assert (refused.status_code, refused.error_code) == (400, "ModelArts.0104")
    assert "site_ids" in refused.error_msg


def test_with_a_region_the_vendors_client_finds_its_project(running: Running) -> None:
    vendor = Vendor(running.suite.url, running.key, project=None, region="eu-nl")
    assert vendor.ask("GET", DATASETS)["total_number"] == 0


def test_a_host_that_was_changed_on_its_way_is_named(running: Running) -> None:
    changed = header("Host", "waybill.internal:80")
    refused = Vendor(running.suite.url, running.key, project=CUSTOMER, change=changed).refused(
        "GET", DATASETS
    )
    assert refused.status_code == 401
    assert "the Host waybill.internal:80, the signed headers" in refused.error_msg


def test_openstacks_client_logs_in_at_the_front_door(running: Running) -> None:
    for auth_url in (running.suite.url, f"{running.suite.url}/v3"):
        auth = generic.Password(
            auth_url=auth_url,
            username="bob",
            password=running.key,
            user_domain_id="any",
            project_name=CUSTOMER,
            project_domain_id="any",
        )
        session = Session(auth=auth)
        assert session.get_endpoint(service_type="modelartsv2") == f"{running.suite.url}/v2/{CUSTOMER}"
        listed = session.get("/datasets", endpoint_filter={"service_type": "modelartsv2"}).json()
        assert listed["total_number"] == 0


def test_what_no_function_serves_is_told_so(running: Running) -> None:
    answer = requests.get(f"{running.suite.url}/nothing", timeout=60)
    assert answer.status_code == 404
    assert "no function serves /nothing" in answer.text
