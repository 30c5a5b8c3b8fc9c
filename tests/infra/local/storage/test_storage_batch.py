"""Batches: a hundred calls in one request, each with an outcome of its own."""

import json
from email.parser import BytesParser
from typing import Any
from urllib.parse import quote

import pytest
import requests
from google.cloud import storage

from infra.local.traffic import Fault
from tests.infra.local.storage.suite import BUCKET, CUSTOMER, OTHER, OWNER, Suite


def _call(method: str, path: str, body: Any = None, *, content_id: str = "", **headers: str) -> bytes:
    lines = ["Content-Type: application/http"]
    if content_id:
        lines.append(f"Content-ID: <{content_id}>")
    lines += ["", f"{method} {path} HTTP/1.1", *(f"{key}: {value}" for key, value in headers.items())]
    content = b"" if body is None else json.dumps(body).encode()
    if content:
        lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    return "\r\n".join([*lines, "", ""]).encode() + content


def _rewrite(source: str, target: str, query: str = "?ifGenerationMatch=0", **more: Any) -> bytes:
    return _call(
        "POST",
        f"/storage/v1/b/{BUCKET}/o/{quote(source, safe='')}/rewriteTo/b/{CUSTOMER}/o/"
        f"{quote(target, safe='')}{query}",
        {},
        **more,
    )


def _send(suite: Suite, http: requests.Session, calls: list[bytes]) -> requests.Response:
    body = b"".join(b"--B\r\n" + call + b"\r\n" for call in calls) + b"--B--\r\n"
    return http.post(
        f"{suite.url}/batch/storage/v1", data=body, headers={"Content-Type": "multipart/mixed; boundary=B"}
    )


def _outcomes(answer: requests.Response) -> list[tuple[str, int, Any]]:
    """Content-ID, status and body of each answer, as a mail parser sees them."""
    assert answer.status_code == 200
    head = f"Content-Type: {answer.headers['Content-Type']}\r\n\r\n".encode()
    message = BytesParser().parsebytes(head + answer.content)
    assert message.is_multipart()
    found = []
    for part in message.get_payload():
        assert not isinstance(part, str)
        assert part.get_content_type() == "application/http"
        inner = part.get_payload(decode=True)
        assert isinstance(inner, bytes)
        top, _, content = inner.partition(b"\r\n\r\n")
        status = int(top.split(b" ", 2)[1])
        found.append((part["Content-ID"] or "", status, json.loads(content) if content.strip() else None))
    return found


def test_a_hundred_calls_each_with_its_own_outcome(suite: Suite, http: requests.Session) -> None:
    calls, expected = [], []
    for number in range(20):
        suite.storage.put(BUCKET, f"image {number}", b"x" * number)
        suite.storage.put(CUSTOMER, f"there/{number}", b"")
        suite.storage.put(BUCKET, f"old/{number}", b"")
        calls += [
            _rewrite(f"image {number}", f"images/{number}", content_id=f"a{number}"),
            _rewrite(f"image {number}", f"there/{number}", content_id=f"b{number}"),
            _rewrite(f"missing {number}", f"never/{number}", content_id=f"c{number}"),
            _call("DELETE", f"/storage/v1/b/{BUCKET}/o/old%2F{number}", content_id=f"d{number}"),
            _call("GET", f"/storage/v1/b/{BUCKET}/o/image%20{number}", content_id=f"e{number}"),
        ]
        expected += [("a", 200), ("b", 412), ("c", 404), ("d", 204), ("e", 200)]
    outcomes = _outcomes(_send(suite, http, calls))

    assert len(outcomes) == 100
    for number, (content_id, status, body) in enumerate(outcomes):
        kind, meant = expected[number]
        assert (content_id, status) == (f"<response-{kind}{number // 5}>", meant)
        if kind == "a":
            assert body["done"] is True
            assert body["resource"]["name"] == f"images/{number // 5}"
        if status >= 400:
            assert body["error"]["code"] == status
        if kind == "e":
            assert body["size"] == str(number // 5)
    assert {o.name for o in suite.storage.list(CUSTOMER)} == {
        f"{folder}/{number}" for folder in ("images", "there") for number in range(20)
    }
    assert len(suite.storage.list(BUCKET)) == 20
    assert [c.kind for c in suite.traffic.calls("storage.batch")] == ["storage.batch"]
    assert len(suite.traffic.calls("storage.objects")) == 100


def test_sending_a_batch_again_after_its_answer_was_lost(suite: Suite, http: requests.Session) -> None:
    for number in range(3):
        suite.storage.put(BUCKET, f"{number}", b"x")
    calls = [_rewrite(f"{number}", f"{number}") for number in range(3)]
    suite.traffic.arm("storage.batch", Fault("reset_after"))
    with pytest.raises(requests.ConnectionError):
        _send(suite, http, calls)
    copied = suite.storage.list(CUSTOMER)
    assert len(copied) == 3
    assert [status for _, status, _ in _outcomes(_send(suite, http, calls))] == [412, 412, 412]
    assert suite.storage.list(CUSTOMER) == copied


@pytest.mark.parametrize(("count", "status"), [(0, 400), (1, 200), (100, 200), (101, 400)])
def test_a_batch_holds_up_to_100_calls(suite: Suite, http: requests.Session, count: int, status: int) -> None:
    suite.storage.put(BUCKET, "x", b"")
    calls = [_rewrite("x", f"{number}") for number in range(count)]
    assert _send(suite, http, calls).status_code == status
    assert len(suite.storage.list(CUSTOMER)) == (count if status == 200 else 0)


def test_a_batch_holds_up_to_ten_megabytes(suite: Suite, http: requests.Session) -> None:
    big = _call("GET", f"/storage/v1/b/{BUCKET}/o/x", {"x": "y" * 10_500_000})
    assert _send(suite, http, [big]).status_code == 400


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/mixed", b"--B--"),
        ("multipart/mixed; boundary=B", b"--B\r\n\r\nGET /storage/v1/b/x HTTP/1.1\r\n\r\n"),
        ("multipart/mixed; boundary=B", b"--B\r\n\r\nnothing\r\n--B--"),
        ("multipart/mixed; boundary=B", b""),
    ],
)
def test_what_is_no_batch(suite: Suite, http: requests.Session, content_type: str, body: bytes) -> None:
    answer = http.post(f"{suite.url}/batch/storage/v1", data=body, headers={"Content-Type": content_type})
    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"/storage/v1/b/{BUCKET}/o/x?alt=media"),
        ("GET", f"/download/storage/v1/b/{BUCKET}/o/x?alt=media"),
        ("POST", f"/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name=y"),
        ("POST", "/batch/storage/v1"),
    ],
)
def test_no_contents_in_a_batch(suite: Suite, http: requests.Session, method: str, path: str) -> None:
    suite.storage.put(BUCKET, "x", b"content")
    inner = _outcomes(_send(suite, http, [_call(method, path), _rewrite("x", "x")]))
    assert [status for _, status, _ in inner] == [400, 200]
    assert [o.name for o in suite.storage.list(BUCKET)] == ["x"]


