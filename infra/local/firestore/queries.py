"""A structured query: read, held against the declared indexes, and run as range scans.

https://cloud.google.com/firestore/docs/reference/rpc/google.firestore.v1#structuredquery
https://firebase.google.com/docs/firestore/query-data/queries (what a query may combine)

A position is where a scan begins or ends: some leading bytes of a key, and whether it lies before or after
everything that begins with them. Turning an order round turns the bytes and the side.
"""

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from grpc import StatusCode

from infra.local.firestore.errors import Refused, invalid, unimplemented
from infra.local.firestore.indexes import NAME, CompositeIndex, FieldPath, Indexes, Order
from infra.local.firestore.messages import Document, StructuredQuery
from infra.local.firestore.store import Collection, Store, Version
from infra.local.firestore.values import (
    after_prefix,
    assign,
    class_bounds,
    encode,
    encode_path,
    inverted,
    lookup,
    parse_path,
)

MAX_DISJUNCTS = 30
_NAME: FieldPath = (NAME,)
_FIRST_CHUNK, _CHUNK, _CHUNK_BYTES = 32, 512, 4_000_000

Position = tuple[bytes, bool]
_START: Position = (b"", False)
_END: Position = (b"", True)

_Op: Any = StructuredQuery.FieldFilter
_Unary: Any = StructuredQuery.UnaryFilter


@dataclass
class Query:
    """A query as understood: what must be equal, the one range, the order, where to begin and end."""

    space: int
    root: str
    parent: str
    group: str
    across: bool
    equal: dict[FieldPath, list[bytes]] = field(default_factory=dict)
    contained: list[list[bytes]] = field(default_factory=list)
    """Of each of these, a serialized document that matches contains at least one: see `_entry`."""
    range_on: FieldPath | None = None
    low: Position = _START
    high: Position = _END
    orders: list[Order] = field(default_factory=list)
    start: Position = _START
    end: Position = _END
    offset: int = 0
    limit: int | None = None
    select: list[FieldPath] | None = None
    index: CompositeIndex | None = None

    @property
    def path(self) -> str:
        """The collection's path below `/documents` (of a collection group: below its parent)."""
        return f"{self.parent}/{self.group}" if self.parent else self.group


def at(position: Position, prefix: bytes = b"") -> bytes:
    """The least key at or behind a position."""
    key = prefix + position[0]
    return after_prefix(key) if position[1] else key


def turned(position: Position) -> Position:
    """The same position in the opposite order."""
    return inverted(position[0]), not position[1]


def relative(name: str, root: str) -> str:
    """A document's path below `/documents`, from its full name; another database's is INVALID_ARGUMENT."""
    if not name.startswith(root + "/"):
        raise invalid(f"the name {name!r} is not in the database of this request")
    return name[len(root) + 1 :]


# Reading a request


def understand(
    request: Any, *, space: int, root: str, parent: str, indexes: Indexes, summed: FieldPath | None = None
) -> Query:
    """Read a StructuredQuery; `root` is the full name of `/documents`, `summed` the field to be added up.

    Raises INVALID_ARGUMENT for what production refuses, FAILED_PRECONDITION for a missing index and
    UNIMPLEMENTED for what is not built.
    """
    if len(request.from_) != 1:
        raise invalid("a query is made from exactly one collection")
    source = request.from_[0]
    if not source.collection_id:
        raise unimplemented("a query over collections of every id")
    if request.HasField("find_nearest"):
        raise unimplemented("find_nearest")
    query = Query(space, root, parent, source.collection_id, bool(source.all_descendants))
    if request.HasField("where"):
        _filter(query, request.where)
    _prune(query)
    _order(query, request.order_by)
    if request.HasField("start_at"):
        query.start = _cursor(query, request.start_at), not request.start_at.before
    if request.HasField("end_at"):
        query.end = _cursor(query, request.end_at), not request.end_at.before
    if request.offset < 0 or request.limit.value < 0:
        raise invalid("offset and limit are not negative")
    query.offset = request.offset
    query.limit = request.limit.value if request.HasField("limit") else None
    if request.HasField("select") and request.select.fields:
        query.select = [_field(f) for f in request.select.fields]
    if query.across and query.parent and not _by_names_alone(query):
        # Google's emulator, in these words.
        raise invalid("collection group queries are only allowed at the root parent")
    if summed is None:
        _choose(query, indexes)
        return query
    if query.offset or query.limit is not None or (query.start, query.end) != (_START, _END):
        raise unimplemented("a sum of a query with an offset, a limit or a cursor")
    _choose_for_sum(query, indexes, summed)
    return query


