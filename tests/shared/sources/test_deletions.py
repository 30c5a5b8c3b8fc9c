"""deletions: one row a work order that was deleted."""

from shared.gcp.documents import plain
from shared.sources.base import Item
from shared.workorders import store
from shared.workorders.record import iso
from tests.shared.sources.reading import MINUTE, items, rows, since
from tests.world import OTHER_SITE, SITE, World


def deleted_at(world: World, id: str) -> str:
    return iso(plain(world.cloud.db.document(f"work_orders/{id}").get().update_time))


def test_what_was_deleted_in_the_window_is_a_row_each_by_site(world: World) -> None:
    world.work_order("WO_0")
    mine = world.work_order("WO_1").id
    other = world.work_order("WO_2", site=world.other_site, photographs=1).id
    store.delete(world.cloud, world.other_site, other)
    store.delete(world.cloud, world.site, mine)
    wanted = since(world, sites=[SITE, OTHER_SITE])
    assert rows(world, "deletions", wanted) == [
        {"id": mine, "name": "WO_1", "site_id": SITE, "delete_date": deleted_at(world, mine)},
        {"id": other, "name": "WO_2", "site_id": OTHER_SITE, "delete_date": deleted_at(world, other)},
    ]
    assert all(isinstance(item, Item) for item in items(world.cloud, "deletions", wanted))


def test_it_stands_in_the_window_of_its_deletion_and_not_where_it_came_back(world: World) -> None:
    id = world.work_order("WO_1", photographs=0).id
    made = since(world)
    store.delete(world.cloud, world.site, id)
    deleted = since(world, made.window.end)
    store.create(world.cloud, world.site, "WO_1")
    back = since(world, deleted.window.end)
    world.wait(3 * MINUTE)
    assert [len(rows(world, "deletions", each)) for each in (made, deleted, back)] == [0, 1, 0]
    whole = since(world, made.window.start)
    assert rows(world, "deletions", whole) == []
