"""Documents with a server timestamp: a window has what was committed in it, however late after its stamp."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from infra.local.traffic import Fault
from shared.formats.base import Column
from shared.gcp import documents
from shared.sources import SOURCES, rows
from shared.sources.base import Item
from shared.sources.stamped import MARGIN
from shared.workorders import scan
from tests.conftest import START
from tests.shared.sources.reading import MINUTE, ended_run, items, rows_of, selection
from tests.world import World

PATH = "exports/an-export/runs/late"


@contextmanager
def held(world: World, write: Callable[[], object]) -> Iterator[None]:
    """Within it `write` has its stamp and waits for its commit, which comes at the end."""
    with ThreadPoolExecutor(1) as pool, world.suite.firestore.hold_commits(PATH) as hold:
        done = pool.submit(write)
        hold.wait_held()
        yield
        hold.release()
        done.result()


def windows_with(world: World, count: int) -> list[int]:
    """In which of the minutes from START a run stands, each read at its own end."""
    world.move_to(START + count * MINUTE)
    found = []
    for number in range(count):
        wanted = selection(START + number * MINUTE, START + (number + 1) * MINUTE)
        found += [number] * len(rows_of(items(world.cloud, "export-runs", wanted)))
    return found


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, 0), (5, 0), (59, 0), (61, 1), (269, 4), (MARGIN.total_seconds() - 1, 4)],
)
def test_a_late_commit_is_in_the_window_of_its_commit_and_in_no_other(
    world: World, seconds: float, expected: int
) -> None:
    world.suite.traffic.arm("firestore.Commit", Fault("delay", seconds=seconds), resource=PATH)
    ended_run(world, "late")
    world.suite.traffic.disarm()
    assert windows_with(world, 9) == [expected]


def test_a_window_that_was_read_while_the_commit_waited_is_the_same_when_read_again(world: World) -> None:
    wanted = selection(START, START + MINUTE)
    with held(world, lambda: ended_run(world, "late")):
        world.move_to(START + MINUTE + timedelta(seconds=5))
        assert items(world.cloud, "export-runs", wanted) == []
    assert windows_with(world, 3) == [1]
    assert items(world.cloud, "export-runs", wanted) == []


@pytest.mark.parametrize(("offset", "expected"), [(-1, 0), (0, 0), (1, 1)])
def test_a_commit_at_a_border_is_in_the_window_that_ends_there(
    world: World, offset: int, expected: int
) -> None:
    border = START + MINUTE
    with held(world, lambda: ended_run(world, "late")):
        world.move_to(border + timedelta(microseconds=offset - 2))  # moving reads the clock, as a commit does
    committed: Any = world.cloud.db.document(PATH).get().update_time
    assert committed == border + timedelta(microseconds=offset)
    assert windows_with(world, 3) == [expected]


def test_a_document_that_changed_since_the_end_is_read_as_it_was(world: World) -> None:
    ended_run(world, "late")
    world.move_to(START + MINUTE)
    wanted = selection(START, START + MINUTE)
    before = items(world.cloud, "export-runs", wanted)
    ended_run(world, "late", status="FAILED")
    world.move_to(START + 2 * MINUTE)
    assert items(world.cloud, "export-runs", wanted) == before
    assert rows_of(before)[0]["status"] == "COMPLETED"


def test_read_later_than_its_end_a_window_leaves_out_what_changed_since(world: World) -> None:
    ended_run(world, "late")
    ended_run(world, "kept")
    world.move_to(START + 2 * MINUTE)
    ended_run(world, "late", status="FAILED")
    now = START + 3 * MINUTE
    world.move_to(now)
    late = replace(selection(START, START + MINUTE), read_time=now)
    assert [row["run_id"] for row in rows_of(items(world.cloud, "export-runs", late))] == ["kept"]
    after = selection(START + MINUTE, now)
    assert [row["run_id"] for row in rows_of(items(world.cloud, "export-runs", after))] == ["late"]


def test_read_later_than_its_end_a_window_leaves_out_what_was_committed_behind_it(world: World) -> None:
    with held(world, lambda: ended_run(world, "late")):
        world.move_to(START + MINUTE + timedelta(seconds=5))
    now = START + 3 * MINUTE
    world.move_to(now)
    for number, expected in ((0, []), (1, ["late"]), (2, [])):
        wanted = selection(START + number * MINUTE, START + (number + 1) * MINUTE)
        found = rows_of(items(world.cloud, "export-runs", replace(wanted, read_time=now)))
        assert [row["run_id"] for row in found] == expected, number


def test_more_than_a_page_with_one_stamp_is_read_whole_and_cut_between_equal_stamps(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "PAGE_DOCUMENTS", 3)
    expected = [ended_run(world, f"{number}") for number in range(10)]
    world.move_to(START + MINUTE)
    wanted = selection(START, START + MINUTE)
    found = items(world.cloud, "export-runs", wanted)
    assert [item.id for item in found] == expected
    assert len({item.stamp for item in found}) < len(found)
    source = SOURCES["export-runs"]
    [part] = source.parts(world.cloud, wanted)
    for number, item in enumerate(found):
        rest = list(source.items(world.cloud, wanted, part.rest(item)))
        assert rest == found[number + 1 :], number


def test_a_stream_that_breaks_is_taken_up(world: World) -> None:
    for number in range(5):
        ended_run(world, f"{number}")
    world.move_to(START + MINUTE)
    wanted = selection(START, START + MINUTE)
    whole = items(world.cloud, "export-runs", wanted)
    world.suite.traffic.arm("firestore.RunQuery", Fault("truncate"))
    assert items(world.cloud, "export-runs", wanted) == whole
    assert len(whole) == 5
    assert isinstance(whole[0], Item)


@pytest.mark.parametrize(
    ("stamps", "most", "expected"),
    [
        ([], 1, []),
        ([0, 7], 2, [(0, 8)]),
        ([0, 7], 1, [(0, 4), (4, 8)]),
        ([0, 1], 1, [(0, 1), (1, 2)]),
        ([5, 5, 5], 1, [(5, 6)]),
        ([2, 6, 7], 2, [(0, 4), (4, 8)]),
    ],
)
def test_bisecting(stamps: list[int], most: int, expected: list[tuple[int, int]]) -> None:
    def at(millisecond: int) -> datetime:
        return START + timedelta(milliseconds=millisecond)

    def between(first: datetime, before: datetime) -> int:
        return sum(first <= at(stamp) < before for stamp in stamps)

    cut = scan.bisect(between, at(0), at(8), most)
    assert cut == [(at(first), at(before)) for first, before in expected]


def test_lines_have_the_columns_in_order_null_for_what_is_not_there_and_moments_as_text() -> None:
    columns = (Column("b", "text"), Column("a", "moment"), Column("c", "json"))
    row = {"a": START, "b": "é", "z": "left out"}
    assert (
        rows.lines_of(columns, [row, {"c": {"y": 1, "x": [START]}}])
        == (
            '{"b":"é","a":"2026-11-22T09:17:00.000000Z","c":null}\n'
            '{"b":null,"a":null,"c":{"y":1,"x":["2026-11-22T09:17:00.000000Z"]}}\n'
        ).encode()
    )
    with pytest.raises(TypeError, match="set"):
        rows.lines_of(columns, [{"b": set()}])
