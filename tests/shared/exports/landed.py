"""What an export delivered, found where it landed and read by libraries that are not ours."""

import csv
import gzip
import io
import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow.parquet
import requests

from shared.formats.base import Column
from shared.formats.csv import unguarded
from tests.shared.outbox.post import recipient, tokens
from tests.world import World

arrow: Any = pyarrow  # it has no types

Row = dict[str, Any]

FORMULAS = "=+-@\t\r\n＝＋－＠\0"
"""What a text in a cell may not begin with. https://owasp.org/www-community/attacks/CSV_Injection"""


def read_lines(content: bytes) -> list[Row]:
    """A record a line, each with its newline."""
    assert content.endswith(b"\n"), content[-80:]
    return [json.loads(line) for line in content.decode().split("\n")[:-1]]


def read_array(content: bytes) -> list[Row]:
    rows: list[Row] = json.loads(content)
    return rows


def read_csv(content: bytes) -> list[Row]:
    """Its cells as they stand, by the header."""
    limit = csv.field_size_limit(2**30)
    try:
        return list(csv.DictReader(io.StringIO(content.decode(), newline=""), strict=True))
    finally:
        csv.field_size_limit(limit)


def read_parquet(content: bytes) -> list[Row]:
    rows: list[Row] = arrow.parquet.read_table(io.BytesIO(content)).to_pylist()
    return rows


READ: dict[str, Callable[[bytes], list[Row]]] = {
    "json": read_lines,
    "json-array": read_array,
    "csv": read_csv,
    "parquet": read_parquet,
}
"""By the name of a format without its `.gz`. A new format needs its line here."""


def read(format: str, content: bytes) -> list[Row]:
    """The rows of a file, as a reader of that format has them."""
    return READ[format.removesuffix(".gz")](gzip.decompress(content) if format.endswith(".gz") else content)


def as_read(format: str, columns: Sequence[Column], record: Row) -> Row:
    """What a reader of that format has of a record."""
    if format.startswith("json"):
        return record
    typed = {column.name: _typed(column, record[column.name], format == "parquet") for column in columns}
    # A cell says of null, and of an empty text, nothing.
    return (
        typed if format == "parquet" else {name: None if each == "" else each for name, each in typed.items()}
    )


def _typed(column: Column, value: Any, parquet: bool) -> Any:
    if value is not None and column.type == "value" and not isinstance(value, str):
        return json.dumps(value)
    if value is not None and column.type == "moment" and parquet:
        return datetime.fromisoformat(value).astimezone(UTC)
    return float(value) if value is not None and column.type == "number" and parquet else value


def undone(format: str, columns: Sequence[Column], row: Row) -> Row:
    """A row that was read, with nested values parsed, and without CSV's guard, as its documentation says."""
    if format.startswith("json"):
        return row
    assert list(row) == [column.name for column in columns], list(row)
    undo = _of_parquet if format == "parquet" else _of_csv
    return {column.name: undo(column, row[column.name]) for column in columns}


def _of_parquet(column: Column, value: Any) -> Any:
    if value is None:
        return None
    if column.type == "moment":
        return value.astimezone(UTC)
    return json.loads(value) if column.type == "json" else value


def _of_csv(column: Column, text: str) -> Any:
    if not text:
        return None
    if column.type == "code":
        return text
    if column.type == "value" and re.fullmatch(r"-[0-9].*", text):
        return text  # a number
    if column.type in ("text", "moment", "value"):
        assert text[0] not in FORMULAS, f"a spreadsheet would run {column.name}: {text!r}"
        return unguarded(text)
    return json.loads(text)


def differences(landed: Sequence[Row], expected: Sequence[Row]) -> list[str]:
    """What of rows is not as expected, field by field, also where only a type differs, as of 1 and 1.0."""
    told = [] if len(landed) == len(expected) else [f"{len(landed)} rows, not {len(expected)}"]
    for number, (row, meant) in enumerate(zip(landed, expected, strict=False)):
        if list(row) != list(meant):
            told.append(f"row {number}: the fields {list(row)}, not {list(meant)}")
        told += [
            f"row {number}: {name} is {row.get(name)!r}, not {value!r}"
            for name, value in meant.items()
            if repr(row.get(name)) != repr(value)
        ]
    return told


# --- by email


def mailed(world: World, address: str) -> dict[str, bytes]:
    """The files that the link of the one mail to an address leads to, by their names, in the link's order."""
    [sent] = [each for each in world.suite.sendgrid.sent if recipient(each) == address]
    [token] = tokens(sent)
    answer = world.request("GET", f"/v1/downloads/{token}")
    if answer.status == 302:
        return dict([_downloaded(answer.headers["Location"])])
    assert answer.status == 200, answer
    asked = re.findall(r'href="(\?file=[^"]+)"', answer.body.decode())
    files = [world.request("GET", f"/v1/downloads/{token}{each}") for each in asked]
    return dict(_downloaded(each.headers["Location"]) for each in files)


def _downloaded(url: str) -> tuple[str, bytes]:
    answer = requests.get(url, timeout=30)
    assert answer.status_code == 200, answer.text
    [name] = re.findall(r'filename="([^"]+)"', answer.headers["Content-Disposition"])
    return name, answer.content
