"""Readers of import files: CSV, JSON arrays, objects, and JSON Lines, record by record.

`look` finds out how a file is read. `records` reads it from any position on. `write_back` makes the file of
the rejected records, and `rest` the file of the records that were not read. A file of any size is read in
little memory, by as many attempts as it takes: each goes on at the position where the one before ended.
Nothing here talks to Google: the bytes come from a function that is passed in.
"""

from collections.abc import Iterator

from shared.jobs.reading import csv_rows, json_records
from shared.jobs.reading.base import (
    BLOCK_BYTES,
    ERROR_FIELD,
    MAX_COLUMNS,
    MAX_DEPTH,
    MAX_RECORD_BYTES,
    RECORD_FIELD,
    Broken,
    Layout,
    Position,
    Problem,
    Read,
    Record,
    Unreadable,
)
from shared.jobs.reading.looking import look
from shared.jobs.reading.writing import rest, write_back

__all__ = [
    "BLOCK_BYTES",
    "ERROR_FIELD",
    "MAX_COLUMNS",
    "MAX_DEPTH",
    "MAX_RECORD_BYTES",
    "RECORD_FIELD",
    "Broken",
    "Layout",
    "Position",
    "Problem",
    "Read",
    "Record",
    "Unreadable",
    "look",
    "records",
    "rest",
    "write_back",
]


def records(read: Read, size: int, layout: Layout, position: Position) -> Iterator[Record]:
    """The records from this position on: `layout.start`, or the `end` of a record. Bad ones are among them.

    Broken, behind a last record that says the same, where nothing behind it can be read.
    """
    if layout.form == "csv":
        return csv_rows.rows(read, size, layout, position)
    if layout.form == "json_array":
        return json_records.elements(read, size, layout, position)
    return json_records.objects(read, size, layout, position)
