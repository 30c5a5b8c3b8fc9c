"""Records made of plain values: from what a source knows of them to their lines."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from shared.formats.base import Column
from shared.workorders.record import iso


def lines_of(columns: Sequence[Column], rows: Iterable[Mapping[str, Any]]) -> bytes:
    """The rows as JSON Lines, each with the columns and nothing else, in order; what a row lacks is null.

    A datetime becomes text as records carry it. orjson.JSONEncodeError, a TypeError, for any other value that
    is not JSON.
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
