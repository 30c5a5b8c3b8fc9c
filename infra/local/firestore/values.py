"""Field values: their order as bytes, their size, field paths, and what a document may hold.

Order: https://cloud.google.com/firestore/docs/concepts/data-types#value_type_ordering
Sizes: https://cloud.google.com/firestore/docs/storage-size
Limits: https://cloud.google.com/firestore/quotas#collections_documents_and_fields
"""

import math
import re
import struct
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from infra.local.firestore.errors import invalid

MAX_DOCUMENT_BYTES = 1_048_576
MAX_VALUE_BYTES = 1_048_487
MAX_DEPTH = 20
MAX_NAME_BYTES = 1_500
MAX_FIELD_PATH_BYTES = 1_500

_NULL, _FALSE, _TRUE, _NUMBER, _TIMESTAMP, _STRING, _BYTES, _REFERENCE, _GEO_POINT, _ARRAY, _MAP = (
    b"\x05", b"\x0a", b"\x0b", b"\x10", b"\x15", b"\x20", b"\x25", b"\x30", b"\x35", b"\x40", b"\x50",
)  # fmt: skip
_KEY, _END = b"\x02", b"\x00"
_INVERT = bytes(255 - b for b in range(256))
_EXACT = 2**53
_NUMBER_PARTS = struct.Struct(">QH")
_TIME_PARTS = struct.Struct(">QI")
_U64 = struct.Struct(">Q")
_DOUBLE = struct.Struct(">d")
_SIGN = 1 << 63

