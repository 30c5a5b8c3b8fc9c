"""The table of an export's life in `infra/docs/lifecycle.md`: each cell, and each call in between."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from shared.errors import Retry
from shared.exports import delivering, names
from shared.exports.runs import Run
from shared.gcp.clients import Cloud
from shared.gcp.documents import fields_of
from shared.window import Window
from tests.conftest import START
from tests.world import BUCKET, OTHER_SITE, Answer, World

DOCUMENT = Path(__file__).parents[3] / "infra/docs/lifecycle.md"

MIDNIGHT = datetime(2026, 11, 23, tzinfo=UTC)
MORNING = MIDNIGHT.replace(hour=2)
NEXT_MORNING = MORNING + timedelta(days=1)

HOME, MOVED = "waybill", "moved"
"""Where runs land in the bucket by the first version of the config, and by the second."""

ORDERS = 3


class Life:
    """One daily export of a few work orders, written in two parts and copied in three slices."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = world
        self.monkeypatch = monkeypatch
        for number in range(ORDERS):
            world.work_order(f"WO_{number}")
            world.wait(timedelta(minutes=10))
        self.export = world.export(start="2026-11-22T09:17:00Z")
        self.run = names.scheduled_run(self.export, Window(START, MIDNIGHT))

    @property
    def path(self) -> str:
        return f"/v1/exports/{self.export}"

    # --- on the way to a row

    def until(self, reached: Callable[[], bool]) -> None:
        """Deliver one message after the other until the run is there."""
        while not reached():
            assert self.world.step(), "the run never came to the row's state"
        assert not self.world.failures, self.world.failures[0]

    def state(self) -> str | None:
        snapshot = self.world.cloud.db.document(f"exports/{self.export}/runs/{self.run}").get()
        return fields_of(snapshot)["state"] if snapshot.exists else None

    def done(self, group: str) -> list[bool]:
        """Of each part or slice of the run, whether it is done."""
        found = self.world.cloud.db.collection(f"exports/{self.export}/runs/{self.run}/{group}").stream()
        return [fields_of(each)["written"] for each in found]

    def half_done(self, group: str) -> bool:
        return set(self.done(group)) == {False, True}

    def due(self) -> None:
        self.world.move_to(MORNING)

    def pending(self) -> None:
        self.world.export(name="First", at="01:00", site_ids=[OTHER_SITE], connector_config=to("first"))
        self.world.tick(MORNING)
        self.until(lambda: self.state() == "PENDING")

    def planning(self) -> None:
        self.world.tick(MORNING)
        self.until(lambda: self.state() == "RUNNING")
        assert self.done("parts") == []

    def writing(self) -> None:
        self.world.tick(MORNING)
        self.until(lambda: self.half_done("parts"))
        assert self.state() == "RUNNING"

    def delivering(self) -> None:
        """The attempt that pins it goes no further; what it leaves is delivered again."""

        def stopped(cloud: Cloud, run: Run) -> None:
            raise Retry("the attempt ends here")

        with self.monkeypatch.context() as patch:
            patch.setattr(delivering, "deliver_files", stopped)
            self.world.tick(MORNING)
            self.until(lambda: self.state() == "DELIVERING")
        assert self.world.landed() == {}

    def copying(self) -> None:
        self.world.tick(MORNING)
        self.until(lambda: self.half_done("slices"))
        assert self.state() == "DELIVERING"
        assert 0 < len(self.world.images()) < 2 * ORDERS

    def completed(self) -> None:
        self.world.run_due(MORNING)
        assert self.state() == "COMPLETED"

    def failed(self) -> None:
        self.world.suite.storage.revoke(BUCKET, self.world.acme.account, "storage.objects.create")
        self.world.run_due(MORNING)
        assert self.state() == "FAILED"
        self.world.grant(BUCKET, self.world.acme)

    # --- what a person does

    def edit(self) -> Answer:
        return self.world.request("PATCH", self.path, {"connector_config": {"storage_uri": uri(MOVED)}})

    def pause(self) -> Answer:
        return self.world.request("POST", f"{self.path}:pause")

    def delete(self) -> Answer:
        return self.world.request("DELETE", self.path)

    def cancel(self) -> Answer:
        return self.world.request("POST", f"{self.path}/runs/{self.run}:cancel")

    # --- what came of it

    def rest(self, at: datetime | None = None) -> None:
        """A tick, what comes of it, and the redeliveries of what was stopped."""
        self.world.tick(at)
        self.world.settle()
        assert not self.world.failures, self.world.failures[0]

    def audit(self) -> dict[str, dict[str, Any]]:
        """The export's runs by the end of their window, as a date."""
        return {event["window"]["end"][:10]: event for event in self.world.audit(self.export)}

    def shown(self) -> dict[str, Any]:
        answer = self.world.request("GET", self.path)
        assert answer.status == 200, answer
        body: dict[str, Any] = answer.body
        return body

    def landed_whole(self, run: str) -> str | None:
        """Under which prefix a run landed, whole; None where nothing of it did."""
        landed = self.world.landed()
        mine = [name for name in landed if f"_{run}." in name]
        if not mine:
            return None
        prefix = mine[0].partition("/")[0]
        (manifest,) = [orjson.loads(landed[name]) for name in mine if "/_manifests/" in name]
        files = {file["name"]: file["rows"] for file in manifest["files"]}
        assert sorted(mine) == sorted([*files, *(name for name in mine if "/_manifests/" in name)])
        assert manifest["images"]["missing"] == []
        for name, rows in files.items():
            records = [orjson.loads(line) for line in landed[name].splitlines()]
            assert len(records) == rows
            for record in records:
                for item in record["work_items"]:
                    for image in item["input"]:
                        assert f"{prefix}/{record['site_id']}/images/{image['id']}.jpg" in landed
        return prefix


