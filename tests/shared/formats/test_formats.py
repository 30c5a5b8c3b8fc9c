"""Every format over awkward records, read back by a library that is not ours; however records come."""

import csv
import gzip
import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

import orjson
import pyarrow.parquet
import pytest

from shared.formats import FORMATS
from shared.formats.base import Column, Format, Style
from shared.formats.csv import unguarded

arrow: Any = pyarrow  # it has no types

COLUMNS = (
    Column("id", "text"),
    Column("count", "integer"),
    Column("share", "number"),
    Column("done", "boolean"),
    Column("at", "moment"),
    Column("extra", "json"),
    Column("sum", "code"),
    Column("read", "value"),
)

PLAIN: dict[str, Any] = {
    "id": "a",
    "count": 3,
    "share": 0.5,
    "done": True,
    "at": "2023-02-23T08:52:30.110425Z",
    "extra": {"team": {"size": 4}},
    "sum": "+bq2Cg==",
    "read": 7,
}

ANY: tuple[Any, ...] = ("=x", "", 5, -5, 1.5, True, False, [], {}, [None])

AWKWARD: dict[str, Sequence[dict[str, Any]]] = {
    "plain": [PLAIN],
    "quotes": [{**PLAIN, "id": 'say "no", ""', "extra": {'"': '"'}}],
    "all quotes": [{**PLAIN, "extra": [""] * 1_000}],
    "newlines": [{**PLAIN, "id": "a\nb\r\nc\rd\u2028e\x85f", "extra": ["\n", "\r\n"]}],
    "commas": [{**PLAIN, "id": ",,", "extra": [1, 2, ","]}],
    "edges": [
        {**PLAIN, "id": text} for text in (" a ", "\t", "\n", "", "'", "''", '"', "\ufeff", "=1+1", "＝1")
    ],
    "NUL": [{**PLAIN, "id": "a\0b", "extra": "\0"}],
    "emoji": [{**PLAIN, "id": "👩🏽‍🔧 Bảo عمر", "extra": {"👍": "é"}}],
    "nested": [{**PLAIN, "extra": {"a": [{"b": [[], {}, None, {"c": [1.5, False]}]}]}}],
    "values": [
        {**PLAIN, "read": value} for value in ("=x", "'", "", "5", 5, -5, 0.5, 2**64 - 1, True, False)
    ],
    "codes": [{**PLAIN, "sum": value} for value in ("=", "-a", "'", "a,b", '"', "\n")],
    "any json": [{**PLAIN, "extra": value} for value in ANY],
    "null": [dict.fromkeys(PLAIN), PLAIN, dict.fromkeys(PLAIN)],
    "missing": [{}, {"id": "b"}, {"extra": []}],
    "more than the columns": [{"before": 1, **PLAIN, "behind": {"a": "\n"}}],
    "in another order": [dict(reversed(PLAIN.items()))],
    "numbers": [
        {**PLAIN, "count": count, "share": share}
        for count, share in (
            (0, 0),
            (-(2**63), -1.5),
            (2**63 - 1, 5e-324),
            (-1, 1.7976931348623157e308),
            (7, 0.1),
            (8, 1e22),
        )
    ],
    "moments": [
        {**PLAIN, "at": at}
        for at in ("1969-12-31T23:59:59.999999Z", "2023-02-23T09:52:30+01:00", "9999-12-31T23:59:59.999999Z")
    ],
    "large": [{**PLAIN, "id": "é\n" * (5 * 2**20 // 3), "extra": "x" * 10}, PLAIN],
    "many": [{**PLAIN, "id": f"{number}", "count": number} for number in range(500)],
}

CUTS: dict[str, Callable[[list[bytes]], list[list[bytes]]]] = {
    "at once": lambda lines: [[b"".join(lines)]],
    "one by one": lambda lines: [lines],
    "nothing between": lambda lines: [[each for line in lines for each in (b"", line)]],
    "a piece each": lambda lines: [[line] for line in lines],
    "two pieces": lambda lines: [
        part for part in (lines[: len(lines) // 2], lines[len(lines) // 2 :]) if part
    ],
}
"""How lines may come: the calls of `write`, by piece."""


def written(format: Format, pieces: Iterable[list[bytes]], style: Style | None = None) -> list[bytes]:
    """The pieces that become of these lines; each is as large as it says."""
    contents = []
    for lines in pieces:
        out: list[bytes] = []
        records = format.records(COLUMNS, style or Style(), out.append)
        announced = 0
        for line in lines:
            announced = records.size_with(line)
            records.write(line)
        most = min(announced, records.size)
        records.close()
        content = b"".join(out)
        assert (records.size, len(content) <= most) == (len(content), True), most
        assert all(out), "an empty put"
        contents.append(content)
    return contents


def files(format: Format, pieces: list[bytes]) -> list[bytes]:
    """What becomes of pieces: one file where they can be joined."""
    if not format.joinable:
        return pieces
    return [format.prefix(COLUMNS, Style()) + format.separator.join(pieces) + format.suffix]


def read_csv(content: bytes) -> list[dict[str, Any]]:
    """Its records as JSON has them; an empty text comes back as null, as empty cells do."""
    limit = csv.field_size_limit(2**30)
    try:
        header, *rows = csv.reader(io.StringIO(content.decode(), newline=""), strict=True)
    finally:
        csv.field_size_limit(limit)
    assert header == [column.name for column in COLUMNS]
    return [
        {column.name: _cell(column, text) for column, text in zip(COLUMNS, row, strict=True)} for row in rows
    ]


def _cell(column: Column, text: str) -> Any:
    if not text:
        return None
    if column.type in ("text", "moment", "value"):
        return unguarded(text)
    return text if column.type == "code" else json.loads(text)


def read_parquet(content: bytes) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = arrow.parquet.read_table(io.BytesIO(content)).to_pylist()
    for row in rows:
        row["extra"] = row["extra"] and json.loads(row["extra"])
    return rows


def read_lines(content: bytes) -> list[dict[str, Any]]:
    assert content.endswith(b"\n")
    return [json.loads(line) for line in content.decode().split("\n")[:-1]]


READ: dict[str, Callable[[bytes], list[dict[str, Any]]]] = {
    "json": read_lines,
    "json-array": json.loads,
    "csv": read_csv,
    "parquet": read_parquet,
}


def unzipped(read: Callable[[bytes], list[dict[str, Any]]]) -> Callable[[bytes], list[dict[str, Any]]]:
    return lambda content: read(gzip.decompress(content))


READ |= {f"{name}.gz": unzipped(READ[name]) for name in ("json", "json-array", "csv")}


def expected(format: str, record: dict[str, Any]) -> dict[str, Any]:
    """A record as a reader of that format has it."""
    if format.startswith("json"):
        return record
    record = {column.name: record.get(column.name) for column in COLUMNS}
    if record["read"] is not None and not isinstance(record["read"], str):
        record["read"] = json.dumps(record["read"])
    if format == "parquet":
        return {**record, "at": record["at"] and datetime.fromisoformat(record["at"])}
    return {name: None if value == "" and name in ("id", "read") else value for name, value in record.items()}


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("name", FORMATS)
def test_what_is_written_is_read_back_by_others(name: str, cut: str) -> None:
    format = FORMATS[name]
    for what, records in AWKWARD.items():
        if cut == "a piece each" and len(records) > 20:
            continue
        lines = [orjson.dumps(record) + b"\n" for record in records]
        pieces = written(format, CUTS[cut](lines))
        read = [record for file in files(format, pieces) for record in READ[name](file)]
        assert read == [expected(name, record) for record in records], what


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_records_give_the_same_bytes(name: str) -> None:
    lines = [orjson.dumps(record) + b"\n" for records in AWKWARD.values() for record in records]
    at_once, again = (written(FORMATS[name], [[b"".join(lines)]]) for _ in range(2))
    assert at_once == again
    # pyarrow's pages follow the batches that it gets; nothing else looks at how lines came.
    assert name == "parquet" or written(FORMATS[name], [lines]) == at_once


@pytest.mark.parametrize("name", [name for name, format in FORMATS.items() if format.joinable])
def test_a_file_without_records_is_one_that_others_read(name: str) -> None:
    (file,) = files(FORMATS[name], [])
    assert file == b"" if name in ("json", "json.gz") else READ[name](file) == []


@pytest.mark.parametrize("name", FORMATS)
def test_a_piece_without_records_has_no_bytes(name: str) -> None:
    assert written(FORMATS[name], [[], [b""]]) == [b"", b""]


def test_the_formats_are_these() -> None:
    assert [
        (
            each.name,
            each.extension,
            each.content_type,
            each.max_rows,
            each.joinable,
            each.has_date_format,
            each.has_bom,
        )
        for each in FORMATS.values()
    ] == [
        ("json", "jsonl", "application/x-ndjson", None, True, False, False),
        ("json-array", "json", "application/json", 100_000, True, False, False),
        ("csv", "csv", "text/csv; charset=utf-8", 100_000, True, True, True),
        ("parquet", "parquet", "application/vnd.apache.parquet", None, False, False, False),
        ("json.gz", "jsonl.gz", "application/gzip", None, True, False, False),
        ("json-array.gz", "json.gz", "application/gzip", 100_000, True, False, False),
        ("csv.gz", "csv.gz", "application/gzip", 100_000, True, True, True),
    ]
    assert all(key == format.name for key, format in FORMATS.items())
    assert all(format.description.endswith(".") for format in FORMATS.values())


def test_json_lines_pass_through_as_they_are() -> None:
    line = b'{"id" : "not as orjson writes it"}\n'
    out: list[bytes] = []
    FORMATS["json"].records(COLUMNS, Style(), out.append).write(line)
    assert len(out) == 1
    assert out[0] is line


def test_a_json_array_is_a_record_a_line() -> None:
    (file,) = files(
        FORMATS["json-array"], written(FORMATS["json-array"], [[b"{}\n{}\n", b"{}\n"], [b"[]\n"]])
    )
    assert file == b"[\n{},\n{},\n{},\n[]\n]\n"


def test_pyarrow_is_loaded_by_parquet_alone() -> None:
    program = """
import sys
from shared.formats import FORMATS
from shared.formats.base import Column, Style
from shared.formats.csv import unguarded

def loaded(name):
    records = FORMATS[name].records([Column("id", "text")], Style(), lambda content: None)
    before = "pyarrow" in sys.modules
    records.write(b'{"id": "a"}\\n')
    records.close()
    return before, "pyarrow" in sys.modules

print([name for name in FORMATS if name != "parquet" and True in loaded(name)], loaded("parquet"))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ran.stdout, ran.stderr) == ("[] (False, True)\n", "")
