"""Objects: written, read, listed, joined, copied, deleted; each with its preconditions."""

import base64
import gzip
import hashlib
import io
from collections.abc import Callable
from datetime import timedelta
from email.mime.multipart import MIMEMultipart
from email.mime.nonmultipart import MIMENonMultipart
from typing import Any
from urllib.parse import quote

import google_crc32c
import pytest
import requests
from google.api_core.exceptions import BadRequest, GoogleAPICallError, NotFound, PreconditionFailed
from google.cloud import storage
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.local.storage.api import MIB
from tests.infra.local.storage.suite import BUCKET, CUSTOMER, FAR, START, Suite, error


def _crc32c(content: bytes) -> str:
    return base64.b64encode(google_crc32c.value(content).to_bytes(4)).decode()


def _multipart(suite: Suite, http: requests.Session, resource: str, content: bytes) -> requests.Response:
    body = (
        b"--B\r\ncontent-type: application/json\r\n\r\n" + resource.encode() + b"\r\n"
        b"--B\r\ncontent-type: text/plain\r\n\r\n" + content + b"\r\n--B--"
    )
    return http.post(
        f"{suite.url}/upload/storage/v1/b/{BUCKET}/o?uploadType=multipart",
        data=body,
        headers={"Content-Type": 'multipart/related; boundary="B"'},
    )


# Writing and the resource


def test_an_object_has_productions_fields(
    suite: Suite, client: storage.Client, http: requests.Session
) -> None:
    blob = client.bucket(BUCKET).blob("a/b.txt")
    blob.metadata = {"who": "me"}
    blob.cache_control = "no-store"
    blob.upload_from_string(b"hello", content_type="text/plain", if_generation_match=0)

    resource = http.get(f"{suite.url}/storage/v1/b/{BUCKET}/o/a%2Fb.txt").json()

    generation = resource["generation"]
    created = resource["timeCreated"]
    assert created.startswith("2026-11-23T08:00:00.")
    assert int(generation) >= int(START.timestamp() * 1_000_000)
    assert base64.b64decode(resource["etag"])[-2:] == b"\x10\x01"
    assert resource == {
        "kind": "storage#object",
        "id": f"{BUCKET}/a/b.txt/{generation}",
        "name": "a/b.txt",
        "bucket": BUCKET,
        "generation": generation,
        "metageneration": "1",
        "contentType": "text/plain",
        "cacheControl": "no-store",
        "metadata": {"who": "me"},
        "storageClass": "STANDARD",
        "size": "5",
        "crc32c": _crc32c(b"hello"),
        "md5Hash": base64.b64encode(hashlib.md5(b"hello").digest()).decode(),
        "etag": resource["etag"],
        "timeCreated": created,
        "updated": created,
        "timeStorageClassUpdated": created,
        "timeFinalized": created,
        "selfLink": f"{suite.url}/storage/v1/b/{BUCKET}/o/a%2Fb.txt",
        "mediaLink": f"{suite.url}/download/storage/v1/b/{BUCKET}/o/a%2Fb.txt"
        f"?generation={generation}&alt=media",
    }
    assert blob.generation == int(generation)


def test_links_lead_to_an_object_from_wherever_it_is_told_of(suite: Suite, http: requests.Session) -> None:
    """Whoever lists, writes, joins or copies an object is told where its content is, as tools expect it."""
    name = "sp ace/ü#?%2F.txt"
    path, objects = quote(name, safe=""), f"{suite.url}/storage/v1/b/{BUCKET}/o"
    upload = f"{suite.url}/upload/storage/v1/b/{BUCKET}/o?name={path}&uploadType="
    session = http.post(f"{upload}resumable").headers["Location"]
    to = f"rewriteTo/b/{BUCKET}/o/{path}"
    told = {
        "insert": http.post(f"{upload}media", data=b"hello").json(),
        "resumable": http.put(session, data=b"hello").json(),
        "compose": http.post(f"{objects}/{path}/compose", json={"sourceObjects": [{"name": name}]}).json(),
        "rewrite": http.post(f"{objects}/{path}/{to}").json()["resource"],
        "list": http.get(objects).json()["items"][0],
        "get": http.get(f"{objects}/{path}").json(),
    }
    for call, resource in told.items():
        assert resource["selfLink"] == f"{objects}/{path}", call
        assert f"?generation={resource['generation']}&alt=media" in resource["mediaLink"], call
    assert http.get(told["list"]["mediaLink"]).content == b"hello"
    assert http.get(told["get"]["selfLink"]).json()["name"] == name
    bucket = http.get(f"{suite.url}/storage/v1/b/{BUCKET}").json()
    assert http.get(bucket["selfLink"]).json() == bucket


def test_what_tests_look_at_is_what_was_written(suite: Suite, client: storage.Client) -> None:
    client.bucket(BUCKET).blob("x").upload_from_string(b"one", content_type="text/plain")
    suite.storage.put(BUCKET, "y", b"two")

    x, y = suite.storage.list(BUCKET)

    assert (x.name, x.size, x.crc32c, x.content_type) == ("x", 3, _crc32c(b"one"), "text/plain")
    assert (y.name, y.content_type) == ("y", "application/octet-stream")
    assert x.generation < y.generation
    assert START <= x.time_created < y.time_created
    assert suite.storage.read(BUCKET, "y") == b"two"
    assert client.bucket(BUCKET).blob("y").download_as_bytes() == b"two"
    suite.storage.remove(BUCKET, "x")
    assert [o.name for o in suite.storage.list(BUCKET, "")] == ["y"]
    with pytest.raises(KeyError):
        suite.storage.read(BUCKET, "x")
    with pytest.raises(ValueError, match="no bucket"):
        suite.storage.list("nowhere")


def test_generations_grow_also_when_an_object_is_written_over(suite: Suite, client: storage.Client) -> None:
    seen = []
    for content in (b"1", b"22", b"1"):
        blob = client.bucket(BUCKET).blob("x")
        blob.upload_from_string(content)
        seen.append(blob.generation)
    assert seen == sorted(set(seen))
    assert suite.storage.read(BUCKET, "x") == b"1"


