"""The smallest run that makes every kind of call."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from infra.local.pubsub import Delivery
from shared.gcp.documents import fields_of
from shared.workorders import store
from shared.workorders.record import iso, timeline_line
from tests.kills import InWorld
from tests.outside import Outside
from tests.world import BUCKET, SITE, World

MORNING = datetime(2026, 11, 23, 2, tzinfo=UTC)


class RunSubject(InWorld):
    """A run that a tick begins, and that a kill test delivers the messages of."""

    def set_off(self) -> None:
        """A tick."""
        self.world.tick(MORNING)

    def push(self, delivery: Delivery) -> bool:
        """Deliver as usual, but a process that was killed answers nothing."""
        return bool(self.outside.alive(lambda: self.world.push(delivery)))

    def settle(self) -> None:
        """Let time go by until the run has ended."""
        self.world.wait(timedelta(minutes=20))
        self.world.tick()
        self.world.settle(sweeps=True)


class Small(RunSubject):
    """The smallest run that makes every kind of call: parts to compose, a deletion, images to copy, one that
    is there already, one that is gone."""

    def __init__(self, world: World, outside: Outside) -> None:
        self.world = world
        self.outside = outside
        for number in range(3):
            world.work_order(f"WO_{number}", photographs=1)
            world.wait(timedelta(minutes=10))
        gone = world.work_order("WO_GONE", photographs=0)
        store.delete(world.cloud, world.site, gone.id)
        there, lost = self.images()[:2]
        content = world.suite.storage.read("waybill-local-images", f"acme/{SITE}/{there}")
        world.suite.storage.put(BUCKET, f"waybill/{SITE}/images/{there}", content)
        world.suite.storage.remove("waybill-local-images", f"acme/{SITE}/{lost}")
        self.lost = lost
        self.deleted = gone.id
        self.export = world.export(start="2026-11-22T09:00:00Z")
        self.expected_lines, self.expected_images = self.model()
        self.there = world.landed()

    def images(self) -> list[str]:
        listed = self.world.suite.storage.list("waybill-local-images", f"acme/{SITE}/")
        return [each.name.rpartition("/")[2] for each in listed]

    def model(self) -> tuple[list[bytes], dict[str, bytes]]:
        """What must land, from the documents themselves."""
        documents = self.world.cloud.db.collection("work_orders").stream()
        lines = [
            timeline_line(fields["record"], iso(each.create_time), iso(each.update_time))
            for each in documents
            if not (fields := fields_of(each))["deleted"]
        ]
        storage = self.world.suite.storage
        images = {
            f"waybill/{SITE}/images/{name}": storage.read("waybill-local-images", f"acme/{SITE}/{name}")
            for name in self.images()
        }
        return lines, images

    def done_once(self) -> None:
        world = self.world
        (event,) = world.audit(self.export)
        assert (event["status"], event["rows"]) == ("COMPLETED", 3), event
        assert (event["images"], event["images_missing"], event["images_conflicting"]) == (2, 1, 0)
        landed = world.landed()
        ((name, content),) = world.data_files().items()
        assert sorted(content.splitlines(keepends=True)) == sorted(self.expected_lines)
        assert world.images() == self.expected_images
        (manifest,) = world.manifests()
        assert manifest["deleted"] == [self.deleted]
        assert [each["id"] for each in manifest["images"]["missing"]] == [self.lost.removesuffix(".jpg")]
        (file,) = manifest["files"]
        stands = {each.name: each for each in world.suite.storage.list(BUCKET)}[name]
        assert (file["name"], file["rows"], file["bytes"]) == (name, 3, len(content))
        assert file["crc32c"] == stands.crc32c
        assert len(landed) == 2 + len(self.expected_images)
        days = [fields_of(each) for each in world.cloud.db.collection("customers/acme/run_days").stream()]
        counts = {"records": 3, "images": 2, "completed": 1}
        assert [{name: day.get(name) for name in counts} for day in days] == [counts], days
        assert world.slots() == []


Smalls = Callable[[], Small]


@pytest.fixture
def smalls(new_world: Callable[[], World], outside: Outside, monkeypatch: pytest.MonkeyPatch) -> Smalls:
    monkeypatch.setenv("WAYBILL_PART_RECORDS", "2")
    monkeypatch.setenv("WAYBILL_SLICE_IMAGES", "2")
    return lambda: Small(new_world(), outside)


@pytest.fixture
def small(smalls: Smalls) -> Small:
    return smalls()
