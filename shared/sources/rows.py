"""Writes rows of plain values as JSON Lines."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from shared.formats.base import Column
from shared.workorders.record import iso


def lines_of(columns: Sequence[Column], rows: Iterable[Mapping[str, Any]]) -> bytes:
    """The rows as JSON Lines. Each has exactly the columns, in order; a value that a row lacks is null.

    A datetime becomes ISO 8601 text. Raises orjson.JSONEncodeError, a TypeError, for another value that is
    not JSON.
    """
    names = [column.name for column in columns]
    return b"".join(
        orjson.dumps(
            {name: row.get(name) for name in names},
            default=_text,
            option=orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_APPEND_NEWLINE,
        )
        for row in rows
    )


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return iso(value)
    raise TypeError
