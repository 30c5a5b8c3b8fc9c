"""A month of an export: which of its days are exported, and which stretches of time are not. Pure functions
of the windows that the API lists."""

import calendar
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from shared.exports.schedules import local_instant
from shared.window import EARLIEST, LATEST, Window

MAX_GAPS = 12
"""How many stretches that are not exported a page names."""

_MONTH = re.compile(r"[0-9]{4}-[0-9]{2}")


@dataclass(frozen=True)
class Day:
    """A day of the month: how much of what lies back of it is exported. `state` is `all`, `part`, `none`,
    `to come`, or `unknown` where the windows that were read do not reach there."""

    day: date
    state: str
    start: str
    end: str


@dataclass(frozen=True)
class Gap:
    """A stretch of time that is not exported, by its bounds on the clock of the export's zone."""

    start: str
    end: str


@dataclass(frozen=True)
class Month:
    """A month: its weeks of seven days, None where one is of another month; the first gaps, and how many
    more there are; and the months beside it, None where there is none."""

    first: date
    weeks: tuple[tuple[Day | None, ...], ...]
    gaps: tuple[Gap, ...]
    more_gaps: int
    before: str | None
    after: str | None

    @property
    def name(self) -> str:
        """What it is called."""
        return f"{self.first:%B %Y}"


def month_of(text: str, now: datetime, zone: ZoneInfo) -> date:
    """The first day of the month that a text such as `2026-11` names; that of now where it names none that
    there is."""
    if _MONTH.fullmatch(text):
        year, number = int(text[:4]), int(text[5:])
        if EARLIEST.year < year < LATEST.year and 1 <= number <= 12:
            return date(year, number, 1)
    return now.astimezone(zone).date().replace(day=1)


def bounds(first: date, zone: ZoneInfo) -> Window:
    """When a month begins and ends in a zone."""
    return Window(_midnight(first, zone), _midnight(_next(first), zone))


def known(whole: Window, windows: Sequence[Mapping[str, Any]], *, since_first: bool, to_last: bool) -> Window:
    """For which time of a month these windows are all that there are: of a page that others come before or
    follow, from the beginning of its first window, and to that of its last."""
    starts = [datetime.fromisoformat(each["start"]) for each in windows] or [whole.start]
    return Window(starts[0] if since_first else whole.start, starts[-1] if to_last else whole.end)


def month(
    first: date, zone: ZoneInfo, windows: Iterable[Mapping[str, Any]], until: datetime, known: Window
) -> Month:
    """A month of these windows, as the API answers them.

    until  what lies behind it is to come
    known  for which time all windows are among those
    """
    exported = _merged(windows)
    days = [
        _day(first.replace(day=number), zone, exported, until, known)
        for number in range(1, calendar.monthrange(first.year, first.month)[1] + 1)
    ]
    padded = [*[None] * first.weekday(), *days]
    padded += [None] * (-len(padded) % 7)
    whole = bounds(first, zone)
    looked_at = Window(max(whole.start, known.start), min(whole.end, known.end, until))
    gaps = [Gap(_clock(each.start, zone), _clock(each.end, zone)) for each in _gaps(looked_at, exported)]
    before = (first - timedelta(days=1)).replace(day=1)
    return Month(
        first,
        tuple(tuple(padded[at : at + 7]) for at in range(0, len(padded), 7)),
        tuple(gaps[:MAX_GAPS]),
        max(0, len(gaps) - MAX_GAPS),
        f"{before:%Y-%m}" if before.year > EARLIEST.year else None,
        f"{_next(first):%Y-%m}" if whole.end < until else None,
    )


def _day(day: date, zone: ZoneInfo, exported: Sequence[Window], until: datetime, known: Window) -> Day:
    start, end = _midnight(day, zone), _midnight(day + timedelta(days=1), zone)
    past = Window(start, min(end, until))
    if start >= until:
        state = "to come"
    elif start < known.start or past.end > known.end:
        state = "unknown"
    else:
        left = sum((each.end - each.start for each in _gaps(past, exported)), timedelta())
        state = "all" if not left else "none" if left == past.end - past.start else "part"
    return Day(day, state, _clock(start, zone), _clock(past.end if state != "to come" else end, zone))


def _merged(windows: Iterable[Mapping[str, Any]]) -> list[Window]:
    """The windows as stretches that do not touch, in order."""
    found = sorted(
        Window(*(datetime.fromisoformat(each[name]) for name in ("start", "end"))) for each in windows
    )
    merged: list[Window] = []
    for each in found:
        if merged and each.start <= merged[-1].end:
            merged[-1] = Window(merged[-1].start, max(merged[-1].end, each.end))
        else:
            merged.append(each)
    return merged


def _gaps(whole: Window, exported: Sequence[Window]) -> list[Window]:
    """What of a stretch of time none of these has."""
    gaps, at = [], whole.start
    for each in exported:
        if each.end <= at:
            continue
        if each.start >= whole.end:
            break
        if each.start > at:
            gaps.append(Window(at, each.start))
        at = each.end
    if at < whole.end:
        gaps.append(Window(at, whole.end))
    return gaps


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return local_instant(day, time(), zone).astimezone(UTC).replace(second=0)


def _next(first: date) -> date:
    return (first + timedelta(days=31)).replace(day=1)


def _clock(at: datetime, zone: ZoneInfo) -> str:
    """A moment as a browser's field for a date and a time has it."""
    return at.astimezone(zone).strftime("%Y-%m-%dT%H:%M")
