"""A window of time: what an export exports, and what sources and schedules share."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo


@dataclass(frozen=True, order=True)
class Window:
    """(start, end]: what was committed after `start` and not after `end`, both UTC and whole minutes."""

    start: datetime
    end: datetime


EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
"""Between these lies every moment that a caller may name: arithmetic on them can never overflow."""


def floor_minute(at: datetime) -> datetime:
    """The last whole minute not after `at`, UTC."""
    return at.astimezone(UTC).replace(second=0, microsecond=0)


def local_second(at: datetime, zone: ZoneInfo) -> str:
    """A whole second on the clock of a zone, with its offset: `2024-07-10T15:31:00+02:00`. In UTC where the
    zone's offset then was no whole minute, which RFC 3339 cannot say: Monrovia's until 1972, for example.
    https://www.rfc-editor.org/rfc/rfc3339#section-5.6"""
    local = at.astimezone(zone)
    offset = local.utcoffset() or timedelta()
    return utc_second(at) if offset % timedelta(minutes=1) else local.isoformat(timespec="seconds")


def utc_second(at: datetime) -> str:
    """A whole second, such as a window's bound, as JSON carries it: `2024-07-10T13:31:00Z`."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
