"""The pure parts: checksums of joined contents, prefixes, ranges, multipart bodies."""

import google_crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.local.storage import batch, crc32c, iam
from infra.local.storage.api import after_prefix
from infra.local.storage.errors import StorageError
from infra.local.storage.uploads import ContentRange, content_range


@given(st.binary(max_size=300), st.binary(max_size=300), st.integers(0, 3))
def test_the_checksum_of_a_whole_comes_from_its_halves(first: bytes, second: bytes, doubled: int) -> None:
    second *= 10**doubled
    combined = crc32c.combine(google_crc32c.value(first), google_crc32c.value(second), len(second))
    assert combined == google_crc32c.value(first + second)


@given(st.text(min_size=1, max_size=5), st.text(max_size=5), st.text(max_size=8))
def test_what_comes_after_a_prefix(prefix: str, rest: str, other: str) -> None:
    after = after_prefix(prefix)
    inside, outside = (prefix + rest).encode(), other.encode()
    if after is None:
        assert outside < prefix.encode() or other.startswith(prefix)
        return
    assert inside < after.encode()
    assert other.startswith(prefix) or not prefix.encode() <= outside < after.encode()


@pytest.mark.parametrize(
    ("prefix", "after"),
    [("a/", "a0"), ("a\ud7ff", "a\ue000"), ("a\U0010ffff", "b"), ("\U0010ffff", None)],
)
def test_after_a_prefix_at_the_edges(prefix: str, after: str | None) -> None:
    assert after_prefix(prefix) == after


@pytest.mark.parametrize(
    ("header", "meant"),
    [
        (None, ContentRange(0, None, None, whole=True)),
        ("bytes 0-9/10", ContentRange(0, 9, 10)),
        ("bytes 5-9/*", ContentRange(5, 9, None)),
        ("bytes */10", ContentRange(None, None, 10)),
        ("bytes */*", ContentRange(None, None, None)),
    ],
)
def test_content_range(header: str | None, meant: ContentRange) -> None:
    assert content_range(header) == meant


@pytest.mark.parametrize(
    "header", ["", "bytes", "bytes 0-9", "bytes 9-0/10", "bytes 0-10/10", "bytes=0-9/10"]
)
def test_content_range_without_sense(header: str) -> None:
    with pytest.raises(StorageError):
        content_range(header)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_batch_is_read_with_either_line_end(end: str) -> None:
    text = (
        "--B\nContent-Type: application/http\nContent-ID: <a>\n\n"
        "POST /storage/v1/b/x HTTP/1.1\nContent-Length: 2\nAuthorization: Bearer t\n\n{}\n"
        "--B\nContent-Type: application/http\n\nGET http://h:1/storage/v1/b/a%2Fb?c=d HTTP/1.1\n\n\n--B--\n"
    ).replace("\n", end)
    first, second = batch.read(text.encode(), "multipart/mixed; boundary=B")
    assert (first.content_id, first.method, first.target, first.body) == (
        "<a>",
        "POST",
        "/storage/v1/b/x",
        b"{}",
    )
    assert first.headers["authorization"] == "Bearer t"
    assert (second.content_id, second.method, second.target) == ("", "GET", "/storage/v1/b/a%2Fb?c=d")
    assert second.body.strip() == b""


def test_roles_hold_what_production_gives_them() -> None:
    objects = {
        role: {p.removeprefix("storage.objects.") for p in held if p.startswith("storage.objects.")}
        for role, held in iam.ROLES.items()
    }
    assert objects["roles/storage.objectViewer"] == {"get", "list"}
    assert objects["roles/storage.objectCreator"] == {"create", "createContext"}
    assert {"create", "delete", "get", "list", "update"} <= objects["roles/storage.objectUser"]
    assert "setIamPolicy" not in objects["roles/storage.objectUser"]
    assert "setIamPolicy" in objects["roles/storage.objectAdmin"]
    assert objects["roles/storage.legacyBucketReader"] == {"list"}
    buckets = {role for role, held in iam.ROLES.items() if "storage.buckets.get" in held}
    assert buckets == {"roles/storage.admin", "roles/storage.legacyBucketReader"}
