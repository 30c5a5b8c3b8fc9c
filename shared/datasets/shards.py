"""Shards: files of an export that hold images. They go into the customer's bucket as streams: no shard, and
no large image, is ever held whole."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence

from google.api_core.exceptions import NotFound

from shared.datasets.forms.base import Entry, Shard
from shared.datasets.samples import Sample
from shared.delivery.cloud_storage.bucket import CustomerBucket
from shared.gcp.clients import Cloud
from shared.gcp.many import Many
from shared.gcp.objects import Refusal, Stored
from shared.work.attempts import Attempt

TOGETHER_BYTES = 16 * 1024 * 1024
"""How many bytes of images are read at once; a larger image is read in blocks of so many."""

TOGETHER_IMAGES = 64
"""How many images are read at once."""


def write(
    cloud: Cloud,
    bucket: CustomerBucket,
    prefix: str,
    shard: Shard,
    source: Callable[[Sample], Stored],
    origin: CustomerBucket | None,
    attempt: Attempt,
) -> set[str]:
    """Write a shard into the customer's bucket, and return the ids of the samples whose image is gone.

    `source` says where an image is; `origin` is the bucket of it where that is the customer's, too.
    CustomerMustAct where a bucket of theirs refuses, or has something else there.
    """
    missing: set[str] = set()

    def images_read() -> Iterator[bytes]:
        for some in _together(shard.entries):
            images = _read(cloud, bucket, [source(entry.sample) for entry in some])
            for entry, image in zip(some, images, strict=True):
                if image is None:
                    missing.add(entry.sample.id)
                    continue
                yield entry.before
                yield from image
                yield entry.after
            attempt.heartbeat()

    def content() -> Iterator[bytes]:
        with origin.explained() if origin else contextlib.nullcontext():
            yield from images_read()
        yield shard.after

    with bucket.explained():
        bucket.objects.create_stream(bucket.bucket, f"{prefix}{shard.name}", content(), shard.content_type)
    return missing


def _together(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """Entries whose images are read at once."""
    some: list[Entry] = []
    size = 0
    for entry in entries:
        if some and (size + entry.sample.image.size > TOGETHER_BYTES or len(some) == TOGETHER_IMAGES):
            yield some
            some, size = [], 0
        some.append(entry)
        size += entry.sample.image.size
    if some:
        yield some


def _read(cloud: Cloud, bucket: CustomerBucket, images: Sequence[Stored]) -> list[Iterator[bytes] | None]:
    """The content of each image, in blocks; None where it is gone."""
    if len(images) == 1 and images[0].size > TOGETHER_BYTES:
        return [_streamed(bucket, images[0])]

    async def read() -> list[bytes | None]:
        async with Many(bucket.objects, cloud.settings.storage_url) as many:
            return list(await asyncio.gather(*(_one(many, image) for image in images)))

    return [None if content is None else iter([content]) for content in asyncio.run(read())]


async def _one(many: Many, image: Stored) -> bytes | None:
    try:
        return await many.read(image, 0, image.size)
    except LookupError:
        return None


def _streamed(bucket: CustomerBucket, image: Stored) -> Iterator[bytes] | None:
    blocks = bucket.objects.blocks(image, TOGETHER_BYTES)
    try:
        first = next(blocks)
    except NotFound as missing:
        if Refusal.of(missing).no_bucket:
            raise
        return None

    def content() -> Iterator[bytes]:
        yield first
        yield from blocks

    return content()
