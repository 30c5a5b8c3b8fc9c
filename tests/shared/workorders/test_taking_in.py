"""Many work orders with one commit: each once, whoever else writes, and a refusal costs itself alone."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta

import pytest
from google.cloud import firestore

from infra.local.traffic import Fault
from shared.errors import Busy, Invalid
from shared.gcp.documents import fields_of
from shared.workorders import store, stored
from shared.workorders.stored import StoredWorkOrder
from tests.world import SITE, World


class Floor:
    """An arrival that sets the floor, and counts how often it was asked."""

    def __init__(self, world: World, floor: int) -> None:
        self._site = world.site
        self._floor = floor
        self.asked = 0

    def __call__(self, before: StoredWorkOrder) -> StoredWorkOrder:
        self.asked += 1
        return stored.change(self._site, before, metadata={"floor": self._floor})


def floors(world: World) -> dict[str, object]:
    return {name: record["metadata"].get("floor") for name, record in world.imported().items()}


def commits(world: World) -> int:
    return len(world.suite.traffic.calls("firestore.Commit"))


def test_many_are_written_with_few_commits_and_again_with_none(world: World) -> None:
    count = store.COMMIT_ORDERS + 1
    arrivals = {f"WO_{number:02}": Floor(world, number) for number in range(count)}
    world.suite.traffic.forget()
    outcomes = store.import_many(world.cloud, world.site, arrivals)
    assert commits(world) == 2
    assert {
        name: each.work_order.metadata for name, each in outcomes.items() if isinstance(each, StoredWorkOrder)
    } == {f"WO_{number:02}": {"floor": number} for number in range(count)}
    assert floors(world) == {f"WO_{number:02}": number for number in range(count)}
    world.suite.traffic.forget()
    assert store.import_many(world.cloud, world.site, arrivals) == outcomes
    assert commits(world) == 0


def test_no_commit_waits_for_another(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "COMMIT_ORDERS", 1)
    names = [f"WO_{number}" for number in range(store.COMMITS_AT_ONCE)]
    arrivals = {name: Floor(world, 1) for name in names}
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(1))
        paths = [f"work_orders/{store.work_order_id(SITE, name)}" for name in names]
        held = [stack.enter_context(world.suite.firestore.hold_commits(path)) for path in paths]
        importing = pool.submit(store.import_many, world.cloud, world.site, arrivals)
        for each in held:
            each.wait_held()
        for each in held:
            each.release()
        assert set(importing.result()) == set(names)
    assert floors(world) == dict.fromkeys(names, 1)


def test_no_commit_takes_more_bytes_than_one_may(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "COMMIT_BYTES", 1)
    world.suite.traffic.forget()
    store.import_many(world.cloud, world.site, {f"WO_{number}": Floor(world, number) for number in range(3)})
    assert commits(world) == 3


def test_a_refusal_costs_itself_alone(world: World) -> None:
    def refuse(before: StoredWorkOrder) -> StoredWorkOrder:
        raise Invalid.field("floor", "is too high")

    def too_large(before: StoredWorkOrder) -> StoredWorkOrder:
        return replace(before, parameters={"all": "x" * 70_000})

    arrivals: dict[str, Callable[[StoredWorkOrder], StoredWorkOrder]] = {
        "WO_1": Floor(world, 1),
        "WO_2": refuse,
        "WO_3": too_large,
        "WO_4": Floor(world, 4),
    }
    outcomes = store.import_many(world.cloud, world.site, arrivals)
    assert floors(world) == {"WO_1": 1, "WO_4": 4}
    assert [str(outcomes["WO_2"]), str(outcomes["WO_3"])] == [
        "floor: is too high",
        "parameters: must have at most 65536 bytes, tags included",
    ]


def test_one_that_others_changed_meanwhile_is_changed_as_it_is_then(world: World) -> None:
    made = world.work_order("WO_1", photographs=0)

    class Meddled(Floor):
        def __call__(self, before: StoredWorkOrder) -> StoredWorkOrder:
            if not self.asked:
                store.add_inputs(world.cloud, world.site, made.id, [world.photograph("other")])
            return super().__call__(before)

    meddled = Meddled(world, 1)
    outcomes = store.import_many(world.cloud, world.site, {"WO_0": Floor(world, 0), "WO_1": meddled})
    assert meddled.asked == 2
    assert floors(world) == {"WO_0": 0, "WO_1": 1}
    assert [len(item["input"]) for item in world.imported()["WO_1"]["work_items"]] == [1]
    written = outcomes["WO_1"]
    assert isinstance(written, StoredWorkOrder)
    assert written.count == 1


def test_one_that_others_made_meanwhile_is_not_made_twice(world: World) -> None:
    class Made(Floor):
        def __call__(self, before: StoredWorkOrder) -> StoredWorkOrder:
            if not self.asked:
                world.work_order("WO_1", photographs=1)
            return super().__call__(before)

    store.import_many(world.cloud, world.site, {"WO_1": Made(world, 7)})
    assert floors(world) == {"WO_1": 7}
    assert [len(item["input"]) for item in world.imported()["WO_1"]["work_items"]] == [1]


def test_one_that_is_changed_all_the_time_is_left_to_the_next_delivery(world: World) -> None:
    made = world.work_order("WO_1", photographs=0)

    def restless(before: StoredWorkOrder) -> StoredWorkOrder:
        store.edit(world.cloud, world.site, made.id, metadata={"n": len(world.suite.traffic.calls())})
        return replace(before, tags=("mine",))

    with pytest.raises(Busy, match="WO_1"):
        store.import_many(world.cloud, world.site, {"WO_1": restless})


def test_a_deleted_one_comes_back_with_nothing_of_before(world: World) -> None:
    made = world.work_order("WO_1", metadata={"old": True})
    store.delete(world.cloud, world.site, made.id)
    store.import_many(world.cloud, world.site, {"WO_1": Floor(world, 2)})
    record = world.imported()["WO_1"]
    assert (record["metadata"], record["work_items"]) == ({"floor": 2}, [])


@pytest.mark.parametrize("late", [timedelta(seconds=59), timedelta(seconds=61)])
def test_a_commit_later_than_half_the_margin_is_stamped_again(world: World, late: timedelta) -> None:
    world.suite.traffic.arm("firestore.Commit", Fault("delay", seconds=late.total_seconds()))
    world.suite.traffic.forget()
    store.import_many(world.cloud, world.site, {"WO_1": Floor(world, 1), "WO_2": Floor(world, 2)})
    for name in ("WO_1", "WO_2"):
        document = world.cloud.db.document(f"work_orders/{store.work_order_id(SITE, name)}").get()
        assert document.update_time - fields_of(document)["update_date"] <= store.MARGIN / 2, name
    assert commits(world) == (3 if late > store.MARGIN / 2 else 1)


def test_a_late_commit_whose_writer_died_is_stamped_again_by_whoever_comes_next(world: World) -> None:
    made = world.work_order("WO_1", metadata={"floor": 1}, photographs=0)
    # Written as a process does that dies before it looks how late its commit came.
    world.suite.traffic.arm("firestore.Commit", Fault("delay", seconds=600))
    reference = world.cloud.db.document(f"work_orders/{made.id}")
    reference.update({"update_date": firestore.SERVER_TIMESTAMP, "failure": "x"})
    store.import_many(world.cloud, world.site, {"WO_1": Floor(world, 1)})
    document = reference.get()
    assert document.update_time - fields_of(document)["update_date"] <= store.MARGIN / 2
