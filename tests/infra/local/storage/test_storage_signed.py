"""Signed URLs, made by Google's own client with keys that the suite's IAM holds."""

import os
import xml.etree.ElementTree as ET
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from google.auth.credentials import Signing

from infra.local.clock import machine_time
from infra.local.storage import signed
from infra.local.storage.errors import StorageError
from infra.local.traffic import Fault
from tests.infra.local.storage.suite import BUCKET, CUSTOMER, OTHER, OWNER, Suite, start

NAME = "Zoë/meter 1+2%.jpg"
CONTENT = bytes(range(256)) * 20


class Signer(Signing):
    """Signs as an account, past IAM's own checks."""

    def __init__(self, suite: Suite, email: str) -> None:
        self._suite = suite
        self._email = email

    @property
    def signer(self) -> Any:
        return self

    @property
    def signer_email(self) -> str:
        return self._email

    def sign_bytes(self, message: bytes) -> bytes:
        return self._suite.identity.sign(self._email, message)[1]


def url_of(suite: Suite, name: str = NAME, email: str = OWNER, bucket: str = BUCKET, **more: Any) -> str:
    url: str = (
        suite.client()
        .bucket(bucket)
        .blob(name)
        .generate_signed_url(
            version="v4",
            credentials=Signer(suite, email),
            api_access_endpoint=suite.url,
            **{"expiration": 600, **more},
        )
    )
    return url


@pytest.fixture
def stored(suite: Suite) -> Suite:
    suite.storage.put(BUCKET, NAME, CONTENT, "image/jpeg")
    return suite


def told(answer: requests.Response) -> tuple[int, str, str]:
    """Status, code and details of an error."""
    assert answer.headers["Content-Type"] == "application/xml; charset=UTF-8"
    error = ET.fromstring(answer.text)
    assert error.tag == "Error"
    assert error.findtext("Message")
    return answer.status_code, error.findtext("Code") or "", error.findtext("Details") or ""


def test_whoever_has_the_url_reads_the_object(stored: Suite) -> None:
    answer = requests.get(url_of(stored), timeout=5)
    assert (answer.status_code, answer.content) == (200, CONTENT)
    [kept] = stored.storage.list(BUCKET)
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert answer.headers["X-Goog-Generation"] == str(kept.generation)
    assert f"crc32c={kept.crc32c}" in answer.headers["X-Goog-Hash"]
    assert "Content-Disposition" not in answer.headers
    [call] = stored.traffic.calls("storage.signed_urls")
    assert (call.kind, call.resource, call.principal) == (
        "storage.signed_urls.get",
        f"{BUCKET}/{NAME}",
        OWNER,
    )


@pytest.mark.parametrize(
    ("asked", "status", "part"),
    [
        ("bytes=0-9", 206, CONTENT[:10]),
        ("bytes=5000-", 206, CONTENT[5000:]),
        ("bytes=-7", 206, CONTENT[-7:]),
    ],
)
def test_a_range_of_it(stored: Suite, asked: str, status: int, part: bytes) -> None:
    answer = requests.get(url_of(stored), headers={"Range": asked}, timeout=5)
    assert (answer.status_code, answer.content) == (status, part)
    assert answer.headers["Content-Range"].endswith(f"/{len(CONTENT)}")


def test_a_range_beyond_it(stored: Suite) -> None:
    answer = requests.get(url_of(stored), headers={"Range": "bytes=5120-"}, timeout=5)
    assert told(answer)[:2] == (416, "InvalidRange")


def test_a_large_object_comes_in_blocks(suite: Suite) -> None:
    content = os.urandom(3 << 20)
    suite.storage.put(BUCKET, "large", content)
    assert requests.get(url_of(suite, "large"), timeout=5).content == content
    http = suite.session(None)
    head = http.head(url_of(suite, "large", method="HEAD"), timeout=5)
    assert (head.status_code, head.headers["Content-Length"], head.content) == (200, str(len(content)), b"")
    assert http.get(url_of(suite, "large"), timeout=5).content == content, "over the same connection"


def test_head_must_be_signed_for_itself(stored: Suite) -> None:
    head = requests.head(url_of(stored, method="HEAD"), timeout=5)
    assert (head.status_code, head.headers["Content-Length"]) == (200, str(len(CONTENT)))
    assert requests.head(url_of(stored), timeout=5).status_code == 403
    assert told(requests.get(url_of(stored, method="HEAD"), timeout=5))[1] == "SignatureDoesNotMatch"


