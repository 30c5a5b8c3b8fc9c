"""Reading a window through a source as a run does, and a world in which each source has something to tell."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import orjson
from google.cloud import firestore

from shared.gcp.clients import Cloud
from shared.gcp.documents import server_time
from shared.sources import SOURCES
from shared.sources.base import Deletion, Item, Part, Selection
from shared.window import Window, floor_minute
from shared.workorders import store
from tests.archives import File, zipped
from tests.conftest import START
from tests.world import OTHER_SITE, SITE, World

MINUTE = timedelta(minutes=1)


def selection(
    start: datetime, end: datetime, *, sites: Sequence[str] = (SITE,), customer: str = "acme"
) -> Selection:
    """What a run asks for that reads its window at its end."""
    return Selection(customer, tuple(sites), Window(start, end), end)


def items(cloud: Cloud, source: str, wanted: Selection, most: int = 50_000) -> list[Item | Deletion]:
    """All that a source gives, part by part, when a part is to hold at most that many documents."""
    cloud = replace(cloud, settings=replace(cloud.settings, part_records=most))
    parts = SOURCES[source].parts(cloud, wanted)
    return [item for part in parts for item in SOURCES[source].items(cloud, wanted, part)]


def one_by_one(cloud: Cloud, source: str, wanted: Selection) -> list[Item | Deletion]:
    """The same by attempts whose time is over after each item: the rest is a part of its own."""

    def walk(part: Part) -> Iterator[Item | Deletion]:
        while (item := next(iter(SOURCES[source].items(cloud, wanted, part)), None)) is not None:
            yield item
            part = part.rest(item)

    return [item for part in SOURCES[source].parts(cloud, wanted) for item in walk(part)]


def rows_of(found: Sequence[Item | Deletion]) -> list[dict[str, Any]]:
    """The records of items, each of which must hold as many as it says."""
    rows = []
    for item in found:
        if isinstance(item, Item):
            lines = item.lines.splitlines(keepends=True)
            assert len(lines) == item.rows, item
            assert all(line.endswith(b"\n") for line in lines), item
            rows += [orjson.loads(line) for line in lines]
    return rows


def rows(world: World, source: str, wanted: Selection) -> list[dict[str, Any]]:
    """The records of a window."""
    return rows_of(items(world.cloud, source, wanted))


def deletions(found: Sequence[Item | Deletion]) -> list[str]:
    """The ids that a manifest would list as deleted."""
    return [item.id for item in found if isinstance(item, Deletion)]


def since(world: World, start: datetime = START, **more: Any) -> Selection:
    """A window from then to the next whole minute, to which the clock is moved."""
    end = floor_minute(server_time(world.cloud.db)) + MINUTE
    world.move_to(end)
    return selection(start, end, **more)


def ended_run(
    world: World, id: str, *, status: str = "COMPLETED", sites: Sequence[str] = (SITE,), **changes: Any
) -> str:
    """The document of a run that ends now, with the fields that `finishing` gives it; returns its path."""
    path = f"exports/an-export/runs/{id}"
    audit = {
        "recipients": [{"name": "Zoë", "address": "zoe@acme.example"}],
        "operations": ["CLOUD_STORAGE"],
        "window": {"start": "2026-11-21T00:00:00Z", "end": "2026-11-22T00:00:00Z"},
        "run_id": id,
        "status": status,
        "rows": 3,
        "timestamp": "2026-11-22T09:17:00.123Z",
    }
    fields = {
        "customer": "acme",
        "config": {"site_ids": list(sites)},
        "state": status,
        "audit": audit,
        "finished": firestore.SERVER_TIMESTAMP,
    }
    world.cloud.db.document(path).set(fields | changes, merge=True)
    return path


def wrong_archive(*names: str) -> bytes:
    """An archive of work orders, each with one file that is no image."""
    return zipped([File(f"{name}/notes.txt", b"?") for name in names])


def fill(world: World, minutes: int = 4) -> Window:
    """Minutes in each of which something happens to work orders of both sites, runs and batches; the window
    from START to their end, to which the clock is moved."""
    for minute in range(minutes):
        for number in range(3):
            world.work_order(f"WO_{minute}_{number}", photographs=number)
        world.work_order(f"WO_{minute}", site=world.other_site, photographs=1)
        if minute:
            store.delete(world.cloud, world.site, store.work_order_id(SITE, f"WO_{minute - 1}_0"))
            store.delete(world.cloud, world.site, store.work_order_id(SITE, f"WO_{minute - 1}_2"))
        ended_run(world, f"run-{minute}", sites=[SITE] if minute % 2 else [OTHER_SITE])
        ended_run(world, f"both-{minute}", sites=[SITE, OTHER_SITE])
        world.import_archive(wrong_archive(f"BAD_{minute}", f"WORSE_{minute}"))
        world.import_archive(wrong_archive(f"BAD_{minute}"))
        world.move_to(START + (minute + 1) * MINUTE)
    return Window(START, START + minutes * MINUTE)
