"""Whatever becomes of ticks, each window is exported once, with what was committed in it."""

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import orjson
import pytest

from shared.exports.beginning import MAX_WINDOWS
from shared.gcp.documents import fields_of
from shared.gcp.messages import Message
from shared.minute import tick
from tests.world import BUCKET, World

MONDAY, TUESDAY, WEDNESDAY = (datetime(2026, 11, day, 2, tzinfo=UTC) for day in (23, 24, 25))
"""When the daily windows that end on these days are due."""


def minute(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def work_order(world: World, name: str, at: str | None = None) -> None:
    """A work order committed at that time, or now."""
    if at is not None:
        world.move_to(minute(at))
    world.work_order(name, photographs=0)


def deliver_tick(world: World, published: datetime) -> None:
    """Hand over a tick that was published then, whatever time it is now, and let all come of it that does."""
    tick(world.cloud, Message({}, published, f"tick-{published:%d%H%M}"))
    world.drain()
    assert not world.failures, "\n".join(world.failures)


def exported(world: World) -> list[tuple[str, str, list[str]]]:
    """Of each manifest, in the order in which they were written: its window, and the names of its records."""
    written = sorted(
        (each.generation, each.name)
        for each in world.suite.storage.list(BUCKET)
        if "/_manifests/" in each.name
    )
    landed = world.landed()
    found = []
    for _, name in written:
        manifest = json.loads(landed[name])
        lines = [line for file in manifest["files"] for line in landed[file["name"]].splitlines()]
        window = manifest["window"]
        names = sorted(orjson.loads(line)["name"] for line in lines)
        found.append((window["start"][:16], window["end"][:16], names))
    assert len(set(map(str, found))) == len(found), f"a window was exported twice: {found}"
    return found


def document(world: World, export: str) -> dict[str, Any]:
    return fields_of(world.cloud.db.document(f"exports/{export}").get())


# --- late, lost, out of order, twice


@pytest.mark.parametrize(
    ("now", "published"),
    [
        pytest.param(WEDNESDAY, [MONDAY, TUESDAY, WEDNESDAY], id="all delivered late, in order"),
        pytest.param(WEDNESDAY, [WEDNESDAY, MONDAY, TUESDAY], id="the newest first"),
        pytest.param(WEDNESDAY, [TUESDAY, MONDAY, WEDNESDAY, TUESDAY], id="out of order and twice"),
        pytest.param(
            WEDNESDAY, [each for each in (MONDAY, TUESDAY, WEDNESDAY) for _ in "12"], id="each twice"
        ),
        pytest.param(WEDNESDAY, [WEDNESDAY], id="only the last one came"),
        pytest.param(WEDNESDAY + timedelta(hours=20), [WEDNESDAY + timedelta(hours=20)], id="hours late"),
        pytest.param(WEDNESDAY + timedelta(days=3), [WEDNESDAY + timedelta(days=3)], id="three days late"),
        pytest.param(WEDNESDAY + timedelta(days=3), [MONDAY, WEDNESDAY], id="delivered three days late"),
    ],
)
def test_each_window_is_exported_once_whenever_ticks_come(
    world: World, now: datetime, published: list[datetime]
) -> None:
    export = world.export(end="2026-11-25T00:00:00Z")
    work_order(world, "WO_SUNDAY")
    work_order(world, "WO_MONDAY", "2026-11-23 12:00")
    work_order(world, "WO_TUESDAY", "2026-11-24 12:00")
    world.move_to(now)
    for at in published:
        deliver_tick(world, at)
    assert exported(world) == [
        ("2026-11-22T09:17", "2026-11-23T00:00", ["WO_SUNDAY"]),
        ("2026-11-23T00:00", "2026-11-24T00:00", ["WO_MONDAY"]),
        ("2026-11-24T00:00", "2026-11-25T00:00", ["WO_TUESDAY"]),
    ]
    assert document(world, export)["state"] == "ENDED"


def test_a_late_tick_begins_what_was_due_when_it_was_published_and_no_more(world: World) -> None:
    world.export()
    world.move_to(WEDNESDAY)
    deliver_tick(world, MONDAY - timedelta(minutes=1))
    assert exported(world) == []
    deliver_tick(world, MONDAY)
    assert [end for _, end, _ in exported(world)] == ["2026-11-23T00:00"]


@pytest.mark.slow
def test_monthly_windows_of_a_year_without_ticks_are_all_exported_oldest_first(world: World) -> None:
    world.export(interval="monthly")
    work_order(world, "WO_FIRST")
    work_order(world, "WO_NEW_YEAR", "2026-12-31 23:59")
    work_order(world, "WO_JANUARY", "2027-01-01 00:01")
    work_order(world, "WO_SPRING", "2027-03-28 01:00")
    work_order(world, "WO_OPEN", "2027-11-05 12:00")
    world.run_due(minute("2027-11-22 09:17"))
    assert len(exported(world)) == MAX_WINDOWS
    world.run_due()
    world.run_due()
    ends = [*("2026-12-01", "2027-01-01", "2027-02-01", "2027-03-01", "2027-04-01", "2027-05-01")]
    ends += ["2027-06-01", "2027-07-01", "2027-08-01", "2027-09-01", "2027-10-01", "2027-11-01"]
    bounds = ["2026-11-22T09:17", *(f"{end}T00:00" for end in ends)]
    names = {
        "2026-12-01T00:00": ["WO_FIRST"],
        "2027-01-01T00:00": ["WO_NEW_YEAR"],
        "2027-02-01T00:00": ["WO_JANUARY"],
        "2027-04-01T00:00": ["WO_SPRING"],
    }
    assert exported(world) == [(start, end, names.get(end, [])) for start, end in pairwise(bounds)]


@pytest.mark.slow
def test_an_export_far_behind_is_caught_up_a_few_windows_a_tick_and_another_is_not_kept_waiting(
    world: World,
) -> None:
    behind = world.export()
    days = 2 * MAX_WINDOWS + 3
    for day in (0, 1, MAX_WINDOWS, days):
        if day:
            world.move_to(MONDAY + timedelta(days=day - 1, hours=3))
        world.work_order(f"WO_{day}", photographs=0)
    other = world.export(interval="hourly")
    world.move_to(MONDAY + timedelta(days=days - 1, hours=4))
    begun = []
    for _ in range(4):
        world.run_due()
        begun.append(len(list(world.cloud.db.collection(f"exports/{behind}/runs").stream())))
        if len(begun) == 1:
            assert [event["window"]["end"][11:16] for event in world.audit(other)] == ["06:00"]
    assert begun == [MAX_WINDOWS, 2 * MAX_WINDOWS, days, days]
    of_days = [each for each in exported(world) if each[1].endswith("T00:00")]
    midnights = [(MONDAY + timedelta(days=day)).strftime("%Y-%m-%dT00:00") for day in range(days)]
    assert [end for _, end, _ in of_days] == midnights
    assert [start for start, _, _ in of_days] == ["2026-11-22T09:17", *midnights[:-1]]
    assert {end: names for _, end, names in of_days if names} == {
        midnights[0]: ["WO_0"],
        midnights[1]: ["WO_1"],
        midnights[MAX_WINDOWS]: [f"WO_{MAX_WINDOWS}"],
    }


# --- where schedules begin and end


def test_a_start_in_the_future_exports_nothing_from_before_it(world: World) -> None:
    export = world.export(start="2026-11-24T12:00:00Z")
    work_order(world, "WO_TODAY")
    for at in (MONDAY, TUESDAY):
        world.run_due(at)
    work_order(world, "WO_JUST_BEFORE", "2026-11-24 11:59")
    work_order(world, "WO_SINCE", "2026-11-24 12:01")
    assert exported(world) == []
    world.run_due(WEDNESDAY - timedelta(minutes=1))
    assert exported(world) == []
    world.run_due(WEDNESDAY)
    assert exported(world) == [("2026-11-24T12:00", "2026-11-25T00:00", ["WO_SINCE"])]
    assert document(world, export)["state"] == "ACTIVE"


@pytest.mark.parametrize(
    ("interval", "start"),
    [("daily", "2026-11-24T00:00"), ("weekly", "2026-11-23T00:00"), ("monthly", "2026-11-22T09:17")],
)
def test_an_end_in_the_middle_of_a_window_cuts_it_and_the_export_is_never_due_again(
    world: World, interval: str, start: str
) -> None:
    export = world.export(interval=interval, end="2026-11-24T10:30:00Z")
    work_order(world, "WO_IN", "2026-11-24 10:29")
    work_order(world, "WO_AFTER", "2026-11-24 10:31")
    world.run_due(WEDNESDAY - timedelta(minutes=1))
    assert document(world, export)["state"] == "ACTIVE"
    world.run_due(WEDNESDAY)
    *_, last = exported(world)
    assert last == (start, "2026-11-24T10:30", ["WO_IN"])
    fields = document(world, export)
    assert (fields["state"], fields["next_due"]) == ("ENDED", None)
    before = world.landed()
    world.run_due(WEDNESDAY + timedelta(days=40))
    assert world.landed() == before


# --- each interval


@pytest.mark.parametrize(
    ("config", "due", "windows"),
    [
        pytest.param(
            {"interval": "hourly", "timezone": "Asia/Kathmandu"},
            ["2026-11-22 10:00", "2026-11-22 11:00"],
            [("2026-11-22T09:17", "2026-11-22T10:00"), ("2026-11-22T10:00", "2026-11-22T11:00")],
            id="hourly",
        ),
        pytest.param(
            {"interval": "daily", "timezone": "Europe/Paris", "at": "02:30"},
            ["2026-11-23 01:30", "2026-11-24 01:30"],
            [("2026-11-22T09:17", "2026-11-22T23:00"), ("2026-11-22T23:00", "2026-11-23T23:00")],
            id="daily",
        ),
        pytest.param(
            {"interval": "weekly", "timezone": "America/Sao_Paulo", "at": "00:00"},
            ["2026-11-23 03:00", "2026-11-30 03:00"],
            [("2026-11-22T09:17", "2026-11-23T03:00"), ("2026-11-23T03:00", "2026-11-30T03:00")],
            id="weekly",
        ),
        pytest.param(
            {"interval": "monthly", "timezone": "Asia/Kathmandu"},
            ["2026-11-30 20:15", "2026-12-31 20:15"],
            [("2026-11-22T09:17", "2026-11-30T18:15"), ("2026-11-30T18:15", "2026-12-31T18:15")],
            id="monthly",
        ),
    ],
)
def test_a_window_is_exported_at_the_minute_it_is_due_and_not_one_earlier(
    world: World, config: dict[str, str], due: list[str], windows: list[tuple[str, str]]
) -> None:
    world.export(**config)
    for number, at in enumerate(due):
        work_order(world, f"WO_{number}")
        world.run_due(minute(at) - timedelta(minutes=1))
        assert len(exported(world)) == number
        world.run_due(minute(at))
    expected = [(*window, [f"WO_{number}"]) for number, window in enumerate(windows)]
    assert exported(world) == expected


def test_what_runs_once_is_not_left_out_by_a_pause(world: World) -> None:
    world.work_order("WO_1")
    export = world.export(interval="once", end="2026-11-22T10:00:00Z")
    assert world.request("POST", f"/v1/exports/{export}:pause").status == 200
    world.run_due(datetime(2026, 11, 22, 12, tzinfo=UTC))
    assert world.audit(export) == []
    resumed = world.request("POST", f"/v1/exports/{export}:resume")
    assert (resumed.status, resumed.body["left_out"]) == (200, None), resumed
    world.wait(timedelta(minutes=1))
    world.run_due()
    assert [event["status"] for event in world.audit(export)] == ["COMPLETED"]
    assert len(world.records()) == 1
