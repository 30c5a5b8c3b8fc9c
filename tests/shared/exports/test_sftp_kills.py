"""A run by SFTP dies at every call that it makes, those to the customer's server among them, and lands all
the same, once."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.local.pubsub import Delivery
from shared.delivery.sftp import connector
from tests.outside import MODES, SAMPLE, Mode, Outside, disturb, shares
from tests.sftp_server import SftpServer
from tests.shared.exports.test_by_sftp import by_sftp, loopback_allowed, only, the_manifest, there
from tests.world import SITE, World

__all__ = ["loopback_allowed"]

MORNING = datetime(2026, 11, 23, 2, tzinfo=UTC)


class Small:
    """The smallest run that makes every kind of call: a data file, two images, and the manifest."""

    def __init__(self, world: World, sftp: SftpServer, outside: Outside) -> None:
        self.world = world
        self.sftp = sftp
        self.outside = outside
        work_order = world.work_order("WO_1", photographs=2)
        self.ids = [each.id for item in work_order.work_items for each in item.input]
        self.export = by_sftp(world, sftp)

    def run(self, push: Any) -> None:
        """A tick and all that comes of it, delivered by `push`."""
        self.world.tick(MORNING)
        while self.world.suite.pubsub.deliver_due(push):
            pass

    def push(self, delivery: Delivery) -> bool:
        return bool(self.outside.alive(lambda: self.world.push(delivery)))

    def settle(self) -> None:
        """Let time go by until the run has ended."""
        self.world.wait(timedelta(minutes=20))
        self.world.tick()
        self.world.settle(sweeps=True)

    def done_once(self) -> None:
        world = self.world
        event = only(world, self.export)
        assert event["status"] == "COMPLETED", event
        assert (event["rows"], event["files"], event["images"]) == (1, 1, 2), event
        assert (event["images_missing"], event["images_conflicting"]) == (0, 0)
        landed = there(self.sftp)  # nothing under a temporary name
        images = {name: content for name, content in landed.items() if "/images/" in name}
        read = world.suite.storage.read
        assert images == {
            f"{SITE}/images/{id}.jpg": read("waybill-local-images", f"acme/{SITE}/{id}.jpg")
            for id in self.ids
        }
        manifest = the_manifest(self.sftp)
        (file,) = manifest["files"]
        content = landed[file["name"].removeprefix("waybill/")]
        (staged,) = world.cloud.db.collection(f"exports/{self.export}/runs/{event['run_id']}/files").stream()
        pinned = staged.get("staged")
        assert content == read(pinned["bucket"], pinned["name"])
        assert (file["rows"], file["bytes"], file["crc32c"]) == (1, len(content), pinned["crc32c"])
        assert len(landed) == 4
        assert world.slots() == []


@pytest.fixture
def smalls(
    new_world: Callable[[], World], tmp_path: Path, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], Small]]:
    """Makes one after the other, each in a world and with a server of its own."""
    monkeypatch.setattr(connector, "IMAGES_IN_FLIGHT", 1)  # else the calls have no order, nor a fixed number
    servers: list[SftpServer] = []

    def make() -> Small:
        if servers:
            servers[-1].close()
        root = tmp_path / f"sftp-{len(servers)}"
        root.mkdir()
        servers.append(SftpServer(root))
        return Small(new_world(), servers[-1], outside)

    yield make
    if servers:
        servers[-1].close()


@pytest.fixture
def small(smalls: Callable[[], Small]) -> Small:
    return smalls()


def test_the_small_run_makes_every_kind_of_call(small: Small) -> None:
    small.outside.arm(0, "before")
    small.run(small.push)
    assert not small.world.failures
    calls = list(small.outside.calls)
    small.done_once()
    assert {call for call in calls if call.startswith("sftp")} == {
        "sftp login",
        "sftp limits@openssh.com",
        "sftp lstat",
        "sftp stat",
        "sftp mkdir",
        "sftp open",
        "sftp write",
        "sftp fstat",
        "sftp fsync@openssh.com",
        "sftp close",
        "sftp rename",
    }


@SAMPLE
def test_a_death_or_a_pause_at_some_places_changes_nothing(
    smalls: Callable[[], Small], mode: Mode, of: int
) -> None:
    disturb(smalls, mode, of, of)


@pytest.mark.slow
@MODES
@shares(10)
def test_a_death_or_a_pause_at_any_place_changes_nothing(
    smalls: Callable[[], Small], mode: Mode, share: int, of: int
) -> None:
    disturb(smalls, mode, share, of)
