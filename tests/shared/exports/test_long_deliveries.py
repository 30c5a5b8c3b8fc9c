"""A delivery that takes longer than an attempt may: it goes on from where it is."""

from collections.abc import Iterator
from itertools import count

import pytest

from shared.delivery.sftp import writing
from shared.exports import copying, delivering
from shared.gcp import clients
from tests.sftp_server import SftpServer, sftp
from tests.world import World

__all__ = ["sftp"]

pytestmark = pytest.mark.cuts

RANGE = 65_536


@pytest.fixture(autouse=True)
def _small_ranges(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    world.allow_loopback()
    monkeypatch.setenv("WAYBILL_SECRET_KEYS", "1:" + "QUFB" * 11)
    clients.forget()
    monkeypatch.setattr(writing, "RANGE_BYTES", RANGE)
    yield
    clients.forget()


def test_a_large_file_is_delivered_in_several_attempts(
    world: World, sftp: SftpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.work_order("WO_1", metadata={"note": "x" * 600_000})
    export = world.export(connector_type="sftp", connector_config=sftp.connector_config())
    asked = count(1)
    # Each attempt's time is over after four ranges, of which the next attempt sends the last again.
    monkeypatch.setattr(delivering, "elapsed_since", lambda _: 500.0 if next(asked) % 8 >= 7 else 0.0)
    world.run_due(world.suite.clock.now().replace(day=23, hour=2, minute=0))
    (event,) = world.audit(export)
    assert (event["status"], event["rows"]) == ("COMPLETED", 1), event
    (content,) = (content for name, content in sftp.files().items() if "/dt=" in name)
    assert len(content) == event["bytes"] > 600_000
    attempts = sum(1 for operation, path in sftp.calls if operation == "login")
    assert attempts >= 3, sftp.calls
    sent = sftp.written
    assert event["bytes"] < sent < 2 * event["bytes"], "every attempt but the last sends one range again"


def test_a_slice_that_takes_too_long_is_gone_on_with(
    world: World, sftp: SftpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.work_order("WO_1", photographs=6)
    config = sftp.connector_config(export_images=True)
    export = world.export(connector_type="sftp", connector_config=config)
    asked = count(1)
    monkeypatch.setattr(copying, "elapsed_since", lambda _: 500.0 if next(asked) == 4 else 0.0)
    world.tick(world.suite.clock.now().replace(day=23, hour=2, minute=0))
    world.settle()
    (event,) = world.audit(export)
    assert (event["status"], event["images"], event["images_missing"]) == ("COMPLETED", 6, 0), event
    assert sum("/images/" in name for name in sftp.files()) == 6
    assert not world.failures
