"""A run by SFTP dies at every call that it makes, those to the customer's server among them, and lands all
the same, once."""

from collections.abc import Callable

import pytest

from infra.local.suite import Suite
from shared.delivery.sftp import connector
from tests import kills
from tests.outside import Outside
from tests.sftp_server import SftpServer, sftp
from tests.subjects.by_sftp import by_sftp, loopback_allowed, only, the_manifest, there
from tests.subjects.small_run import RunSubject
from tests.world import SITE, World

__all__ = ["loopback_allowed", "sftp"]


class Small(RunSubject):
    """The smallest run that makes every kind of call: a data file, two images, and the manifest."""

    def __init__(self, world: World, sftp: SftpServer, outside: Outside) -> None:
        self.world = world
        self.sftp = sftp
        self.outside = outside
        work_order = world.work_order("WO_1", photographs=2)
        self.ids = [each.id for item in work_order.work_items for each in item.input]
        world.allow_loopback()
        self.export = by_sftp(world, sftp)

    def kept(self) -> Callable[[], None]:
        world_back, sftp_back = super().kept(), self.sftp.kept()

        def back() -> None:
            world_back()
            sftp_back()

        return back

    def done_once(self) -> None:
        world = self.world
        event = only(world, self.export)
        assert event["status"] == "COMPLETED", event
        assert (event["rows"], event["file_count"], event["images"]) == (1, 1, 2), event
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


Smalls = Callable[[], Small]


@pytest.fixture
def smalls(
    suite: Suite,
    new_world: Callable[[], World],
    sftp: SftpServer,
    outside: Outside,
    monkeypatch: pytest.MonkeyPatch,
) -> Smalls:
    monkeypatch.setattr(connector, "IMAGES_IN_FLIGHT", 1)  # else the calls have no order

    def make() -> Small:
        sftp.empty()
        return Small(new_world(), sftp, outside)

    return make


@pytest.fixture
def small(smalls: Smalls) -> Small:
    return smalls()


def test_the_small_run_makes_every_kind_of_call(small: Small) -> None:
    calls = [call.name for call in kills.undisturbed(small).calls]
    assert not small.world.failures
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


@kills.MODES
def test_killed_or_paused_at_some_calls_it_ends_the_same(smalls: Smalls, mode: kills.Mode[Small]) -> None:
    kills.each(smalls, mode, sample=kills.QUICK[mode])


@pytest.mark.slow
@kills.MODES
@kills.SHARES
def test_killed_or_paused_at_any_call_it_ends_the_same(
    smalls: Smalls, mode: kills.Mode[Small], share: int
) -> None:
    kills.each(smalls, mode, share=share, of=kills.OF)


def test_with_every_message_delivered_twice_it_ends_the_same(smalls: Smalls) -> None:
    kills.twice(smalls())
