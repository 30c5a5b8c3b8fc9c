"""The declared indexes, and which of them serves a query.

Which queries need one: https://firebase.google.com/docs/firestore/query-data/index-overview
The file: https://firebase.google.com/docs/reference/firestore/indexes
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.local.firestore.values import encode, inverted, lookup, parse_path

NAME = "__name__"

FieldPath = tuple[str, ...]
Order = tuple[FieldPath, bool]
"""A field and whether it is in descending order."""


@dataclass(frozen=True)
class CompositeIndex:
    """One declared index: fields in order, each with whether it descends, and how the document name runs."""

    group: str
    across: bool
    """True for the scope COLLECTION_GROUP."""
    fields: tuple[Order, ...]
    name_descends: bool

    def definition(self) -> str:
        """The index as text, the same for the same index."""
        return json.dumps([self.group, self.across, self.fields, self.name_descends])

    def key(self, fields: Any, name: bytes) -> bytes | None:
        """Where a document stands in this index; None where it lacks one of the fields and is not in it."""
        parts = []
        for path, descends in self.fields:
            value = lookup(fields, path)
            if value is None:
                return None
            encoded = encode(value)
            parts.append(inverted(encoded) if descends else encoded)
        parts.append(inverted(name) if self.name_descends else name)
        return b"".join(parts)


ASCENDING, DESCENDING, CONTAINS = "ASCENDING", "DESCENDING", "CONTAINS"

Mode = tuple[bool, str]
"""One of a field's own indexes: whether it is over a collection group, and its order or CONTAINS."""

_AUTOMATIC: frozenset[Mode] = frozenset({(False, ASCENDING), (False, DESCENDING), (False, CONTAINS)})
"""A field's own indexes unless an override says otherwise."""


class Indexes:
    """The content of firestore.indexes.json. Queries are served by ordered fields only."""

    def __init__(self, file: Path) -> None:
        content = json.loads(file.read_text())
        declared = [
            _composite(e) for e in content.get("indexes", []) if all("order" in f for f in e["fields"])
        ]
        self.composite: list[CompositeIndex] = list(dict.fromkeys(declared))
        self._groups: dict[str, list[CompositeIndex]] = {}
        for index in self.composite:
            self._groups.setdefault(index.group, []).append(index)
        self._singles: dict[tuple[str, str], frozenset[Mode]] = {}
        for entry in content.get("fieldOverrides", []):
            modes = frozenset(
                (i.get("queryScope") == "COLLECTION_GROUP", i.get("order") or i["arrayConfig"])
                for i in entry.get("indexes", [])
            )
            self._singles[entry["collectionGroup"], entry["fieldPath"]] = modes

    def of_group(self, group: str) -> list[CompositeIndex]:
        """The composite indexes over collections of this id, in either scope."""
        return self._groups.get(group, [])

    def single_serves(self, group: str, path: FieldPath, *, across: bool, descends: bool | None) -> bool:
        """Whether the field's own index serves; `descends` None when the order does not matter."""
        modes = self.of_field(group, path)
        if descends is None:
            return (across, ASCENDING) in modes or (across, DESCENDING) in modes
        return (across, DESCENDING if descends else ASCENDING) in modes

    def choose(
        self,
        group: str,
        *,
        across: bool,
        equal: frozenset[FieldPath],
        orders: Sequence[Order],
        name_descends: bool,
    ) -> CompositeIndex | None:
        """The composite index for equalities on `equal`, then `orders`, then the name, or None.

        The direction of an equality field is free, any other must be the same: Firestore does not read an
        index backwards (https://firebase.google.com/docs/firestore/query-data/index-overview: the same query
        in descending order needs an additional index).
        """
        for index in self.of_group(group):
            if index.across is not across or len(index.fields) != len(equal) + len(orders):
                continue
            if {path for path, _ in index.fields[: len(equal)]} != equal:
                continue
            if index.fields[len(equal) :] == tuple(orders) and index.name_descends is name_descends:
                return index
        return None

    def of_field(self, group: str, path: FieldPath) -> frozenset[Mode]:
        """A field's own indexes, by the override nearest to it: its own, its parents', the one for every
        field, the default."""
        for length in range(len(path), 0, -1):
            found = self._singles.get((group, ".".join(path[:length])))
            if found is not None:
                return found
        return self._singles.get((group, "*"), _AUTOMATIC)


def _composite(entry: dict[str, Any]) -> CompositeIndex:
    fields = [(parse_path(f["fieldPath"]), f["order"] == "DESCENDING") for f in entry["fields"]]
    name_descends = fields[-1][1]
    if fields[-1][0] == (NAME,):
        fields.pop()
    across = entry.get("queryScope", "COLLECTION") == "COLLECTION_GROUP"
    return CompositeIndex(entry["collectionGroup"], across, tuple(fields), name_descends)