@pytest.mark.parametrize("content", [b"", b"\r\n--B--\r\n", b"\r\n", bytes(range(256)) * 9, b"x\r\n\r\ny"])
def test_multipart_keeps_every_byte(suite: Suite, http: requests.Session, content: bytes) -> None:
    answer = _multipart(suite, http, '{"name": "x"}', content)
    assert answer.status_code == 200
    assert suite.storage.read(BUCKET, "x") == content
    assert answer.json()["contentType"] == "text/plain"


_JSON = b'{"name": "x"}'


def _related(end: bytes, *parts: bytes, before: bytes = b"", after: bytes = b"") -> bytes:
    """A multipart body whose own lines end in `end`; parts are as they are."""
    return before + b"".join(b"--B" + end + part + end for part in parts) + b"--B--" + after


def _send_related(suite: Suite, http: requests.Session, body: bytes) -> requests.Response:
    return http.post(
        f"{suite.url}/upload/storage/v1/b/{BUCKET}/o?uploadType=multipart",
        data=body,
        headers={"Content-Type": "multipart/related; boundary=B"},
    )


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
@pytest.mark.parametrize("heads", [True, False])
@pytest.mark.parametrize(
    "content",
    [
        b"first\r\n\r\nsecond",
        b"first\n\nsecond",
        b"\r\n\r\nfirst",
        b"\n",
        b"",
        b"last\r",
        b"a: b\r\n\r\nc",
        b"--B",
        b"x\n--Bee\ny",
        b"x--B--",
    ],
)
def test_multipart_is_parsed_with_either_line_end_and_without_part_headers(
    suite: Suite, http: requests.Session, content: bytes, heads: bool, end: bytes
) -> None:
    first = (b"Content-Type: application/json" + end if heads else b"") + end + _JSON
    second = (b"Content-Type: text/plain;" + end + b" charset=utf-8" + end if heads else b"") + end + content
    answer = _send_related(suite, http, _related(end, first, second))
    assert answer.status_code == 200, answer.text
    assert suite.storage.read(BUCKET, "x") == content
    kind = "text/plain; charset=utf-8" if heads else "application/octet-stream"
    assert answer.json()["contentType"] == kind


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(
            _related(b"\r\n", b"\n" + _JSON, b"A: b\n\nhello").replace(b"A: b", b"Mime-Version: 1"),
            id="LF in heads",
        ),
        pytest.param(_related(b"\n", b"\r\n" + _JSON, b"\r\nhello"), id="CRLF in heads"),
        pytest.param(_related(b"\r\n", b"\r\n" + _JSON, b"\r\nhello", before=b"text\r\n"), id="preamble"),
        pytest.param(_related(b"\r\n", b"\r\n" + _JSON, b"\r\nhello", after=b" \r\ntext"), id="epilogue"),
        pytest.param(
            _related(b" \t\r\n", b"\r\n" + _JSON, b"\r\nhello").replace(b" \t\r\n--", b"\r\n--"), id="padding"
        ),
    ],
)
def test_multipart_as_the_standard_allows_it(suite: Suite, http: requests.Session, body: bytes) -> None:
    answer = _send_related(suite, http, body)
    assert answer.status_code == 200, answer.text
    assert suite.storage.read(BUCKET, "x") == b"hello"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(_related(b"\r\n", b"\r\n" + _JSON), 400, id="one part"),
        pytest.param(_related(b"\r\n", b"\r\n" + _JSON, b"\r\n1", b"\r\n2"), 400, id="three parts"),
        pytest.param(_related(b"\r\n", b"\r\n" + _JSON, b"\r\n1")[:-2], 400, id="no end"),
        pytest.param(_related(b"\r\n", b"\r\n" + _JSON, b"1"), 400, id="no blank line"),
        pytest.param(_related(b"\r\n", b"Content-Type: text/x\r\n\r\n" + _JSON, b"\r\n1"), 400, id="no JSON"),
        pytest.param(
            _related(b"\r\n", b"\r\n" + _JSON, b"Content-Transfer-Encoding: base64\r\n\r\naGk="),
            501,
            id="base64",
        ),
        pytest.param(
            _related(b"\r\n", b"\r\n" + _JSON, b"Content-Encoding: gzip\r\n\r\n1"), 501, id="encoded part"
        ),
        pytest.param(b"", 400, id="nothing"),
    ],
)
def test_multipart_that_is_none_writes_nothing(
    suite: Suite, http: requests.Session, body: bytes, status: int
) -> None:
    answer = _send_related(suite, http, body)
    assert answer.status_code == status, answer.text
    assert suite.storage.list(BUCKET) == []


@pytest.mark.parametrize("boundary", ["B", '"B"', "'B'", 'B; start="<a>"'])
@pytest.mark.parametrize("kind", ["multipart/related", "Multipart/Related"])
def test_the_boundary_in_each_form(suite: Suite, http: requests.Session, kind: str, boundary: str) -> None:
    """With apostrophes, as gcloud writes it, too."""
    answer = http.post(
        f"{suite.url}/upload/storage/v1/b/{BUCKET}/o?uploadType=multipart",
        data=_related(b"\n", b"\n" + _JSON, b"\nhello"),
        headers={"Content-Type": f"{kind}; boundary={boundary}"},
    )
    assert answer.status_code == 200, answer.text
    assert suite.storage.read(BUCKET, "x") == b"hello"


def test_multipart_from_pythons_own_writer(suite: Suite, http: requests.Session) -> None:
    """As Google's older clients send it: line feeds, folded headers, a Mime-Version in each part."""
    whole = MIMEMultipart("related", boundary="B")
    for kind, payload in (("application/json", '{"name": "x"}'), ("text/plain", "one\n\ntwo")):
        part = MIMENonMultipart(*kind.split("/"), charset="utf-8")
        part["Content-Transfer-Encoding"] = "binary"
        part.set_payload(payload)
        whole.attach(part)
    answer = _send_related(suite, http, whole.as_bytes().partition(b"\n\n")[2])
    assert answer.status_code == 200, answer.text
    assert suite.storage.read(BUCKET, "x") == b"one\n\ntwo"


