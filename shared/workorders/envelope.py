"""The document around a record: what to find it by, and its bytes, packed when they are too large.

A work order document has `customer`, `site_id`, `name`, `shard`, `schema`, `deleted`, `update_date` (the
server's timestamp, only to find it by), `encoding` and `record`, and `images` (see `images`).
"""

import hashlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

PLAIN_LARGEST = 512 * 1024
"""A larger record is compressed; a document may hold 1 MiB in all.
https://cloud.google.com/firestore/quotas#limits"""

ROOM = 960 * 1024
"""What record and list of images may take together; a record that does not fit is kept as an object."""

SHARDS = 16
"""Spreads the writes to an index on a growing timestamp, which alone takes about 500 a second.
https://cloud.google.com/firestore/docs/solutions/shard-timestamp"""

Encoding = Literal["plain", "zlib", "object"]


@dataclass(frozen=True)
class Packed:
    """A record ready to be kept. With the encoding `object`, `record` is the name of an object that must
    first be made with the content `content`."""

    encoding: Encoding
    record: bytes
    content: bytes = b""


def pack(record: bytes, customer: str, taken: int) -> Packed:
    """Make a record fit into a document in which other fields have taken that many bytes."""
    if len(record) <= min(PLAIN_LARGEST, ROOM - taken):
        return Packed("plain", record)
    packed = zlib.compress(record)
    if len(packed) <= ROOM - taken:
        return Packed("zlib", packed)
    name = f"{customer}/{hashlib.sha256(packed).hexdigest()}"
    return Packed("object", name.encode(), packed)


def unpack(encoding: str, record: bytes, read: Callable[[str], bytes]) -> bytes:
    """The record back; `read` gives the content of an object by its name. ValueError for an unknown
    encoding."""
    if encoding == "plain":
        return record
    if encoding == "zlib":
        return zlib.decompress(record)
    if encoding == "object":
        return zlib.decompress(read(record.decode()))
    raise ValueError(f"a record in the unknown encoding {encoding!r}: newer code wrote it")


def shard_of(work_order_id: str) -> int:
    """Which shard of the index a work order is in: 0 to 15, from a hash of its id."""
    return hashlib.sha256(work_order_id.encode()).digest()[0] % SHARDS
