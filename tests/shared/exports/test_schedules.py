"""Windows tile time, whatever the clocks of a place do."""

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.exports.schedules import EPOCH, Schedule, interval_problem, local_instant
from shared.window import Window


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def schedule(
    interval: str, start: str, *, timezone: str = "UTC", at: str = "02:00", end: str | None = None
) -> Schedule:
    return Schedule(
        interval, ZoneInfo(timezone), time.fromisoformat(at), utc(start), utc(end) if end else None
    )


def windows(of: Schedule, count: int) -> list[Window]:
    found: list[Window] = []
    start = of.start
    while len(found) < count:
        window = of.window_from(start)
        if window is None:
            break
        found.append(window)
        start = window.end
    return found


@pytest.mark.parametrize(
    ("interval", "timezone", "start", "expected"),
    [
        pytest.param(
            "daily",
            "UTC",
            "2026-11-22 09:17",
            ["2026-11-23 00:00", "2026-11-24 00:00", "2026-11-25 00:00"],
            id="the first window is cut at the first midnight",
        ),
        pytest.param(
            "daily",
            "Europe/Paris",
            "2026-03-27 23:00",
            ["2026-03-28 23:00", "2026-03-29 22:00", "2026-03-30 22:00"],
            id="the day that loses an hour",
        ),
        pytest.param(
            "daily",
            "Europe/Paris",
            "2026-10-24 22:00",
            ["2026-10-25 23:00", "2026-10-26 23:00"],
            id="the day that gains an hour",
        ),
        pytest.param(
            "daily",
            "America/Sao_Paulo",
            "2018-11-03 03:00",
            ["2018-11-04 03:00", "2018-11-05 02:00"],
            id="a midnight that does not exist is the first instant after",
        ),
        pytest.param(
            "daily",
            "Asia/Kathmandu",
            "2026-11-22 18:15",
            ["2026-11-23 18:15", "2026-11-24 18:15"],
            id="an offset of three quarters of an hour",
        ),
        pytest.param(
            "every 15 minutes",
            "Asia/Kathmandu",
            "2026-11-22 09:17",
            ["2026-11-22 09:30", "2026-11-22 09:45"],
            id="minutes are aligned to midnight UTC, whatever the timezone",
        ),
        pytest.param(
            "every 1440 minutes",
            "UTC",
            "2026-11-22 09:17",
            ["2026-11-23 00:00", "2026-11-24 00:00"],
            id="every day",
        ),
        pytest.param(
            "every 1 minutes",
            "UTC",
            "2026-11-22 23:59",
            ["2026-11-23 00:00", "2026-11-23 00:01"],
            id="minutes",
        ),
    ],
)
def test_where_windows_end(interval: str, timezone: str, start: str, expected: list[str]) -> None:
    found = windows(schedule(interval, start, timezone=timezone), len(expected))
    assert [window.end for window in found] == [utc(each) for each in expected]


@pytest.mark.parametrize(
    ("interval", "timezone", "at", "window_end", "due"),
    [
        ("daily", "UTC", "02:00", "2026-11-23 00:00", "2026-11-23 02:00"),
        ("daily", "UTC", "00:00", "2026-11-23 00:00", "2026-11-23 00:00"),
        ("daily", "Europe/Paris", "02:30", "2026-11-22 23:00", "2026-11-23 01:30"),
        # 02:30 does not exist on 29 March 2026: the first instant after is 03:00 of summer time.
        ("daily", "Europe/Paris", "02:30", "2026-03-28 23:00", "2026-03-29 01:00"),
        # 02:30 comes twice on 25 October 2026: the first is still summer time.
        ("daily", "Europe/Paris", "02:30", "2026-10-24 22:00", "2026-10-25 00:30"),
        # A last window cut in the middle of a day waits for the next time that clocks show `at`.
        ("daily", "UTC", "02:00", "2026-11-23 15:00", "2026-11-24 02:00"),
        ("daily", "UTC", "18:00", "2026-11-23 15:00", "2026-11-23 18:00"),
        ("every 5 minutes", "UTC", "02:00", "2026-11-23 15:05", "2026-11-23 15:05"),
        ("once", "UTC", "02:00", "2026-11-23 15:05", "2026-11-23 15:05"),
    ],
)
def test_when_a_window_is_due(interval: str, timezone: str, at: str, window_end: str, due: str) -> None:
    end = utc(window_end)
    of = schedule(interval, "2018-01-01 00:00", timezone=timezone, at=at, end=window_end)
    assert of.due(Window(end - timedelta(hours=1), end)) == utc(due)


