"""An export to an SFTP server, and what is there."""

import json
from typing import Any

import pytest

from tests.sftp_server import SftpServer
from tests.world import World


@pytest.fixture(autouse=True)
def loopback_allowed(world: World) -> None:
    world.allow_loopback()


def by_sftp(world: World, sftp: SftpServer, changes: dict[str, Any] | None = None, **more: Any) -> str:
    """Make a daily export of the first site to the server, with its images, and return its id; `changes` are
    of its connector_config."""
    place = sftp.connector_config(export_images=True, **changes or {})
    return world.export(connector_type="sftp", connector_config=place, **more)


def only(world: World, export: str) -> dict[str, Any]:
    """The audit event of the export's only run."""
    (event,) = world.audit(export)
    return event


def there(sftp: SftpServer) -> dict[str, bytes]:
    """What landed below the export's path; nothing of ours may be left under a temporary name."""
    files = sftp.files()
    assert all(name.startswith("waybill/") for name in files), list(files)
    assert not [name for name in files if "/." in name], list(files)
    return {name.removeprefix("waybill/"): content for name, content in files.items()}


def the_manifest(sftp: SftpServer) -> dict[str, Any]:
    (content,) = (content for name, content in there(sftp).items() if name.startswith("_manifests/"))
    read: dict[str, Any] = json.loads(content)
    return read
