"""The smallest batch that makes every kind of call."""

from collections.abc import Callable

import pytest

from infra.local.pubsub import Delivery
from shared.batches import importing
from shared.gcp.documents import fields_of
from tests.archives import File, zipped
from tests.kills import InWorld
from tests.outside import Outside
from tests.world import SITE, World, jpeg

OURS = ("ingest_batch", "ingest_work_orders")


class Small(InWorld):
    """The smallest batch that makes every kind of call: a work order that is there and gets one photograph
    more, two that are new, one that is wrong, a file of none; three slices, saved after each work order. The
    documents of one of the new ones are written while the photograph of the other is stored."""

    def __init__(self, world: World, outside: Outside) -> None:
        self.world = world
        self.outside = outside
        before = zipped([File("WO_0/meter-1.jpg", jpeg("there"))])
        world.import_archive(before)
        self.id = world.batch(
            zipped(
                [
                    File("WO_0/meter-1.jpg", jpeg("there")),
                    File("WO_0/meter-2.jpg", jpeg("new")),
                    File("WO_0/metadata.json", b'{"floor": 3}'),
                    File("WO_1/meter.jpg", jpeg("one")),
                    File("WO_1/parameters.json", b'{"kind": "fibre"}'),
                    File("WO_2/door-7.jpg", jpeg("two")),
                    File("WO_BAD/roof.jpg", jpeg("roof")),
                    File("stray.jpg", jpeg("stray")),
                ]
            )
        )

    def push(self, delivery: Delivery) -> bool:
        """Deliver as usual, but a process that was killed answers nothing."""
        if delivery.function not in OURS:
            return self.world.push(delivery)
        return bool(self.outside.alive(lambda: self.world.push(delivery)))

    def settle(self) -> None:
        """Let time go by until the batch has ended."""
        world = self.world
        world.settle_until(lambda: bool(world.shown(self.id)["finish_date"]), lambda: world.shown(self.id))

    def done_once(self) -> None:
        world = self.world
        assert world.open_pieces() == []
        shown = world.shown(self.id)
        told = {
            name: shown[name]
            for name in (
                "status",
                "work_orders_total",
                "work_orders_done",
                "work_orders_failed",
                "images",
                "errors",
            )
        }
        assert told == {
            "status": "COMPLETED_WITH_ERRORS",
            "work_orders_total": 4,
            "work_orders_done": 3,
            "work_orders_failed": 1,
            "images": 4,
            "errors": 2,
        }, shown
        assert [(each["work_order"], each["file"], each["code"]) for each in world.errors(self.id)] == [
            ("", "stray.jpg", "FILE_OUTSIDE_FOLDER"),
            ("WO_BAD", "roof.jpg", "UNKNOWN_TASK_GROUP"),
        ]
        records = world.imported()
        found = {
            name: (record["metadata"], [(item["name"], len(item["input"])) for item in record["work_items"]])
            for name, record in records.items()
        }
        assert found == {
            "WO_0": ({"floor": 3}, [("meter", 2)]),
            "WO_1": ({}, [("meter", 1)]),
            "WO_2": ({}, [("door", 1)]),
        }
        ids = [each["id"] for r in records.values() for item in r["work_items"] for each in item["input"]]
        stored = world.suite.storage.list("waybill-local-images", f"acme/{SITE}/")
        assert sorted(each.name.rpartition("/")[2] for each in stored) == sorted(f"{id}.jpg" for id in ids)
        contents = {world.suite.storage.read("waybill-local-images", each.name) for each in stored}
        assert contents == {jpeg("there"), jpeg("new"), jpeg("one"), jpeg("two")}
        documents = {
            each.get("name"): fields_of(each) for each in world.cloud.db.collection("work_orders").stream()
        }
        assert {name: each["analysis"] for name, each in documents.items()} == dict.fromkeys(found, "DONE")
        assert documents["WO_1"]["parameters"] == b'{"kind":"fibre"}'


Smalls = Callable[[], Small]


@pytest.fixture
def smalls(new_world: Callable[[], World], outside: Outside, monkeypatch: pytest.MonkeyPatch) -> Smalls:
    monkeypatch.setenv("WAYBILL_SLICE_FILES", "3")
    monkeypatch.setattr(importing, "CHUNK_ORDERS", 1)
    return lambda: Small(new_world(), outside)


@pytest.fixture
def small(smalls: Smalls) -> Small:
    return smalls()