@pytest.mark.parametrize("cut", [0, 5])
@pytest.mark.parametrize("kind", ["media", "multipart", "resumable"])
def test_a_gzipped_request_is_kept_as_it_was_before(
    suite: Suite, http: requests.Session, kind: str, cut: int
) -> None:
    """Transport encoding, as `gcloud storage cp -J` sends it; one that breaks off is refused."""
    plain = b"hello " * 1000
    url = f"{suite.url}/upload/storage/v1/b/{BUCKET}/o?uploadType={kind}&name=x"
    headers = {"Content-Encoding": "gzip"}
    if kind == "resumable":
        url = http.post(url).headers["Location"]
        headers["Content-Range"] = f"bytes 0-{len(plain) - 1}/{len(plain)}"
    body = plain
    if kind == "multipart":
        body = _related(b"\r\n", b"\r\n{}", b"\r\n" + plain)
        headers["Content-Type"] = "multipart/related; boundary=B"
    packed = gzip.compress(body[:2000]) + gzip.compress(body[2000:])
    answer = http.request(
        "PUT" if kind == "resumable" else "POST", url, data=packed[: -cut or None], headers=headers
    )
    assert answer.status_code == (400 if cut else 200), answer.text
    if cut:
        assert suite.storage.list(BUCKET) == []
    else:
        assert suite.storage.read(BUCKET, "x") == plain
        assert "contentEncoding" not in answer.json()


@pytest.mark.parametrize("encoding", ["br", "deflate", "nonsense"])
def test_a_body_in_another_encoding_is_refused(suite: Suite, http: requests.Session, encoding: str) -> None:
    url = f"{suite.url}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name=x"
    assert http.post(url, data=b"hello", headers={"Content-Encoding": encoding}).status_code == 501
    assert suite.storage.list(BUCKET) == []


@pytest.mark.parametrize("kind", ["media", "resumable"])
def test_the_query_says_how_a_content_is_encoded(suite: Suite, http: requests.Session, kind: str) -> None:
    url = f"{suite.url}/upload/storage/v1/b/{BUCKET}/o?uploadType={kind}&name=x&contentEncoding=gzip"
    answer = http.post(url, data=b"" if kind == "resumable" else b"hello")
    if kind == "resumable":
        answer = http.put(answer.headers["Location"], data=b"hello")
    assert answer.json()["contentEncoding"] == "gzip"


def test_media_upload(suite: Suite, http: requests.Session) -> None:
    url = f"{suite.url}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name=a%2Fb&ifGenerationMatch=0"
    answer = http.post(url, data=b"hello", headers={"Content-Type": "image/png"})
    assert answer.json()["contentType"] == "image/png"
    assert suite.storage.read(BUCKET, "a/b") == b"hello"
    assert error(http.post(url, data=b"hello"))["reason"] == "conditionNotMet"


@pytest.mark.parametrize(
    ("resource", "message"),
    [
        ('{"name": "x", "crc32c": "AAAAAA=="}', 'Provided CRC32C "AAAAAA==" doesn\'t match'),
        ('{"name": "x", "md5Hash": "AAAAAAAAAAAAAAAAAAAAAA=="}', "Provided MD5 hash"),
        ('{"name": "x", "bucket": "another"}', "bucket"),
        ('{"name": "x", "metadata": {"a": 1}}', "metadata"),
        ('{"name": "x", "acl": [{"entity": "allUsers"}]}', "uniform bucket-level access"),
        ('{"name": "x"', "Parse Error"),
        ("{}", "Required"),
    ],
)
def test_a_wrong_insert_writes_nothing(
    suite: Suite, http: requests.Session, resource: str, message: str
) -> None:
    answer = _multipart(suite, http, resource, b"hello")
    assert answer.status_code == 400
    assert message in error(answer)["message"]
    assert suite.storage.list(BUCKET) == []


@pytest.mark.parametrize("name", ["", "a\rb", "a\nb", ".", "..", "x" * 1025, "\u00e9" * 513])
def test_names_that_no_object_may_have(suite: Suite, http: requests.Session, name: str) -> None:
    url = f"{suite.url}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={quote(name, safe='')}"
    assert http.post(url, data=b"x").status_code == 400
    suite.storage.put(BUCKET, "source", b"x")
    if name and name not in (".", ".."):
        target = f"{BUCKET}/o/source/rewriteTo/b/{BUCKET}/o/{quote(name, safe='')}"
        assert http.post(f"{suite.url}/storage/v1/b/{target}").status_code == 400
    assert [o.name for o in suite.storage.list(BUCKET)] == ["source"]


_NAMES = (
    st.lists(
        st.one_of(
            st.sampled_from([*"/%#?&=+;:@ \"'\\<>[]{}~.\0\t\x7f", "%2F", "é", "e\u0301", "😀", "\u2028"]),
            st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]),
        ),
        min_size=1,
        max_size=40,
    )
    .map("".join)
    .filter(lambda name: name not in (".", "..") and not name.startswith(".well-known/"))
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=_NAMES)
def test_any_name_round_trips(suite: Suite, client: storage.Client, name: str) -> None:
    bucket = client.bucket(BUCKET)
    bucket.blob(name).upload_from_string(name.encode(), if_generation_match=None)
    bucket.blob(name + "/").upload_from_string(b"another")
    assert suite.storage.read(BUCKET, name) == name.encode()

    read = bucket.get_blob(name)
    assert read is not None
    assert read.name == name
    assert read.download_as_bytes() == name.encode()
    assert name in [blob.name for blob in bucket.list_blobs(prefix=name)]
    copy = client.bucket(CUSTOMER).blob(name)
    copy.rewrite(read)
    joined = bucket.blob("joined " + name)
    joined.compose([read, read])
    assert suite.storage.read(CUSTOMER, name) == name.encode()
    assert suite.storage.read(BUCKET, "joined " + name) == name.encode() * 2
    read.delete()
    left = [stored.name for stored in suite.storage.list(BUCKET)]
    assert left == sorted([name + "/", "joined " + name], key=lambda each: each.encode())
    for bucket_name in (BUCKET, CUSTOMER):
        for stored in suite.storage.list(bucket_name):
            suite.storage.remove(bucket_name, stored.name)