def test_the_end_cuts_the_last_window_and_nothing_follows_it() -> None:
    of = schedule("daily", "2026-11-22 09:17", end="2026-11-24 10:30")
    assert [window.end for window in windows(of, 10)] == [
        utc("2026-11-23 00:00"),
        utc("2026-11-24 00:00"),
        utc("2026-11-24 10:30"),
    ]


def test_once_is_one_window() -> None:
    of = Schedule("once", ZoneInfo("UTC"), time(2), EPOCH, utc("2026-11-24 10:30"))
    assert windows(of, 10) == [Window(EPOCH, utc("2026-11-24 10:30"))]


@pytest.mark.parametrize(
    "interval", ["once", "daily", *(f"every {n} minutes" for n in (1, 5, 15, 60, 90, 720, 1440))]
)
def test_intervals_that_are_ours(interval: str) -> None:
    assert interval_problem(interval) is None


@pytest.mark.parametrize(
    ("interval", "says"),
    [
        ("every 0 minutes", "divide"),
        ("every 7 minutes", "divide"),
        ("every 2880 minutes", "divide"),
        ("every 00015 minutes", "must be"),
        ("every -5 minutes", "must be"),
        ("every 5 hours", "must be"),
        ("Daily", "must be"),
        ("", "must be"),
        ("every ٥ minutes", "must be"),
    ],
)
def test_intervals_that_are_not(interval: str, says: str) -> None:
    assert says in (interval_problem(interval) or "nothing")


ZONES = st.sampled_from(
    ["UTC", "Europe/Paris", "America/Sao_Paulo", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia"]
)
MINUTES = st.integers(0, 19_900_000).map(
    lambda minutes: datetime(2000, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
)


@given(
    interval=st.sampled_from(["daily", "every 1 minutes", "every 15 minutes", "every 1440 minutes"]),
    timezone=ZONES,
    at=st.times().map(lambda each: each.replace(second=0, microsecond=0, tzinfo=None)),
    start=MINUTES,
    length=st.one_of(st.none(), st.integers(1, 100_000)),
)
def test_windows_tile_and_none_is_due_before_its_end(
    interval: str, timezone: str, at: time, start: datetime, length: int | None
) -> None:
    end = start + timedelta(minutes=length) if length else None
    of = Schedule(interval, ZoneInfo(timezone), at, start, end)
    found = windows(of, 40)
    assert found[0].start == start
    for before, after in pairwise(found):
        assert before.end == after.start
        assert of.due(before) <= of.due(after)
    for window in found:
        assert window.start < window.end
        assert window.end.second == 0
        assert of.due(window) >= window.end
    if end is not None and len(found) < 40:
        assert found[-1].end == end


@given(day=st.dates(date(2000, 1, 2), date(2037, 12, 30)), at=st.times(), timezone=ZONES)
def test_a_local_time_is_the_first_instant_at_which_the_clock_shows_it_or_has_jumped_over_it(
    day: date, at: time, timezone: str
) -> None:
    at = at.replace(microsecond=0, tzinfo=None)
    zone = ZoneInfo(timezone)
    wanted = datetime.combine(day, at)
    instant = local_instant(day, at, zone)
    assert instant.astimezone(zone).replace(tzinfo=None) >= wanted
    assert (instant - timedelta(seconds=1)).astimezone(zone).replace(tzinfo=None) < wanted
