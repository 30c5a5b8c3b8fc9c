"""Schedules: pure functions of values. Nothing here knows what time it is.

The windows of a schedule tile time: each begins where
the one before ended.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from shared.window import Window

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""Where "everything so far" begins."""

MINUTES_A_DAY = 1440

_EVERY = re.compile(r"every ([1-9][0-9]{0,3}|0) minutes")


@dataclass(frozen=True)
class Schedule:
    """When windows begin and end, and when each is due.

    interval  `once`, `daily` or `every N minutes`, as `interval_problem` admits
    timezone  whose midnights bound daily windows, and whose clock `at` is read on
    at        when the window that ended is exported; of daily schedules
    start     where the first window begins
    end       where the last one is cut, or None for never
    """

    interval: str
    timezone: ZoneInfo
    at: time
    start: datetime
    end: datetime | None

    def window_from(self, start: datetime) -> Window | None:
        """The window that begins at `start`; None where the schedule has ended by then."""
        if self.end is not None and start >= self.end:
            return None
        end = self._boundary_after(start)
        if self.end is not None:
            end = min(end, self.end)
        return Window(start, end)

    def due(self, window: Window) -> datetime:
        """When a window is to be exported; never before it has ended."""
        if self.interval != "daily":
            return window.end
        day = window.end.astimezone(self.timezone).date()
        due = local_instant(day, self.at, self.timezone)
        if due < window.end:
            due = local_instant(day + timedelta(days=1), self.at, self.timezone)
        return due

    def _boundary_after(self, start: datetime) -> datetime:
        if self.interval == "once":
            if self.end is None:
                raise ValueError("an export that runs once has an end")
            return self.end
        if self.interval == "daily":
            day = start.astimezone(self.timezone).date()
            boundary = start
            while boundary <= start:  # a midnight skipped by a clock change can fall on the day's start
                day += timedelta(days=1)
                boundary = local_instant(day, time(), self.timezone)
            return boundary
        step = timedelta(minutes=minutes_between(self.interval))
        midnight = start.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return midnight + ((start - midnight) // step + 1) * step


def interval_problem(interval: str) -> str | None:
    """What is wrong with an interval, as a sentence; None where it is one of ours."""
    if interval in ("once", "daily"):
        return None
    every = _EVERY.fullmatch(interval)
    if not every:
        return f"must be `once`, `daily` or `every N minutes`; got {interval!r}"
    minutes = int(every[1])
    if not minutes or MINUTES_A_DAY % minutes:
        return f"N must divide the {MINUTES_A_DAY} minutes of a day, so that windows meet; got {minutes}"
    return None


def minutes_between(interval: str) -> int:
    """The N of `every N minutes`; ValueError for another interval."""
    every = _EVERY.fullmatch(interval)
    if not every:
        raise ValueError(f"{interval!r} is not `every N minutes`")
    return int(every[1])


def local_instant(day: date, at: time, timezone: ZoneInfo) -> datetime:
    """When a clock of that zone first shows `at` on that day, UTC.

    A time that does not exist means the first instant after the gap; one that comes twice, the first.
    """
    wanted = datetime.combine(day, at)
    first = wanted.replace(tzinfo=timezone, fold=0).astimezone(UTC)
    if first.astimezone(timezone).replace(tzinfo=None) == wanted:
        return first
    # In the gap: the clock jumps from before `wanted` to after it somewhere between the two readings.
    early = wanted.replace(tzinfo=timezone, fold=1).astimezone(UTC)
    while first - early > timedelta(seconds=1):
        middle = (early + (first - early) / 2).replace(microsecond=0)
        if middle.astimezone(timezone).replace(tzinfo=None) < wanted:
            early = middle
        else:
            first = middle
    return first
