"""Resumable uploads, request by request."""

import base64
import contextlib
import hashlib
import io
import json
import socket
from datetime import timedelta
from typing import Any

import google_crc32c
import pytest
import requests
from google.api_core.exceptions import Forbidden
from google.cloud import storage
from google.cloud.storage._media.requests import ResumableUpload

from infra.local.traffic import Fault
from tests.infra.local.storage.suite import BUCKET, OTHER, OWNER, Suite, error

Q = 256 * 1024
CONTENT = bytes(range(256)) * 1024 * 2 + b"the end"
"""Two quanta and a bit."""


@pytest.fixture
def anybody(suite: Suite) -> requests.Session:
    """Sends no credentials: a session's URL needs none."""
    return suite.session(None)


def _start(
    suite: Suite, name: str = "x", *, query: str = "", email: str = OWNER, **headers: str
) -> requests.Response:
    return suite.session(email).post(
        f"{suite.url}/upload/storage/v1/b/{BUCKET}/o?uploadType=resumable{query}",
        json={"name": name, "contentType": "text/plain", "metadata": {"who": "me"}},
        headers={key.replace("_", "-"): value for key, value in headers.items()},
    )


def _put(
    session: requests.Session, url: str, content: bytes, content_range: str | None, **headers: str
) -> requests.Response:
    sent = {key.replace("_", "-"): value for key, value in headers.items()}
    if content_range is not None:
        sent["Content-Range"] = f"bytes {content_range}"
    return session.put(url, data=content, headers=sent, allow_redirects=False)


def _standing(answer: requests.Response) -> tuple[int, str | None]:
    return answer.status_code, answer.headers.get("Range")


@pytest.mark.parametrize("beginning", ["", "/resumable"])
def test_a_session_begins_on_either_path(suite: Suite, anybody: requests.Session, beginning: str) -> None:
    path = f"{beginning}/upload/storage/v1/b/{BUCKET}/o?uploadType=resumable&name=x"
    url = suite.session().post(suite.url + path).headers["Location"]
    assert anybody.put(url, data=b"hello").status_code == 200
    assert suite.storage.read(BUCKET, "x") == b"hello"


def test_chunk_by_chunk(suite: Suite, anybody: requests.Session) -> None:
    made = _start(suite, query="&ifGenerationMatch=0")
    assert (made.status_code, made.content) == (200, b"")
    url = made.headers["Location"]
    start = f"{suite.url}/upload/storage/v1/b/{BUCKET}/o?uploadType=resumable&name=x&upload_id="
    assert url.startswith(start)

    assert _standing(_put(anybody, url, b"", "*/*")) == (308, None)
    first = _put(anybody, url, CONTENT[:Q], f"0-{Q - 1}/*")
    assert _standing(first) == (308, f"bytes=0-{Q - 1}")
    assert first.reason == "Resume Incomplete"
    assert "Location" not in first.headers
    assert _standing(_put(anybody, url, b"", "*/*")) == (308, f"bytes=0-{Q - 1}")
    assert suite.storage.list(BUCKET) == []
    last = _put(anybody, url, CONTENT[Q:], f"{Q}-{len(CONTENT) - 1}/{len(CONTENT)}")
    assert last.status_code == 200
    resource = last.json()
    assert resource["size"] == str(len(CONTENT))
    assert (resource["contentType"], resource["metadata"]) == ("text/plain", {"who": "me"})
    assert resource["crc32c"] == base64.b64encode(google_crc32c.value(CONTENT).to_bytes(4)).decode()
    assert suite.storage.read(BUCKET, "x") == CONTENT
    # Asked once more, whatever is sent, it tells of the object.
    suite.storage.remove(BUCKET, "x")
    for content, content_range in ((b"", "*/*"), (b"", "*/17"), (CONTENT[:Q], f"0-{Q - 1}/*")):
        again = _put(anybody, url, content, content_range)
        assert (again.status_code, again.json()) == (200, resource)
    assert suite.storage.list(BUCKET) == []


