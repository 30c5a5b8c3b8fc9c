"""A month of an export: what of each day is exported, what is not, and how a form carries moments."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from shared.console import calendar
from shared.console.export_form import Kept
from shared.window import Window

PARIS = ZoneInfo("Europe/Paris")
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
ALL = Window(datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))


def window(start: str, end: str) -> dict[str, str]:
    return {"start": start, "end": end}


def states(month: calendar.Month) -> dict[int, str]:
    return {day.day.day: day.state for week in month.weeks for day in week if day}


def november(*windows: dict[str, str], known: Window = ALL, zone: ZoneInfo = PARIS) -> calendar.Month:
    return calendar.month(date(2026, 11, 1), zone, windows, NOW, known)


def test_each_day_says_how_much_of_it_is_exported() -> None:
    month = november(
        window("2026-11-02T23:00:00Z", "2026-11-03T23:00:00Z"),
        window("2026-11-04T00:00:00Z", "2026-11-04T23:00:00Z"),
        window("2026-11-05T23:00:00Z", "2026-11-06T12:00:00Z"),
        window("2026-11-06T10:00:00Z", "2026-11-06T23:00:00Z"),
        window("2026-11-19T23:00:00Z", "2026-11-20T12:00:00Z"),
    )
    found = states(month)
    assert [found[day] for day in (2, 3, 4, 5, 6, 19, 20, 21)] == [
        *("none", "all", "part", "none", "all", "none", "all"),
        "to come",
    ]
    assert [len(week) for week in month.weeks] == [7] * 6
    assert [day.day.day if day else None for day in month.weeks[0]] == [None] * 6 + [1]


def test_gaps_are_named_on_the_clock_of_the_zone_up_to_now() -> None:
    month = november(window("2026-10-01T00:00:00Z", "2026-11-10T23:00:00Z"))
    assert month.gaps == (calendar.Gap("2026-11-11T00:00", "2026-11-20T13:00"),)
    whole = november(window("2026-10-01T00:00:00Z", "2026-12-10T23:00:00Z"))
    assert (whole.gaps, whole.before, whole.after) == ((), "2026-10", None)
    days = [window(f"2026-11-{day:02}T00:00:00Z", f"2026-11-{day:02}T01:00:00Z") for day in range(1, 20)]
    many = november(*days)
    assert (len(many.gaps), many.more_gaps) == (calendar.MAX_GAPS, 20 - calendar.MAX_GAPS)


def test_a_day_on_which_clocks_change_is_as_long_as_it_is() -> None:
    exported = window("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z")
    october = calendar.month(date(2026, 10, 1), PARIS, [exported], NOW, ALL)
    assert states(october)[25] == "all"
    day_short = window("2026-10-24T22:00:00Z", "2026-10-25T22:00:00Z")
    assert states(calendar.month(date(2026, 10, 1), PARIS, [day_short], NOW, ALL))[25] == "part"


def test_of_days_that_were_not_read_nothing_is_said() -> None:
    windows = [window("2026-11-03T00:00:00Z", "2026-11-04T00:00:00Z")]
    utc = ZoneInfo("UTC")
    whole = calendar.bounds(date(2026, 11, 1), utc)
    first = calendar.known(whole, windows, since_first=False, to_last=True)
    assert states(november(*windows, known=first, zone=utc))[4] == "unknown"
    assert states(november(*windows, known=first, zone=utc))[1] == "none"
    last = calendar.known(whole, windows, since_first=True, to_last=False)
    assert states(november(*windows, known=last, zone=utc))[2] == "unknown"
    assert states(november(*windows, known=last, zone=utc))[4] == "none"


@pytest.mark.parametrize(
    ("moment", "zone", "shown"),
    [
        ("2026-11-23T07:00:00Z", "Europe/Paris", "2026-11-23T08:00"),
        ("2026-10-25T00:30:00Z", "Europe/Paris", "2026-10-25T02:30"),
        ("2026-10-25T01:30:00Z", "Europe/Paris", "2026-10-25T01:30:00Z"),
        ("", "UTC", ""),
    ],
)
def test_a_moment_that_is_not_changed_is_sent_as_it_was(moment: str, zone: str, shown: str) -> None:
    """The second 02:30 of the night on which clocks are set back is shown with its offset."""
    kept = Kept(zone, start=moment)
    assert kept.shown("start") == shown
    assert kept.sent("start", shown) == (moment or None)
    assert kept.sent("start", "2026-12-01T00:00") == "2026-12-01T00:00"
    assert kept.sent("start", "") is None