def field_of_sum(aggregation: Any) -> FieldPath:
    """The field that a sum adds up."""
    return _field(aggregation.sum.field)


def _by_names_alone(query: Query) -> bool:
    return {path for path, _ in query.orders} | set(query.equal) | {query.range_on or _NAME} == {_NAME}


def _field(reference: Any) -> FieldPath:
    return parse_path(reference.field_path)


def _filter(query: Query, where: Any) -> None:
    kind = where.WhichOneof("filter_type")
    if kind == "composite_filter":
        if where.composite_filter.op != StructuredQuery.CompositeFilter.AND:
            raise unimplemented("an OR of filters")
        for inner in where.composite_filter.filters:
            _filter(query, inner)
    elif kind == "unary_filter":
        unary = where.unary_filter
        if unary.op not in (_Unary.IS_NULL, _Unary.IS_NAN):
            raise unimplemented(f"the filter {_Unary.Operator.Name(unary.op)}")
        value = Document().fields["v"]
        if unary.op == _Unary.IS_NULL:
            value.null_value = 0
        else:
            value.double_value = float("nan")
        _equal(query, _field(unary.field), [encode(value)])
    elif kind == "field_filter":
        _field_filter(query, where.field_filter)
    else:
        raise invalid("a filter is empty")


def _field_filter(query: Query, condition: Any) -> None:
    path, value, op = _field(condition.field), condition.value, condition.op
    if op == _Op.EQUAL:
        _equal(query, path, [_operand(query, path, value)])
        _contained(query, path, [value])
        return
    if op == _Op.IN:
        if value.WhichOneof("value_type") != "array_value" or not value.array_value.values:
            raise invalid("IN needs an array that is not empty")
        if len(value.array_value.values) > MAX_DISJUNCTS:
            raise invalid(f"IN supports up to {MAX_DISJUNCTS} comparison values")
        _equal(query, path, [_operand(query, path, v) for v in value.array_value.values])
        _contained(query, path, list(value.array_value.values))
        return
    if op not in (_Op.LESS_THAN, _Op.LESS_THAN_OR_EQUAL, _Op.GREATER_THAN, _Op.GREATER_THAN_OR_EQUAL):
        raise unimplemented(f"the filter {_Op.Operator.Name(op)}")
    if query.range_on not in (None, path):
        raise unimplemented("ranges on several fields")
    query.range_on = path
    key = _operand(query, path, value)
    if path != _NAME:
        least, beyond = class_bounds(key)
        query.low = max(query.low, (least, False), key=at)
        query.high = _least(query.high, (beyond, False))
    if op in (_Op.LESS_THAN, _Op.LESS_THAN_OR_EQUAL):
        query.high = _least(query.high, (key, bool(op == _Op.LESS_THAN_OR_EQUAL)))
    else:
        query.low = max(query.low, (key, bool(op == _Op.GREATER_THAN)), key=at)


def _least(one: Position, other: Position) -> Position:
    return min(one, other, key=at)


def _operand(query: Query, path: FieldPath, value: Any) -> bytes:
    """A compared value as bytes; `__name__` is compared as a document's path, without a type in front."""
    if path != _NAME:
        return encode(value)
    if value.WhichOneof("value_type") != "reference_value":
        raise invalid("__name__ is compared with document references only")
    name = relative(value.reference_value, query.root)
    if name.count("/") % 2 == 0:
        raise invalid(f"__name__ is compared with the name of a document, and {name!r} is none")
    if not query.across and name.rpartition("/")[0] != query.path:
        raise invalid(f"the document {name!r} is not in the collection {query.path!r}")
    return encode_path(name)


def _equal(query: Query, path: FieldPath, keys: list[bytes]) -> None:
    before = query.equal.get(path)
    query.equal[path] = sorted(set(keys) if before is None else set(before) & set(keys))
    total = 1
    for values in query.equal.values():
        total *= max(1, len(values))
    if total > MAX_DISJUNCTS:
        raise invalid(
            f"the product of the IN values of a query is at most {MAX_DISJUNCTS}; this query has {total}"
        )


def _contained(query: Query, path: FieldPath, values: list[Any]) -> None:
    """Note what a document contains in which a field equals one of these values, where that can be said."""
    plain = ("string_value", "boolean_value")  # what equals another number is not always the same bytes
    if len(path) == 1 and path != _NAME and all(each.WhichOneof("value_type") in plain for each in values):
        query.contained.append([_entry(path[0], each) for each in values])


def _entry(name: str, value: Any) -> bytes:
    """A field as it stands in a serialized document: a document that has it alone."""
    document = Document()
    document.fields[name].CopyFrom(value)
    serialized: bytes = document.SerializeToString(deterministic=True)
    return serialized


