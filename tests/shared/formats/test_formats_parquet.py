"""Parquet: types, row groups, what it refuses, and never larger than was said."""

import gc
import io
import random
from datetime import UTC, datetime
from typing import Any

import orjson
import pyarrow.parquet
import pytest

from shared.errors import GiveUp
from shared.formats import FORMATS
from shared.formats import parquet as ours
from shared.formats.base import Column, ColumnType, Style

arrow: Any = pyarrow  # it has no types
PARQUET = FORMATS["parquet"]

COLUMNS = (
    Column("id", "text"),
    Column("count", "integer"),
    Column("share", "number"),
    Column("done", "boolean"),
    Column("at", "moment"),
    Column("extra", "json"),
)


def line(record: dict[str, Any]) -> bytes:
    return orjson.dumps(record) + b"\n"


def written(lines: list[bytes], columns: tuple[Column, ...] = COLUMNS) -> tuple[bytes, int]:
    """A file of these lines, and how large it said it could be."""
    out: list[bytes] = []
    records = PARQUET.records(columns, Style(), out.append)
    announced = 0
    for each in lines:
        announced = records.size_with(each)
        records.write(each)
    most = records.size
    records.close()
    content = b"".join(out)
    assert len(content) <= announced, f"{len(lines)} lines"
    return content, most


def test_columns_have_types_that_others_see() -> None:
    record = {
        "id": "a",
        "count": 3,
        "share": 2,
        "done": False,
        "at": "2023-02-23T09:52:30.110425+01:00",
        "extra": {"b": ["é", None]},
    }
    content, _ = written([line(record), line(dict.fromkeys(record))])
    assert arrow.parquet.read_metadata(io.BytesIO(content)).metadata is None, (
        "types of Parquet's own, no hints"
    )
    table = arrow.parquet.read_table(io.BytesIO(content))
    assert table.schema == arrow.schema(
        [
            ("id", arrow.string()),
            ("count", arrow.int64()),
            ("share", arrow.float64()),
            ("done", arrow.bool_()),
            ("at", arrow.timestamp("us", tz="UTC")),
            ("extra", arrow.string()),
        ]
    )
    assert table.to_pylist() == [
        {
            "id": "a",
            "count": 3,
            "share": 2.0,
            "done": False,
            "at": datetime(2023, 2, 23, 8, 52, 30, 110425, UTC),
            "extra": '{"b":["é",null]}',
        },
        dict.fromkeys(record),
    ]


FILES: dict[str, list[dict[str, Any]]] = {
    "nothing": [{}],
    "null": [dict.fromkeys(column.name for column in COLUMNS)],
    "whole numbers": [{"count": 1, "share": 2, "read": 3}],
    "fractions": [{"share": 0.5, "read": 0.5}],
    "texts": [{"id": "a", "sum": "+a", "read": "Red", "extra": {}}],
    "now this, now that": [{"read": True, "extra": []}, {"read": "a"}, {"read": 2**64 - 1}],
}


@pytest.mark.parametrize("what", FILES)
def test_a_column_has_the_same_type_whatever_is_in_a_file(what: str) -> None:
    columns = (*COLUMNS, Column("sum", "code"), Column("read", "value"))
    first, other = (
        arrow.parquet.ParquetFile(io.BytesIO(written([line(each) for each in records], columns)[0]))
        for records in (FILES["now this, now that"], FILES[what])
    )
    assert other.schema.equals(first.schema), other.schema
    assert other.schema_arrow.equals(first.schema_arrow, check_metadata=True)
    assert other.schema_arrow.field("read").type == arrow.string()


@pytest.mark.parametrize(
    ("type", "value"),
    [
        ("code", 5),
        ("text", 5),
        ("text", {"a": 1}),
        ("integer", 1.5),
        ("integer", 1.0),
        ("integer", True),
        ("integer", "1"),
        ("integer", 2**63),
        ("number", "0.5"),
        ("number", True),
        ("boolean", 1),
        ("boolean", "true"),
        ("moment", "tomorrow"),
        ("moment", "2023-02-23T08:52:30"),
        ("moment", 1677142350),
    ],
)
def test_a_value_that_is_not_of_its_column_is_refused_by_name(type: ColumnType, value: Any) -> None:
    with pytest.raises(GiveUp) as caught:
        written([line({"there": value})], (Column("there", type),))
    assert f"a value in the column there that is not of the type {type}." in str(caught.value)
    assert str(value) not in str(caught.value)
    assert caught.value.next_action


def rows_of_groups(content: bytes) -> list[int]:
    metadata = arrow.parquet.read_metadata(io.BytesIO(content))
    return [metadata.row_group(each).num_rows for each in range(metadata.num_row_groups)]


@pytest.mark.parametrize(("more", "groups"), [(-1, [2, 2]), (0, [2, 2]), (1, [3, 1])])
def test_a_row_group_ends_at_its_limit(monkeypatch: pytest.MonkeyPatch, more: int, groups: list[int]) -> None:
    lines = [line({"id": "a" * 1_000, "count": number}) for number in range(4)]
    monkeypatch.setattr(ours, "GROUP_BYTES", 2 * len(lines[0]) + more)
    content, _ = written(lines)
    assert rows_of_groups(content) == groups
    assert arrow.parquet.read_table(io.BytesIO(content))["count"].to_pylist() == [0, 1, 2, 3]