@pytest.mark.parametrize("size", [0, 1, Q - 1, Q, 3 * Q, 3 * Q + 1])
@pytest.mark.parametrize("known", [True, False])
def test_the_clients_own_upload(suite: Suite, client: storage.Client, size: int, known: bool) -> None:
    content = (CONTENT * 3)[:size]
    blob = client.bucket(BUCKET).blob("x", chunk_size=Q)
    if known:
        blob.upload_from_string(content, if_generation_match=0)
    else:
        with blob.open("wb", if_generation_match=0) as file:
            file.write(content)
    assert suite.storage.read(BUCKET, "x") == content
    read = client.bucket(BUCKET).get_blob("x")
    assert read is not None
    assert read.md5_hash is not None
    assert read.download_as_bytes(checksum="md5") == content


@pytest.mark.parametrize(
    ("content_range", "length"),
    [(None, len(CONTENT)), (f"0-{len(CONTENT) - 1}/{len(CONTENT)}", len(CONTENT)), ("*/0", 0), (None, 0)],
)
def test_all_in_one_request(
    suite: Suite, anybody: requests.Session, content_range: str | None, length: int
) -> None:
    url = _start(suite).headers["Location"]
    assert _put(anybody, url, CONTENT[:length], content_range).status_code == 200
    assert suite.storage.read(BUCKET, "x") == CONTENT[:length]


def test_a_content_of_unknown_length_in_one_request(suite: Suite, anybody: requests.Session) -> None:
    url = _start(suite).headers["Location"]
    answer = anybody.put(url, data=iter([CONTENT[:1000], CONTENT[1000:]]))
    assert answer.status_code == 200
    assert suite.storage.read(BUCKET, "x") == CONTENT


@pytest.mark.parametrize(
    ("chunks", "standing"),
    [
        # A chunk that got lost: what comes after it is refused, untaken.
        ([(Q, 2 * Q, "*")], (503, None)),
        ([(0, Q, "*"), (2 * Q, 2 * Q + 7, "all")], (503, f"bytes=0-{Q - 1}")),
        # Once more, or partly once more.
        ([(0, Q, "*"), (0, Q, "*")], (308, f"bytes=0-{Q - 1}")),
        ([(0, Q, "*"), (0, 2 * Q, "*")], (308, f"bytes=0-{2 * Q - 1}")),
        ([(0, Q, "*"), (1000, 2 * Q, "*")], (308, f"bytes=0-{2 * Q - 1}")),
        ([(0, 2 * Q, "*"), (Q, 2 * Q, "*")], (308, f"bytes=0-{2 * Q - 1}")),
        ([(0, 2 * Q, "*"), (0, Q, "*")], (308, f"bytes=0-{2 * Q - 1}")),
        ([(0, Q, "*"), (0, 2 * Q + 7, "all")], (200, None)),
        ([(0, 2 * Q, "*"), (2 * Q, 2 * Q + 7, "all")], (200, None)),
        # Not a multiple of 256 KiB: only whole quanta are kept.
        ([(0, Q + 1000, "*")], (308, f"bytes=0-{Q - 1}")),
        ([(0, Q + 1000, "all")], (308, f"bytes=0-{Q - 1}")),
    ],
)
def test_chunks_lost_doubled_and_overlapping(
    suite: Suite,
    anybody: requests.Session,
    chunks: list[tuple[int, int, str]],
    standing: tuple[int, str | None],
) -> None:
    url = _start(suite).headers["Location"]
    for start, end, total in chunks:
        size = str(len(CONTENT)) if total == "all" else total
        answer = _put(anybody, url, CONTENT[start:end], f"{start}-{end - 1}/{size}")
    assert answer.status_code == standing[0]
    query = _put(anybody, url, b"", "*/*")
    assert query.headers.get("Range") == standing[1]
    if standing[0] == 200:
        assert suite.storage.read(BUCKET, "x") == CONTENT
        return
    assert suite.storage.list(BUCKET) == []
    # Whatever happened, it goes on where it stands.
    at = int((query.headers.get("Range") or "bytes=0--1").split("-", 1)[1]) + 1
    rest = _put(anybody, url, CONTENT[at:], f"{at}-{len(CONTENT) - 1}/{len(CONTENT)}")
    assert rest.status_code == 200
    assert suite.storage.read(BUCKET, "x") == CONTENT


