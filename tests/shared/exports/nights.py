"""Nights of a daily export, each with a work order of its own, into a bucket that may refuse."""

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import orjson

from shared.gcp.documents import fields_of
from tests.world import BUCKET, World

REFUSED = "storage.objects.create"


def due(day: int) -> datetime:
    """When the window of that day is due, the first being the day that every test begins on."""
    return datetime(2026, 11, 22, 2, tzinfo=UTC) + timedelta(days=day)


def refuse(world: World) -> None:
    world.suite.storage.revoke(BUCKET, world.acme.account, REFUSED)


def fix(world: World) -> None:
    world.grant(BUCKET, world.acme)


def nightly(world: World, **changes: Any) -> str:
    """A daily export without images."""
    config = {"storage_uri": f"gs://{BUCKET}/waybill", "export_images": False}
    return world.export(**{"connector_config": config, **changes})


def work_on(world: World, day: int) -> str:
    """At that day's noon a work order is committed that is named after the day; returns its id."""
    world.move_to(due(day) - timedelta(hours=10))
    return world.work_order(f"WO_{day}", photographs=0).id


def live(world: World, first: int, last: int) -> None:
    """Let these days go by, each with its work order and its due time."""
    for day in range(first, last + 1):
        work_on(world, day)
        world.run_due(due(day))


def go_on(world: World) -> None:
    """All that comes of what was asked, and the ticks of the next minutes."""
    world.drain()
    for _ in range(3):
        world.wait(timedelta(minutes=1))
        world.run_due()


def shown(world: World, export: str) -> dict[str, Any]:
    answer = world.request("GET", f"/v1/exports/{export}")
    assert answer.status == 200, answer
    body: dict[str, Any] = answer.body
    return body


def asked(world: World, export: str, what: str, body: Any = None) -> dict[str, Any]:
    answer = world.request("POST", f"/v1/exports/{export}:{what}", body)
    assert answer.status in (200, 201), answer
    made: dict[str, Any] = answer.body
    return made


def windows(world: World, export: str) -> list[dict[str, Any]]:
    """The documents of the export's scheduled windows, the oldest first."""
    found = (fields_of(each) for each in world.cloud.db.collection(f"exports/{export}/runs").stream())
    scheduled = [fields for fields in found if fields["origin"] == "Schedule"]
    return sorted(scheduled, key=lambda fields: fields["window_start"])


def states(world: World, export: str) -> list[str]:
    return [fields["state"] for fields in windows(world, export)]


def tried(world: World, export: str) -> list[int]:
    """At how many due times each window has been tried."""
    return [fields.get("due_times", 1) for fields in windows(world, export)]


def exported(world: World, bucket: str = BUCKET) -> list[tuple[str, list[str]]]:
    """Of each manifest, in the order of the windows: where its window ends, and the names it delivers."""
    landed = world.landed(bucket)
    manifests = [json.loads(landed[name]) for name in sorted(landed) if "/_manifests/" in name]
    return [
        (
            manifest["window"]["end"][:10],
            [
                orjson.loads(line)["name"]
                for file in manifest["files"]
                for line in landed[file["name"]].splitlines()
            ],
        )
        for manifest in manifests
    ]


def each_day(first: int, last: int) -> list[tuple[str, list[str]]]:
    """What `exported` must show of these days."""
    return [(f"{due(day):%Y-%m-%d}", [f"WO_{day}"]) for day in range(first, last + 1)]


def in_order(world: World, export: str) -> None:
    """The windows started, ended and landed one after another, the oldest first."""
    documents = windows(world, export)
    for one, next_one in pairwise(documents):
        assert one["window_end"] == next_one["window_start"]
        assert one["finished"] <= next_one["started"], (one["window_start"], next_one["window_start"])
    manifests = [each for each in world.suite.storage.list(BUCKET) if f"/_manifests/{export}/" in each.name]
    assert len(manifests) == len(documents)
    written = sorted(manifests, key=lambda each: each.time_created)
    assert [each.name for each in written] == sorted(each.name for each in manifests)
