"""A chart of bars, a day each, as the shapes of an SVG. Pure functions of numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

WIDTH, HEIGHT = 310, 90
"""The chart's own units; a page makes it as wide as there is room."""

GAP = 2
"""Units between two bars."""

SMALLEST = 2
"""Units of the smallest bar that is not nothing: one among thousands is still seen."""


@dataclass(frozen=True)
class Bar:
    """A bar of one kind on one day: where it is, and what it says to whoever points at it."""

    kind: str
    x: float
    y: float
    width: float
    height: float
    says: str


@dataclass(frozen=True)
class Chart:
    """A chart: its title, what it says in a sentence, its bars, and its first and last day."""

    title: str
    says: str
    bars: Sequence[Bar]
    first: str
    last: str


def of_days(title: str, days: Sequence[Mapping[str, int | str]], kinds: Mapping[str, str]) -> Chart:
    """The chart of the days that `GET /v1/statistics` answers. `kinds` has the fields that are shown, the
    lowest bar first, and what is counted by each, as `{"completed": "runs completed"}`."""
    step = WIDTH / max(1, len(days))
    most = max((sum(_number(day, kind) for kind in kinds) for day in days), default=0)
    bars = []
    for index, day in enumerate(days):
        base = float(HEIGHT)
        for kind, what in kinds.items():
            number = _number(day, kind)
            if not number:
                continue
            height = min(base, max(SMALLEST, number / most * HEIGHT))
            base -= height
            says = f"{day_name(str(day['day']))}: {number:,} {what}"
            bars.append(Bar(kind, round(index * step, 2), round(base, 2), step - GAP, round(height, 2), says))
    first, last = (day_name(str(days[at]["day"])) if days else "" for at in (0, -1))
    sums = ", ".join(f"{sum(_number(day, kind) for day in days):,} {what}" for kind, what in kinds.items())
    return Chart(title, sums, bars, first, last)


def day_name(day: str) -> str:
    """A day as people read it: `23 Nov` of `2026-11-23`."""
    read = date.fromisoformat(day)
    return f"{read.day} {read:%b}"


def _number(day: Mapping[str, int | str], kind: str) -> int:
    return int(day[kind])