@pytest.mark.parametrize(
    ("start", "end", "total"),
    [(0, 1000, "*"), (0, Q - 1, "*"), (Q, 2 * Q - 1, "*"), (Q, Q + 1, str(len(CONTENT))), (0, 1, "*")],
)
def test_a_chunk_too_small_that_is_not_the_last_ends_the_session(
    suite: Suite, anybody: requests.Session, start: int, end: int, total: str
) -> None:
    """As Google's own system test of resumable uploads has it of production, in its words."""
    url = _start(suite).headers["Location"]
    if start:
        assert _put(anybody, url, CONTENT[:Q], f"0-{Q - 1}/*").status_code == 308
    refused = (
        400,
        "Invalid request.  The number of bytes uploaded is required to be equal or greater than 262144, "
        "except for the final request (it's recommended to be the exact multiple of 262144).  The received "
        f"request contained {end - start} bytes, which does not meet this requirement.",
    )
    chunk = _put(anybody, url, CONTENT[start:end], f"{start}-{end - 1}/{total}")
    assert (chunk.status_code, chunk.text) == refused
    for content, content_range in ((CONTENT, None), (b"", "*/*"), (b"", f"*/{start}")):
        again = _put(anybody, url, content, content_range)
        assert (again.status_code, again.text) == refused, content_range
    assert anybody.delete(url).status_code == 400
    assert suite.storage.list(BUCKET) == []


def test_the_last_chunk_may_be_small(suite: Suite, anybody: requests.Session) -> None:
    url = _start(suite).headers["Location"]
    assert _put(anybody, url, CONTENT[:Q], f"0-{Q - 1}/*").status_code == 308
    assert _put(anybody, url, CONTENT[Q : Q + 1], f"{Q}-{Q}/{Q + 1}").status_code == 200
    assert suite.storage.read(BUCKET, "x") == CONTENT[: Q + 1]


def test_a_gap_is_told_in_productions_words(suite: Suite, anybody: requests.Session) -> None:
    url = _start(suite).headers["Location"]
    answer = _put(anybody, url, CONTENT[Q : 2 * Q], f"{Q}-{2 * Q - 1}/*")
    assert (answer.status_code, answer.text) == (
        503,
        "Invalid request.  According to the Content-Range header, the upload offset is 262144 byte(s), "
        "which exceeds already uploaded size of 0 byte(s).",
    )
    assert answer.headers["Content-Type"].startswith("text/")


@pytest.mark.parametrize(
    ("total", "standing"),
    [(Q, (200, None)), (Q - 1, (308, f"bytes=0-{Q - 1}")), (Q + 1, (308, f"bytes=0-{Q - 1}"))],
)
def test_a_total_told_afterwards(
    suite: Suite, anybody: requests.Session, total: int, standing: tuple[int, str | None]
) -> None:
    url = _start(suite).headers["Location"]
    _put(anybody, url, CONTENT[:Q], f"0-{Q - 1}/*")
    assert _standing(_put(anybody, url, b"", f"*/{total}")) == standing
    assert len(suite.storage.list(BUCKET)) == (standing[0] == 200)


# The declared length


