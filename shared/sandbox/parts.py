"""Records made ready for a query: columns in Arrow, compressed, in a part that goes to Cloud Storage.

A part is a sequence of batches: each is eight bytes of length (big-endian) and one Arrow IPC stream with a
schema of its own (https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format). So a field may
be of another type, or be missing, from batch to batch and from part to part. The child unifies them when it
loads them. A field of a batch says its kind in its metadata:

null     no value in the batch
boolean  true and false
integer  integers up to 2^53 on either side, which a float holds exactly
big      integers of 64 bits
huge     integers of up to 38 digits, as decimal128
number   floats, or floats and integers
text     strings
json     anything else, as JSON text
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import orjson

from shared.sandbox.errors import Refused

Kind = Literal["null", "boolean", "integer", "big", "huge", "number", "text", "json"]

MAX_COLUMNS = 1_000
"""Columns of one table, and of one result."""

BATCH_BYTES = 4 * 1024 * 1024
"""Bytes of JSON Lines that a writer holds before it writes a batch. Parsed, they take several times more."""

BATCH_CELLS = 2_000_000
"""Records times columns of one Arrow stream: many columns of few values each must not fill the memory."""

EXACT_FLOAT = 2**53
LARGEST_64 = 2**63
LARGEST_DECIMAL = 10**38

# orjson reads an integer of more than 64 bits as a float. Such a one has a run of so many digits. To find it,
# all digits are made 0, which takes a tenth of the time of a regular expression.
_DIGITS_TO_ZERO = bytes.maketrans(b"123456789", b"0" * 9)
_MANY_DIGITS = b"0" * 19


class PartTypes(TypedDict):
    """What a part holds, as plain JSON: kept beside its bytes.

    columns  the kind of each field, in the order in which they first came
    """

    rows: int
    columns: dict[str, Kind]


@dataclass(frozen=True)
class Part:
    """A part of a table: what `PartWriter.close` answered, and its bytes, in blocks of any size."""

    types: PartTypes
    blocks: Callable[[], Iterable[bytes]]


class PartWriter:
    """Makes a part from JSON Lines. Its bytes go to `put` as they come; at most a batch is held.

    Raises Refused where the records have more than MAX_COLUMNS fields.
    """

    def __init__(self, put: Callable[[bytes], None]) -> None:
        self._put = put
        self._lines: list[bytes] = []
        self._size = 0
        self._rows = 0
        self._columns: dict[str, Kind] = {}

    def write(self, lines: bytes) -> None:
        """Add records: whole lines, each a JSON object."""
        for line in lines.split(b"\n"):
            if line:
                self._lines.append(line)
                self._size += len(line)
                if self._size >= BATCH_BYTES:
                    self._flush()

    def close(self) -> PartTypes:
        """Write what is still held. Answers what the part holds."""
        self._flush()
        return {"rows": self._rows, "columns": dict(self._columns)}

    def _flush(self) -> None:
        if not self._lines:
            return
        records = _parsed(self._lines)
        self._rows += len(records)
        self._lines, self._size = [], 0
        names: dict[str, None] = {}
        for record in records:
            names.update(dict.fromkeys(record))
        self._columns.update({name: "null" for name in names if name not in self._columns})
        if len(self._columns) > MAX_COLUMNS:
            raise Refused(
                f"The records have more than {MAX_COLUMNS:,} fields. "
                "Export them without a query, or filter them to records of fewer fields."
            )
        step = max(1, BATCH_CELLS // max(1, len(names)))
        for start in range(0, len(records), step):
            self._put_stream(list(names), records[start : start + step])

    def _put_stream(self, names: Sequence[str], records: Sequence[Mapping[str, Any]]) -> None:
        pa = _arrow()
        fields, arrays = [], []
        for name in names:
            kind, array = _column([record.get(name) for record in records])
            self._columns[name] = unify([self._columns[name], kind])
            arrays.append(array)
            fields.append(pa.field(name, array.type, metadata={"kind": kind}))
        if not names:  # records without a field still count
            fields, arrays = [pa.field("", pa.null(), metadata={"kind": "null"})], [pa.nulls(len(records))]
        schema = pa.schema(fields)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as stream:
            stream.write_batch(pa.record_batch(arrays, schema=schema))
        body = sink.getvalue().to_pybytes()
        self._put(len(body).to_bytes(8, "big"))
        self._put(body)


def unify(kinds: Iterable[Kind]) -> Kind:
    """The kind that holds all values of all these kinds.

    Integers beyond 2^53 beside floats become JSON: as floats they would lose digits.
    """
    found = set(kinds) - {"null"}
    if not found:
        return "null"
    if len(found) == 1:
        return found.pop()
    for kinds_of_integers, kind in _UNIFIED:
        if found <= kinds_of_integers:
            return kind
    return "json"


_UNIFIED: tuple[tuple[set[Kind], Kind], ...] = (
    ({"integer", "big"}, "big"),
    ({"integer", "big", "huge"}, "huge"),
    ({"integer", "number"}, "number"),
)


def table_columns(parts: Iterable[PartTypes]) -> dict[str, Kind]:
    """The fields of a table and their kinds, in the order in which they first come."""
    columns: dict[str, Kind] = {}
    for part in parts:
        for name, kind in part["columns"].items():
            columns[name] = unify([columns.get(name, "null"), kind])
    return columns


def column_names(fields: Iterable[str]) -> dict[str, str]:
    """The name in SQL of each field.

    SQL does not tell upper from lower case. Of fields that differ in nothing else the first keeps its name,
    and each other gets a number, as DuckDB names them when it reads JSON: `Name`, `name_1`. A name that SQL
    cannot hold (empty, or with a NUL) is replaced.
    """
    fields = list(fields)
    taken: set[str] = set()
    names: dict[str, str] = {}
    own = {field.casefold() for field in fields}
    for field in fields:
        wanted = field.replace("\0", "\ufffd") or "_"
        name, number = wanted, 0
        while name.casefold() in taken or (number and name.casefold() in own):
            number += 1
            name = f"{wanted}_{number}"
        taken.add(name.casefold())
        names[field] = name
    return names


def _parsed(lines: Sequence[bytes]) -> list[dict[str, Any]]:
    joined = b"[" + b",".join(lines) + b"]"
    records: list[dict[str, Any]]
    if _MANY_DIGITS in joined.translate(_DIGITS_TO_ZERO):
        records = json.loads(joined, parse_int=_exact_integer)
    else:
        records = orjson.loads(joined)
    return records


def _exact_integer(digits: str) -> int | str:
    # Python refuses to read an integer of more than 4,300 digits, for the time that it takes.
    return int(digits) if len(digits) <= 4_000 else digits


def _column(values: list[Any]) -> tuple[Kind, Any]:
    """The kind of a batch's values of one field, and the values as an Arrow array."""
    pa = _arrow()
    types = set(map(type, values)) - {type(None)}
    if not types:
        return "null", pa.nulls(len(values))
    if types == {bool}:
        return "boolean", pa.array(values, pa.bool_())
    if types == {str}:
        return "text", pa.array(values, pa.string())
    if types <= {int, float}:
        largest = max((abs(value) for value in values if type(value) is int), default=0)
        if float in types:
            if largest <= EXACT_FLOAT:
                return "number", pa.array(values, pa.float64())
        elif largest <= EXACT_FLOAT:
            return "integer", pa.array(values, pa.int64())
        elif largest < LARGEST_64:
            return "big", pa.array(values, pa.int64())
        elif largest < LARGEST_DECIMAL:
            return "huge", pa.array(values, pa.decimal128(38, 0))
    return "json", pa.array([None if value is None else _text(value) for value in values], pa.string())


def _arrow() -> Any:
    """pyarrow: large, so only what makes parts loads it. It has no types."""
    import pyarrow

    return pyarrow


def _text(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # an integer of more than 64 bits
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
