"""What is removed of a customer: two images of a deleted work order, an archive that was imported."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from infra.local.pubsub import Delivery
from shared import removals
from shared.workorders.removed import COLLECTION, GRACE, IMAGES_KEPT
from tests.archives import File, zipped
from tests.kills import InWorld
from tests.outside import Outside
from tests.world import SITE, World, jpeg


class SmallRemoval(InWorld):
    """An attempt removes one image and leaves the rest to the next. Another work order has the same
    photographs, and keeps its own."""

    def __init__(self, world: World, outside: Outside) -> None:
        self.world = world
        self.outside = outside
        photographs = [world.photograph(f"one-{number}") for number in range(2)]
        gone, _ = (world.work_order(name, photos=photographs) for name in ("GONE", "KEPT"))
        world.import_archive(zipped([File("WO_0/meter.jpg", jpeg("there"))]))
        world.settle()
        path = f"/v0.2/work-orders/{gone.id}?site_id={SITE}"
        assert world.request("DELETE", path).status == 204
        theirs = f"acme/{SITE}/"
        removed = {f"{theirs}{one.id}.jpg" for item in gone.work_items for one in item.input}
        self.left_there = [name for name in self.stored("images") if name not in removed]
        assert len(self.left_there) == 3
        world.wait(IMAGES_KEPT + GRACE + timedelta(minutes=1))

    def stored(self, bucket: str) -> list[str]:
        """The names of the objects in a bucket of ours."""
        found = self.world.suite.storage.list(f"{self.world.suite.project}-{bucket}")
        return sorted(each.name for each in found)

    def left(self) -> list[str]:
        """The pieces of removals that are still to be done."""
        found = self.world.cloud.db.collection_group("pieces").stream()
        return [each.id for each in found if each.reference.path.startswith(f"{COLLECTION}/")]

    def push(self, delivery: Delivery) -> bool:
        if delivery.function != removals.FUNCTION:
            return self.world.push(delivery)
        return bool(self.outside.alive(lambda: self.world.push(delivery)))

    def set_off(self) -> None:
        self.world.tick()

    def settle(self) -> None:
        self.world.settle_until(lambda: not self.left(), self.left)

    def done_once(self) -> None:
        """Check that exactly what was to be removed is gone, and nothing is left to do."""
        assert not self.world.failures, "\n".join(self.world.failures)
        assert (self.stored("images"), self.stored("uploads")) == (self.left_there, [])
        assert self.left() == []


SmallRemovals = Callable[[], SmallRemoval]


@pytest.fixture
def small_removals(
    new_world: Callable[[], World], outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> SmallRemovals:
    """Makes small removals, each in a new world."""
    monkeypatch.setattr(removals, "SAVED_EVERY", 1)
    monkeypatch.setattr(removals, "elapsed_since", lambda _: 10_000)
    return lambda: SmallRemoval(new_world(), outside)