# Preconditions


def _insert(suite: Suite, client: storage.Client, generation: int | None) -> None:
    client.bucket(BUCKET).blob("x").upload_from_string(b"new", if_generation_match=generation, retry=None)


def _insert_resumable(suite: Suite, client: storage.Client, generation: int | None) -> None:
    # A file of unknown size goes up in a resumable session.
    client.bucket(BUCKET).blob("x").upload_from_file(
        io.BytesIO(b"new"), if_generation_match=generation, retry=None
    )


def _compose(suite: Suite, client: storage.Client, generation: int | None) -> None:
    bucket = client.bucket(BUCKET)
    bucket.blob("x").compose([bucket.blob("source")], if_generation_match=generation, retry=None)


def _rewrite(suite: Suite, client: storage.Client, generation: int | None) -> None:
    bucket = client.bucket(BUCKET)
    bucket.blob("x").rewrite(bucket.blob("source"), if_generation_match=generation, retry=None)


@pytest.mark.parametrize("write", [_insert, _insert_resumable, _compose, _rewrite])
@pytest.mark.parametrize(
    ("exists", "asked", "goes"),
    [
        (False, None, True),
        (False, "none", True),
        (False, "other", False),
        (True, None, True),
        (True, "none", False),
        (True, "current", True),
        (True, "other", False),
    ],
)
def test_every_write_keeps_its_generation_precondition(
    suite: Suite,
    client: storage.Client,
    write: Callable[[Suite, storage.Client, int | None], None],
    exists: bool,
    asked: str | None,
    goes: bool,
) -> None:
    suite.storage.put(BUCKET, "source", b"new")
    if exists:
        suite.storage.put(BUCKET, "x", b"old")
    current = suite.storage.list(BUCKET, "x")[0].generation if exists else 0
    generation = {None: None, "none": 0, "current": current, "other": 17}[asked]
    if goes:
        write(suite, client, generation)
        assert suite.storage.read(BUCKET, "x") == b"new"
        return
    with pytest.raises(PreconditionFailed) as caught:
        write(suite, client, generation)
    assert "At least one of the pre-conditions you specified did not hold." in str(caught.value)
    left = suite.storage.list(BUCKET, "x")
    assert [o.generation for o in left] == ([current] if exists else [])


def test_a_failed_precondition_has_productions_body(suite: Suite, http: requests.Session) -> None:
    suite.storage.put(BUCKET, "x", b"old")
    answer = http.delete(f"{suite.url}/storage/v1/b/{BUCKET}/o/x?ifGenerationMatch=1")
    assert answer.status_code == 412
    assert answer.json() == {
        "error": {
            "code": 412,
            "message": "At least one of the pre-conditions you specified did not hold.",
            "errors": [
                {
                    "message": "At least one of the pre-conditions you specified did not hold.",
                    "domain": "global",
                    "reason": "conditionNotMet",
                    "locationType": "header",
                    "location": "If-Match",
                }
            ],
        }
    }


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("ifGenerationMatch={now}", 200),
        ("ifGenerationMatch=1", 412),
        ("ifGenerationNotMatch=1", 200),
        ("ifGenerationNotMatch={now}", 304),
        ("ifMetagenerationMatch=1", 200),
        ("ifMetagenerationMatch=2", 412),
        ("ifMetagenerationNotMatch=1", 304),
        ("generation={now}", 200),
        ("generation=1", 404),
        ("ifGenerationMatch=x", 400),
    ],
)
@pytest.mark.parametrize("media", ["", "&alt=media"])
def test_reading_with_preconditions(
    suite: Suite, http: requests.Session, query: str, status: int, media: str
) -> None:
    suite.storage.put(BUCKET, "x", b"hello")
    now = suite.storage.list(BUCKET)[0].generation
    url = f"{suite.url}/storage/v1/b/{BUCKET}/o/x?{query.format(now=now)}{media}"
    assert http.get(url).status_code == status


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 204),
        ("?ifGenerationMatch={now}", 204),
        ("?ifGenerationMatch=1", 412),
        ("?generation={now}", 204),
        ("?generation=1", 404),
    ],
)
def test_deleting_with_preconditions(suite: Suite, http: requests.Session, query: str, status: int) -> None:
    suite.storage.put(BUCKET, "x", b"hello")
    now = suite.storage.list(BUCKET)[0].generation
    answer = http.delete(f"{suite.url}/storage/v1/b/{BUCKET}/o/x{query.format(now=now)}")
    assert answer.status_code == status
    assert bool(suite.storage.list(BUCKET)) == (status != 204)


def test_a_missing_object(suite: Suite, client: storage.Client) -> None:
    bucket = client.bucket(BUCKET)
    assert bucket.get_blob("x") is None
    with pytest.raises(NotFound, match=f"No such object: {BUCKET}/x"):
        bucket.blob("x").reload()
    with pytest.raises(NotFound, match=f"No such object: {BUCKET}/x"):
        bucket.blob("x").download_as_bytes()
    with pytest.raises(NotFound, match=f"No such object: {BUCKET}/x"):
        bucket.blob("x").delete()


def test_a_missing_bucket(client: storage.Client) -> None:
    bucket = client.bucket("nowhere")
    calls: list[Callable[[], Any]] = [
        bucket.reload,
        lambda: list(bucket.list_blobs()),
        bucket.blob("x").reload,
        lambda: bucket.blob("x").upload_from_string(b"x"),
        lambda: bucket.blob("x").rewrite(client.bucket(BUCKET).blob("x")),
        lambda: client.bucket(BUCKET).blob("x").rewrite(bucket.blob("x")),
        lambda: bucket.test_iam_permissions(["storage.objects.get"]),
        bucket.blob("x").create_resumable_upload_session,
    ]
    for call in calls:
        with pytest.raises(NotFound, match=r"The specified bucket does not exist\."):
            call()


# Contents