def test_the_name_to_save_it_under(stored: Suite) -> None:
    disposition = "attachment; filename=\"a b.zip\"; filename*=UTF-8''Zo%C3%AB.zip"
    answer = requests.get(url_of(stored, response_disposition=disposition), timeout=5)
    assert (answer.content, answer.headers["Content-Disposition"]) == (CONTENT, disposition)


def test_exactly_one_generation(stored: Suite) -> None:
    [kept] = stored.storage.list(BUCKET)
    url = url_of(stored, generation=kept.generation)
    assert requests.get(url, timeout=5).content == CONTENT
    stored.storage.put(BUCKET, NAME, b"another")
    assert told(requests.get(url, timeout=5))[:2] == (404, "NoSuchKey")


CHANGES: dict[str, Callable[[str], str]] = {
    "another object": lambda url: url.replace("meter", "door"),
    "another bucket": lambda url: url.replace(f"/{BUCKET}/", f"/{CUSTOMER}/"),
    "a longer life": lambda url: url.replace("X-Goog-Expires=600", "X-Goog-Expires=601"),
    "another account": lambda url: url.replace("owner%40", "other%40"),
    "another parameter": lambda url: f"{url}&generation=1",
    "another signature": lambda url: url[:-1] + ("0" if url[-1] != "0" else "1"),
    "no hex": lambda url: f"{url}x",
    "other headers": lambda url: url.replace("SignedHeaders=host", "SignedHeaders=accept%3Bhost"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_signed_cannot_be_changed(stored: Suite, change: str) -> None:
    stored.identity.sign(OTHER, b"it has a key")
    url = url_of(stored)
    changed = CHANGES[change](url)
    assert changed != url
    assert told(requests.get(changed, timeout=5))[:2] == (403, "SignatureDoesNotMatch")


def test_another_host_is_not_what_was_signed(stored: Suite) -> None:
    url = url_of(stored)
    answer = requests.get(url, headers={"Host": "storage.googleapis.com"}, timeout=5)
    assert told(answer)[:2] == (403, "SignatureDoesNotMatch")


def test_a_header_that_was_signed_must_come(stored: Suite) -> None:
    url = url_of(stored, headers={"x-goog-meta-of": "us"})
    assert requests.get(url, headers={"X-Goog-Meta-Of": "us"}, timeout=5).content == CONTENT
    for headers in ({}, {"X-Goog-Meta-Of": "them"}):
        assert told(requests.get(url, headers=headers, timeout=5))[1] == "SignatureDoesNotMatch"


def test_a_browser_asks_whether_it_has_the_content_already(stored: Suite) -> None:
    url = url_of(stored)
    tag = requests.get(url, timeout=5).headers["ETag"]
    for header, status in (("If-None-Match", 304), ("If-Match", 200)):
        assert requests.get(url, headers={header: tag}, timeout=5).status_code == status
    assert requests.get(url, headers={"If-Match": '"another"'}, timeout=5).status_code == 412
    key = {"X-Goog-Encryption-Algorithm": "AES256"}
    assert told(requests.get(url, headers=key, timeout=5))[:2] == (501, "NotImplemented")


def test_an_account_signs_for_itself_alone(stored: Suite) -> None:
    class Liar(Signer):
        @property
        def signer_email(self) -> str:
            return OTHER

    url = (
        stored.client()
        .bucket(BUCKET)
        .blob(NAME)
        .generate_signed_url(
            version="v4", credentials=Liar(stored, OWNER), api_access_endpoint=stored.url, expiration=60
        )
    )
    assert told(requests.get(url, timeout=5))[1] == "SignatureDoesNotMatch"
    # Another account of the same name would be another one; and one that never signed has no key.
    nobody = url.replace("other%40", "nobody%40")
    assert told(requests.get(nobody, timeout=5))[1] == "SignatureDoesNotMatch"


def test_the_account_must_be_allowed_to_read_when_it_is_used(stored: Suite) -> None:
    url = url_of(stored, email=OTHER)
    status, code, details = told(requests.get(url, timeout=5))
    assert (status, code) == (403, "AccessDenied")
    assert details.startswith(f"{OTHER} does not have storage.objects.get access")
    stored.storage.grant(BUCKET, OTHER, "storage.objects.get")
    assert requests.get(url, timeout=5).content == CONTENT
    missing = url_of(stored, "missing", OTHER)
    assert told(requests.get(missing, timeout=5))[:2] == (403, "AccessDenied"), "nothing tells what is there"
    stored.identity.disable_account(OTHER)
    assert told(requests.get(url, timeout=5))[:2] == (403, "AccessDenied")
    stored.identity.disable_account(OTHER, False)
    stored.storage.revoke(BUCKET, OTHER)
    assert told(requests.get(url, timeout=5))[:2] == (403, "AccessDenied")


def test_what_is_not_there(stored: Suite) -> None:
    assert told(requests.get(url_of(stored, "missing"), timeout=5)) == (
        404,
        "NoSuchKey",
        f"No such object: {BUCKET}/missing",
    )
    nowhere = url_of(stored, bucket="no-such-bucket")
    assert told(requests.get(nowhere, timeout=5))[:2] == (404, "NoSuchBucket")


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("", 501, "NotImplemented"),
        ("?X-Goog-Algorithm=GOOG4-RSA-SHA256", 501, "NotImplemented"),
        ("?uploads", 501, "NotImplemented"),
    ],
)
def test_the_rest_of_the_xml_api_is_not_built(stored: Suite, query: str, status: int, code: str) -> None:
    assert told(requests.get(f"{stored.url}/{BUCKET}/x{query}", timeout=5))[:2] == (status, code)


