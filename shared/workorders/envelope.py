"""The document around a record: what to find it by, and its bytes, packed when they are too large.

A work order document has `customer`, `site_id`, `name`, `shard`, `schema`, `deleted`, `update_date` (the
server's timestamp, only to find it by), `encoding` and `record`, `images` (see `images`), and what is not
exported with the record: `tags`, `parameters` and `labels` (JSON, the last compressed), `checked`, `analysis`
and `failure` (see `stored`).
"""

import hashlib
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from shared.errors import FieldProblem, Invalid

RECORD_BYTES = 5 * 1024 * 1024
"""How many bytes a record may have as JSON, however small it is once compressed. None is inflated past it, so
that reading one costs no more. 5,000 inputs with four results each have about 4 MiB."""

METADATA_BYTES = 4 * 1024 * 1024
"""How many bytes of those a work order's metadata may have, as many as a `metadata.json` in an archive."""

PLAIN_LARGEST = 512 * 1024
"""A larger record is compressed; a document may hold 1 MiB in all.
https://cloud.google.com/firestore/quotas#limits"""

ROOM = 960 * 1024
"""What record and list of images may take together; a record that does not fit is kept as an object."""

SHARDS = 16
"""Spreads the writes to an index on a growing timestamp, which alone takes about 500 a second.
https://cloud.google.com/firestore/docs/solutions/shard-timestamp"""

PARAMETERS_BYTES = 64 * 1024
"""How much room tags and parameters may take, together and as JSON."""

LABELS_BYTES = 256 * 1024
"""How much room labels may take, compressed."""

LABELS_PLAIN_BYTES = 8 * 1024 * 1024
"""The same before that: equal regions shrink to a thousandth, and whoever reads them holds them all."""

Encoding = Literal["plain", "zlib", "object"]


class Oversized(Invalid):
    """A record that is larger at rest than RECORD_BYTES. It is not read; its work order can be deleted."""

    status = 409
    title = "Not possible now"

    def __init__(self) -> None:
        sentence = f"is kept with more than {RECORD_BYTES:,} bytes, and not read: delete it and make it anew"
        super().__init__([FieldProblem("work_order", sentence)])


@dataclass(frozen=True)
class Packed:
    """A record ready to be kept. With the encoding `object`, `record` is the name of an object that must
    first be made with the content `content`."""

    encoding: Encoding
    record: bytes
    content: bytes = b""


def pack(record: bytes, customer: str, taken: int) -> Packed:
    """Make a record fit into a document in which other fields have taken that many bytes. Invalid where it
    has more than RECORD_BYTES."""
    if len(record) > RECORD_BYTES:
        sentence = f"would have {len(record):,} bytes as a record, and may have {RECORD_BYTES:,}"
        advice = "send less metadata, fewer inputs or shorter results"
        raise Invalid.field("work_order", f"{sentence}: {advice}")
    if len(record) <= min(PLAIN_LARGEST, ROOM - taken):
        return Packed("plain", record)
    packed = zlib.compress(record)
    if len(packed) <= ROOM - taken:
        return Packed("zlib", packed)
    name = f"{customer}/{hashlib.sha256(packed).hexdigest()}"
    return Packed("object", name.encode(), packed)


def unpack(encoding: str, record: bytes, read: Callable[[str], bytes]) -> bytes:
    """The record back; `read` gives the content of an object by its name. Oversized where it has more than
    RECORD_BYTES, ValueError for an unknown encoding."""
    if encoding == "plain":
        return record
    if encoding == "zlib":
        return _inflated(record, RECORD_BYTES)
    if encoding == "object":
        return _inflated(read(record.decode()), RECORD_BYTES)
    raise ValueError(f"the record has the unknown encoding {encoding!r}: newer code wrote it")


def shard_of(work_order_id: str) -> int:
    """Which shard of the index a work order is in: 0 to 15, from a hash of its id."""
    return hashlib.sha256(work_order_id.encode()).digest()[0] % SHARDS


def details(
    *,
    tags: tuple[str, ...],
    parameters: Mapping[str, Any],
    labels: Mapping[str, Any],
    checked: int,
    analysis: str,
    failure: str,
) -> dict[str, Any]:
    """The fields of what is kept beside the record; Invalid where it takes more than there is room for."""
    plain = orjson.dumps(labels) if labels else b""
    if len(plain) > LABELS_PLAIN_BYTES:
        raise Invalid.field("results", f"must have at most {LABELS_PLAIN_BYTES} bytes of labels")
    fields: dict[str, Any] = {
        "tags": orjson.dumps(tags),
        "parameters": orjson.dumps(parameters),
        "labels": zlib.compress(plain) if plain else b"",
    }
    if len(fields["tags"]) + len(fields["parameters"]) > PARAMETERS_BYTES:
        raise Invalid.field("parameters", f"must have at most {PARAMETERS_BYTES} bytes, tags included")
    if len(fields["labels"]) > LABELS_BYTES:
        raise Invalid.field("results", f"must have at most {LABELS_BYTES} bytes of labels, compressed")
    return fields | {"checked": checked, "analysis": analysis, "failure": failure}


def read_details(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The same back, by name. A document from before there were any has none."""
    return {
        "tags": tuple(orjson.loads(fields.get("tags", b"[]"))),
        "parameters": orjson.loads(fields.get("parameters", b"{}")),
        "labels": read_labels(fields.get("labels", b"")),
        "checked": fields.get("checked", 0),
        "analysis": fields.get("analysis", "DONE"),
        "failure": fields.get("failure", ""),
    }


def read_labels(labels: bytes) -> dict[str, Any]:
    """The labels back, from their field."""
    return orjson.loads(_inflated(labels, LABELS_PLAIN_BYTES)) if labels else {}


def size_of(details: Mapping[str, Any]) -> int:
    """The bytes that those fields take."""
    return sum(len(value) for value in details.values() if isinstance(value, bytes | str))


def _inflated(packed: bytes, most: int) -> bytes:
    inflater = zlib.decompressobj()
    plain = inflater.decompress(packed, most + 1)
    if len(plain) > most:
        raise Oversized
    if not inflater.eof:
        raise ValueError("what was compressed breaks off")
    return plain