@pytest.mark.parametrize(
    ("length", "content_range"),
    [
        (len(CONTENT) - 1, None),
        (len(CONTENT) + 1, None),
        (len(CONTENT), f"0-{len(CONTENT) - 1}/{len(CONTENT)}"),
        (len(CONTENT), f"0-{len(CONTENT) - 1}/*"),
        (Q, f"0-{Q - 1}/{len(CONTENT)}"),
        (0, "*/0"),
    ],
)
def test_another_length_than_declared_fails(
    suite: Suite, anybody: requests.Session, length: int, content_range: str | None
) -> None:
    declared = len(CONTENT) if content_range is None else len(CONTENT) - 7
    content = (CONTENT + b"!")[:length]
    url = _start(suite, X_Upload_Content_Length=str(declared)).headers["Location"]
    answer = _put(anybody, url, content, content_range)
    assert answer.status_code == 400
    assert "X-Upload-Content-Length" in error(answer)["message"]
    assert suite.storage.list(BUCKET) == []
    assert _put(anybody, url, CONTENT[:declared], None).status_code == 200


def test_declared_type_and_length(suite: Suite, anybody: requests.Session) -> None:
    made = suite.session().post(
        f"{suite.url}/upload/storage/v1/b/{BUCKET}/o?uploadType=resumable&name=a%2Fb%3F",
        headers={"X-Upload-Content-Type": "image/png", "X-Upload-Content-Length": str(len(CONTENT))},
    )
    assert _put(anybody, made.headers["Location"], CONTENT, None).json()["contentType"] == "image/png"
    assert suite.storage.read(BUCKET, "a/b?") == CONTENT
    assert _start(suite, X_Upload_Content_Length="many").status_code == 400


@pytest.mark.parametrize("content_range", ["0-9/10", "0-8/9", "nonsense", "9-0/10", "0-9/5"])
def test_a_range_that_does_not_fit_the_bytes(
    suite: Suite, anybody: requests.Session, content_range: str
) -> None:
    url = _start(suite).headers["Location"]
    answer = _put(anybody, url, b"12345", content_range)
    assert answer.status_code == 400
    assert _standing(_put(anybody, url, b"", "*/*")) == (308, None)


@pytest.mark.parametrize(("kind", "goes"), [("crc32c", True), ("crc32c", False), ("md5", False)])
def test_the_checksum_sent_last(suite: Suite, anybody: requests.Session, kind: str, goes: bool) -> None:
    url = _start(suite).headers["Location"]
    right = base64.b64encode(google_crc32c.value(CONTENT).to_bytes(4)).decode()
    answer = _put(anybody, url, CONTENT, None, X_Goog_Hash=f"{kind}={right if goes else 'AAAAAA=='}")
    assert answer.status_code == (200 if goes else 400)
    assert len(suite.storage.list(BUCKET)) == goes


RIGHT = {
    "crc32c": base64.b64encode(google_crc32c.value(CONTENT).to_bytes(4)).decode(),
    "md5": base64.b64encode(hashlib.md5(CONTENT).digest()).decode(),
}
WRONG = {"crc32c": "AAAAAA==", "md5": "AAAAAAAAAAAAAAAAAAAAAA=="}


@pytest.mark.parametrize("kind", ["crc32c", "md5"])
@pytest.mark.parametrize("where", ["resource", "header"])
@pytest.mark.parametrize("right", [True, False])
def test_a_checksum_declared_at_the_start_holds_whatever_comes_later(
    suite: Suite, anybody: requests.Session, kind: str, where: str, right: bool
) -> None:
    value = (RIGHT if right else WRONG)[kind]
    field = {"crc32c": "crc32c", "md5": "md5Hash"}[kind]
    url = (
        suite.session()
        .post(
            f"{suite.url}/upload/storage/v1/b/{BUCKET}/o?uploadType=resumable&name=x",
            json={field: value} if where == "resource" else {},
            headers={"X-Goog-Hash": f"{kind}={value}"} if where == "header" else {},
        )
        .headers["Location"]
    )
    # The last request's own checksum is right, but takes nothing back.
    answer = _put(anybody, url, CONTENT, None, X_Goog_Hash=f"{kind}={RIGHT[kind]}")
    assert answer.status_code == (200 if right else 400), answer.text
    assert len(suite.storage.list(BUCKET)) == right


