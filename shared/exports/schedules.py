"""Schedules: pure functions of values. Nothing here knows what time it is.

The windows of a schedule tile time: each begins where the one before ended. Where a window ends follows
from where it begins and from the schedule alone. So a schedule can be edited at any moment: the next window
is then the rest of the day, week, month or stretch of minutes that its start lies in under the new rule.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from shared import moments
from shared.cutting import shown
from shared.window import EARLIEST, LATEST, Window, floor_minute

EPOCH = EARLIEST
"""Where "everything so far" begins."""

MINUTES_A_DAY = 1440
MINUTES_AN_HOUR = 60


def _next_day(day: date) -> date:
    return day + timedelta(days=1)


def _next_monday(day: date) -> date:
    return day + timedelta(days=7 - day.weekday())


def _next_month(day: date) -> date:
    return (day.replace(day=1) + timedelta(days=31)).replace(day=1)


CALENDAR: dict[str, Callable[[date], date]] = {
    "daily": _next_day,
    "weekly": _next_monday,
    "monthly": _next_month,
}
"""The intervals that are units of a place's calendar: for a day, the first day of the unit after its own."""

_LONGEST = {"daily": timedelta(days=2), "weekly": timedelta(days=8), "monthly": timedelta(days=32)}
"""No unit of a calendar is longer: it has a day less, but clocks are set back, or leap over a day."""

_LATE = timedelta(days=2)
"""A window is due sooner than this after its end: within a day, or two where clocks are set back."""

NAMED = ("once", "hourly", *CALENDAR)
INTERVALS = (*NAMED, "every N minutes")
"""Every interval, as the documents of the API list them; N divides the minutes of a day."""

_EVERY = re.compile(r"every ([1-9][0-9]{0,3}|0) minutes")


@dataclass(frozen=True)
class Schedule:
    """When windows begin and end, and when each is due.

    interval  one of INTERVALS, as `interval_problem` admits
    timezone  whose midnights bound daily, weekly and monthly windows, and whose clock `at` is read on
    at        when the window that ended is exported; of daily, weekly and monthly schedules
    start     where the first window begins
    end       where the last one is cut, or None for never
    """

    interval: str
    timezone: ZoneInfo
    at: time
    start: datetime
    end: datetime | None

    def window_from(self, start: datetime) -> Window | None:
        """The window that begins at `start`, a whole minute; None where the schedule has ended by then.

        `start` need not be a boundary of this schedule: another one may have left off there.
        """
        if self.end is not None and start >= self.end:
            return None
        return Window(start, self._cut(self._boundary_after(start)))

    def windows_from(self, start: datetime) -> Iterator[Window]:
        """The windows from `start` on, one after the other, until the schedule ends or time does."""
        while start < LATEST and (window := self.window_from(start)) is not None:
            yield window
            start = window.end

    def due(self, window: Window) -> datetime:
        """When a window is to be exported; never before it has ended."""
        if self.interval not in CALENDAR:
            return window.end
        day = window.end.astimezone(self.timezone).date()
        # More than once where clocks are set back over midnight: an hour of the day before comes after it.
        while (due := local_instant(day, self.at, self.timezone)) < window.end:
            day += timedelta(days=1)
        return due

    def first_not_due(self, start: datetime, moment: datetime) -> datetime:
        """Where the first window begins, of those from `start` on, that is not due yet at `moment`; the
        schedule's end where all were due. Not of a schedule that runs once."""
        # What begins at the first boundary of so long ago was due: however old `start` is, few are looked at.
        begin = max(start, self._boundary_after(moment - self._longest() - _LATE))
        while (window := self.window_from(begin)) is not None and self.due(window) <= moment:
            begin = window.end
        return self._cut(begin)

    def first_boundary_after(self, moment: datetime) -> datetime:
        """Where an export goes on at `moment` that leaves out the open window: the first boundary that is not
        before it.

        A window that begins at `moment` is not left out. It is the schedule's end where no window begins any
        more.
        """
        if moment <= self.start:
            return self.start
        # Seen from just before, so that a boundary at `moment` itself counts.
        return self._cut(self._boundary_after(moment - timedelta(microseconds=1)))

    def _longest(self) -> timedelta:
        """No window between two boundaries is longer."""
        return _LONGEST.get(self.interval) or timedelta(minutes=minutes_between(self.interval))

    def _cut(self, boundary: datetime) -> datetime:
        return boundary if self.end is None else min(boundary, self.end)

    def _boundary_after(self, moment: datetime) -> datetime:
        if self.interval == "once":
            if self.end is None:
                raise ValueError("an export that runs once has an end")
            return self.end
        if self.interval in CALENDAR:
            day = moment.astimezone(self.timezone).date()
            boundary = moment
            # More than once where clocks leap over a whole day, or are set back over midnight.
            while boundary <= moment:
                day = CALENDAR[self.interval](day)
                boundary = self._midnight(day)
            return boundary
        step = timedelta(minutes=minutes_between(self.interval))
        midnight = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return midnight + ((moment - midnight) // step + 1) * step

    def _midnight(self, day: date) -> datetime:
        # Monrovia was 44 minutes and 30 seconds behind until 1972, and windows are of whole minutes.
        return floor_minute(local_instant(day, time(), self.timezone))


def interval_problem(interval: str) -> str | None:
    """What is wrong with an interval, as a sentence; None where it is one of ours."""
    every = _EVERY.fullmatch(interval)
    if every:
        minutes = int(every[1])
        if not minutes or MINUTES_A_DAY % minutes:
            return f"N must divide {MINUTES_A_DAY}, the minutes of a day; got {minutes}"
        return None
    if interval in NAMED:
        return None
    return f"must be one of {', '.join(INTERVALS)}; got {shown(interval)}"


def minutes_between(interval: str) -> int:
    """The N of `every N minutes`, 60 of `hourly`; ValueError for another interval."""
    if interval == "hourly":
        return MINUTES_AN_HOUR
    every = _EVERY.fullmatch(interval)
    if not every:
        raise ValueError(f"{shown(interval)} is not `every N minutes`")
    return int(every[1])


def moment(value: Any, timezone: ZoneInfo) -> datetime:
    """A moment that a caller names, UTC: text of RFC 3339, a whole minute. Without an offset it is a time on
    a clock of that zone (`local_instant`), and a date alone is its midnight there.

    ValueError says what is wrong with it. https://www.rfc-editor.org/rfc/rfc3339#section-5.6
    """
    if not isinstance(value, str):
        raise ValueError("must be text such as 2026-11-23T00:00:00Z")
    named = moments.read(value)
    if named.second or named.microsecond:
        raise ValueError("must be a whole minute")
    if named.tzinfo is None:  # cut as midnights are
        at = floor_minute(local_instant(named.date(), named.time(), timezone))
    else:
        at = named.astimezone(UTC)
    if not EARLIEST <= at <= LATEST:
        raise ValueError(moments.OUT_OF_RANGE)
    return at


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
