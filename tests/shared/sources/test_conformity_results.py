"""conformity-results: one flat row a check, and one a result."""

from typing import Any

import pytest

from shared.sources.base import Item
from shared.workorders import store
from shared.workorders.record import DataConformity, JobConformity, Value, iso
from shared.workorders.store import Photograph
from shared.workorders.stored import Correction
from tests.shared.sources.reading import deletions, items, rows, rows_of, since
from tests.world import World, jpeg

CHECK: dict[str, Any] = {"check": "blur", "code": "BLURRED", "level": "warning"}
RESULT: dict[str, Any] = {
    "task_name": "reading",
    "analyzed_value": 1234,
    "corrected_value": "1235",
    "corrected_date": "2026-11-22T09:00:00Z",
    "message": "misread",
    "is_conformity_validated": True,
}
NOTHING: dict[str, Any] = dict.fromkeys([*CHECK, *RESULT])


def result(value: Value) -> JobConformity:
    return JobConformity("reading", value, None, None, None, False)


def test_the_checks_of_an_image_and_then_its_results_are_a_row_each(world: World) -> None:
    checked = Photograph(
        "meter", "meter.jpg", jpeg("one"), {}, (DataConformity(**CHECK),) * 2, (JobConformity(**RESULT),)
    )
    made = world.work_order("WO_1", photos=[checked, Photograph("door", "door.jpg", jpeg("none"))])
    about = {
        "input_id": made.work_items[0].input[0].id,
        "task_group": "meter",
        "work_order_id": made.id,
        "work_order_name": "WO_1",
        "site_id": world.site.id,
        "update_date": iso(store.look(world.cloud, world.site, made.id).updated),
    }
    check = {"kind": "data_conformity", **about, **NOTHING, **CHECK}
    assert rows(world, "conformity-results", since(world)) == [
        check,
        check,
        {"kind": "job_conformity", **about, **NOTHING, **RESULT},
    ]


@pytest.mark.parametrize("value", ["1234", 1234, 0.5, True, None])
def test_a_value_keeps_its_own_kind(world: World, value: Value) -> None:
    world.work_order("WO_1", photos=[Photograph("meter", "a.jpg", jpeg("a"), {}, (), (result(value),))])
    [row] = rows(world, "conformity-results", since(world))
    assert repr(row["analyzed_value"]) == repr(value)


def test_a_correction_brings_the_work_orders_rows_into_the_window_of_the_correction(world: World) -> None:
    made = world.work_order("WO_1", photographs=1)
    first = since(world)
    input_id = made.work_items[0].input[0].id
    store.edit(
        world.cloud,
        world.site,
        made.id,
        corrections=[Correction(input_id=input_id, task_name="reading", value=9, message=None)],
    )
    second = since(world, first.window.end)
    before, after = (
        [row["corrected_value"] for row in rows(world, "conformity-results", each) if row["task_name"]]
        for each in (first, second)
    )
    assert (before, after) == ([None], [9])


def test_what_has_no_results_has_no_rows_and_what_was_deleted_is_named(world: World) -> None:
    gone = world.work_order("WO_1", photographs=1).id
    store.delete(world.cloud, world.site, gone)
    bare = world.work_order("WO_2", photographs=0).id
    found = items(world.cloud, "conformity-results", since(world))
    assert rows_of(found) == []
    assert deletions(found) == [gone]
    assert [item.id for item in found if isinstance(item, Item)] == [bare]
