"""parquet: columns with types, for those who query files as tables.

A record's fields become columns: text a string, integer an int64, number a double, boolean a bool, moment a
timestamp in microseconds of UTC, json a string of compact JSON text, value a string: a text itself, anything
else as JSON text. A column's type comes from the source alone, so it is the same in every file. Null stays
null, and a field that the record lacks is null. https://parquet.apache.org/docs/file-format/types/logicaltypes/

pyarrow is loaded when the first records are written, not before: it takes a third of a second and some 40 MB,
which no other export is to pay.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from shared.errors import GiveUp
from shared.formats import moments
from shared.formats.base import Column, ColumnType, Style

BATCH_BYTES = 1024 * 1024
"""How many bytes of lines are gathered before they become columns: parsed, they take several times as much
memory for that moment."""

GROUP_BYTES = 16 * 1024 * 1024
"""How many bytes of lines a row group takes: it is held in memory until it is written."""

COMPRESSION = "zstd"
"""How columns are compressed: records of ours take less than half of the room that they take with Snappy, in
the same time (8 and 18 hundredths of their lines). Parquet has it since version 2.4 of the format.
https://parquet.apache.org/docs/file-format/data-pages/compression/"""

_VALUE_BYTES = 8
_GROWTH = 128
_CHUNK_BYTES = 512
# What a value, a part that does not compress, and a column of a row group may add: see `_Groups.size`.


@dataclass(frozen=True)
class Parquet:
    """A format; see `base.Format`. Two pieces cannot be joined: what a file holds is said at its end."""

    name: str = "parquet"
    description: str = "Apache Parquet: typed columns, compressed; nested values as JSON text."
    extension: str = "parquet"
    content_type: str = "application/vnd.apache.parquet"
    max_rows: int | None = None
    joinable: bool = False
    has_date_format: bool = False
    has_bom: bool = False
    separator: bytes = b""
    suffix: bytes = b""

    def prefix(self, columns: Sequence[Column], style: Style) -> bytes:
        """Nothing."""
        return b""

    def records(self, columns: Sequence[Column], style: Style, put: Callable[[bytes], None]) -> "_Groups":
        """Begin a file. It holds the columns in their order, and no other field.

        Its `write` and `close` raise GiveUp where a value is not of its column's kind.
        """
        return _Groups(columns, put)


class _Groups:
    """Lines are held until they are a batch, batches until they are a row group."""

    def __init__(self, columns: Sequence[Column], put: Callable[[bytes], None]) -> None:
        self._columns = tuple(columns)
        self._put = put
        self._lines: list[bytes] = []
        self._lines_bytes = 0
        self._batches: list[Any] = []
        self._held_bytes = 0
        self._held_rows = 0
        self._groups = 0
        self._given = 0
        self._file: _File | None = None
        self._closed = False

    @property
    def size(self) -> int:
        """What is written, and at most what becomes of the lines that are held, and of the file's end.

        A value takes no more bytes in its column than in its line, but for _VALUE_BYTES: a short number's
        eight bytes, its place in a dictionary, that it is not null. What does not compress grows by less than
        a part in _GROWTH. The file's end describes the columns of each row group in _CHUNK_BYTES each
        and twice their names, and has the schema, which takes less than one group more.
        """
        if self._closed or not (self._held_rows or self._groups):
            return self._given
        return self._most(self._held_bytes, self._held_rows, self._groups)

    def size_with(self, lines: bytes) -> int:
        """With these the row group may be full, and another be begun."""
        return self._most(
            self._held_bytes + len(lines), self._held_rows + lines.count(b"\n"), self._groups + 1
        )

    def _most(self, held_bytes: int, held_rows: int, groups: int) -> int:
        held = held_bytes + held_bytes // _GROWTH + held_rows * len(self._columns) * _VALUE_BYTES
        described = sum(_CHUNK_BYTES + 2 * len(column.name.encode()) for column in self._columns)
        return self._given + held + (groups + 2) * described

    def write(self, lines: bytes) -> None:
        if not lines:
            return
        self._lines.append(lines)
        self._lines_bytes += len(lines)
        self._held_bytes += len(lines)
        self._held_rows += lines.count(b"\n")
        if self._lines_bytes >= BATCH_BYTES:
            self._end_batch()
        if self._held_bytes >= GROUP_BYTES:
            self._end_group()

    def close(self) -> None:
        if self._held_rows:
            self._end_group()
        if self._file:
            self._give(self._file.end())
        self._closed = True

    def _end_batch(self) -> None:
        if self._file is None:
            self._file = _File(self._columns)
        if self._lines:
            self._batches.append(self._file.batch(b"".join(self._lines)))
            self._lines, self._lines_bytes = [], 0

    def _end_group(self) -> None:
        self._end_batch()
        assert self._file is not None
        self._give(self._file.group(self._batches))
        self._groups += 1
        self._batches, self._held_bytes, self._held_rows = [], 0, 0

    def _give(self, content: bytes) -> None:
        self._put(content)
        self._given += len(content)


