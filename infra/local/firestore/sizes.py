"""What a commit weighs: the documents that it writes, and the index entries that come and go with them.

Sizes: https://firebase.google.com/docs/firestore/storage-size
Which index entries a document has: https://firebase.google.com/docs/firestore/query-data/index-overview
That index entries count: https://firebase.google.com/docs/firestore/quotas#writes_and_transactions
"""

from collections.abc import Iterator
from typing import Any

from infra.local.firestore.indexes import ASCENDING, CONTAINS, DESCENDING, FieldPath, Indexes
from infra.local.firestore.values import encode, lookup, name_size, value_size

MAX_COMMIT_BYTES = 10 * 1024 * 1024
"""https://firebase.google.com/docs/firestore/quotas#writes_and_transactions."""

INDEXED_VALUE_BYTES = 1_500
"""As much of a value as an index holds.
https://firebase.google.com/docs/firestore/quotas#indexes"""

_DOCUMENT, _ENTRY, _GROUP_ENTRY = 32, 32, 48


def change_size(indexes: Indexes, path: str, before: Any, after: Any) -> int:
    """Bytes of what a write changes: the document as it becomes (of one that goes, its name), and the index
    entries that are added or removed. `before` and `after` are Documents, None where there is none."""
    size = name_size(path)
    if after is not None:
        fields = after.fields.items()
        size += _DOCUMENT + sum(len(name.encode()) + 1 + value_size(value) for name, value in fields)
    old = {} if before is None else index_entries(indexes, path, before.fields)
    new = {} if after is None else index_entries(indexes, path, after.fields)
    return size + sum((old | new)[key] for key in old.keys() ^ new.keys())


def index_entries(indexes: Indexes, path: str, fields: Any) -> dict[tuple[Any, ...], int]:
    """The size in bytes of each index entry of a document, under what tells the entry from others."""
    collection, _, _ = path.rpartition("/")
    above, _, group = collection.rpartition("/")
    name, parent = name_size(path), name_size(above) if above else 0
    entries: dict[tuple[Any, ...], int] = {}
    for field, kinds, value in _indexed(fields, ()):
        modes = [mode for mode in indexes.of_field(group, field) if mode[1] in kinds]
        if not modes:
            continue
        key, label = encode(value), ".".join(field)
        rest = name + len(label.encode()) + 1 + min(value_size(value), INDEXED_VALUE_BYTES)
        for across, kind in modes:
            entries[label, across, kind, key] = rest + (_GROUP_ENTRY if across else parent + _ENTRY)
    for index in indexes.of_group(group):
        values = [lookup(fields, field) for field, _ in index.fields]
        if None not in values:
            size = sum(min(value_size(value), INDEXED_VALUE_BYTES) for value in values)
            entries[index, index.key(fields, b"")] = name + (0 if index.across else parent) + size + _ENTRY
    return entries


def _indexed(fields: Any, above: FieldPath) -> Iterator[tuple[FieldPath, tuple[str, ...], Any]]:
    """Each value that a field's own index takes, with its path and the kinds of index that take it: of a map
    what is in it, of an array its elements."""
    for name, value in fields.items():
        path = (*above, name)
        kind = value.WhichOneof("value_type")
        if kind == "map_value":
            yield from _indexed(value.map_value.fields, path)
        elif kind == "array_value":
            for element in value.array_value.values:
                yield path, (CONTAINS,), element
        else:
            yield path, (ASCENDING, DESCENDING), value
