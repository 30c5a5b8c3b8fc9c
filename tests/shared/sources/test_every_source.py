"""What holds of each source that there is."""

from datetime import datetime
from typing import Any

from shared.sources import DEFAULT, SOURCES
from shared.sources.base import Deletion, Item, Selection
from shared.window import Window
from tests.conftest import START
from tests.shared.sources.reading import MINUTE, fill, items, one_by_one, rows_of, selection
from tests.world import OTHER_SITE, SITE, World

TYPES: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "code": (str,),
    "value": (str, int, float),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "moment": (str,),
}


def wanted(start: datetime, end: datetime) -> Selection:
    return selection(start, end, sites=[SITE, OTHER_SITE])


def test_the_published_sources_are_there_in_the_order_of_their_names_and_the_default_stands_first() -> None:
    others = [name for name in SOURCES if name != DEFAULT]
    assert list(SOURCES) == [DEFAULT, *sorted(others)]
    assert {
        "batch-errors",
        "conformity-results",
        "deletions",
        "export-runs",
        "inputs",
        "work-orders-states",
    } <= set(others)
    for name, source in SOURCES.items():
        assert source.name == name
        assert source.description.endswith("."), source.description
        names = [column.name for column in source.columns]
        assert len(set(names)) == len(names), names


def test_each_source_reads_the_same_whole_in_small_parts_cut_anywhere_and_again(world: World) -> None:
    window = fill(world, minutes=3)
    world.wait(3 * MINUTE)
    for name in SOURCES:
        whole = items(world.cloud, name, wanted(window.start, window.end))
        assert len({item.id for item in whole}) == len(whole) >= 3, name
        assert whole == items(world.cloud, name, wanted(window.start, window.end)), name
        for most in (1, 4):
            assert whole == items(world.cloud, name, wanted(window.start, window.end), most), (name, most)
        assert whole == one_by_one(world.cloud, name, wanted(window.start, window.end)), name


def test_windows_that_follow_one_another_hold_what_one_window_over_all_of_them_holds(world: World) -> None:
    window = fill(world)
    for name in SOURCES:
        whole = items(world.cloud, name, wanted(window.start, window.end))
        minutes: list[Item | Deletion] = []
        at = window.start
        while at < window.end:
            each = items(world.cloud, name, wanted(at, at + MINUTE))
            assert each or (name, at) == ("deletions", window.start), (name, at)
            minutes += each
            at += MINUTE
        # What was deleted later stands twice: there, and before that in the window in which it was made.
        latest = {item.id: item for item in minutes}
        assert sorted(latest.values()) == sorted(whole), name
        assert not items(world.cloud, name, wanted(window.start - MINUTE, window.start)), name


def test_a_record_has_the_columns_of_its_source_in_order_and_values_of_their_types(world: World) -> None:
    window = fill(world, minutes=2)
    for name, source in SOURCES.items():
        found = rows_of(items(world.cloud, name, wanted(window.start, window.end)))
        assert found, name
        for row in found:
            assert list(row) == [column.name for column in source.columns], name
            for column in source.columns:
                hold_type(column.type, row[column.name], f"{name}: {column.name}")


def hold_type(type: str, value: Any, where: str) -> None:
    if value is None or type == "json":
        return
    assert isinstance(value, TYPES[type]), f"{where} is {value!r}"
    assert isinstance(value, bool) == (type == "boolean") or type == "value", f"{where} is {value!r}"
    if type == "moment":
        assert datetime.fromisoformat(str(value)).tzinfo, f"{where} is {value!r}"


def test_nobody_reads_what_is_anothers(world: World) -> None:
    window = fill(world, minutes=1)
    world.onboard("umbrella", "umbrella")
    for name in ("export-runs", "batch-errors"):
        theirs = selection(window.start, window.end, sites=[SITE, OTHER_SITE], customer="umbrella")
        assert items(world.cloud, name, theirs) == [], name


def test_an_empty_window_has_no_parts(world: World) -> None:
    fill(world, minutes=1)
    world.wait(60 * MINUTE)
    window = Window(START + 30 * MINUTE, START + 40 * MINUTE)
    for name, source in SOURCES.items():
        assert source.parts(world.cloud, wanted(window.start, window.end)) == [], name