@pytest.mark.parametrize(
    ("header", "status", "content", "shown"),
    [
        (None, 200, b"0123456789", None),
        ("bytes=0-0", 206, b"0", "bytes 0-0/10"),
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=7-99", 206, b"789", "bytes 7-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=-99", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=10-", 416, None, None),
        ("bytes=-0", 416, None, None),
        ("bytes=4-2", 200, b"0123456789", None),
        ("bytes=0-1,3-4", 200, b"0123456789", None),
        ("lines=1-2", 200, b"0123456789", None),
    ],
)
@pytest.mark.parametrize("root", ["storage/v1", "download/storage/v1"])
def test_ranges(
    suite: Suite,
    http: requests.Session,
    root: str,
    header: str | None,
    status: int,
    content: bytes | None,
    shown: str | None,
) -> None:
    suite.storage.put(BUCKET, "x", b"0123456789", "text/plain")
    headers = {"Range": header} if header else {}
    answer = http.get(f"{suite.url}/{root}/b/{BUCKET}/o/x?alt=media", headers=headers)
    assert answer.status_code == status
    assert answer.headers.get("Content-Range") == shown
    if content is not None:
        assert answer.content == content
        assert answer.headers["Content-Type"] == "text/plain"
        assert f"crc32c={_crc32c(b'0123456789')},md5=" in answer.headers["X-Goog-Hash"]
        assert answer.headers["X-Goog-Generation"] == str(suite.storage.list(BUCKET)[0].generation)


def test_ranges_of_a_content_in_pieces(suite: Suite, client: storage.Client) -> None:
    for name in "abc":
        suite.storage.put(BUCKET, name, name.encode() * 4)
    bucket = client.bucket(BUCKET)
    joined = bucket.blob("joined")
    joined.compose([bucket.blob(name) for name in "abcab"])
    whole = b"aaaabbbbccccaaaabbbb"
    for start in range(20):
        for end in range(start, 20):
            assert joined.download_as_bytes(start=start, end=end) == whole[start : end + 1]


