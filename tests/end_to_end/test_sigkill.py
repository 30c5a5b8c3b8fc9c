"""For each of a run's six steps, one real SIGKILL of the function's process in the middle of it.

The processes, their accounts and their clock are those of `make up`. A fault holds the step where it is, so
that the process is surely inside it; then Pub/Sub delivers again, or the sweep finds what was left.
"""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid5

import pytest

from infra.local.demo_customer import BUCKET, CUSTOMER
from infra.local.traffic import Fault
from shared.accounts.customers import add_site
from shared.exports.runs import ENDED
from shared.gcp.documents import fields_of
from shared.gcp.objects import crc32c_of
from shared.window import floor_minute, utc_second
from shared.work.pieces import DONE, GATE, OPEN, QUEUED
from shared.workorders import store
from shared.workorders.record import WorkOrder, iso, timeline_line
from tests.subjects.processes import (
    BROKEN_OFF,
    HELD,
    MAX_MOVES,
    MINUTES_AT_ONCE,
    NAMES,
    REFUSED,
    TIMELINE,
    Running,
    running_suite,
    until,
)
from tests.world import World

pytestmark = pytest.mark.slow

WORK_ORDERS, PHOTOGRAPHS = 32, 3
IMAGES = WORK_ORDERS * PHOTOGRAPHS

SETTINGS = {"WAYBILL_PART_RECORDS": "10", "WAYBILL_SLICE_IMAGES": "25"}
"""Several parts, and several slices."""


FINALLY = timedelta(minutes=20)
"""Longer than everything that could still come of a run that is done."""


@dataclass(frozen=True)
class Left:
    """How far a run has come."""

    state: str
    parts: int | None
    written: int
    data_files: int
    images: int
    manifests: int


@dataclass(frozen=True)
class Step:
    """A step, held in the `nth` call of that kind about `resource`; `left` is what its death must leave."""

    function: str
    kind: str
    resource: str
    fault: Fault
    left: Callable[[Left], bool]
    nth: int = 1


