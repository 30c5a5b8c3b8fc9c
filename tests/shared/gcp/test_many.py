"""Objects created from an event loop: what is sent is what was meant, whatever is in it."""

import asyncio
from email.message import Message
from email.parser import BytesParser
from typing import Any

import orjson
import pytest

from shared.gcp.clients import Cloud
from shared.gcp.many import Many
from shared.gcp.objects import crc32c_of
from tests.world import World


def sent(cloud: Cloud, content: bytes, monkeypatch: pytest.MonkeyPatch) -> tuple[str, list[Any]]:
    """The Content-Type and the parts of a request that creates this, as any reader of MIME takes it apart."""
    requests: list[tuple[dict[str, str], bytes]] = []

    async def call(_: Many, method: str, url: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
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
