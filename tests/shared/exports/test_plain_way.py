"""What an export delivers is, byte for byte, what the plain way makes of the same documents: Google's client,
the record parsed, its dates put in, all of it written anew; each image read whole."""

import json
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from google.cloud.firestore_v1 import FieldFilter

from shared.workorders import images, store
from tests.world import SITE, World

MORNING = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
LARGE = {"notes": "An inspection of the cabinet. " * 20_000}
"""Metadata that makes a record larger than one is kept plain."""

ODD = {"name": "Zoë \u2028 “x”\t\\", "numbers": [1, -2.5, 0, None, True], "deep": {"empty": {}}}


def of_the_site(world: World) -> Iterator[Any]:
    query = world.cloud.db.collection("work_orders").where(filter=FieldFilter("site_id", "==", SITE))
    return (each for each in query.stream() if not each.get("deleted"))


def plainly(world: World, source: str) -> bytes:
    """The lines of a data file."""
    found = []
    for snapshot in of_the_site(world):
        fields = snapshot.to_dict()
        packed = fields["encoding"] == "zlib"
        record: dict[str, Any] = json.loads(zlib.decompress(fields["record"]) if packed else fields["record"])
        if source == "work-orders-states":
            for item in record["work_items"]:
                item["input"] = item["input"][-1:]
        dates = {"create_date": _date(snapshot.create_time), "update_date": _date(snapshot.update_time)}
        line: dict[str, Any] = {}
        for name, value in record.items():
            line |= (dates if name == "metadata" else {}) | {name: value}
        found.append((snapshot.get("update_date"), snapshot.id, line))
    found.sort(key=lambda each: each[:2])
    lines = (json.dumps(line, ensure_ascii=False, separators=(",", ":")) for _, _, line in found)
    return "".join(f"{line}\n" for line in lines).encode()


def _date(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond:06}Z"


def plain_images(world: World) -> list[bytes]:
    """The contents of all images of the site."""
    found = []
    for snapshot in of_the_site(world):
        for image in images.decode(snapshot.get("images")):
            name = images.object_name("acme", SITE, image)
            found.append(world.suite.storage.read(world.cloud.settings.images_bucket, name))
    return sorted(found)


@pytest.mark.cuts
@pytest.mark.parametrize("most", [50_000, 1], ids=["one part", "parts of one"])
@pytest.mark.parametrize("source", ["work-orders-timeline", "work-orders-states"])
def test_what_is_delivered_is_what_the_plain_way_makes(
    world: World, monkeypatch: pytest.MonkeyPatch, source: str, most: int
) -> None:
    for name in ("WAYBILL_PART_RECORDS", "WAYBILL_SLICE_IMAGES"):
        monkeypatch.setenv(name, str(most))
    world.work_order("Plain")
    world.work_order("Odd", metadata=ODD)
    world.work_order("Large", metadata=LARGE, photographs=1)
    changed = world.work_order("Changed", photographs=1)
    store.edit(world.cloud, world.site, changed.id, metadata={"again": True})
    gone = world.work_order("Gone", photographs=1)
    store.delete(world.cloud, world.site, gone.id)
    world.export(export_type=source)
    world.drain()
    world.run_due(MORNING)
    files = world.data_files()
    assert b"".join(files[name] for name in sorted(files)) == plainly(world, source)
    if source == "work-orders-timeline":  # the other has the last image of each work item
        assert sorted(world.images().values()) == plain_images(world)
