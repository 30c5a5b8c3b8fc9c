"""Pages of our own site may upload from a browser to a session that was begun for them, and no others may."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
import requests

from infra.local.suite import NO_DOOR
from infra.local.traffic import Fault
from shared.settings import origin_of
from tests.world import World

OURS = origin_of(NO_DOOR)
THEIRS = "https://evil.example"
CHUNK = 256 * 1024


def session(world: World, origin: str | None, bucket: str | None = None) -> str:
    objects = world.cloud.objects
    bucket = bucket or world.cloud.settings.uploads_bucket
    return objects.start_upload(bucket, f"acme/{world.cloud.new_id()}.zip", "application/zip", None, origin)


def asks(url: str, origin: str, method: str = "PUT") -> Mapping[str, str]:
    """What a browser is told that asks whether a page may send such a request."""
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "content-range",
    }
    answer = requests.options(url, headers=headers, timeout=10)
    assert answer.status_code == 200
    return answer.headers


def test_a_browser_is_told_that_a_page_of_ours_may_upload(world: World) -> None:
    told = asks(session(world, OURS), OURS)
    assert told["Access-Control-Allow-Origin"] == OURS
    assert told["Access-Control-Allow-Methods"] == "PUT"
    assert "Content-Range" in told["Access-Control-Allow-Headers"].split(",")
    assert told["Access-Control-Max-Age"] == "3600"


def test_every_answer_of_an_upload_can_be_read_by_a_page_of_ours(world: World) -> None:
    url = session(world, OURS)
    for sent, content, status in (
        ("bytes */*", b"", 308),
        (f"bytes 0-{CHUNK - 1}/*", b"a" * CHUNK, 308),
        (f"bytes */{CHUNK + 3}", b"", 308),
        (f"bytes {CHUNK + 5}-{CHUNK + 6}/*", b"ab", 503),
        (f"bytes {CHUNK}-{CHUNK + 2}/{CHUNK + 3}", b"end", 200),
    ):
        headers = {"Origin": OURS, "Content-Range": sent}
        answer = requests.put(url, data=content, headers=headers, timeout=10)
        assert answer.status_code == status, sent
        assert answer.headers["Access-Control-Allow-Origin"] == OURS
        assert "Range" in answer.headers["Access-Control-Expose-Headers"].split(", ")


def test_so_can_a_fault(world: World) -> None:
    url = session(world, OURS)
    world.suite.traffic.arm("storage.uploads.status", Fault("error", status=503))
    answer = requests.put(url, headers={"Origin": OURS, "Content-Range": "bytes */*"}, timeout=10)
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (503, OURS)


@pytest.mark.parametrize("begun", [None, THEIRS, "*", f"{OURS}:444"])
def test_a_session_that_was_not_begun_for_our_pages_lets_none_in(world: World, begun: str | None) -> None:
    url = session(world, begun)
    assert "Access-Control-Allow-Origin" not in asks(url, OURS)
    answer = requests.put(url, headers={"Origin": OURS, "Content-Range": "bytes */*"}, timeout=10)
    assert answer.status_code == 308
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_pages_of_others_are_told_our_origin_which_is_not_theirs(world: World) -> None:
    """The origin of the first request counts, whatever a later one has."""
    assert asks(session(world, OURS), THEIRS)["Access-Control-Allow-Origin"] == OURS


def test_other_methods_and_buckets_are_not_opened(world: World) -> None:
    assert "Access-Control-Allow-Origin" not in asks(session(world, OURS), OURS, "DELETE")
    images = world.cloud.settings.images_bucket
    assert "Access-Control-Allow-Origin" not in asks(session(world, OURS, images), OURS)


def test_the_buckets_that_pages_may_use_are_those_of_the_bundle(world: World) -> None:
    opened = [bucket.name for bucket in world.suite.bundle.buckets.values() if bucket.cors]
    assert opened == ["uploads"]
    assert world.cloud.settings.origin == replace(world.cloud.settings, url=NO_DOOR).origin == OURS
