"""Copying images: from our bucket into the customer's, as the customer's account."""

import asyncio
import random
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from urllib.parse import quote

import aiohttp
from google.cloud import storage
from yarl import URL

from shared.delivery.base import Copy
from shared.delivery.cloud_storage.bucket import CustomerBucket
from shared.delivery.cloud_storage.copying import IN_FLIGHT, copy_images
from tests.benchmarks import services
from tests.benchmarks.measure import DifferentWork, Done, Figure, Ground, Side, compare, digest, shown

BUCKET = "bench-copies"
IMAGES, QUICK_IMAGES = 600, 30
REPETITIONS = 5

IMAGE_BYTES = 2048
"""Small: in production, too, a rewrite within a location moves no bytes."""


def bench(ground: Ground) -> Iterator[Figure]:
    """Copy that many images, three ways; every copy is conditional, and goes to a new name."""
    cloud, served = ground.cloud, ground.served
    images = QUICK_IMAGES if ground.quick else IMAGES
    account = served.ask(services.onboard, "bench", "bench", BUCKET)
    contents = random.Random(1)
    source = cloud.settings.images_bucket
    made = [(f"bench/s/{number:05}.jpg", contents.randbytes(IMAGE_BYTES)) for number in range(images)]
    stored = served.ask(services.put, source, made)
    copies = [Copy(each.name, each.generation, each.size, each.crc32c, each.name) for each in stored]
    theirs = cloud.as_customer(account)
    client = storage.Client(
        project=cloud.settings.project,
        credentials=theirs.credentials,
        client_options={"universe_domain": theirs.credentials.universe_domain},
    )

    def batched(repetition: int) -> str:
        return ours(_renamed(copies, f"batched/{repetition}"))

    def ours(renamed: list[Copy]) -> str:
        bucket = CustomerBucket(theirs, account, BUCKET)
        url = cloud.settings.storage_url
        outcome = copy_images(bucket, renamed, source_bucket=source, storage_url=url)
        assert outcome.copied == images
        return _prefix(renamed)

    def one_by_one(repetition: int) -> str:
        renamed = _renamed(copies, f"client/{repetition}")
        from_, to = client.bucket(source), client.bucket(BUCKET)
        for each in renamed:
            token, _, _ = to.blob(each.name).rewrite(
                from_.blob(each.source_name),
                if_generation_match=0,
                if_source_generation_match=each.generation,
            )
            assert token is None
        return _prefix(renamed)

    def single_calls(repetition: int) -> str:
        renamed = _renamed(copies, f"aiohttp/{repetition}")
        token = theirs.credentials.token
        asyncio.run(_single_calls(cloud.settings.storage_url, token, source, renamed))
        return _prefix(renamed)

    def done(side: Side[str], _: int, prefix: str) -> Done:
        landed = served.ask(services.landed, BUCKET, prefix)
        if not landed:
            raise DifferentWork(f"{side.name} copied nothing to {prefix}")
        found = digest([f"{each.name.removeprefix(prefix)} {each.crc32c}".encode() for each in landed])
        return replace(found, bytes=sum(each.size for each in landed))

    compared = compare(
        "copying images",
        "objects",
        REPETITIONS,
        [
            Side("copy_images (batched)", batched),
            Side("client: blob.rewrite, one after the other", one_by_one),
            Side(f"aiohttp: one call each, {IN_FLIGHT} in flight", single_calls),
        ],
        done,
    )
    yield shown(compared).figure("copy_cpu_vs_client", 1, "cpu", None)


def _renamed(copies: Sequence[Copy], folder: str) -> list[Copy]:
    return [replace(each, name=f"{folder}/{each.name}") for each in copies]


def _prefix(renamed: Sequence[Copy]) -> str:
    return renamed[0].name.removesuffix(renamed[0].source_name)


async def _single_calls(url: str, token: str | None, source: str, copies: Sequence[Copy]) -> None:
    waiting = deque(copies)
    from_, to = f"/storage/v1/b/{quote(source)}/o/", f"/rewriteTo/b/{quote(BUCKET)}/o/"

    async def work(session: aiohttp.ClientSession) -> None:
        while waiting:
            each = waiting.popleft()
            path = f"{from_}{quote(each.source_name, safe='')}{to}{quote(each.name, safe='')}"
            conditions = f"ifGenerationMatch=0&ifSourceGenerationMatch={each.generation}"
            target = f"{url}{path}?{conditions}&fields=done,rewriteToken"
            async with session.post(URL(target, encoded=True), json={}) as answer:
                assert answer.status == 200
                assert (await answer.json())["done"]

    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        await asyncio.gather(*(work(session) for _ in range(IN_FLIGHT)))