@pytest.mark.parametrize(
    ("resource", "header"),
    [
        ({"crc32c": "AAA="}, ""),
        ({"crc32c": "no base64!"}, ""),
        ({"crc32c": 5}, ""),
        ({"md5Hash": "AAAAAA=="}, ""),
        ({}, "crc32c=AAA="),
        ({}, "md5=AAAAAA=="),
        ({}, "sha256=AAAAAA=="),
        ({}, "crc32c=AAAAAA==,crc32c=AAAAAQ=="),
        ({"crc32c": "AAAAAA=="}, "crc32c=AAAAAQ=="),
    ],
)
@pytest.mark.parametrize("kind", ["resumable", "multipart"])
def test_a_checksum_that_is_none_is_not_taken_since_once(
    suite: Suite, kind: str, resource: dict[str, Any], header: str
) -> None:
    said = json.dumps({"name": "x", **resource}).encode()
    headers = {"X-Goog-Hash": header} if header else {}
    if kind == "multipart":
        said = b"--B\n\n" + said + b"\n--B\n\n\n--B--"
        headers["Content-Type"] = "multipart/related; boundary=B"
    url = f"{suite.url}/upload/storage/v1/b/{BUCKET}/o?uploadType={kind}"
    assert suite.session().post(url, data=said, headers=headers).status_code == 400
    assert suite.storage.list(BUCKET) == []


@pytest.mark.parametrize("kind", ["media", "multipart"])
@pytest.mark.parametrize("right", [True, False])
def test_a_checksum_in_the_header_of_an_insert_holds(suite: Suite, kind: str, right: bool) -> None:
    body, headers = CONTENT, {"X-Goog-Hash": f"md5={(RIGHT if right else WRONG)['md5']}"}
    if kind == "multipart":
        body = b"--B\n\n{}\n--B\n\n" + CONTENT + b"\n--B--"
        headers["Content-Type"] = "multipart/related; boundary=B"
    url = f"{suite.url}/upload/storage/v1/b/{BUCKET}/o?name=x&uploadType={kind}"
    assert suite.session().post(url, data=body, headers=headers).status_code == (200 if right else 400)
    assert len(suite.storage.list(BUCKET)) == right


# Checked when made, and when final


def test_preconditions_are_checked_twice(suite: Suite, anybody: requests.Session) -> None:
    url = _start(suite, query="&ifGenerationMatch=0").headers["Location"]
    suite.storage.put(BUCKET, "x", b"somebody else's")
    answer = _put(anybody, url, CONTENT, None)
    assert (answer.status_code, error(answer)["reason"]) == (412, "conditionNotMet")
    assert suite.storage.read(BUCKET, "x") == b"somebody else's"
    assert error(_start(suite, query="&ifGenerationMatch=0"))["reason"] == "conditionNotMet"
    # The other one out of the way, the bytes are still there.
    suite.storage.remove(BUCKET, "x")
    assert _put(anybody, url, b"", f"*/{len(CONTENT)}").status_code == 200
    assert suite.storage.read(BUCKET, "x") == CONTENT


def test_so_is_whether_it_overwrites(suite: Suite, anybody: requests.Session) -> None:
    suite.storage.grant(BUCKET, OTHER, "storage.objects.create")
    url = _start(suite, email=OTHER).headers["Location"]
    suite.storage.put(BUCKET, "x", b"old")
    answer = _put(anybody, url, CONTENT, None)
    assert answer.status_code == 403
    assert f"{OTHER} does not have storage.objects.delete access" in error(answer)["message"]
    assert suite.storage.read(BUCKET, "x") == b"old"