def uri(prefix: str) -> str:
    return f"gs://{BUCKET}/{prefix}"


def to(prefix: str) -> dict[str, Any]:
    return {"storage_uri": uri(prefix), "export_images": True}


@pytest.fixture
def life(world: World, monkeypatch: pytest.MonkeyPatch) -> Life:
    monkeypatch.setenv("WAYBILL_PART_RECORDS", "2")
    monkeypatch.setenv("WAYBILL_SLICE_IMAGES", "2")
    return Life(world, monkeypatch)


# --- the table


@dataclass(frozen=True)
class Cell:
    """What happens: the answer; what the run ends as and where it lands whole, None for nothing of it; where
    the next window lands, None where none begins; what the export is then."""

    answer: int
    run: str | None
    lands: str | None
    next: str | None
    export: str = "ACTIVE"


ROWS = ("due", "pending", "planning", "writing", "delivering", "copying", "completed", "failed")
COLUMNS = ("edit", "pause", "delete", "cancel")

_KEPT = Cell(200, "COMPLETED", HOME, MOVED)
_GOES_ON = Cell(200, "COMPLETED", HOME, None, "PAUSED")
_NOTHING_LANDS = Cell(204, "CANCELLED", None, None, "DELETED")
_REFUSED = Cell(409, "COMPLETED", HOME, HOME)
_CANCELLED = Cell(200, "CANCELLED", None, HOME)

CELLS = {
    ("due", "edit"): Cell(200, "COMPLETED", MOVED, MOVED),
    ("due", "pause"): Cell(200, None, None, None, "PAUSED"),
    ("due", "delete"): Cell(204, None, None, None, "DELETED"),
    ("due", "cancel"): Cell(404, "COMPLETED", HOME, HOME),
    **{(row, "edit"): _KEPT for row in ROWS[1:-1]},
    **{(row, "pause"): _GOES_ON for row in ROWS[1:-1]},
    **{(row, "delete"): _NOTHING_LANDS for row in ("pending", "planning", "writing")},
    **{(row, "cancel"): _CANCELLED for row in ("pending", "planning", "writing")},
    **{(row, column): _REFUSED for row in ("delivering", "copying") for column in ("delete", "cancel")},
    ("completed", "delete"): Cell(204, "COMPLETED", HOME, None, "DELETED"),
    ("completed", "cancel"): _REFUSED,
    # Of these the run is retried: see `test_a_cell`.
    ("failed", "edit"): _KEPT,
    ("failed", "pause"): _GOES_ON,
    ("failed", "delete"): Cell(204, "FAILED", None, None, "DELETED"),
    ("failed", "cancel"): _REFUSED,
}


def documented() -> dict[tuple[str, str], str]:
    """The document's table: its sentences by row and column."""
    lines = DOCUMENT.read_text().splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("| the run is |"))
    header = [cell.strip() for cell in lines[first].strip("|").split("|")]
    found: dict[tuple[str, str], str] = {}
    for line in lines[first + 2 :]:
        if not line.startswith("|"):
            break
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        row = re.match(r"\*\*(\w+)\*\*", cells[0])
        assert row, f"the row has no name in bold: {line}"
        found |= {(row[1], column): cell for column, cell in zip(header[1:], cells[1:], strict=True)}
    return found


def test_each_cell_of_the_document_has_its_test_and_each_test_its_cell() -> None:
    table = documented()
    assert list(table) == [(row, column) for row in ROWS for column in COLUMNS]
    assert set(CELLS) == set(table)
    for cell, sentence in table.items():
        refused = CELLS[cell].answer if CELLS[cell].answer >= 400 else None
        assert re.findall(r"\b4\d\d\b", sentence) == ([str(refused)] if refused else []), (cell, sentence)


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("row", ROWS)
def test_a_cell(life: Life, row: str, column: str) -> None:
    expected = CELLS[row, column]
    getattr(life, row)()
    before = life.state()
    answer = getattr(life, column)()
    assert answer.status == expected.answer, answer
    if answer.status >= 400:
        assert life.state() == before, "what was refused changed something"
    if row == "failed":
        assert life.state() == "FAILED"
        retried = life.world.request("POST", f"{life.path}/runs/{life.run}:retry")
        assert retried.status == (409 if column == "delete" else 200), retried
    life.rest()
    assert life.world.suite.pubsub.outstanding() == []
    assert life.world.slots() == []
    events = life.audit()
    assert life.state() == expected.run
    assert {date: event["status"] for date, event in events.items()} == (
        {"2026-11-23": expected.run} if expected.run else {}
    )
    assert life.landed_whole(life.run) == expected.lands
    if expected.lands is None:
        assert not [name for name in life.world.landed() if not name.startswith("first/")]
    else:
        assert events["2026-11-23"]["rows"] == ORDERS

    life.world.work_order("WO_NEXT")
    life.rest(NEXT_MORNING)
    events = life.audit()
    assert ("2026-11-24" in events) == (expected.next is not None), events
    if expected.next is not None:
        event = events["2026-11-24"]
        assert (event["status"], event["rows"]) == ("COMPLETED", 1)
        assert event["window"]["start"] == "2026-11-23T00:00:00Z"
        assert life.landed_whole(event["run_id"]) == expected.next
    shown = life.shown()
    assert shown["state"] == expected.export
    assert shown["version"] == (2 if column == "edit" else 1)
    assert life.world.slots() == []
    assert life.world.suite.pubsub.outstanding() == []