_SEGMENT = re.compile(r"([A-Za-z_][A-Za-z_0-9]*)|`((?:[^`\\]|\\.)*)`")
_RESERVED = re.compile(r"__.*__", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def inverted(key: bytes) -> bytes:
    """The bytes that sort the other way round. Works because no encoding is a prefix of another."""
    return key.translate(_INVERT)


def after_prefix(prefix: bytes) -> bytes:
    """The least bytes above everything that begins with `prefix`."""
    stripped = prefix.rstrip(b"\xff")
    if not stripped:
        return b"\xff" * (len(prefix) + 1)
    return stripped[:-1] + bytes([stripped[-1] + 1])


def _text(data: bytes) -> bytes:
    """Bytes that end themselves: a zero inside is marked, so that the end sorts below any continuation."""
    return data.replace(b"\x00", b"\x00\xff") + b"\x00\x01"


def _double(value: float) -> int:
    """The bits of a double as an integer in numerical order; NaN is least, and -0.0 is 0.0."""
    if math.isnan(value):
        return 0
    (bits,) = _U64.unpack(_DOUBLE.pack(value + 0.0))
    return int(bits ^ 0xFFFF_FFFF_FFFF_FFFF) if bits & _SIGN else int(bits | _SIGN)


def _number(value: float) -> bytes:
    """Integers and doubles mixed: the greatest double not above, then what the integer has more than it."""
    rest = 0
    if isinstance(value, int) and not -_EXACT <= value <= _EXACT:
        below = float(value)
        if int(below) > value:
            below = math.nextafter(below, -math.inf)
        rest = value - int(below)
        value = below
    return _NUMBER + _NUMBER_PARTS.pack(_double(float(value)), rest)


def encode_path(path: str) -> bytes:
    """A document's path (or any slash-separated one) in the order of its segments."""
    return b"".join([_text(s.encode()) for s in path.split("/")]) + b"\x00\x00"


def encode(value: Any) -> bytes:
    """A `google.firestore.v1.Value` as bytes, whose order is Firestore's order of values."""
    kind = value.WhichOneof("value_type")
    if kind == "string_value":
        return _STRING + _text(value.string_value.encode())
    if kind == "integer_value":
        return _number(value.integer_value)
    if kind == "timestamp_value":
        at = value.timestamp_value
        return _TIMESTAMP + _TIME_PARTS.pack(at.seconds + _SIGN, at.nanos)
    if kind == "double_value":
        return _number(value.double_value)
    if kind == "null_value":
        return _NULL
    if kind == "boolean_value":
        return _TRUE if value.boolean_value else _FALSE
    if kind == "bytes_value":
        return _BYTES + _text(value.bytes_value)
    if kind == "reference_value":
        return _REFERENCE + encode_path(value.reference_value)
    if kind == "geo_point_value":
        point = value.geo_point_value
        return _GEO_POINT + _U64.pack(_double(point.latitude)) + _U64.pack(_double(point.longitude))
    if kind == "array_value":
        return _ARRAY + b"".join([encode(v) for v in value.array_value.values]) + _END
    if kind == "map_value":
        fields = value.map_value.fields
        keys = sorted((k.encode(), k) for k in fields)
        return _MAP + b"".join([_KEY + _text(raw) + encode(fields[k]) for raw, k in keys]) + _END
    raise invalid(f"a value of the kind {kind} cannot be stored or compared")


_NAN = _number(math.nan)


def class_bounds(key: bytes) -> tuple[bytes, bytes]:
    """The least encoding that a range with this bound can find, and the least above all that it can.

    A range compares only values of one class (https://firebase.google.com/docs/firestore/query-data/queries).
    NaN is in no range of numbers, and a range from or to NaN finds nothing: so Google's emulator answers.
    """
    if key[:1] in (_FALSE, _TRUE):
        return _FALSE, b"\x0c"
    if key == _NAN:
        return after_prefix(_NAN), after_prefix(_NAN)
    if key[:1] == _NUMBER:
        return after_prefix(_NAN), bytes([key[0] + 1])
    return key[:1], bytes([key[0] + 1])


@lru_cache(maxsize=10_000)
def parse_path(path: str) -> tuple[str, ...]:
    """The segments of a field path, backquotes taken off; one that cannot be read is INVALID_ARGUMENT."""
    if len(path.encode()) > MAX_FIELD_PATH_BYTES:
        raise invalid(f"the field path is longer than {MAX_FIELD_PATH_BYTES} bytes: {path[:80]}…")
    segments, at = [], 0
    while True:
        match = _SEGMENT.match(path, at)
        if match is None:
            raise invalid(f"invalid field path: {path!r}")
        plain, quoted = match.groups()
        segment = plain if plain is not None else _ESCAPED.sub(r"\1", quoted)
        if not segment:
            raise invalid(f"a segment of the field path is empty: {path!r}")
        segments.append(segment)
        at = match.end()
        if at == len(path):
            return tuple(segments)
        if path[at] != ".":
            raise invalid(f"invalid field path: {path!r}")
        at += 1


def lookup(fields: Any, path: tuple[str, ...]) -> Any:
    """The value at a path in a map of fields, or None."""
    value = fields.get(path[0])
    for segment in path[1:]:
        if value is None or value.WhichOneof("value_type") != "map_value":
            return None
        value = value.map_value.fields.get(segment)
    return value


def assign(fields: Any, path: tuple[str, ...], value: Any) -> None:
    """Set the value at a path, making maps on the way (also in place of what is no map)."""
    for segment in path[:-1]:
        inner = fields[segment]
        if inner.WhichOneof("value_type") != "map_value":
            inner.Clear()
            inner.map_value.SetInParent()
        fields = inner.map_value.fields
    fields[path[-1]].CopyFrom(value)


def remove(fields: Any, path: tuple[str, ...]) -> None:
    """Take away the value at a path, if it is there."""
    for segment in path[:-1]:
        inner = fields.get(segment)
        if inner is None or inner.WhichOneof("value_type") != "map_value":
            return
        fields = inner.map_value.fields
    if path[-1] in fields:
        del fields[path[-1]]


def name_size(path: str) -> int:
    """The stored size of a document's name, from its path below `/documents`."""
    return 16 + sum(len(s.encode()) + 1 for s in path.split("/"))


def value_size(value: Any) -> int:
    """The stored size of a value that was checked."""
    return _check_value(value, "", 0)


def check_id(segment: str, what: str) -> None:
    """Hold an id of a document or a collection against the documented constraints, else INVALID_ARGUMENT."""
    if not segment or segment in (".", "..") or "\x00" in segment or _RESERVED.fullmatch(segment):
        raise invalid(f"{what} has an invalid id {segment!r}")
    if len(segment.encode()) > MAX_NAME_BYTES:
        raise invalid(f"{what} has an id longer than {MAX_NAME_BYTES} bytes")


def check_alias(alias: str) -> None:
    """Hold the name of an aggregation's result against what a field may be called, else INVALID_ARGUMENT."""
    if _RESERVED.fullmatch(alias) or len(alias.encode()) > MAX_NAME_BYTES:
        raise invalid(f"the alias {alias[:200]!r} is reserved, or longer than {MAX_NAME_BYTES} bytes")


def check_document(path: str, fields: Any) -> None:
    """Hold a document's fields against the limits, and cut its timestamps to microseconds in place."""
    size = name_size(path) + 32 + _check_fields(fields, "", 0)
    if size > MAX_DOCUMENT_BYTES:
        raise invalid(
            f"Document {path!r} cannot be written because its size ({size:,} bytes) exceeds the maximum "
            f"allowed size of {MAX_DOCUMENT_BYTES:,} bytes."
        )


def _check_fields(fields: Any, parent: str, depth: int) -> int:
    size = 0
    for name, value in fields.items():
        length = len(name.encode())
        path = f"{parent}.{name}" if parent else name
        if not name or _RESERVED.fullmatch(name):
            raise invalid(f"the field name {name!r} is empty or reserved")
        if length > MAX_NAME_BYTES or (parent and len(path.encode()) > MAX_FIELD_PATH_BYTES):
            raise invalid(f"the path of a field is longer than {MAX_FIELD_PATH_BYTES} bytes: {path[:80]}…")
        size += length + 1 + _check_value(value, path, depth)
    return size


def _check_value(value: Any, path: str, depth: int, in_array: bool = False) -> int:
    kind = value.WhichOneof("value_type")
    if kind == "string_value":
        size = len(value.string_value.encode()) + 1
    elif kind == "bytes_value":
        size = len(value.bytes_value)
    elif kind in ("integer_value", "double_value"):
        return 8
    elif kind in ("null_value", "boolean_value"):
        return 1
    elif kind == "timestamp_value":
        at = value.timestamp_value
        if not (-62_135_596_800 <= at.seconds <= 253_402_300_799 and 0 <= at.nanos < 1_000_000_000):
            raise invalid(f"the timestamp in the field {path} is not between the years 1 and 9999")
        if at.nanos % 1000:
            at.nanos -= at.nanos % 1000
        return 8
    elif kind == "map_value":
        _check_depth(path, depth)
        size = 32 + _check_fields(value.map_value.fields, path, depth + 1)
    elif kind == "array_value":
        if in_array:
            raise invalid(f"the field {path} holds an array directly inside an array")
        _check_depth(path, depth)
        size = sum([_check_value(v, path, depth + 1, in_array=True) for v in value.array_value.values])
    elif kind == "reference_value":
        _, _, relative = value.reference_value.partition("/documents/")
        size = name_size(relative or value.reference_value)
    elif kind == "geo_point_value":
        point = value.geo_point_value
        if not (-90 <= point.latitude <= 90 and -180 <= point.longitude <= 180):
            raise invalid(f"the point in the field {path} is not on the globe")
        return 16
    else:
        raise invalid(f"the field {path} holds no value that can be stored ({kind})")
    if size > MAX_VALUE_BYTES:
        raise invalid(
            f"the value of the field {path} is {size:,} bytes, longer than {MAX_VALUE_BYTES:,} bytes"
        )
    return size


def _check_depth(path: str, depth: int) -> None:
    if depth >= MAX_DEPTH:
        raise invalid(f"the field {path[:200]} is nested deeper than {MAX_DEPTH} levels")


def field_paths(mask: Any) -> Iterator[tuple[str, ...]]:
    """The parsed paths of a DocumentMask that name what a user may write."""
    for path in mask.field_paths:
        segments = parse_path(path)
        for segment in segments:
            if _RESERVED.fullmatch(segment):
                raise invalid(f"the field path {path} holds a reserved name")
        yield segments