def test_a_bucket_that_went_meanwhile(suite: Suite, anybody: requests.Session) -> None:
    url = _start(suite).headers["Location"]
    suite.storage.delete_bucket(BUCKET)
    assert error(_put(anybody, url, CONTENT, None))["message"] == "The specified bucket does not exist."


def test_a_session_needs_the_permission_to_create(suite: Suite) -> None:
    with pytest.raises(Forbidden, match=r"storage\.objects\.create"):
        suite.client(OTHER).bucket(BUCKET).blob("x").create_resumable_upload_session()


# The end of a session


def test_cancelling(suite: Suite, anybody: requests.Session) -> None:
    url = _start(suite).headers["Location"]
    _put(anybody, url, CONTENT[:Q], f"0-{Q - 1}/*")
    cancelled = anybody.delete(url)
    assert (cancelled.status_code, cancelled.reason) == (499, "Client Closed Request")
    assert _put(anybody, url, b"", "*/*").status_code == 404
    assert _put(anybody, url, CONTENT, None).status_code == 404
    assert suite.storage.list(BUCKET) == []


def test_a_session_lives_a_week(suite: Suite, anybody: requests.Session) -> None:
    url = _start(suite).headers["Location"]
    _put(anybody, url, CONTENT[:Q], f"0-{Q - 1}/*")
    suite.clock.advance(timedelta(days=7) - timedelta(minutes=1))
    assert _standing(_put(anybody, url, b"", "*/*")) == (308, f"bytes=0-{Q - 1}")
    suite.clock.advance(timedelta(minutes=1))
    for content, content_range in ((b"", "*/*"), (CONTENT[Q:], f"{Q}-{len(CONTENT) - 1}/{len(CONTENT)}")):
        assert _put(anybody, url, content, content_range).status_code == 410
    assert suite.storage.list(BUCKET) == []


def test_an_unknown_session(suite: Suite, anybody: requests.Session) -> None:
    url = f"{suite.url}/upload/storage/v1/b/{BUCKET}/o?uploadType=resumable&upload_id=unheard-of"
    assert _put(anybody, url, b"", "*/*").status_code == 404


# Broken connections


def _send_half(suite: Suite, url: str, sent: int, announced: int) -> socket.socket:
    """Send the head of a chunk and `sent` bytes of its `announced`; the connection stays open."""
    host, port = suite.url.removeprefix("http://").split(":")
    raw = socket.create_connection((host, int(port)))
    head = (
        f"PUT {url.removeprefix(suite.url)} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {announced}\r\n"
        f"Content-Range: bytes 0-{announced - 1}/*\r\n\r\n"
    )
    raw.sendall(head.encode() + CONTENT[:sent])
    return raw


def _until(suite: Suite, anybody: requests.Session, url: str, kept: str | None) -> str | None:
    """Ask until that is kept, or long enough."""
    for _ in range(500):
        found = _put(anybody, url, b"", "*/*").headers.get("Range")
        if found == kept:
            break
    return found


def test_a_chunk_that_breaks_off_is_kept_in_quanta(suite: Suite, anybody: requests.Session) -> None:
    url = _start(suite).headers["Location"]
    raw = _send_half(suite, url, Q + 1000, 2 * Q)
    raw.close()
    assert _until(suite, anybody, url, f"bytes=0-{Q - 1}") == f"bytes=0-{Q - 1}"
    assert _put(anybody, url, CONTENT[Q:], f"{Q}-{len(CONTENT) - 1}/{len(CONTENT)}").status_code == 200
    assert suite.storage.read(BUCKET, "x") == CONTENT