@pytest.mark.parametrize("batch", [1, 2_500, 10**6])
def test_batches_make_no_difference_to_what_is_read(monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    monkeypatch.setattr(ours, "BATCH_BYTES", batch)
    monkeypatch.setattr(ours, "GROUP_BYTES", 10_000)
    content, _ = written([line({"id": "a" * 1_000, "count": number}) for number in range(25)])
    assert rows_of_groups(content) == [10, 10, 5]
    assert arrow.parquet.read_table(io.BytesIO(content))["count"].to_pylist() == list(range(25))


def test_texts_are_compressed_and_have_no_statistics_but_moments_have() -> None:
    record = {"id": "a" * 3_000, "at": "2023-02-23T08:52:30Z", "extra": "b" * 3_000}
    content, _ = written([line(record)] * 10)
    group = arrow.parquet.read_metadata(io.BytesIO(content)).row_group(0)
    columns = {column.name: group.column(number) for number, column in enumerate(COLUMNS)}
    assert {each.compression for each in columns.values()} == {"ZSTD"}
    assert (columns["id"].statistics, columns["extra"].statistics) == (None, None)
    assert columns["at"].statistics.max == datetime(2023, 2, 23, 8, 52, 30, tzinfo=UTC)
    assert len(content) < 3_000


def test_what_is_held_does_not_grow_with_the_file() -> None:
    """What pyarrow has allocated, and what is written at once, stay near one row group."""
    chance = random.Random(1)
    lines = [line({"id": chance.randbytes(5_000).hex(), "extra": {"a": "b" * 1_000}}) for _ in range(500)]
    block = b"".join(lines[:50])
    out: list[int] = []
    before, held = arrow.total_allocated_bytes(), 0
    records = PARQUET.records(COLUMNS, Style(), lambda content: out.append(len(content)))
    for _ in range(120):
        records.write(block)
        held = max(held, arrow.total_allocated_bytes() - before)
    assert len(out) >= 3, "row groups are written as they fill"
    records.close()
    assert ours.GROUP_BYTES / 2 < held < 1.5 * ours.GROUP_BYTES
    assert max(out) < ours.GROUP_BYTES


def test_an_attempt_that_is_dropped_writes_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours, "GROUP_BYTES", 10)
    out: list[bytes] = []
    records = PARQUET.records(COLUMNS, Style(), out.append)
    records.write(line({"id": "a"}))
    assert len(out) == 1
    del records
    gc.collect()
    assert len(out) == 1


LONG = tuple(Column(f"column {number} with a name that takes some room", "moment") for number in range(40))
SHORT = tuple(Column(name, "integer") for name in "abcdefgh")
chance = random.Random(2)
SEQUENCES: dict[str, tuple[tuple[Column, ...], list[bytes]]] = {
    "nothing in them": (COLUMNS, [b"{}\n"] * 40),
    "short numbers": (
        SHORT,
        [line({name: chance.randrange(-9, 99) for name in "abcdefgh"}) for _ in range(4_000)],
    ),
    "long numbers": (
        SHORT,
        [line({name: chance.randrange(-(2**63), 2**63) for name in "abcdefgh"}) for _ in range(1_000)],
    ),
    "short texts": (
        (Column("a", "text"),),
        [line({"a": chr(chance.randrange(32, 127))}) for _ in range(9_000)],
    ),
    "texts that do not compress": (
        COLUMNS,
        [line({"id": "".join(chr(chance.randrange(0x4E00, 0x9F00)) for _ in range(900))}) for _ in range(90)],
    ),
    "many columns": (LONG, [line({each.name: "2023-02-23T08:52:30Z" for each in LONG})] * 10),
    "booleans": ((Column("a", "boolean"),), [line({"a": chance.random() < 0.5}) for _ in range(20_000)]),
    "large": (COLUMNS, [line({"extra": chance.randbytes(2_000_000).hex()})] * 2),
}


@pytest.mark.parametrize("compression", ["zstd", "none"])
@pytest.mark.parametrize("group", [1, 4_000, ours.GROUP_BYTES])
@pytest.mark.parametrize("what", SEQUENCES)
def test_a_file_is_never_larger_than_it_said_it_could_be(
    monkeypatch: pytest.MonkeyPatch, what: str, group: int, compression: str
) -> None:
    """Also uncompressed: what is said does not trust in how well columns compress."""
    monkeypatch.setattr(ours, "COMPRESSION", compression)
    monkeypatch.setattr(ours, "GROUP_BYTES", group)
    columns, lines = SEQUENCES[what]
    for count in {1, 2, 3, 17, min(100, len(lines)), *([len(lines)] if group > 1 else [])}:
        content, most = written(lines[:count], columns)
        assert len(content) <= most, f"{count} lines"
        bound = 1.2 * sum(map(len, lines[:count])) + count * len(columns) * 8
        # Where groups are as small as here, it is their description that is large.
        described = (len(rows_of_groups(content)) + 2) * 700 * len(columns)
        assert most <= bound + described + 2_000, f"{count} lines: a bound that says nothing"