STEPS = {
    # The run is begun and has its slot, and nobody was told: only the sweep can find it.
    "begin_exports": Step(
        "begin_exports",
        "pubsub.Publish",
        f"/topics/{TIMELINE}",
        REFUSED,
        lambda left: left == Left("RUNNING", None, 0, 0, 0, 0),
    ),
    "plan": Step(
        TIMELINE,
        "firestore.RunAggregationQuery",
        "work_orders",
        HELD,
        lambda left: left == Left("RUNNING", None, 0, 0, 0, 0),
        nth=2,
    ),
    # The second part's lines are in staging, and its document does not know.
    "write": Step(
        TIMELINE,
        "storage.uploads.chunk",
        ".jsonl",
        HELD,
        lambda left: left.parts is not None and left == Left("RUNNING", left.parts, left.parts - 1, 0, 0, 0),
        nth=2,
    ),
    # The file is in the customer's bucket, and no document says so.
    "deliver": Step(
        TIMELINE,
        "storage.objects.rewrite",
        "/dt=",
        HELD,
        lambda left: left == Left("DELIVERING", left.parts, left.written, 1, 0, 0),
    ),
    # One image of a slice is copied, the others of its batch are refused.
    "copy_images": Step(
        "copy_images",
        "storage.objects.rewrite",
        "/images/",
        REFUSED,
        lambda left: (
            left == Left("DELIVERING", left.parts, left.written, 1, left.images, 0)
            and 0 < left.images < IMAGES
        ),
        nth=2,
    ),
    # The manifest is there, and the run goes on.
    "finish": Step(
        TIMELINE,
        "storage.objects.rewrite",
        "/_manifests/",
        HELD,
        lambda left: left == Left("DELIVERING", left.parts, left.written, 1, IMAGES, 1),
    ),
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One suite for all tests; each has a site, an export and a folder of its own."""
    with running_suite(tmp_path_factory.mktemp("sigkill") / "suite", SETTINGS) as running:
        yield running


class Day:
    """Work orders of a new site, one of them deleted, and an export of all of it that is due."""

    def __init__(self, running: Running, name: str) -> None:
        self.running = running
        self.cloud = running.cloud
        self.site = add_site(
            running.cloud.db,
            id=str(uuid5(NAMES, name)),
            customer=CUSTOMER,
            name=name,
            task_groups=("meter",),
            required=("meter",),
        )
        self.folder = f"killed-in-{name}"
        start = floor_minute(running.now())
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(self.make_work_order, range(WORK_ORDERS)))
        self.deleted = self.make_work_order(WORK_ORDERS)
        store.delete(running.cloud, self.site, self.deleted.id)
        self.expected_file, self.expected_images = self.model()
        assert len(self.expected_images) == IMAGES
        self.end = floor_minute(running.now()) + timedelta(minutes=1)
        body = {
            "name": name,
            "site_ids": [self.site.id],
            "interval": "once",
            "start": utc_second(start),
            "end": utc_second(self.end),
            "connector_type": "cloud_storage",
            "connector_config": {"storage_uri": f"gs://{BUCKET}/{self.folder}", "export_images": True},
        }
        self.export: str = running.ask("POST", "/v1/exports", body)["id"]

    def make_work_order(self, number: int) -> WorkOrder:
        name = f"WO_{number:03}"
        photographs = [World.photograph(f"{self.site.name}-{name}-{n}") for n in range(PHOTOGRAPHS)]
        return store.create(
            self.cloud, self.site, name, metadata={"technician": "Zoë"}, photographs=photographs
        )

    def model(self) -> tuple[bytes, dict[str, bytes]]:
        """What must land, from the documents and the photographs themselves."""
        found = self.cloud.db.collection("work_orders").stream()
        documents = [
            (fields, each) for each in found if (fields := fields_of(each))["site_id"] == self.site.id
        ]
        documents.sort(key=lambda document: (document[0]["update_date"], document[1].id))
        lines = [
            timeline_line(fields["record"], iso(each.create_time), iso(each.update_time))
            for fields, each in documents
            if not fields["deleted"]
        ]
        storage, bucket = self.running.suite.storage, self.cloud.settings.images_bucket
        ours = f"{CUSTOMER}/{self.site.id}/"
        gone = {f"{ours}{each.id}.jpg" for item in self.deleted.work_items for each in item.input}
        images = {
            f"{self.folder}/{self.site.id}/images/{each.name.removeprefix(ours)}": storage.read(
                bucket, each.name
            )
            for each in storage.list(bucket, ours)
            if each.name not in gone
        }
        return b"".join(lines), images

    def landed(self) -> dict[str, bytes]:
        storage = self.running.suite.storage
        return {
            each.name: storage.read(BUCKET, each.name) for each in storage.list(BUCKET, f"{self.folder}/")
        }

    def audit(self) -> list[dict[str, Any]]:
        runs: list[dict[str, Any]] = self.running.ask("GET", f"/v1/exports/{self.export}/runs")["runs"]
        return runs

    def left(self) -> Left:
        """How far its run has come."""
        (run,) = self.cloud.db.collection(f"exports/{self.export}/runs").stream()
        fields = fields_of(run)
        parts = [piece for piece in pieces_of(run) if piece["stage"] == "write"]
        names = list(self.landed())
        return Left(
            state=fields["state"],
            parts=fields.get("parts"),
            written=sum(part["status"] == DONE for part in parts),
            data_files=sum("/dt=" in name for name in names),
            images=sum("/images/" in name for name in names),
            manifests=sum("/_manifests/" in name for name in names),
        )


def pieces_of(run: Any) -> list[dict[str, Any]]:
    """The pieces of a run, but for the gates."""
    found = (fields_of(each) for each in run.reference.collection("pieces").stream())
    return [piece for piece in found if piece["name"] != GATE]


@pytest.mark.parametrize("name", STEPS)
def test_a_step_killed_in_the_middle_is_mended(running: Running, name: str) -> None:
    step = STEPS[name]
    day = Day(running, name)
    suite = running.suite
    suite.traffic.forget()
    suite.traffic.arm(step.kind, step.fault, nth=step.nth, times=1_000_000, resource=step.resource)
    suite.tick(day.end + timedelta(seconds=1))
    until(lambda: len(suite.traffic.calls(step.kind, step.resource)) >= step.nth, f"{name} is held")
    killed = suite.processes.kill(step.function)
    suite.traffic.disarm()
    until(running.idle, "the others are done")
    waiting = [each for each in suite.pubsub.outstanding() if each.topic.endswith(f"/{step.function}")]
    assert any(each.attempts == 1 and each.outcome.startswith(BROKEN_OFF) for each in waiting), waiting
    assert step.left(day.left()), day.left()

    moves = 0
    while not day.audit() or day.audit()[0]["status"] not in ENDED:
        assert moves < MAX_MOVES, f"after {moves * MINUTES_AT_ONCE} the run stands at {day.left()}"
        running.move()
        moves += 1
    landed_once(day)
    for _ in range(FINALLY // MINUTES_AT_ONCE):  # late deliveries and sweeps change nothing
        running.move()
    landed_once(day)
    assert suite.pubsub.outstanding() == []
    assert suite.pubsub.held() == []
    print(f"{name}: {step.function} ({killed}) killed; done {moves * MINUTES_AT_ONCE} later")


def landed_once(day: Day) -> None:
    """Exactly what a run lands that nobody killed, one event, and nothing that is still to be done."""
    (event,) = day.audit()
    assert (event["status"], event["rows"], event["file_count"]) == ("COMPLETED", WORK_ORDERS, 1), event
    assert (event["images"], event["images_missing"], event["images_conflicting"]) == (IMAGES, 0, 0), event
    landed = day.landed()
    (data_file,) = (name for name in landed if "/dt=" in name)
    (manifest_file,) = (name for name in landed if "/_manifests/" in name)
    manifest = json.loads(landed[manifest_file])
    assert manifest["files"] == [
        {
            "name": data_file,
            "site_id": day.site.id,
            "rows": WORK_ORDERS,
            "bytes": len(day.expected_file),
            "crc32c": crc32c_of(day.expected_file),
        }
    ]
    assert manifest["images"] == {"exported": True, "referenced": IMAGES, "missing": [], "conflicts": []}
    assert manifest["deleted"] == [day.deleted.id]
    assert landed == {
        data_file: day.expected_file,
        manifest_file: landed[manifest_file],
        **day.expected_images,
    }
    (run,) = day.cloud.db.collection(f"exports/{day.export}/runs").stream()
    counted = set(fields_of(run)["plans"].values())
    left = [
        piece for piece in pieces_of(run) if piece["plan"] in counted and piece["status"] in (OPEN, QUEUED)
    ]
    assert left == []
    assert fields_of(run)["state"] == "COMPLETED"