def test_a_newer_request_takes_a_session_over(suite: Suite, anybody: requests.Session) -> None:
    url = _start(suite).headers["Location"]
    raw = _send_half(suite, url, Q + 1000, 2 * Q)
    assert _until(suite, anybody, url, f"bytes=0-{Q - 1}") == f"bytes=0-{Q - 1}"
    # The sender timed out and begins anew while its first request still hangs.
    newer = _put(anybody, url, CONTENT[: 2 * Q], f"0-{2 * Q - 1}/*")
    assert _standing(newer) == (308, f"bytes=0-{2 * Q - 1}")
    raw.sendall(b"?" * (Q - 1000))
    raw.settimeout(10)
    with contextlib.suppress(ConnectionResetError):
        assert raw.recv(1) == b""
    raw.close()
    rest = CONTENT[2 * Q :]
    assert _put(anybody, url, rest, f"{2 * Q}-{len(CONTENT) - 1}/{len(CONTENT)}").status_code == 200
    assert suite.storage.read(BUCKET, "x") == CONTENT


@pytest.mark.parametrize(
    ("action", "kept"),
    [("error", None), ("reset_before", None), ("reset_after", f"bytes=0-{Q - 1}")],
)
def test_a_chunk_with_a_fault(suite: Suite, anybody: requests.Session, action: Any, kept: str | None) -> None:
    url = _start(suite).headers["Location"]
    suite.traffic.arm("storage.uploads.chunk", Fault(action), resource=f"{BUCKET}/x")
    if action == "error":
        assert _put(anybody, url, CONTENT[:Q], f"0-{Q - 1}/*").status_code == 503
    else:
        with pytest.raises(requests.ConnectionError):
            _put(anybody, url, CONTENT[:Q], f"0-{Q - 1}/*")
    assert _put(anybody, url, b"", "*/*").headers.get("Range") == kept


def test_the_last_answer_lost(suite: Suite, anybody: requests.Session) -> None:
    url = _start(suite, query="&ifGenerationMatch=0").headers["Location"]
    suite.traffic.arm("storage.uploads.chunk", Fault("reset_after"))
    with pytest.raises(requests.ConnectionError):
        _put(anybody, url, CONTENT, None)
    assert suite.storage.read(BUCKET, "x") == CONTENT
    asked = _put(anybody, url, b"", "*/*")
    assert (asked.status_code, asked.json()["size"]) == (200, str(len(CONTENT)))


def test_the_client_recovers(suite: Suite, client: storage.Client) -> None:
    """Google's own upload class, its second chunk lost on the way, asks where it stands and goes on."""
    upload = ResumableUpload(
        f"{suite.url}/upload/storage/v1/b/{BUCKET}/o?uploadType=resumable", Q, retry=None
    )
    transport = client._http
    upload.initiate(transport, io.BytesIO(CONTENT), {"name": "x"}, "text/plain")
    suite.traffic.arm("storage.uploads.chunk", Fault("error"), nth=2)
    upload.transmit_next_chunk(transport)
    with pytest.raises(Exception, match="503"):
        upload.transmit_next_chunk(transport)
    upload._make_invalid()
    upload.recover(transport)
    assert upload.bytes_uploaded == Q
    while not upload.finished:
        upload.transmit_next_chunk(transport)
    assert suite.storage.read(BUCKET, "x") == CONTENT


def test_the_journal_of_an_upload(suite: Suite, anybody: requests.Session) -> None:
    url = _start(suite, "a/b").headers["Location"]
    _put(anybody, url, b"", "*/*")
    _put(anybody, url, CONTENT[:Q], f"0-{Q - 1}/*")
    _put(anybody, url, b"", f"*/{Q}")
    _put(anybody, url, b"", f"*/{Q}")
    anybody.delete(_start(suite, "a/b", query="&ifGenerationNotMatch=0").headers["Location"])
    kinds = [call.kind.removeprefix("storage.uploads.") for call in suite.traffic.calls()]
    assert kinds == ["start", "status", "chunk", "chunk", "status", "start", "cancel"]
    assert {(call.resource, call.principal) for call in suite.traffic.calls()} == {(f"{BUCKET}/a/b", OWNER)}