def _prune(query: Query) -> None:
    """A range on a field that must equal something only takes away from what it may equal."""
    path = query.range_on
    if path is not None and path in query.equal:
        low, high = at(query.low), at(query.high)
        query.equal[path] = [key for key in query.equal[path] if low <= key < high]
        query.range_on, query.low, query.high = None, _START, _END


def _order(query: Query, order_by: Any) -> None:
    """The full order: what was asked for, the field of the range, then the name, in the last direction."""
    for order in order_by:
        path = _field(order.field)
        if path in [p for p, _ in query.orders]:
            raise invalid(f"the query is ordered by {'.'.join(path)} twice")
        query.orders.append((path, order.direction == StructuredQuery.DESCENDING))
        if path == _NAME:
            break
    descends = query.orders[-1][1] if query.orders else False
    paths = [path for path, _ in query.orders]
    if query.range_on is not None and query.range_on not in paths and paths[-1:] != [_NAME]:
        query.orders.append((query.range_on, descends))
    if query.orders[-1:] != [(_NAME, descends)]:
        query.orders.append((_NAME, descends))
    rest = _rest(query)
    if query.range_on is not None and rest[0][0] != query.range_on:
        raise unimplemented("a range on another field than the first of the order")


def _rest(query: Query) -> list[Order]:
    """The order without the fields that must be equal to something: it says nothing of them within a scan."""
    return [o for o in query.orders if o[0] not in query.equal or o[0] == _NAME]


def _cursor(query: Query, cursor: Any) -> bytes:
    if len(cursor.values) > len(query.orders):
        raise invalid("a cursor has more values than the query has orders")
    parts = []
    for value, (path, descends) in zip(cursor.values, query.orders, strict=False):
        if path == _NAME and value.WhichOneof("value_type") != "reference_value":
            raise invalid("a cursor on __name__ needs a document reference")
        key = encode_path(relative(value.reference_value, query.root)) if path == _NAME else encode(value)
        parts.append(inverted(key) if descends else key)
    return b"".join(parts)


def _choose(query: Query, indexes: Indexes) -> None:
    """Find the index that serves; without a composite one the fields' own must do, else it is refused."""
    *orders, (_, name_descends) = _rest(query)
    equal = frozenset(query.equal) - {_NAME}
    group, across = query.group, query.across
    if _NAME in query.equal and orders:
        raise unimplemented("an order on a field beside an equality on __name__")
    if equal or orders:
        query.index = indexes.choose(
            group, across=across, equal=equal, orders=orders, name_descends=name_descends
        )
        if query.index is not None:
            return
    served = all(indexes.single_serves(group, path, across=across, descends=None) for path in equal)
    if orders:
        (path, descends), *more = orders
        served = (
            not more
            and not equal
            and name_descends is descends
            and indexes.single_serves(group, path, across=across, descends=descends)
        )
    elif name_descends and not equal:
        # No collection has its names indexed downwards by itself: production asks for an index here too.
        served = _NAME in query.equal
    if not served:
        raise Refused(StatusCode.FAILED_PRECONDITION, _wanted(query, equal, orders, name_descends))


def _choose_for_sum(query: Query, indexes: Indexes, path: FieldPath) -> None:
    """Have the query order by the field of a sum, too, and find the index of that: production reads the
    values from the index. https://firebase.google.com/docs/firestore/query-data/aggregation-queries"""
    asked = query.orders
    if path not in query.equal and path not in [each for each, _ in asked]:
        query.orders = [*asked[:-1], (path, asked[-1][1]), asked[-1]]
    _choose(query, indexes)
    query.orders = asked


def _wanted(query: Query, equal: frozenset[FieldPath], orders: list[Order], name_descends: bool) -> str:
    fields = [(path, False) for path in sorted(equal)] + orders
    if not fields or name_descends is not fields[-1][1]:
        fields.append((_NAME, name_descends))
    said = ", ".join(f"{'.'.join(path)} {'DESCENDING' if down else 'ASCENDING'}" for path, down in fields)
    scope = "COLLECTION_GROUP" if query.across else "COLLECTION"
    return (
        "The query requires an index. You can declare it in firestore.indexes.json: "
        f"collectionGroup {query.group}, queryScope {scope}, fields {said}"
    )


# Running


def run(query: Query, store: Store, time: int) -> Iterator[Version]:
    """The documents that a query finds at a time, in order; reads in pieces, holding no lock in between."""
    stop = None if query.limit is None else query.offset + query.limit
    return (
        version for _, version in itertools.islice(_matches(query, store, time, stop), query.offset, stop)
    )


