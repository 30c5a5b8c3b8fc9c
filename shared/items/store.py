"""Items in Firestore: `items/<id>`, found by customer and type.

A document has `customer`, `type` (folded), `key`, `encoding` and `record`: the record as JSON bytes, like a
work order's. Its id is a hash of customer, type and key, so an item imported again is the same document, and
the ids of a type are spread evenly.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter
from google.cloud.firestore_v1.base_query import BaseQuery
from google.cloud.firestore_v1.types import write as api

from shared import exact
from shared.gcp.clients import Cloud
from shared.gcp.documents import IdRange, Scan, count, fields_of, read_together, within
from shared.items.types import folded
from shared.workorders import envelope

CONTENT_TYPE = "application/json"
"""What a record that is kept as an object says it is."""

ID_DIGITS = 32
"""How many hex digits an id has."""

READ_TOGETHER = 30
"""How many items are read with one call."""

_Write: Any = api.Write.pb()


class Found(NamedTuple):
    """An item as it was read: its document's id, and its record as JSON."""

    id: str
    record: bytes


def id_of(customer: str, type: str, key: str) -> str:
    """The id of an item's document."""
    return hashlib.sha256(f"{customer}\0{folded(type)}\0{key}".encode()).hexdigest()[:ID_DIGITS]


def read(
    cloud: Cloud,
    customer: str,
    type: str,
    keys: Iterable[str],
    max_bytes: int,
    transaction: firestore.Transaction,
) -> dict[str, dict[str, Any] | None]:
    """The records of items by their keys, in a transaction; None where there is none. Reading ends with the
    item by which the records have `max_bytes`: the keys behind that one are not in the answer."""
    found: dict[str, dict[str, Any] | None] = {}
    waiting, size = list(keys), 0
    for start in range(0, len(waiting), READ_TOGETHER):
        some = {id_of(customer, type, key): key for key in waiting[start : start + READ_TOGETHER]}
        references = [cloud.db.document(f"items/{id}") for id in some]
        read = read_together(cloud.db, references, transaction)
        for key, snapshot in zip(some.values(), read, strict=True):
            found[key] = None
            if snapshot.exists:
                fields = fields_of(snapshot)
                record = _unpack(cloud, fields["encoding"], fields["record"])
                found[key] = exact.loads(record)
                size += len(record)
            if size >= max_bytes:
                return found
    return found


def write(
    cloud: Cloud,
    customer: str,
    type: str,
    items: Mapping[str, bytes | None],
    transaction: firestore.Transaction,
) -> None:
    """Write the records of items by their keys, in a transaction; None deletes.

    The writes are made with the generated classes: the client takes about ten times as long to encode one.
    """
    root = f"{cloud.db._database_string}/documents/items/"
    writes = []
    for key, record in items.items():
        made = _Write()
        name = root + id_of(customer, type, key)
        if record is None:
            made.delete = name
        else:
            _fill(cloud, made.update, name, customer, folded(type), key, record)
        writes.append(api.Write.wrap(made))
    transaction._add_write_pbs(writes)


def scan(cloud: Cloud, customer: str, type: str, part: IdRange, read_time: Any) -> Iterator[Found]:
    """The items of a part of a type as they stood at `read_time`, by their ids. Errors as
    `Scan.documents`."""
    items = within(cloud.db, _of_type(cloud, customer, type), "items", part)
    query = items.select(["encoding", "record"])
    # The client has no public way to the query as it is sent.
    for document in Scan(cloud.db).documents(query._to_protobuf()._pb, None, read_time):
        fields = document.fields
        record = _unpack(cloud, fields["encoding"].string_value, fields["record"].bytes_value)
        yield Found(document.name.rpartition("/")[2], record)


def number_of(cloud: Cloud, customer: str, type: str, read_time: Any = None) -> int:
    """How many items of a type a customer has."""
    return count(_of_type(cloud, customer, type), read_time)


def _of_type(cloud: Cloud, customer: str, type: str) -> BaseQuery:
    return (
        cloud.db.collection("items")
        .where(filter=FieldFilter("customer", "==", customer))
        .where(filter=FieldFilter("type", "==", folded(type)))
    )


def _unpack(cloud: Cloud, encoding: str, record: bytes) -> bytes:
    return envelope.unpack(
        encoding, record, lambda name: cloud.objects.read_whole(cloud.settings.records_bucket, name)
    )


def _fill(cloud: Cloud, document: Any, name: str, customer: str, type: str, key: str, record: bytes) -> None:
    packed = envelope.pack(record, customer, 0)
    if packed.content:
        bucket, at = cloud.settings.records_bucket, packed.record.decode()
        cloud.objects.create(bucket, at, packed.content, CONTENT_TYPE)
    document.name = name
    fields = document.fields
    fields["customer"].string_value = customer
    fields["type"].string_value = type
    fields["key"].string_value = key
    fields["encoding"].string_value = packed.encoding
    fields["record"].bytes_value = packed.record
