"""Faults on demand: lost answers and the retries after them."""

from collections.abc import Callable
from typing import Any

import pytest
import requests
from google.api_core.exceptions import PreconditionFailed, ServiceUnavailable, TooManyRequests
from google.cloud import storage

from infra.local.traffic import Fault
from tests.infra.local.storage.suite import BUCKET, CUSTOMER, Suite, error

Act = Callable[[storage.Client], Any]


def _insert(client: storage.Client) -> None:
    client.bucket(CUSTOMER).blob("new").upload_from_string(b"x", if_generation_match=0, retry=None)


def _compose(client: storage.Client) -> None:
    bucket = client.bucket(CUSTOMER)
    bucket.blob("new").compose([bucket.blob("source")], if_generation_match=0, retry=None)


def _rewrite(client: storage.Client) -> None:
    source = client.bucket(BUCKET).blob("source")
    client.bucket(CUSTOMER).blob("new").rewrite(source, if_generation_match=0, retry=None)


WRITES: dict[str, Act] = {
    "storage.objects.insert": _insert,
    "storage.objects.compose": _compose,
    "storage.objects.rewrite": _rewrite,
}


@pytest.fixture
def source(suite: Suite) -> None:
    suite.storage.put(BUCKET, "source", b"x")
    suite.storage.put(CUSTOMER, "source", b"x")


@pytest.mark.usefixtures("source")
@pytest.mark.parametrize("kind", WRITES)
def test_a_retry_after_a_lost_answer_finds_it_done(suite: Suite, client: storage.Client, kind: str) -> None:
    suite.traffic.arm(kind, Fault("reset_after"))
    with pytest.raises(requests.ConnectionError):
        WRITES[kind](client)
    done = suite.storage.list(CUSTOMER, "new")
    assert len(done) == 1
    with pytest.raises(PreconditionFailed):
        WRITES[kind](client)
    assert suite.storage.list(CUSTOMER, "new") == done


@pytest.mark.usefixtures("source")
@pytest.mark.parametrize("kind", WRITES)
def test_a_call_that_never_arrived_has_no_effect(suite: Suite, client: storage.Client, kind: str) -> None:
    suite.traffic.arm(kind, Fault("reset_before"))
    with pytest.raises(requests.ConnectionError):
        WRITES[kind](client)
    assert suite.storage.list(CUSTOMER, "new") == []
    WRITES[kind](client)
    assert suite.storage.read(CUSTOMER, "new") == b"x"


@pytest.mark.usefixtures("source")
@pytest.mark.parametrize("kind", WRITES)
@pytest.mark.parametrize(("status", "raised"), [(503, ServiceUnavailable), (429, TooManyRequests)])
def test_an_error_has_no_effect(
    suite: Suite, client: storage.Client, kind: str, status: int, raised: type[Exception]
) -> None:
    suite.traffic.arm(kind, Fault("error", status=status))
    with pytest.raises(raised):
        WRITES[kind](client)
    assert suite.storage.list(CUSTOMER, "new") == []


@pytest.mark.usefixtures("source")
def test_a_delay_is_answered_rightly(suite: Suite, client: storage.Client) -> None:
    suite.traffic.arm("storage.objects.insert", Fault("delay", seconds=0.2))
    with pytest.raises(requests.Timeout):
        client.bucket(CUSTOMER).blob("new").upload_from_string(b"x", timeout=0.05, retry=None)
    # Whoever did not wait finds it done all the same.
    assert suite.storage.read(CUSTOMER, "new") == b"x"
    suite.traffic.arm("storage.objects.get", Fault("delay", seconds=0.01))
    client.bucket(CUSTOMER).blob("new").reload()


@pytest.mark.parametrize("size", [10, 3 << 20])
def test_a_content_that_breaks_off(suite: Suite, http: requests.Session, size: int) -> None:
    suite.storage.put(BUCKET, "x", b"x" * size)
    url = f"{suite.url}/storage/v1/b/{BUCKET}/o/x?alt=media"
    suite.traffic.arm("storage.objects.get_media", Fault("truncate"))
    with http.get(url, stream=True) as answer:
        assert answer.headers["Content-Length"] == str(size)
        blocks: list[bytes] = []
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            blocks.extend(answer.iter_content(1000))
    assert len(b"".join(blocks)) <= size // 2
    assert len(http.get(url).content) == size


def test_the_client_gets_over_a_content_that_breaks_off(suite: Suite, client: storage.Client) -> None:
    content = bytes(range(256)) * 5000
    suite.storage.put(BUCKET, "x", content)
    suite.traffic.arm("storage.objects.get_media", Fault("truncate"))
    retry = storage.retry.DEFAULT_RETRY.with_delay(initial=0.001, maximum=0.001)
    assert client.bucket(BUCKET).blob("x").download_as_bytes(retry=retry) == content
    assert len(suite.traffic.calls("storage.objects.get_media")) == 2


def test_an_error_has_googles_body(suite: Suite, http: requests.Session) -> None:
    suite.traffic.arm("storage.objects.get", Fault("error", status=503))
    answer = http.get(f"{suite.url}/storage/v1/b/{BUCKET}/o/x")
    assert error(answer)["reason"] == "backendError"
    assert suite.traffic.calls("storage.objects.get")[0].resource == f"{BUCKET}/x"


@pytest.mark.parametrize(
    ("kind", "method", "path"),
    [
        ("storage.buckets.get", "GET", f"/storage/v1/b/{BUCKET}"),
        ("storage.buckets.testIamPermissions", "GET", f"/storage/v1/b/{BUCKET}/iam/testPermissions"),
        ("storage.objects.list", "GET", f"/storage/v1/b/{BUCKET}/o"),
        ("storage.objects.delete", "DELETE", f"/storage/v1/b/{BUCKET}/o/source"),
        ("storage.uploads.start", "POST", f"/upload/storage/v1/b/{BUCKET}/o?uploadType=resumable&name=x"),
    ],
)
@pytest.mark.usefixtures("source")
def test_every_kind_suffers(suite: Suite, http: requests.Session, kind: str, method: str, path: str) -> None:
    suite.traffic.arm(kind, Fault("error", status=500))
    assert http.request(method, suite.url + path).status_code == 500
    assert http.request(method, suite.url + path).status_code in (200, 204)
