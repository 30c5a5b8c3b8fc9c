"""Every field of every schema is delivered. That no other field is, is checked with every delivery: see
`tests/delivered.py`."""

from datetime import timedelta

import pytest

from shared.gcp.documents import server_time
from shared.sources import SOURCES
from shared.window import floor_minute
from tests.delivered import CSV, PARQUET, Delivered
from tests.sftp_server import SftpServer, sftp
from tests.shared.exports.landed import read
from tests.shared.exports.test_matrix import Connected, Filled, filled
from tests.world import BUCKET, SITE, World

__all__ = ["filled", "sftp"]


@pytest.mark.slow
def test_every_field_of_each_source_and_of_the_manifest_is_delivered(
    filled: Filled, sftp: SftpServer
) -> None:
    world = filled.world
    world.cloud.db.document("customers/acme").update({"parallel_exports": 50})
    world.suite.sendgrid.bounce("gone@acme.example")
    lose_images(world, "waybill-local-images", f"acme/{SITE}/")
    mailed = {
        "connector_type": "email",
        "connector_config": {"emails": ["ann@acme.example", "gone@acme.example"]},
    }
    world.export(**filled.all_of(name="mail", **mailed))
    world.export(**filled.all_of(name="sftp", **Connected(world, sftp, "sftp").config("there")))
    world.run_due()
    bucket = Connected(world, sftp, "cloud_storage")
    filled.end = floor_minute(server_time(world.cloud.db)) + timedelta(minutes=1)
    world.move_to(filled.end)
    cells = [(source, format) for source in SOURCES for format in ("json", "csv", "parquet")]
    for source, format in cells:
        place = bucket.config(f"{source}.{format}")
        place["connector_config"]["export_images"] = format == "json"
        world.export(**filled.all_of(name=source, export_type=source, file_format=format, **place))
    world.run_due()
    seen, files = Delivered(), world.data_files()
    for source, format in cells:
        for name, content in files.items():
            if name.startswith(f"{source}.{format}/"):
                seen.rows(source, format, read(format, content))
    for source in SOURCES:
        assert seen.left(f"{source}.v1.json", ("#", CSV, PARQUET)) == set(), source
    for manifest in world.manifests():
        seen.check("manifest.v1.json", manifest)
    assert seen.left("manifest.v1.json") == set()


def lose_images(world: World, images: str, folder: str) -> None:
    """One image is gone, and another's name is taken in the customer's bucket."""
    lost, taken, *_ = (each.name.rpartition("/")[2] for each in world.suite.storage.list(images, folder))
    world.suite.storage.remove(images, folder + lost)
    world.suite.storage.put(BUCKET, f"work-orders-timeline.json/{SITE}/images/{taken}", b"something else")
