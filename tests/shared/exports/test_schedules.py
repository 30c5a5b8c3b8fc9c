"""Windows tile time, whatever the clocks of a place do."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.exports.config import NO_PLACES
from shared.exports.schedules import EPOCH, NAMED, Schedule, interval_problem, local_instant
from shared.window import Window, floor_minute


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
            "daily",
            "Europe/Paris",
            "2026-03-29 00:30",
            ["2026-03-29 22:00", "2026-03-30 22:00"],
            id="a start in the hour before the clock change",
        ),
        pytest.param(
            "daily",
            "America/Sao_Paulo",
            "2018-02-16 02:00",
            ["2018-02-17 02:00", "2018-02-18 03:00"],
            id="a day whose last hour comes twice",
        ),
        pytest.param(
            "daily",
            "Pacific/Apia",
            "2011-12-28 10:00",
            ["2011-12-29 10:00", "2011-12-30 10:00", "2011-12-31 10:00"],
            id="a whole day that does not exist has no window",
        ),
        pytest.param(
            "daily",
            "Australia/Lord_Howe",
            "2026-04-03 13:00",
            ["2026-04-04 13:00", "2026-04-05 13:30", "2026-04-06 13:30"],
            id="the day that gains half an hour",
        ),
        pytest.param(
            "daily",
            "America/St_Johns",
            "2010-11-07 02:31",
            ["2010-11-08 03:30", "2010-11-09 03:30"],
            id="of a midnight that comes twice only the first is one: a start between the two",
        ),
        pytest.param(
            "daily",
            "Africa/Monrovia",
            "1971-11-22 09:17",
            ["1971-11-23 00:44", "1971-11-24 00:44"],
            id="an offset of seconds is cut to whole minutes",
        ),
        pytest.param(
            "weekly",
            "UTC",
            "2026-12-20 09:17",
            ["2026-12-21 00:00", "2026-12-28 00:00", "2027-01-04 00:00", "2027-01-11 00:00"],
            id="weeks from Monday, over a year's end",
        ),
        pytest.param(
            "weekly",
            "Europe/Paris",
            "2026-10-18 22:00",
            ["2026-10-25 23:00", "2026-11-01 23:00"],
            id="a week with a clock change, begun on its Monday",
        ),
        pytest.param(
            "weekly",
            "Pacific/Apia",
            "2011-12-26 10:00",
            ["2012-01-01 10:00", "2012-01-08 10:00"],
            id="a week of six days",
        ),
        pytest.param(
            "monthly",
            "UTC",
            "2027-12-31 23:59",
            [
                *("2028-01-01 00:00", "2028-02-01 00:00", "2028-03-01 00:00", "2028-04-01 00:00"),
                *("2028-05-01 00:00", "2028-06-01 00:00", "2028-07-01 00:00", "2028-08-01 00:00"),
                *("2028-09-01 00:00", "2028-10-01 00:00", "2028-11-01 00:00", "2028-12-01 00:00"),
                "2029-01-01 00:00",
            ],
            id="the months of a leap year",
        ),
        pytest.param(
            "monthly",
            "Asia/Kathmandu",
            "2026-01-30 09:17",
            ["2026-01-31 18:15", "2026-02-28 18:15", "2026-03-31 18:15"],
            id="months of a place, and of a year without a leap day",
        ),
        pytest.param(
            "monthly",
            "Europe/Paris",
            "2026-02-28 23:00",
            ["2026-03-31 22:00", "2026-04-30 22:00"],
            id="a month with a clock change, begun on its first day",
        ),
        pytest.param(
            "hourly",
            "Asia/Kathmandu",
            "2026-11-22 22:17",
            ["2026-11-22 23:00", "2026-11-23 00:00", "2026-11-23 01:00"],
            id="hours are those of UTC, whatever the timezone",
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
        # Clocks of St John's were set back from 00:01 to 23:01: behind that midnight comes a day before it.
        ("daily", "America/St_Johns", "00:00", "2010-11-07 03:00", "2010-11-08 03:30"),
        # 30 December 2011 was no day of Apia's.
        ("daily", "Pacific/Apia", "02:00", "2011-12-30 10:00", "2011-12-30 12:00"),
        ("daily", "Pacific/Apia", "02:00", "2011-12-30 04:00", "2011-12-30 10:00"),
        # 02:00 of Lord Howe becomes 02:30 on 4 October 2026, and 01:30 on 5 April.
        ("daily", "Australia/Lord_Howe", "02:15", "2026-10-03 13:30", "2026-10-03 15:30"),
        ("daily", "Australia/Lord_Howe", "01:45", "2026-04-04 13:00", "2026-04-04 14:45"),
        ("daily", "Asia/Kathmandu", "02:30", "2026-11-22 18:15", "2026-11-22 20:45"),
        ("weekly", "Europe/Paris", "02:30", "2026-10-25 23:00", "2026-10-26 01:30"),
        ("weekly", "UTC", "02:00", "2026-11-25 15:00", "2026-11-26 02:00"),
        ("monthly", "America/Sao_Paulo", "00:00", "2018-11-01 03:00", "2018-11-01 03:00"),
        ("monthly", "UTC", "23:59", "2028-03-01 00:00", "2028-03-01 23:59"),
        ("hourly", "Asia/Kathmandu", "02:00", "2026-11-23 15:00", "2026-11-23 15:00"),
        ("every 5 minutes", "UTC", "02:00", "2026-11-23 15:05", "2026-11-23 15:05"),
        ("once", "UTC", "02:00", "2026-11-23 15:05", "2026-11-23 15:05"),
    ],
)
def test_when_a_window_is_due(interval: str, timezone: str, at: str, window_end: str, due: str) -> None:
    end = utc(window_end)
    of = schedule(interval, "2018-01-01 00:00", timezone=timezone, at=at, end=window_end)
    assert of.due(Window(end - timedelta(hours=1), end)) == utc(due)


@pytest.mark.parametrize(
    ("interval", "timezone", "moment", "boundary"),
    [
        ("daily", "Europe/Paris", "2026-11-23 09:17", "2026-11-23 23:00"),
        ("weekly", "Europe/Paris", "2026-11-23 09:17", "2026-11-29 23:00"),
        ("monthly", "Europe/Paris", "2026-11-23 09:17", "2026-11-30 23:00"),
        ("hourly", "Europe/Paris", "2026-11-23 09:17", "2026-11-23 10:00"),
        ("every 5 minutes", "Europe/Paris", "2026-11-23 09:17", "2026-11-23 09:20"),
        # A window that begins now is not lost; one that has begun is, by a second as by an hour.
        ("daily", "Europe/Paris", "2026-11-22 23:00", "2026-11-22 23:00"),
        ("daily", "Europe/Paris", "2026-11-22 23:00:01", "2026-11-23 23:00"),
        ("every 5 minutes", "UTC", "2026-11-23 09:20", "2026-11-23 09:20"),
        # The first window begins at the start, the last ends at the end; nothing begins before or after.
        ("daily", "UTC", "2026-01-01 00:00", "2026-11-20 09:17"),
        ("daily", "UTC", "2026-11-20 09:17", "2026-11-20 09:17"),
        ("monthly", "UTC", "2026-12-10 00:00", "2026-12-20 10:30"),
        ("daily", "UTC", "2027-01-01 00:00", "2026-12-20 10:30"),
        ("once", "UTC", "2026-11-10 00:00", "2026-11-20 09:17"),
        ("once", "UTC", "2026-11-23 00:00", "2026-12-20 10:30"),
    ],
)
def test_where_an_export_that_was_paused_goes_on(
    interval: str, timezone: str, moment: str, boundary: str
) -> None:
    of = schedule(interval, "2026-11-20 09:17", timezone=timezone, end="2026-12-20 10:30")
    assert of.first_boundary_after(utc(moment)) == utc(boundary)


@pytest.mark.parametrize(
    ("interval", "start", "moment", "first"),
    [
        # A window is not due between its end and the time of day at which it is exported.
        ("daily", "2026-11-20 09:17", "2026-11-20 09:18", "2026-11-20 09:17"),
        ("daily", "2026-11-20 09:17", "2026-11-21 01:59", "2026-11-20 09:17"),
        ("daily", "2026-11-20 09:17", "2026-11-21 02:00", "2026-11-21 00:00"),
        ("daily", "2026-11-20 09:17", "2026-12-01 12:00", "2026-12-01 00:00"),
        ("daily", "2026-11-20 09:17", "2026-12-01 00:30", "2026-11-30 00:00"),
        ("weekly", "2026-11-20 09:17", "2026-12-02 12:00", "2026-11-30 00:00"),
        ("monthly", "2026-11-20 09:17", "2026-12-02 12:00", "2026-12-01 00:00"),
        ("hourly", "2026-11-20 09:17", "2026-12-02 12:34", "2026-12-02 12:00"),
        ("every 5 minutes", "1970-01-01 00:00", "2026-12-02 12:35", "2026-12-02 12:35"),
        # The last window ends at the end, and is due after it.
        ("daily", "2026-11-20 09:17", "2026-12-21 01:59", "2026-12-20 00:00"),
        ("daily", "2026-11-20 09:17", "2026-12-21 02:00", "2026-12-20 10:30"),
        ("daily", "2026-11-20 09:17", "2027-12-21 02:00", "2026-12-20 10:30"),
    ],
)
def test_which_window_is_the_first_that_is_not_due(
    interval: str, start: str, moment: str, first: str
) -> None:
    of = schedule(interval, start, end="2026-12-20 10:30")
    assert of.first_not_due(utc(start), utc(moment)) == utc(first)


def test_a_window_under_a_new_rule_is_the_rest_of_what_its_start_lies_in() -> None:
    start = utc("2026-11-23 23:00")  # a Monday, and a midnight of Paris, where the old windows ended
    ends = {
        (interval, timezone): window.end
        for interval in ("daily", "weekly", "monthly", "hourly", "every 90 minutes")
        for timezone in ("Europe/Paris", "Asia/Kathmandu", "America/Sao_Paulo")
        if (window := schedule(interval, "2026-11-01 00:00", timezone=timezone).window_from(start))
    }
    assert ends == {
        ("daily", "Europe/Paris"): utc("2026-11-24 23:00"),
        ("daily", "Asia/Kathmandu"): utc("2026-11-24 18:15"),
        ("daily", "America/Sao_Paulo"): utc("2026-11-24 03:00"),
        ("weekly", "Europe/Paris"): utc("2026-11-29 23:00"),
        ("weekly", "Asia/Kathmandu"): utc("2026-11-29 18:15"),
        ("weekly", "America/Sao_Paulo"): utc("2026-11-30 03:00"),
        ("monthly", "Europe/Paris"): utc("2026-11-30 23:00"),
        ("monthly", "Asia/Kathmandu"): utc("2026-11-30 18:15"),
        ("monthly", "America/Sao_Paulo"): utc("2026-12-01 03:00"),
        **dict.fromkeys(
            [("hourly", zone) for zone in ("Europe/Paris", "Asia/Kathmandu", "America/Sao_Paulo")],
            utc("2026-11-24 00:00"),
        ),
        **dict.fromkeys(
            [("every 90 minutes", zone) for zone in ("Europe/Paris", "Asia/Kathmandu", "America/Sao_Paulo")],
            utc("2026-11-24 00:00"),
        ),
    }


def test_a_start_in_the_future_begins_the_first_window() -> None:
    of = schedule("weekly", "2031-05-14 09:17", timezone="Europe/Paris")
    assert windows(of, 2) == [
        Window(utc("2031-05-14 09:17"), utc("2031-05-18 22:00")),
        Window(utc("2031-05-18 22:00"), utc("2031-05-25 22:00")),
    ]


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


def test_an_end_cuts_a_month_as_it_cuts_a_day() -> None:
    of = schedule("monthly", "2026-11-22 09:17", end="2026-12-24 10:30")
    assert windows(of, 10) == [
        Window(utc("2026-11-22 09:17"), utc("2026-12-01 00:00")),
        Window(utc("2026-12-01 00:00"), utc("2026-12-24 10:30")),
    ]


@pytest.mark.parametrize("interval", [*NAMED, *(f"every {n} minutes" for n in (1, 5, 15, 60, 90, 720, 1440))])
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
        ("every N minutes", "must be"),
        ("fortnightly", "must be one of once, hourly, daily, weekly, monthly, every N minutes; got"),
        ("Daily", "must be"),
        ("", "must be"),
        ("every ٥ minutes", "must be"),
    ],
)
def test_intervals_that_are_not(interval: str, says: str) -> None:
    assert says in (interval_problem(interval) or "nothing")


ZONES = st.one_of(
    st.sampled_from(
        [
            *("America/Sao_Paulo", "America/St_Johns", "Asia/Kathmandu", "Australia/Lord_Howe"),
            *("Europe/Paris", "Pacific/Apia", "UTC"),
        ]
    ),
    st.sampled_from(sorted(available_timezones() - NO_PLACES)),
)
MINUTES = st.one_of(
    st.integers(0, 19_900_000).map(lambda minutes: utc("2000-01-01") + timedelta(minutes=minutes)),
    # Near where clocks did what they rarely do: in Apia, in St John's, in Sao Paulo, in Paris.
    st.builds(
        lambda day, before: utc(day) - timedelta(minutes=before),
        st.sampled_from(["2011-12-31", "2010-11-08", "2018-11-05", "2018-02-18", "2026-03-30", "2026-10-26"]),
        st.integers(0, 4_320),
    ),
)
INTERVAL = st.sampled_from(
    [
        *("daily", "weekly", "monthly", "hourly"),
        *(f"every {n} minutes" for n in (1, 15, 90, 1440)),
    ]
)
AT = st.times().map(lambda each: each.replace(second=0, microsecond=0, tzinfo=None))
RULE = st.tuples(INTERVAL, ZONES, AT)


@settings(max_examples=200, deadline=None)  # a zone is read from its file the first time
@given(
    rules=st.lists(RULE, min_size=1, max_size=4),
    start=MINUTES,
    length=st.one_of(st.none(), st.integers(1, 200_000)),
)
def test_windows_tile_under_rules_that_change_and_none_is_due_before_its_end(
    rules: list[tuple[str, str, time]], start: datetime, length: int | None
) -> None:
    end = start + timedelta(minutes=length) if length else None
    at = start
    for interval, timezone, clock in rules:
        of = Schedule(interval, ZoneInfo(timezone), clock, start, end)
        due: datetime | None = None
        for _ in range(12):
            window = of.window_from(at)
            if window is None:
                assert at == end
                return
            assert window.start == at < window.end, (interval, timezone)
            assert window.end == floor_minute(window.end), (interval, timezone)
            assert end is None or window.end <= end
            assert of.first_boundary_after(window.end) == window.end
            assert of.first_boundary_after(window.start + timedelta(seconds=1)) == window.end
            was, due = due, of.due(window)
            assert due >= window.end, (interval, timezone)
            assert was is None or was <= due, (interval, timezone)
            at = window.end


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


@settings(max_examples=100, deadline=None)
@given(rule=RULE, start=MINUTES, after=st.integers(0, 60), seconds=st.integers(-90_000, 90_000))
def test_the_first_window_that_is_not_due_is_found_as_by_looking_at_each(
    rule: tuple[str, str, time], start: datetime, after: int, seconds: int
) -> None:
    interval, timezone, clock = rule
    of = Schedule(interval, ZoneInfo(timezone), clock, start, None)
    moment = windows(of, after + 1)[-1].end + timedelta(seconds=seconds)
    at = start
    while (window := of.window_from(at)) is not None and of.due(window) <= moment:
        at = window.end
    assert of.first_not_due(start, moment) == at