def test_a_large_content_is_streamed(suite: Suite, client: storage.Client, http: requests.Session) -> None:
    content = bytes(range(251)) * (3 * MIB // 251)
    suite.storage.put(BUCKET, "x", content)
    blob = client.bucket(BUCKET).blob("x")
    assert blob.download_as_bytes() == content
    assert blob.download_as_bytes(start=1000, end=2 * MIB) == content[1000 : 2 * MIB + 1]
    url = f"{suite.url}/storage/v1/b/{BUCKET}/o/x?alt=media"
    assert http.get(url).headers["Content-Length"] == str(len(content))


def test_no_content_to_take_a_range_of(suite: Suite, http: requests.Session) -> None:
    suite.storage.put(BUCKET, "x", b"")
    url = f"{suite.url}/storage/v1/b/{BUCKET}/o/x?alt=media"
    assert http.get(url).content == b""
    assert http.get(url, headers={"Range": "bytes=0-0"}).status_code == 416


# Lists


def test_a_list_is_in_the_order_of_utf_8(suite: Suite, client: storage.Client) -> None:
    names = ["Z", "a", "a/", "a/b", "a0", "é", "\uffff", "😀", "a b", "a%2Fb"]
    for name in names:
        suite.storage.put(BUCKET, name, b"")
    listed = [blob.name for blob in client.list_blobs(BUCKET)]
    assert listed == sorted(names, key=lambda name: name.encode())
    assert listed.index("\uffff") < listed.index("😀")


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize(
    ("arguments", "items", "prefixes"),
    [
        ({"match_glob": "**.4", "prefix": "a"}, [], []),
        ({"match_glob": "*"}, ["a0", "c"], []),
        ({"match_glob": "a/*"}, ["a/1", "a/2"], []),
        ({"match_glob": "a/**"}, ["a/1", "a/2", "a/b/3"], []),
        ({"match_glob": "**3", "prefix": "a/"}, ["a/b/3"], []),
        ({"match_glob": "?"}, ["c"], []),
        ({"match_glob": "?/?"}, ["a/1", "a/2", "b/4"], []),
        ({"match_glob": "a?1"}, [], []),
        ({"match_glob": "a[!x]1"}, [], []),
        ({"match_glob": "[a-b]/*"}, ["a/1", "a/2", "b/4"], []),
        ({"match_glob": "[!a]**"}, ["b/4", "c"], []),
        ({"match_glob": "[^a-b]"}, ["c"], []),
        ({"match_glob": "{a/*,c}"}, ["a/1", "a/2", "c"], []),
        ({"match_glob": "a{0,/{1,b/?}}"}, ["a/1", "a/b/3", "a0"], []),
        ({"match_glob": "\\c"}, ["c"], []),
        ({"match_glob": "a\\*"}, [], []),
        ({"match_glob": "a,c"}, [], []),
        ({"versions": False}, ["a/1", "a/2", "a/b/3", "a0", "b/4", "c"], []),
        ({"delimiter": "/", "include_folders_as_prefixes": True}, ["a0", "c"], ["a/", "b/"]),
        ({}, ["a/1", "a/2", "a/b/3", "a0", "b/4", "c"], []),
        ({"prefix": "a/"}, ["a/1", "a/2", "a/b/3"], []),
        ({"delimiter": "/"}, ["a0", "c"], ["a/", "b/"]),
        ({"delimiter": "/", "prefix": "a/"}, ["a/1", "a/2"], ["a/b/"]),
        ({"delimiter": "/", "prefix": "a"}, ["a0"], ["a/"]),
        ({"start_offset": "a/2"}, ["a/2", "a/b/3", "a0", "b/4", "c"], []),
        ({"start_offset": "a/2", "end_offset": "b"}, ["a/2", "a/b/3", "a0"], []),
        ({"prefix": "a/", "start_offset": "a/b"}, ["a/b/3"], []),
        ({"prefix": "zz"}, [], []),
    ],
)
def test_lists_page_by_page(
    suite: Suite,
    client: storage.Client,
    size: int,
    arguments: dict[str, str],
    items: list[str],
    prefixes: list[str],
) -> None:
    for name in ("c", "b/4", "a/b/3", "a0", "a/2", "a/1"):
        suite.storage.put(BUCKET, name, b"")
    iterator = client.list_blobs(BUCKET, page_size=size, fields="items(name),nextPageToken", **arguments)
    pages = [[blob.name for blob in page] for page in iterator.pages]
    assert [name for page in pages for name in page] == items
    assert sorted(iterator.prefixes) == prefixes
    assert all(len(page) <= size for page in pages)


@pytest.mark.parametrize(
    "query", ["matchGlob=a%5B", "matchGlob=%7Ba", "matchGlob=a%5C", "matchGlob=%5Bb-a%5D", "versions=maybe"]
)
def test_a_list_that_makes_no_sense_is_refused(suite: Suite, http: requests.Session, query: str) -> None:
    answer = http.get(f"{suite.url}/storage/v1/b/{BUCKET}/o?{query}")
    assert (answer.status_code, error(answer)["reason"]) == (400, "invalid")


def test_what_comes_between_two_pages_is_listed_where_it_stands(suite: Suite, http: requests.Session) -> None:
    for name in "bdf":
        suite.storage.put(BUCKET, name, b"")
    url = f"{suite.url}/storage/v1/b/{BUCKET}/o?maxResults=2"
    first = http.get(url).json()
    suite.storage.put(BUCKET, "a", b"")
    suite.storage.put(BUCKET, "e", b"")
    suite.storage.remove(BUCKET, "f")
    second = http.get(f"{url}&pageToken={quote(first['nextPageToken'])}").json()
    assert [item["name"] for item in first["items"] + second["items"]] == ["b", "d", "e"]
    assert "nextPageToken" not in second
    assert http.get(f"{url}&pageToken=%21").status_code == 400


# Compose


def test_compose(suite: Suite, client: storage.Client) -> None:
    bucket = client.bucket(BUCKET)
    parts = [b"first,", b"", b"third" * 1000]
    for number, part in enumerate(parts):
        suite.storage.put(BUCKET, f"part{number}", part)
    joined = bucket.blob("joined")
    joined.content_type = "text/plain"
    joined.compose([bucket.blob(f"part{n}") for n in range(3)], if_generation_match=0)
    assert joined.md5_hash is None
    assert joined.component_count == 3
    assert joined.crc32c == _crc32c(b"".join(parts))
    assert joined.content_type == "text/plain"
    assert joined.download_as_bytes() == b"".join(parts)

    twice = bucket.blob("twice")
    twice.compose([joined, bucket.blob("part0")])
    assert twice.component_count == 4
    suite.storage.remove(BUCKET, "joined")
    assert twice.download_as_bytes() == b"".join(parts) + b"first,"


@pytest.mark.parametrize(("count", "goes"), [(0, False), (1, True), (32, True), (33, False)])
def test_compose_takes_one_to_32_sources(
    suite: Suite, client: storage.Client, count: int, goes: bool
) -> None:
    suite.storage.put(BUCKET, "x", b"x")
    bucket = client.bucket(BUCKET)
    joined = bucket.blob("joined")
    if goes:
        joined.compose([bucket.blob("x")] * count)
        assert suite.storage.read(BUCKET, "joined") == b"x" * count
    else:
        with pytest.raises(BadRequest, match="source component"):
            joined.compose([bucket.blob("x")] * count)


@pytest.mark.parametrize(
    ("generation", "asked", "status"),
    [(None, None, 200), ("now", None, 200), (5, None, 404), (None, "now", 200), (None, 5, 412)],
)
def test_compose_of_a_sources_generation(
    suite: Suite, http: requests.Session, generation: Any, asked: Any, status: int
) -> None:
    suite.storage.put(BUCKET, "x", b"x")
    now = str(suite.storage.list(BUCKET)[0].generation)
    source: dict[str, Any] = {"name": "x"}
    if generation:
        source["generation"] = now if generation == "now" else generation
    if asked:
        source["objectPreconditions"] = {"ifGenerationMatch": now if asked == "now" else asked}
    url = f"{suite.url}/storage/v1/b/{BUCKET}/o/joined/compose"
    assert http.post(url, json={"sourceObjects": [source]}).status_code == status


def test_compose_of_a_missing_source(suite: Suite, client: storage.Client) -> None:
    bucket = client.bucket(BUCKET)
    with pytest.raises(NotFound, match=f"No such object: {BUCKET}/x"):
        bucket.blob("joined").compose([bucket.blob("x")])


# Rewrite


def test_rewrite_copies_content_and_metadata(suite: Suite, client: storage.Client) -> None:
    source = client.bucket(BUCKET).blob("x")
    source.metadata = {"who": "me"}
    source.upload_from_string(b"hello", content_type="text/plain")
    copy = client.bucket(CUSTOMER).blob("y")
    assert copy.rewrite(source, if_generation_match=0) == (None, 5, 5)
    assert (copy.content_type, copy.metadata) == ("text/plain", {"who": "me"})
    assert (copy.crc32c, copy.md5_hash, copy.size) == (source.crc32c, source.md5_hash, 5)
    assert copy.generation > source.generation
    suite.storage.remove(BUCKET, "x")
    assert copy.download_as_bytes() == b"hello"


def test_rewrite_with_metadata_of_its_own(suite: Suite, client: storage.Client) -> None:
    source = client.bucket(BUCKET).blob("x")
    source.metadata = {"who": "me"}
    source.upload_from_string(b"hello", content_type="text/plain")
    copy = client.bucket(CUSTOMER).blob("y")
    copy.content_type = "text/csv"
    copy.rewrite(source)
    assert (copy.content_type, copy.metadata) == ("text/csv", None)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("sourceGeneration={now}", 200),
        ("sourceGeneration=5", 404),
        ("ifSourceGenerationMatch={now}", 200),
        ("ifSourceGenerationMatch=5", 412),
        ("ifSourceGenerationNotMatch=5", 200),
        ("ifSourceGenerationNotMatch={now}", 412),
    ],
)
def test_rewrite_of_a_sources_generation(
    suite: Suite, http: requests.Session, query: str, status: int
) -> None:
    suite.storage.put(BUCKET, "x", b"x")
    now = suite.storage.list(BUCKET)[0].generation
    url = f"{suite.url}/storage/v1/b/{BUCKET}/o/x/rewriteTo/b/{CUSTOMER}/o/y?{query.format(now=now)}"
    assert http.post(url).status_code == status
    assert bool(suite.storage.list(CUSTOMER)) == (status == 200)


