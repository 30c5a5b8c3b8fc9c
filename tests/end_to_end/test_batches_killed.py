"""For each of a batch's steps, one real SIGKILL of the function's process in the middle of it.

As in test_sigkill: a fault holds the step where it is, the process is killed, and Pub/Sub delivers again or
the sweep finds what was left. Then the same archive is imported once more, and changes nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid5

import pytest
import requests

from infra.local.demo_customer import CUSTOMER
from infra.local.traffic import Fault
from shared.accounts.customers import add_site
from shared.batches.batch import ENDED
from shared.gcp.documents import fields_of
from shared.work.pieces import OPEN, QUEUED
from shared.workorders import removed
from tests.archives import File, zipped
from tests.subjects.processes import (
    BROKEN_OFF,
    HELD,
    MAX_MOVES,
    MINUTES_AT_ONCE,
    NAMES,
    REFUSED,
    Running,
    running_suite,
    until,
)
from tests.world import jpeg

pytestmark = pytest.mark.slow

WORK_ORDERS = 12

SETTINGS = {"WAYBILL_SLICE_FILES": "8"}
"""Several slices."""


@dataclass(frozen=True)
class Step:
    """A step, held in the `nth` call of that kind about `resource`, and the status that its death leaves."""

    function: str
    kind: str
    resource: str
    fault: Fault
    status: str
    nth: int = 1


STEPS = {
    "receive": Step("ingest_batch", "storage.objects.get", "-uploads/", HELD, "WAITING_FOR_UPLOAD"),
    # The listing is in staging, and the batch does not know of it.
    "plan": Step("ingest_batch", "storage.objects.insert", "/listing-", HELD, "UPLOADED"),
    # Some photographs of a slice are stored, and nothing of it is saved.
    "import": Step("ingest_work_orders", "storage.objects.insert", "-images/", REFUSED, "PROCESSING", nth=5),
    # The work orders are there, nobody has asked for their analysis, and the slice does not know of them.
    "save": Step("ingest_work_orders", "pubsub.Publish", "/topics/analyse_work_order", REFUSED, "PROCESSING"),
    # All is imported, and the batch waits for a photograph that is being looked at.
    "analyse": Step("analyse_work_order", "storage.objects.get_media", "-images/", HELD, "PROCESSING"),
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One suite for all tests; each has a site of its own."""
    with running_suite(tmp_path_factory.mktemp("killed") / "suite", SETTINGS) as running:
        yield running


class Sent:
    """An archive of a new site's work orders, one of them wrong."""

    def __init__(self, running: Running, name: str) -> None:
        self.running = running
        self.site = add_site(
            running.cloud.db,
            id=str(uuid5(NAMES, f"batch {name}")),
            customer=CUSTOMER,
            name=name,
            task_groups=("meter",),
        ).id
        files = [
            File(f"WO_{number:02}/meter-{place}.jpg", jpeg(f"{name}-{number}-{place}"))
            for number in range(WORK_ORDERS)
            for place in range(2)
        ]
        self.archive = zipped([*files, File("WO_WRONG/roof.jpg", jpeg("roof"))])
        self.contents = sorted(file.content for file in files)

    def send(self) -> str:
        """Make a batch and upload the archive; returns the batch's id."""
        made = self.running.ask("POST", f"/v0.2/batches?site_id={self.site}")
        answer = requests.put(made["upload_url"], data=self.archive, timeout=60)
        assert answer.status_code == 200, answer.text
        id: str = made["batch_id"]
        return id

    def shown(self, batch: str) -> dict[str, Any]:
        shown: dict[str, Any] = self.running.ask("GET", f"/v0.2/batches/{batch}")
        return shown

    def versions(self) -> dict[str, Any]:
        """The site's work orders, by name: when each was written last, and how far its analysis is."""
        found = self.running.cloud.db.collection("work_orders").stream()
        return {
            each.get("name"): (each.update_time, each.get("analysis"))
            for each in found
            if fields_of(each)["site_id"] == self.site
        }

    def images(self) -> list[bytes]:
        storage = self.running.suite.storage
        bucket = self.running.cloud.settings.images_bucket
        found = storage.list(bucket, f"{CUSTOMER}/{self.site}/")
        return sorted(storage.read(bucket, each.name) for each in found)


@pytest.mark.parametrize("name", STEPS)
def test_a_step_killed_in_the_middle_is_mended(running: Running, name: str) -> None:
    step = STEPS[name]
    sent = Sent(running, name)
    suite = running.suite
    suite.traffic.forget()
    suite.traffic.arm(step.kind, step.fault, nth=step.nth, times=1_000_000, resource=step.resource)
    batch = sent.send()
    until(lambda: len(suite.traffic.calls(step.kind, step.resource)) >= step.nth, f"{name} is held")
    suite.processes.kill(step.function)
    suite.traffic.disarm()
    until(running.idle, "the others are done")
    waiting = [each for each in suite.pubsub.outstanding() if each.topic.endswith(step.function)]
    assert any(each.attempts == 1 and each.outcome.startswith(BROKEN_OFF) for each in waiting), waiting
    assert sent.shown(batch)["status"] == step.status

    moves = 0
    while sent.shown(batch)["status"] not in ENDED or suite.pubsub.outstanding() or open_pieces(running):
        assert moves < MAX_MOVES, f"after {moves * MINUTES_AT_ONCE}: {sent.shown(batch)}"
        running.move()
        moves += 1
    in_once(sent, batch)
    before = sent.versions()
    again = sent.send()
    until(lambda: sent.shown(again)["status"] in ENDED and running.idle(), "the second batch has ended")
    in_once(sent, again)
    assert sent.versions() == before
    assert suite.pubsub.held() == []


def open_pieces(running: Running) -> list[str]:
    """The analyses that are still due: one whose message was lost is published again by the sweep. What is to
    be removed days later is none of them."""
    found = running.cloud.db.collection_group("pieces").stream()
    open = (each.reference.path for each in found if each.get("status") in (OPEN, QUEUED))
    return [path for path in open if not path.startswith(f"{removed.COLLECTION}/")]


def in_once(sent: Sent, batch: str) -> None:
    """Exactly what an archive becomes whose functions nobody killed."""
    shown = sent.shown(batch)
    counts = ("work_orders_total", "work_orders_done", "work_orders_failed", "images", "errors")
    assert (shown["status"], *(shown[each] for each in counts)) == (
        "COMPLETED_WITH_ERRORS",
        WORK_ORDERS + 1,
        WORK_ORDERS,
        1,
        2 * WORK_ORDERS,
        1,
    )
    assert {name: analysis for name, (_, analysis) in sent.versions().items()} == {
        f"WO_{number:02}": "DONE" for number in range(WORK_ORDERS)
    }
    assert sent.images() == sent.contents