def test_compose_and_a_rewrite_that_does_not_end_in_one_call(suite: Suite, http: requests.Session) -> None:
    suite.storage.put(BUCKET, "x", b"x" * (1 << 21))
    far = f"/storage/v1/b/{BUCKET}/o/x/rewriteTo/b/far-bucket/o/y?maxBytesRewrittenPerCall=1048576"
    joined = {"sourceObjects": [{"name": "x"}, {"name": "x"}]}
    (_, _, composed), (_, _, rewritten) = _outcomes(
        _send(
            suite,
            http,
            [_call("POST", f"/storage/v1/b/{BUCKET}/o/j/compose", joined), _call("POST", far, {})],
        )
    )
    assert composed["componentCount"] == 2
    assert rewritten["done"] is False
    assert rewritten["rewriteToken"]


def test_each_call_may_be_somebody_elses(suite: Suite, http: requests.Session) -> None:
    suite.storage.put(BUCKET, "x", b"")
    suite.storage.grant(BUCKET, OTHER, "storage.objects.get")
    suite.storage.grant(CUSTOMER, OTHER, "storage.objects.create")
    other = f"Bearer {suite.identity.mint(OTHER)}"
    get = f"/storage/v1/b/{BUCKET}/o/x"
    calls = [
        _call("GET", get),
        _call("GET", get, Authorization=other),
        _call("DELETE", get, Authorization=other),
        _rewrite("x", "copy", Authorization=other),
        _call("GET", get, Authorization="Bearer nonsense"),
    ]
    assert [status for _, status, _ in _outcomes(_send(suite, http, calls))] == [200, 200, 403, 200, 401]
    assert [c.principal for c in suite.traffic.calls("storage.objects")] == [OWNER, OTHER, OTHER, OTHER, ""]
    anonymous = _outcomes(_send(suite, suite.session(None), calls))
    assert [status for _, status, _ in anonymous] == [401, 200, 403, 412, 401]


def test_a_fault_hits_one_call(suite: Suite, http: requests.Session) -> None:
    for name in "abc":
        suite.storage.put(BUCKET, name, b"")
    calls = [_rewrite(name, name) for name in "abc"]
    suite.traffic.arm("storage.objects.rewrite", Fault("error", status=429), resource="/b ->")
    outcomes = _outcomes(_send(suite, http, calls))
    assert [status for _, status, _ in outcomes] == [200, 429, 200]
    assert outcomes[1][2]["error"]["errors"][0]["reason"] == "rateLimitExceeded"
    assert [o.name for o in suite.storage.list(CUSTOMER)] == ["a", "c"]


@pytest.mark.parametrize(("action", "copied"), [("reset_before", ["a"]), ("reset_after", ["a", "b"])])
def test_a_reset_within_a_batch_breaks_all_of_it(
    suite: Suite, http: requests.Session, action: Any, copied: list[str]
) -> None:
    for name in "abc":
        suite.storage.put(BUCKET, name, b"")
    suite.traffic.arm("storage.objects.rewrite", Fault(action), nth=2)
    with pytest.raises(requests.ConnectionError):
        _send(suite, http, [_rewrite(name, name) for name in "abc"])
    assert [o.name for o in suite.storage.list(CUSTOMER)] == copied


def test_the_clients_own_batch(suite: Suite, client: storage.Client) -> None:
    for name in ("a", "b/c", "d?"):
        suite.storage.put(BUCKET, name, b"")
    bucket = client.bucket(BUCKET)
    with client.batch(raise_exception=False) as batch:
        for name in ("a", "b/c", "missing", "d?"):
            bucket.blob(name).delete()
    assert [answer.status_code for answer in batch._responses] == [204, 204, 404, 204]
    assert suite.storage.list(BUCKET) == []
