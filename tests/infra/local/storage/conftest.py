from collections.abc import Iterator

import pytest
import requests
from google.cloud import storage

from tests.infra.local.storage.suite import BUCKET, CUSTOMER, FAR, OTHER, OWNER, Suite, start


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    with pytest.MonkeyPatch.context() as patch:
        # Else each client asks for each bucket's metadata, in a thread of its own and as its own account.
        patch.setenv("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
        suite = start(tmp_path_factory.mktemp("suite"))
        yield suite
        suite.stop()


@pytest.fixture
def suite(running: Suite) -> Suite:
    """The one server of the session, emptied."""
    for bucket in (BUCKET, CUSTOMER, FAR):
        running.storage.delete_bucket(bucket)
    for email in (OWNER, OTHER):
        running.identity.create_account(email)
    running.storage.create_bucket(BUCKET, location="EU")
    running.storage.create_bucket(CUSTOMER, location="EU")
    running.storage.create_bucket(FAR, location="US")
    for bucket in (BUCKET, CUSTOMER, FAR):
        running.storage.grant(bucket, OWNER, "roles/storage.admin")
    running.traffic.disarm()
    running.traffic.forget()
    return running


@pytest.fixture
def client(suite: Suite) -> storage.Client:
    return suite.client()


@pytest.fixture
def http(suite: Suite) -> requests.Session:
    return suite.session()
