"""Objects created from an event loop: what is sent is what was meant, whatever is in it."""

import asyncio
from email.message import Message
from email.parser import BytesParser
from typing import Any

import orjson
import pytest

from infra.local.traffic import Fault
from shared.errors import Retry
from shared.gcp.calls import AT_ONCE_BYTES
from shared.gcp.clients import Cloud
from shared.gcp.many import CALL_ATTEMPTS, Many
from shared.gcp.objects import DifferentObject, crc32c_of
from tests.world import World


def sent(cloud: Cloud, content: bytes, monkeypatch: pytest.MonkeyPatch) -> tuple[str, list[Any]]:
    """The Content-Type and the parts of a request that creates this, as any reader of MIME takes it apart."""
    requests: list[tuple[dict[str, str], bytes]] = []

    async def call(
        _: Many, method: str, target: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, bytes]:
        requests.append((headers, body))
        answer = {"generation": "1", "size": str(len(content)), "crc32c": crc32c_of(content)}
        return 200, orjson.dumps(answer)

    async def create() -> None:
        async with Many(cloud.objects, cloud.settings.storage_url) as many:
            await many.create("bucket", "name", content, "image/jpeg")

    with monkeypatch.context() as patched:
        patched.setattr(Many, "_call", call)
        asyncio.run(create())
    ((headers, body),) = requests
    head = f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode()
    message: Message = BytesParser().parsebytes(head + body)
    return headers["Content-Type"], [part.get_payload(decode=True) for part in message.walk()][1:]


def test_a_content_that_looks_like_the_end_of_a_request_is_sent_whole(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, _ = sent(world.cloud, b"a photograph", monkeypatch)
    end = kind.partition("boundary=")[2].encode()
    evil = b"before\r\n--" + end + b"--\r\nafter"
    _, (told, content) = sent(world.cloud, evil, monkeypatch)
    assert orjson.loads(told)["crc32c"] == crc32c_of(evil)
    assert content == evil


def many(world: World, work: Any) -> Any:
    async def run() -> Any:
        async with Many(world.cloud.objects, world.cloud.settings.storage_url) as opened:
            return await work(opened)

    return asyncio.run(run())


@pytest.mark.parametrize("size", [0, 1, 1_000_000, AT_ONCE_BYTES, 3_000_000])
def test_what_is_created_is_there_and_can_be_read_in_parts(world: World, size: int) -> None:
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    bucket = world.cloud.settings.images_bucket
    stored = many(world, lambda opened: opened.create(bucket, "a/ü b.jpg", content, "image/jpeg"))
    assert world.suite.storage.read(bucket, "a/ü b.jpg") == content
    assert (stored.size, stored.crc32c) == (size, crc32c_of(content))
    if size > 10:
        assert many(world, lambda opened: opened.read(stored, 3, 10)) == content[3:10]


@pytest.mark.parametrize(
    "fault",
    [Fault("error", status=503), Fault("error", status=401), Fault("reset_before"), Fault("reset_after")],
)
def test_a_creation_whose_answer_was_lost_is_found_done(world: World, fault: Fault) -> None:
    bucket = world.cloud.settings.images_bucket
    world.suite.traffic.arm("storage.objects.insert", fault)
    stored = many(world, lambda opened: opened.create(bucket, "a.jpg", b"content", "image/jpeg"))
    (there,) = world.suite.storage.list(bucket)
    assert (there.generation, there.crc32c) == (stored.generation, stored.crc32c)


def test_what_stands_there_already_and_differs_is_told(world: World) -> None:
    bucket = world.cloud.settings.images_bucket
    world.suite.storage.put(bucket, "a.jpg", b"other")
    with pytest.raises(DifferentObject, match=r"a\.jpg"):
        many(world, lambda opened: opened.create(bucket, "a.jpg", b"content", "image/jpeg"))
    assert world.suite.storage.read(bucket, "a.jpg") == b"other"


@pytest.mark.parametrize("fault", [Fault("truncate"), Fault("error", status=500), Fault("reset_before")])
def test_a_read_that_breaks_is_read_again(world: World, fault: Fault) -> None:
    bucket = world.cloud.settings.images_bucket
    stored = world.cloud.objects.create(bucket, "a.jpg", b"0123456789", "image/jpeg")
    world.suite.traffic.arm("storage.objects.get_media", fault)
    assert many(world, lambda opened: opened.read(stored, 2, 6)) == b"2345"


def test_another_generation_is_not_read(world: World) -> None:
    bucket = world.cloud.settings.images_bucket
    stored = world.cloud.objects.create(bucket, "a.jpg", b"0123456789", "image/jpeg")
    world.suite.storage.put(bucket, "a.jpg", b"abcdefghij")
    with pytest.raises(LookupError, match=r"a\.jpg"):
        many(world, lambda opened: opened.read(stored, 2, 6))


def test_what_stays_away_is_left_to_the_next_delivery(world: World) -> None:
    bucket = world.cloud.settings.images_bucket
    world.suite.traffic.arm("storage.objects.insert", Fault("error", status=503), times=CALL_ATTEMPTS)
    with pytest.raises(Retry, match="503"):
        many(world, lambda opened: opened.create(bucket, "a.jpg", b"content", "image/jpeg"))
    assert len(world.suite.traffic.calls("storage.objects.insert")) == CALL_ATTEMPTS
