"""Moments as records carry them: text such as 2023-02-23T08:52:30.110425Z."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def parse(value: object) -> datetime | None:
    """The moment that a value says; None where it is no ISO 8601 text with an offset."""
    if not isinstance(value, str):
        return None
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return None
    return at if at.tzinfo else None


def microseconds(at: datetime) -> int:
    """Microseconds since 1970, exactly; less than zero before it."""
    return (at - _EPOCH) // _MICROSECOND
