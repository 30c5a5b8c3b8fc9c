"""Moments that callers name, and how they are answered."""

import re
from datetime import UTC, datetime

from shared.cutting import shown
from shared.window import EARLIEST, LATEST

OUT_OF_RANGE = f"must be between {EARLIEST.year} and {LATEST.year}"

_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?"
    r"(Z|[+-][0-9]{2}:?[0-9]{2})?)?"
)
# Python itself would read weeks and days of the year, too, and would take a number for seconds since 1970.


def read(value: str) -> datetime:
    """What a text of RFC 3339 says: with its offset, or without a zone where it has none. A date alone is its
    midnight. What is behind a microsecond is cut.

    ValueError says what is wrong with it. https://www.rfc-editor.org/rfc/rfc3339#section-5.6
    """
    text = value.upper()
    if not _MOMENT.fullmatch(text):
        raise ValueError(f"must be a time such as 2026-11-23T00:00:00Z; got {shown(value)}")
    try:
        named = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"must be a time that there is; got {shown(value)}") from None
    # By its year first: beyond the years that Python knows there is no other zone's time.
    if not EARLIEST.year - 1 <= named.year <= LATEST.year:
        raise ValueError(OUT_OF_RANGE)
    return named


def milliseconds(at: datetime) -> str:
    """A moment as answers of `/v1` have it: `2024-07-10T13:31:02.651Z`."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03}Z"