def count(query: Query, store: Store, time: int, up_to: int | None) -> int:
    """How many documents a query finds at a time, at most `up_to`."""
    stop = None if query.limit is None else query.offset + query.limit
    if up_to is not None:
        stop = min(query.offset + up_to, stop if stop is not None else query.offset + up_to)
    most = 2**62 if stop is None else stop
    if query.index is not None and not (query.across and query.parent):
        scope = _scope(query, store)
        found = 0
        for span in [] if scope is None else _spans(query):
            if found < most:
                found += store.count(query.index, scope or 0, span.low, span.high, time, limit=most - found)
    else:
        found = sum(1 for _ in itertools.islice(_matches(query, store, time, stop), stop))
    return max(0, found - query.offset)


def total(query: Query, store: Store, time: int, path: FieldPath) -> int | float:
    """The sum of a field of the documents that a query finds at a time. What has no number there adds
    nothing. An integer where every number is one and the sum has 64 bits, else a double."""
    numbers = [_number(version, path) for version in run(query, store, time)]
    found = [each for each in numbers if each is not None]
    whole = sum(each for each in found if isinstance(each, int))
    if all(isinstance(each, int) for each in found) and -(2**63) <= whole < 2**63:
        return whole
    return sum((each for each in found if isinstance(each, float)), float(whole))


def _number(version: Version, path: FieldPath) -> int | float | None:
    value = lookup(Document.FromString(version.fields).fields, path)
    kind = None if value is None else value.WhichOneof("value_type")
    return getattr(value, kind) if kind in ("integer_value", "double_value") else None


def project(document: Any, paths: list[FieldPath]) -> Any:
    """A Document with only some of another's fields."""
    picked = Document()
    for path in paths:
        value = None if path == _NAME else lookup(document.fields, path)
        if value is not None:
            assign(picked.fields, path, value)
    return picked


def _matches(query: Query, store: Store, time: int, stop: int | None) -> Iterator[tuple[bytes, Version]]:
    if query.index is None:
        return _sift(query, store, time)
    scope = _scope(query, store)
    if scope is None:
        return iter(())
    chunk = _FIRST_CHUNK if stop is None else max(1, min(_FIRST_CHUNK, stop))
    scans = [_scan(store, query.index, scope, span, time, chunk) for span in _spans(query)]
    merged = scans[0] if len(scans) == 1 else heapq.merge(*scans)
    if query.across and query.parent:
        below = query.parent + "/"
        return (found for found in merged if store.collection_of(found[1]).path.startswith(below))
    return merged


def _scope(query: Query, store: Store) -> int | None:
    """What the entries of the chosen index are kept under; None where nothing was ever written."""
    if query.across:
        return query.space
    collection = store.collection(query.space, query.path)
    return None if collection is None else collection.id


class _Span(NamedTuple):
    """A range of an index: low <= key < high.

    `prefix` is what its keys have in common, the values that fields must equal; `lead` is what stands in its
    place in the query's order, the values of those of them that the query also orders by.
    """

    prefix: bytes
    lead: bytes
    low: bytes
    high: bytes


def _spans(query: Query) -> Iterator[_Span]:
    """One range of the index for each combination of the values that fields must equal."""
    assert query.index is not None
    names = query.equal.get(_NAME)
    paths = [path for path in query.equal if path != _NAME]
    leading = list(itertools.takewhile(lambda o: o[0] in query.equal and o[0] != _NAME, query.orders))
    later = [p for p, _ in query.orders[len(leading) :] if p in query.equal and p != _NAME]
    cursors = (query.start, query.end) != (_START, _END)
    if later and (cursors or any(len(query.equal[p]) > 1 for p in later)):
        raise unimplemented("an order in which a field with an equality or IN comes after another field")
    descends = _rest(query)[0][1]
    for values in itertools.product(*[query.equal[p] for p in paths]):
        chosen = dict(zip(paths, values, strict=True))
        prefix = b"".join(
            inverted(chosen[path]) if down else chosen[path]
            for path, down in query.index.fields[: len(paths)]
        )
        lead = b"".join(inverted(chosen[path]) if down else chosen[path] for path, down in leading)
        for name in [None] if names is None else names:
            low, high = (query.low, query.high) if name is None else ((name, False), (name, True))
            if descends:
                low, high = turned(high), turned(low)
            low = max(low, _within(query.start, lead), key=at)
            high = _least(high, _within(query.end, lead))
            yield _Span(prefix, lead, at(low, prefix), at(high, prefix))