def test_a_parameter_that_is_not_built(stored: Suite) -> None:
    answer = requests.get(url_of(stored, response_type="text/plain"), timeout=5)
    assert told(answer)[:2] == (501, "NotImplemented")


@pytest.mark.parametrize("action", ["error", "reset_before", "truncate"])
def test_faults(stored: Suite, action: Any) -> None:
    stored.traffic.arm("storage.signed_urls.get", Fault(action, status=503), resource=NAME)
    url = url_of(stored)
    if action == "error":
        assert told(requests.get(url, timeout=5))[:2] == (503, "ServiceUnavailable")
    else:
        with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
            requests.get(url, timeout=5)
    assert requests.get(url, timeout=5).content == CONTENT


def test_keys_survive_a_restart(tmp_path: Path) -> None:
    first = start(tmp_path)
    first.identity.create_account(OWNER)
    first.storage.create_bucket(BUCKET)
    first.storage.grant(BUCKET, OWNER, "storage.objects.get")
    first.storage.put(BUCKET, NAME, CONTENT)
    key, signature = first.identity.sign(OWNER, b"x")
    first.stop()
    assert (tmp_path / "identity.json").stat().st_mode & 0o077 == 0
    second = start(tmp_path)
    try:
        assert second.identity.sign(OWNER, b"x") == (key, signature)
        assert second.identity.has_signed(OWNER, b"x", signature)
        assert not second.identity.has_signed(OWNER, b"y", signature)
        assert requests.get(url_of(second), timeout=5).content == CONTENT
    finally:
        second.stop()


# When a URL is good: by the machine's time, which is passed in


def request(suite: Suite, **more: Any) -> signed.Request:
    url = url_of(suite, "x", **more)
    target = url.removeprefix(suite.url)
    return signed.Request("GET", target, {"host": suite.url.removeprefix("http://")})


@pytest.mark.parametrize(
    ("seconds", "after", "code"),
    [
        (600, timedelta(seconds=598), None),
        (600, timedelta(seconds=601), "ExpiredToken"),
        (7 * 24 * 3600, timedelta(days=6, hours=23), None),
        (7 * 24 * 3600, timedelta(days=7, seconds=1), "ExpiredToken"),
        (600, -timedelta(minutes=14), None),
        (600, -timedelta(minutes=16), "forbidden"),
    ],
)
def test_when_a_url_is_good(suite: Suite, seconds: int, after: timedelta, code: str | None) -> None:
    came = request(suite, expiration=seconds)
    api: Any = None
    verify = suite.identity.has_signed
    if code is None:
        email, operation = signed.operation(api, verify, came, machine_time() + after)
        assert (email, operation.resource) == (OWNER, f"{BUCKET}/x")
        return
    with pytest.raises(StorageError) as refused:
        signed.operation(api, verify, came, machine_time() + after)
    assert refused.value.reason == code


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("X-Goog-Expires=600", "X-Goog-Expires=604801"),
        ("X-Goog-Expires=600", "X-Goog-Expires=0"),
        ("X-Goog-Expires=600", "X-Goog-Expires=soon"),
        ("X-Goog-Algorithm=GOOG4-RSA-SHA256", "X-Goog-Algorithm=GOOG4-HMAC-SHA256"),
        ("%2Fauto%2Fstorage%2Fgoog4_request", ""),
        ("X-Goog-Date=20", "X-Goog-Date=19"),
        ("%2Fauto%2F", "%FF%2F"),
    ],
)
def test_a_url_that_makes_no_sense(suite: Suite, good: str, bad: str) -> None:
    came = request(suite)
    target = came.target.replace(good, bad)
    assert target != came.target
    answer = requests.get(suite.url + target, timeout=5)
    assert told(answer)[:2] == (400, "InvalidArgument")