class _File:
    """A Parquet file in pyarrow's hands; what it writes is handed out by `group` and `end`."""

    def __init__(self, columns: Sequence[Column]) -> None:
        import pyarrow.parquet

        arrow: Any = pyarrow  # it has no types
        types = {
            "text": arrow.string(),
            "code": arrow.string(),
            "integer": arrow.int64(),
            "number": arrow.float64(),
            "boolean": arrow.bool_(),
            "moment": arrow.timestamp("us", tz="UTC"),
            "json": arrow.string(),
            "value": arrow.string(),
        }
        self._arrow = arrow
        self._columns = columns
        self._schema = arrow.schema([(column.name, types[column.type]) for column in columns])
        self._out = _Out()
        self._writer = arrow.parquet.ParquetWriter(
            self._out,
            self._schema,
            compression=COMPRESSION,
            # Texts such as a site's repeat; JSON text hardly does.
            use_dictionary=[column.name for column in columns if column.type in ("text", "code", "value")],
            # The least and the greatest of texts would be as long as the texts.
            write_statistics=[column.name for column in columns if types[column.type] != arrow.string()],
            # Parquet's own types say all that these columns are.
            store_schema=False,
        )

    def batch(self, lines: bytes) -> Any:
        """Lines as columns; GiveUp where a value is not of its column's kind."""
        records = [orjson.loads(line) for line in lines.splitlines()]
        arrays = []
        for column, field in zip(self._columns, self._schema, strict=True):
            of_type = _OF_TYPE[column.type]
            values = (record.get(column.name) for record in records)
            try:
                held = [None if value is None else of_type(value) for value in values]
                arrays.append(self._arrow.array(held, field.type))
            except (TypeError, OverflowError) as error:
                # Not the value itself: it is the customer's, and this ends in a log.
                raise GiveUp(
                    f"A record has a value in the column {column.name} that is not of the type "
                    f"{column.type}. A column of a Parquet file has one type.",
                    "Set the export's file_format to json or csv until Waybill has fixed the source.",
                ) from error
        return self._arrow.record_batch(arrays, schema=self._schema)

    def group(self, batches: list[Any]) -> bytes:
        """The bytes of a row group."""
        table = self._arrow.Table.from_batches(batches)
        self._writer.write_table(table, row_group_size=table.num_rows)
        return self._out.taken()

    def end(self) -> bytes:
        """The bytes of the file's end."""
        self._writer.close()
        return self._out.taken()


class _Out:
    """The file that pyarrow writes to. It only gathers: a writer that is dropped, since an attempt failed,
    still writes its file's end, and that must go nowhere."""

    closed = False

    def __init__(self) -> None:
        self._gathered: list[bytes] = []

    def write(self, content: Any) -> int:
        self._gathered.append(bytes(content))
        return len(content)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass

    def taken(self) -> bytes:
        content, self._gathered = b"".join(self._gathered), []
        return content


def _of(type_: type) -> Callable[[Any], Any]:
    def same(value: Any) -> Any:
        if type(value) is not type_:  # True is an int to isinstance
            raise TypeError
        return value

    return same


def _number(value: Any) -> float:
    if type(value) not in (int, float):
        raise TypeError
    return float(value)


def _value(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _moment(value: Any) -> int:
    at = moments.parse(value)
    if at is None:
        raise TypeError
    return moments.microseconds(at)


_OF_TYPE: dict[ColumnType, Callable[[Any], Any]] = {
    "text": _of(str),
    "code": _of(str),
    "integer": _of(int),
    "number": _number,
    "boolean": _of(bool),
    "moment": _moment,
    "json": orjson.dumps,
    "value": _value,
}

FORMAT = Parquet()