def test_the_target_is_checked_before_the_source(suite: Suite, client: storage.Client) -> None:
    source, target = client.bucket(BUCKET).blob("x"), client.bucket(CUSTOMER).blob("y")
    with pytest.raises(NotFound):
        target.rewrite(source, if_generation_match=0)
    suite.storage.put(CUSTOMER, "y", b"")
    with pytest.raises(PreconditionFailed):
        target.rewrite(source, if_generation_match=0)


def test_a_rewrite_between_locations_takes_its_turns(
    suite: Suite, client: storage.Client, http: requests.Session
) -> None:
    content = b"x" * (2 * MIB + 1)
    suite.storage.put(BUCKET, "x", content)
    url = f"{suite.url}/storage/v1/b/{BUCKET}/o/x/rewriteTo/b/{FAR}/o/y?maxBytesRewrittenPerCall={MIB}"
    done = []
    token = ""
    for _ in range(3):
        answer = http.post(f"{url}&rewriteToken={token}").json()
        done.append((answer["done"], answer["totalBytesRewritten"], answer["objectSize"]))
        assert ("rewriteToken" in answer) != answer["done"] == ("resource" in answer)
        assert bool(suite.storage.list(FAR)) == answer["done"]
        token = answer.get("rewriteToken", "")
    size = str(len(content))
    assert done == [(False, str(MIB), size), (False, str(2 * MIB), size), (True, size, size)]
    assert suite.storage.read(FAR, "y") == content
    # Within one location one call does it all.
    near = url.replace(f"/b/{FAR}/", f"/b/{CUSTOMER}/")
    assert http.post(near).json()["done"] is True
    # Without a number of its own a small object needs one call, too.
    assert client.bucket(FAR).blob("z").rewrite(client.bucket(BUCKET).blob("x"))[0] is None


@pytest.mark.parametrize(
    ("change", "status"),
    [("none", 200), ("source", 400), ("target", 400), ("garbage", 400), ("week", 410), ("exists", 412)],
)
def test_a_rewrite_token_goes_with_its_rewrite(
    suite: Suite, http: requests.Session, change: str, status: int
) -> None:
    suite.storage.put(BUCKET, "x", b"x" * (MIB + 1))
    url = f"{suite.url}/storage/v1/b/{BUCKET}/o/x/rewriteTo/b/{FAR}/o"
    query = f"maxBytesRewrittenPerCall={MIB}&ifGenerationMatch=0"
    token = http.post(f"{url}/y?{query}").json()["rewriteToken"]
    target = "y"
    if change == "source":
        suite.storage.put(BUCKET, "x", b"y" * (MIB + 1))
    elif change == "target":
        target = "z"
    elif change == "garbage":
        token = "!!"
    elif change == "exists":
        suite.storage.put(FAR, "y", b"")
    elif change == "week":
        suite.clock.advance(timedelta(days=8))
    assert http.post(f"{url}/{target}?{query}&rewriteToken={token}").status_code == status


@pytest.mark.parametrize("number", ["1", str(MIB + 1), "0"])
def test_a_rewrite_counts_in_mebibytes(suite: Suite, http: requests.Session, number: str) -> None:
    suite.storage.put(BUCKET, "x", b"x")
    url = f"{suite.url}/storage/v1/b/{BUCKET}/o/x/rewriteTo/b/{FAR}/o/y?maxBytesRewrittenPerCall={number}"
    assert http.post(url).status_code == 400


def test_a_composed_object_rewritten_elsewhere_has_one_component(
    suite: Suite, client: storage.Client
) -> None:
    suite.storage.put(BUCKET, "x", b"x")
    bucket = client.bucket(BUCKET)
    joined = bucket.blob("joined")
    joined.compose([bucket.blob("x"), bucket.blob("x")])
    near, far = client.bucket(CUSTOMER).blob("y"), client.bucket(FAR).blob("y")
    near.rewrite(joined)
    far.rewrite(joined)
    assert (near.component_count, far.component_count) == (2, 1)
    assert far.md5_hash is None


# What is not built says so


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", f"/storage/v1/b/{BUCKET}/o/x/copyTo/b/{BUCKET}/o/y"),
        ("PATCH", f"/storage/v1/b/{BUCKET}/o/x"),
        ("PUT", f"/storage/v1/b/{BUCKET}/o/x"),
        ("POST", "/storage/v1/b?project=p"),
        ("GET", "/storage/v1/b?project=p"),
        ("DELETE", f"/storage/v1/b/{BUCKET}"),
        ("GET", f"/storage/v1/b/{BUCKET}/iam"),
        ("GET", f"/storage/v1/b/{BUCKET}/o?versions=true"),
        ("GET", f"/storage/v1/b/{BUCKET}/o?softDeleted=True"),
        ("GET", f"/storage/v1/b/{BUCKET}/o?includeTrailingDelimiter=true"),
        ("GET", f"/storage/v1/b/{BUCKET}/o?matchGlob=a&delimiter=/"),
        ("GET", f"/storage/v1/b/{BUCKET}/o/a/b"),
        ("POST", f"/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name=x&predefinedAcl=publicRead"),
        ("POST", f"/upload/storage/v1/b/{BUCKET}/o?uploadType=other&name=x"),
    ],
)
def test_what_is_not_built(suite: Suite, http: requests.Session, method: str, path: str) -> None:
    suite.storage.put(BUCKET, "x", b"")
    answer = http.request(method, suite.url + path, data=b"{}")
    assert answer.status_code == 501
    assert error(answer)["reason"] == "notImplemented"
    assert [o.name for o in suite.storage.list(BUCKET)] == ["x"]