def _within(cursor: Position, lead: bytes) -> Position:
    """A cursor as seen by one scan, all of whose keys begin with `lead`."""
    key = cursor[0]
    if key.startswith(lead):
        return key[len(lead) :], cursor[1]
    if lead.startswith(key):
        return _END if cursor[1] else _START
    return _START if key < lead else _END


def _scan(
    store: Store, index: CompositeIndex, scope: int, span: _Span, time: int, chunk: int
) -> Iterator[tuple[bytes, Version]]:
    """One range of an index, in pieces of bounded size, with the key by which the query orders."""
    low, skip = span.low, len(span.prefix)
    while low < span.high:
        rows = store.scan(index, scope, low, span.high, time, limit=chunk)
        for key, version in rows:
            yield span.lead + key[skip:], version
        if len(rows) < chunk:
            return
        low = rows[-1][0] + b"\x00"
        chunk = _next_chunk(chunk, [version for _, version in rows])


def _next_chunk(chunk: int, found: list[Version]) -> int:
    """How many are read after a chunk: twice as many, but no more than _CHUNK, nor than make _CHUNK_BYTES
    where they are as large as those that were found."""
    mean = sum(len(version.fields) for version in found) // len(found) + 1
    return max(8, min(2 * chunk, _CHUNK, _CHUNK_BYTES // mean))


def _sift(query: Query, store: Store, time: int) -> Iterator[tuple[bytes, Version]]:
    """What automatic single-field indexes would find, by looking at each document of the collection."""
    low, high = at(query.start), at(query.end)
    if not query.across:
        collection = store.collection(query.space, query.path)
        if collection is None:
            return
        if [p for p, _ in query.orders] == [_NAME] and not query.orders[0][1]:
            least = max(low, at(query.low))
            if _NAME in query.equal:
                least = max(least, min(query.equal[_NAME], default=high))
            for version in _candidates(query, store, collection, time, least):
                key = encode_path(f"{collection.path}/{version.name}")
                if key >= high or (query.range_on == _NAME and key >= at(query.high)):
                    return
                if _NAME in query.equal and key > max(query.equal[_NAME], default=b""):
                    return
                if low <= key and _key(query, key, version) is not None:
                    yield key, version
            return
        collections = [collection]
    else:
        below = f"{query.parent}/" if query.parent else ""
        collections = store.collections(query.space, group=query.group, below=below)
    found = []
    for collection in collections:
        for version in _candidates(query, store, collection, time, b""):
            order = _key(query, encode_path(f"{collection.path}/{version.name}"), version)
            if order is not None and low <= order < high:
                found.append((order, version))
    found.sort(key=lambda match: match[0])
    yield from found


def _candidates(
    query: Query, store: Store, collection: Collection, time: int, least: bytes
) -> Iterator[Version]:
    """Documents of a collection in the order of ids, without those of which their bytes say that they do not
    match: to parse each takes ten times as long."""
    for version in _by_name(store, collection, time, least):
        if all(any(each in version.fields for each in some) for some in query.contained):
            yield version


def _by_name(store: Store, collection: Collection, time: int, least: bytes) -> Iterator[Version]:
    """A collection in the order of ids, from about `least` on (an encoded name)."""
    prefix = encode_path(collection.path)[:-2]
    begin, chunk = "", _FIRST_CHUNK
    if least.startswith(prefix):
        begin = least[len(prefix) :].partition(b"\x00")[0].decode(errors="ignore")
    while True:
        versions = store.by_name(collection, time, least=begin, limit=chunk)
        yield from versions
        if len(versions) < chunk:
            return
        begin = versions[-1].name + "\x00"
        chunk = _next_chunk(chunk, versions)


def _key(query: Query, name: bytes, version: Version) -> bytes | None:
    """The key by which the query orders a document, or None if it does not match."""
    fields = None
    parts = []
    if query.orders != [(_NAME, False)] or query.equal or query.range_on:
        fields = Document.FromString(version.fields).fields
    for path, keys in query.equal.items():
        if (name if path == _NAME else _encoded(fields, path)) not in keys:
            return None
    if query.range_on is not None:
        compared = name if query.range_on == _NAME else _encoded(fields, query.range_on)
        if compared is None or not at(query.low) <= compared < at(query.high):
            return None
    for path, descends in query.orders:
        key = name if path == _NAME else _encoded(fields, path)
        if key is None:
            return None
        parts.append(inverted(key) if descends else key)
    return b"".join(parts)


def _encoded(fields: Any, path: FieldPath) -> bytes | None:
    value = lookup(fields, path)
    return None if value is None else encode(value)
