"""The use cases that write work orders: each change once, stamped, and never lost."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from infra.local.traffic import Fault
from shared.errors import Conflict, Invalid, NotFound
from shared.gcp.documents import fields_of
from shared.workorders import store
from shared.workorders.images import decode
from shared.workorders.stored import Correction
from tests.world import SITE, World


def document(world: World, id: str) -> Any:
    return world.cloud.db.document(f"work_orders/{id}").get()


def test_a_work_order_is_kept_as_an_envelope_around_a_ready_record(world: World) -> None:
    made = world.work_order("WO_1")
    fields = fields_of(document(world, made.id))
    assert {
        name: fields[name] for name in ("customer", "site_id", "name", "schema", "deleted", "encoding")
    } == {
        "customer": "acme",
        "site_id": SITE,
        "name": "WO_1",
        "schema": 1,
        "deleted": False,
        "encoding": "plain",
    }
    assert 0 <= fields["shard"] < 16
    assert b'"create_date"' not in fields["record"]
    assert [image.id for image in decode(fields["images"])] == [each.id for each in made.work_items[0].input]
    assert store.get(world.cloud, world.site, made.id) == made


def test_the_same_name_is_the_same_work_order_and_is_not_made_twice(world: World) -> None:
    made = world.work_order("WO_1")
    with pytest.raises(Conflict, match="already has a work order named 'WO_1'"):
        world.work_order("WO_1")
    assert store.get(world.cloud, world.site, made.id) == made
    assert world.work_order("WO_1", site=world.other_site).id != made.id


def test_a_photograph_sent_again_changes_nothing(world: World) -> None:
    made = world.work_order("WO_1", photographs=1)
    before = document(world, made.id)
    store.add_inputs(world.cloud, world.site, made.id, [world.photograph("WO_1-0")])
    assert document(world, made.id).update_time == before.update_time
    more = store.add_inputs(world.cloud, world.site, made.id, [world.photograph("another")])
    assert [len(item.input) for item in more.work_items] == [2]


def test_progress_follows_the_required_task_groups(world: World) -> None:
    assert world.work_order("WO_1", photos=[world.photograph("1", group="door")]).progress_score == 0.0
    id = store.work_order_id(SITE, "WO_1")
    assert store.add_inputs(world.cloud, world.site, id, [world.photograph("2")]).progress_score == 1.0


@pytest.mark.parametrize(
    ("group", "file_name", "field"), [("roof", "roof.jpg", "task_group"), ("meter", "meter.exe", "file_name")]
)
def test_what_is_no_photograph_of_the_site_is_refused(
    world: World, group: str, file_name: str, field: str
) -> None:
    photograph = store.Photograph(group, file_name, b"x")
    with pytest.raises(Invalid) as caught:
        store.create(world.cloud, world.site, "WO_1", photographs=[photograph])
    assert caught.value.problems[0].field == field
    assert not document(world, store.work_order_id(SITE, "WO_1")).exists


def test_a_correction_stands_beside_the_value_that_it_corrects(world: World) -> None:
    made = world.work_order("WO_1")
    photograph = made.work_items[0].input[1]
    arguments: dict[str, Any] = {
        "input_id": photograph.id,
        "task_name": "reading",
        "value": 9,
        "message": None,
    }
    corrected = store.edit(world.cloud, world.site, made.id, corrections=[Correction(**arguments)]).work_order
    untouched, changed = corrected.work_items[0].input
    assert untouched == made.work_items[0].input[0]
    (result,) = changed.job_conformity
    assert (result.analyzed_value, result.corrected_value) == (1234, 9)
    assert (result.corrected_date or "")[:16] == "2026-11-22T09:17"
    for wrong in ({"input_id": "none"}, {"task_name": "none"}):
        with pytest.raises(NotFound):
            store.edit(world.cloud, world.site, made.id, corrections=[Correction(**(arguments | wrong))])


def test_a_deleted_work_order_leaves_a_tombstone_and_can_come_back(world: World) -> None:
    made = world.work_order("WO_1")
    store.delete(world.cloud, world.site, made.id)
    fields = fields_of(document(world, made.id))
    assert (fields["deleted"], fields["record"], len(list(decode(fields["images"])))) == (True, b"", 2)
    with pytest.raises(NotFound):
        store.get(world.cloud, world.site, made.id)
    with pytest.raises(NotFound):
        store.delete(world.cloud, world.site, made.id)
    assert world.work_order("WO_1", metadata={"back": True}).metadata == {"back": True}


def test_a_work_order_of_another_site_is_not_there(world: World) -> None:
    made = world.work_order("WO_1")
    with pytest.raises(NotFound):
        store.edit(world.cloud, world.other_site, made.id, metadata={"mine": True})
    assert store.get(world.cloud, world.site, made.id) == made


def test_changes_at_once_are_all_kept(world: World) -> None:
    made = world.work_order("WO_1", photographs=0)
    photographs = [world.photograph(str(number)) for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda one: store.add_inputs(world.cloud, world.site, made.id, [one]), photographs))
    (item,) = store.get(world.cloud, world.site, made.id).work_items
    assert len(item.input) == 4


@pytest.mark.parametrize("late", [timedelta(seconds=59), timedelta(seconds=61), timedelta(minutes=10)])
def test_a_commit_later_than_half_the_margin_is_stamped_again(world: World, late: timedelta) -> None:
    made = world.work_order("WO_1")
    world.suite.traffic.arm("firestore.Commit", Fault("delay", seconds=late.total_seconds()))
    world.suite.traffic.forget()
    store.edit(world.cloud, world.site, made.id, metadata={"late": True})
    snapshot = document(world, made.id)
    behind = snapshot.update_time - fields_of(snapshot)["update_date"]
    assert behind <= store.MARGIN / 2
    commits = world.suite.traffic.calls("firestore.Commit", f"work_orders/{made.id}")
    assert len(commits) == (2 if late > store.MARGIN / 2 else 1)


def test_a_commit_that_stays_late_is_told(world: World) -> None:
    made = world.work_order("WO_1")
    world.suite.traffic.arm("firestore.Commit", Fault("delay", seconds=120), times=store.WRITE_ATTEMPTS)
    with pytest.raises(TimeoutError, match=made.id):
        store.edit(world.cloud, world.site, made.id, metadata={"late": True})