def test_copy_blob_is_not_built_and_leaves_nothing(suite: Suite, client: storage.Client) -> None:
    suite.storage.put(BUCKET, "x", b"")
    bucket = client.bucket(BUCKET)
    with pytest.raises(GoogleAPICallError, match="Not implemented here"):
        bucket.copy_blob(bucket.blob("x"), bucket, "y", if_generation_match=None, retry=None)
    assert [o.name for o in suite.storage.list(BUCKET)] == ["x"]


KEY = {
    "X-Goog-Encryption-Algorithm": "AES256",
    "X-Goog-Encryption-Key": base64.b64encode(b"k" * 32).decode(),
    "X-Goog-Encryption-Key-Sha256": base64.b64encode(hashlib.sha256(b"k" * 32).digest()).decode(),
}
OBJECT = f"/storage/v1/b/{BUCKET}/o/x"
UPLOAD = f"/upload/storage/v1/b/{BUCKET}/o?name=x&uploadType="


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", OBJECT),
        ("GET", f"{OBJECT}?alt=media"),
        ("GET", f"/download{OBJECT}?alt=media"),
        ("GET", f"/storage/v1/b/{BUCKET}/o"),
        ("GET", f"/storage/v1/b/{BUCKET}"),
        ("DELETE", OBJECT),
        ("POST", f"{OBJECT}/compose"),
        ("POST", f"{OBJECT}/rewriteTo/b/{BUCKET}/o/y"),
        ("POST", f"{UPLOAD}media"),
        ("POST", f"{UPLOAD}multipart"),
        ("POST", f"{UPLOAD}resumable"),
        ("PUT", "session"),
        ("POST", "/batch/storage/v1"),
        ("inner", OBJECT),
    ],
)
@pytest.mark.parametrize(
    "headers",
    [
        KEY,
        {"X-Goog-Copy-Source-Encryption-Algorithm": "AES256"},
        {"If-Unmodified-Since": "Mon, 23 Nov 2026 08:00:00 GMT"},
        {"If-Modified-Since": "Mon, 23 Nov 2026 08:00:00 GMT"},
        {"If-Range": '"x"'},
        {"X-Goog-If-Generation-Match": "0"},
        {"X-HTTP-Method-Override": "DELETE"},
        {"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="},
    ],
    ids=lambda headers: next(iter(headers)),
)
def test_a_header_that_is_not_built_is_refused(
    suite: Suite, http: requests.Session, method: str, path: str, headers: dict[str, str]
) -> None:
    """Never ignored: a test that passes here would fail in production, or pass for another reason."""
    suite.storage.put(BUCKET, "x", b"hello")
    if path == "session":
        path = http.post(f"{suite.url}{UPLOAD}resumable").headers["Location"].removeprefix(suite.url)
    if method == "inner":
        call = f"GET {path} HTTP/1.1\n" + "".join(f"{name}: {value}\n" for name, value in headers.items())
        answer = http.post(
            f"{suite.url}/batch/storage/v1",
            data=f"--B\nContent-Type: application/http\n\n{call}\n\n--B--",
            headers={"Content-Type": "multipart/mixed; boundary=B"},
        )
        assert "HTTP/1.1 501 " in answer.text
    else:
        answer = http.request(method, suite.url + path, data=b"{}", headers=headers)
        assert answer.status_code == 501, answer.text
    assert "header " in answer.text
    assert suite.storage.read(BUCKET, "x") == b"hello"
    assert [each.name for each in suite.storage.list(BUCKET)] == ["x"]


@pytest.mark.parametrize("header", ["If-Match", "If-None-Match"])
@pytest.mark.parametrize(("method", "path"), [("DELETE", OBJECT), ("POST", f"{UPLOAD}media")])
def test_an_etag_is_no_condition_of_a_write_here(
    suite: Suite, http: requests.Session, method: str, path: str, header: str
) -> None:
    suite.storage.put(BUCKET, "x", b"hello")
    assert http.request(method, suite.url + path, headers={header: "*"}).status_code == 501
    assert suite.storage.read(BUCKET, "x") == b"hello"


@pytest.mark.parametrize("media", ["", "?alt=media"])
@pytest.mark.parametrize(
    ("header", "form", "status"),
    [
        ("If-Match", "{}", 200),
        ("If-Match", '"{}"', 200),
        ("If-Match", '"another", W/"{}"', 200),
        ("If-Match", "*", 200),
        ("If-Match", '"another"', 412),
        ("If-None-Match", "{}", 304),
        ("If-None-Match", '"another", "{}"', 304),
        ("If-None-Match", "*", 304),
        ("If-None-Match", '"another"', 200),
    ],
)
def test_an_etag_is_a_condition_of_a_read(
    suite: Suite, http: requests.Session, media: str, header: str, form: str, status: int
) -> None:
    suite.storage.put(BUCKET, "x", b"hello")
    etag = http.get(suite.url + OBJECT).json()["etag"]
    answer = http.get(suite.url + OBJECT + media, headers={header: form.format(etag)})
    assert answer.status_code == status
    if status == 304:
        assert answer.content == b""


@pytest.mark.parametrize("method", ["PUT", "POST", "PATCH", "DELETE", "OPTIONS", "GET", "HEAD"])
@pytest.mark.parametrize("path", [f"/{BUCKET}", f"/{BUCKET}/", f"/{BUCKET}/x"])
def test_what_the_xml_api_has_beside_signed_downloads_says_that_it_is_not_built(
    suite: Suite, http: requests.Session, method: str, path: str
) -> None:
    suite.storage.put(BUCKET, "x", b"hello")
    answer = http.request(method, suite.url + path, data=b"other")
    assert answer.status_code == 501
    if method != "HEAD":
        assert "<Code>NotImplemented</Code>" in answer.text
    assert suite.storage.read(BUCKET, "x") == b"hello"


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE", "PROPFIND"])
@pytest.mark.parametrize("path", [OBJECT, f"{UPLOAD}media", "/batch/storage/v1"])
def test_a_method_that_is_not_built_is_refused(
    suite: Suite, http: requests.Session, method: str, path: str
) -> None:
    assert http.request(method, suite.url + path).status_code == 501
