"""The table of an export's life in `docs/customers/lifecycle.md`: each cell, and each call in between."""

import itertools
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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
from shared.work.pieces import DONE, GATE
from tests import kills
from tests.conftest import START
from tests.outside import Outside
from tests.subjects.small_run import Small, Smalls, smalls
from tests.world import BUCKET, OTHER_SITE, SITE, THEIR_SITE, Answer, World

__all__ = ["smalls"]

DOCUMENT = Path(__file__).parents[3] / "docs/customers/lifecycle.md"

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

    def done(self, stage: str) -> list[bool]:
        """Of each piece of a stage of the run, whether it is done."""
        found = self.world.cloud.db.collection(f"exports/{self.export}/runs/{self.run}/pieces").stream()
        pieces = [fields_of(each) for each in found]
        return [each["status"] == DONE for each in pieces if each["stage"] == stage and each["name"] != GATE]

    def half_done(self, stage: str) -> bool:
        return set(self.done(stage)) == {False, True}

    def due(self) -> None:
        self.world.move_to(MORNING)

    def pending(self) -> None:
        self.world.export(name="First", at="01:00", site_ids=[OTHER_SITE], connector_config=to("first"))
        self.world.tick(MORNING)
        self.until(lambda: self.state() == "PENDING")

    def planning(self) -> None:
        self.world.tick(MORNING)
        self.until(lambda: self.state() == "RUNNING")
        assert self.done("write") == []

    def writing(self) -> None:
        self.world.tick(MORNING)
        self.until(lambda: self.half_done("write"))
        assert self.state() == "RUNNING"

    def delivering(self) -> None:
        """The attempt that pins it goes no further; what it leaves is delivered again."""

        def stopped(cloud: Cloud, run: Run) -> None:
            raise Retry("the attempt ends here")

        with self.monkeypatch.context() as patch:
            patch.setattr(delivering, "destination", stopped)
            self.world.tick(MORNING)
            self.until(lambda: self.state() == "DELIVERING")
        assert self.world.landed() == {}

    def copying(self) -> None:
        self.world.tick(MORNING)
        self.until(lambda: self.half_done("copy"))
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


@pytest.mark.parametrize("column", ["delete", "cancel"])
def test_the_slot_of_a_run_that_is_cancelled_is_the_next_ones_at_once(life: Life, column: str) -> None:
    waiting = life.world.export(name="Waits", at="02:01", site_ids=[OTHER_SITE], connector_config=to("other"))
    life.world.tick(MORNING + timedelta(minutes=1))
    life.until(lambda: life.world.audit(waiting) != [])
    assert (life.state(), life.world.audit(waiting)[0]["status"]) == ("RUNNING", "PENDING")
    getattr(life, column)()
    assert (life.state(), life.world.audit(waiting)[0]["status"]) == ("CANCELLED", "RUNNING")
    life.world.drain()
    assert (life.state(), life.world.audit(waiting)[0]["status"]) == ("CANCELLED", "COMPLETED")


# --- each call in between


def edited_at(small: Small, place: kills.Place) -> None:
    """Edit the export at that call: the run keeps the version that it was created with, and lands whole."""
    world, path = small.world, f"/v1/exports/{small.export}"
    begun: list[bool] = []

    def edit() -> None:
        begun.append(world.audit(small.export) != [])
        changes = {"site_ids": [OTHER_SITE], "connector_config": {"storage_uri": uri(MOVED)}}
        assert world.request("PATCH", path, changes).status == 200

    kills.arm(small, place, edit)
    small.run(small.push)
    kills.end(small, place)
    assert world.request("GET", path).body["version"] == 2
    assert not world.failures, world.failures[0]
    if begun[0]:
        small.done_once()
    else:
        (event,) = world.audit(small.export)
        assert (event["status"], event["rows"]) == ("COMPLETED", 0)
        (manifest,) = [name for name in world.landed() if "_manifests" in name]
        assert manifest.startswith(f"{MOVED}/")


def cancelled_at(small: Small, place: kills.Place) -> None:
    """Cancel the run at that call: nothing of it lands, or it is refused and lands whole. Then the next."""
    world = small.world
    run = names.scheduled_run(small.export, Window(START.replace(minute=0), MIDNIGHT))
    answers: list[Answer] = []

    def cancel() -> None:
        answers.append(world.request("POST", f"/v1/exports/{small.export}/runs/{run}:cancel"))

    kills.arm(small, place, cancel)
    small.run(small.push)
    kills.end(small, place)
    assert not world.failures, world.failures[0]
    (answer,) = answers
    assert answer.status in (200, 404, 409), answer
    if answer.status == 200:
        (event,) = world.audit(small.export)
        assert (event["status"], event["rows"], event["error"]) == ("CANCELLED", 0, None)
        assert world.landed() == small.there
        assert world.slots() == []
    else:
        small.done_once()
    world.run_due(NEXT_MORNING)
    newest, *_ = world.audit(small.export)
    assert (newest["status"], newest["window"]["start"]) == ("COMPLETED", "2026-11-23T00:00:00Z")
    assert world.slots() == []
    assert world.suite.pubsub.outstanding() == []


EDITED = kills.Mode("edited", kills.Pass.changes, edited_at)
CANCELLED = kills.Mode("cancelled", kills.Pass.changes, cancelled_at)
CHANGED = pytest.mark.parametrize("mode", [EDITED, CANCELLED], ids=["edited", "cancelled"])


@CHANGED
def test_an_edit_or_a_cancel_at_some_calls_takes_effect_whole_or_not_at_all(
    smalls: Smalls, mode: kills.Mode[Small]
) -> None:
    kills.each(smalls, mode, sample=5)


@pytest.mark.slow
@CHANGED
@kills.SHARES
def test_an_edit_or_a_cancel_at_any_call_takes_effect_whole_or_not_at_all(
    smalls: Smalls, mode: kills.Mode[Small], share: int
) -> None:
    kills.each(smalls, mode, share=share, of=kills.OF)


@pytest.mark.slow
@pytest.mark.ours_only("waits for the locks of a paused transaction at call after call: minutes")
@pytest.mark.parametrize("call", ["backfill", "run", "retry"])
def test_nothing_begins_of_an_export_that_is_deleted_meanwhile(
    world: World, outside: Outside, call: str
) -> None:
    at = 0
    while True:
        at += 1
        export = world.export(name=f"number {at}", start="2026-11-22T09:00:00Z")
        path = f"/v1/exports/{export}"
        sent = None
        if call == "backfill":
            sent = {"start": "2026-11-22T09:00:00Z", "end": "2026-11-22T09:10:00Z"}
        elif call == "retry":
            world.suite.storage.revoke(BUCKET, world.acme.account, "storage.objects.create")
            run = world.request("POST", f"{path}:run").body["run_id"]
            world.drain()
            world.grant(BUCKET, world.acme)
            assert world.audit(export)[0]["status"] == "FAILED"
        deleted: list[int] = []

        def delete(path: str = path, deleted: list[int] = deleted) -> None:
            deleted.append(world.request("DELETE", path).status)

        outside.arm(at, "before", delete)
        asked = f"{path}/runs/{run}:retry" if call == "retry" else f"{path}:{call}"
        with outside.watching():
            answer = world.request("POST", asked, sent)
        outside.arm(0, "before")
        world.drain()
        if not deleted:
            break
        # A run that failed when it was delivered goes on delivering at once, and is deleted no more.
        assert deleted == [204] or (deleted, call, answer.status) == ([409], "retry", 200)
        ended = [event["status"] for event in world.audit(export)]
        if deleted == [204]:
            expected = [["FAILED"], ["CANCELLED"]] if call == "retry" else [[], ["CANCELLED"]]
            assert ended in expected, (at, answer)
        assert world.slots() == []
    assert at > 8, "the call was not met in its middle"


@pytest.mark.ours_only("the pause waits for the locks of a transaction that waits for the pause")
@pytest.mark.parametrize("call", ["pause", "delete"])
def test_no_window_begins_once_the_export_is_paused_or_deleted_in_the_middle_of_a_tick(
    world: World, outside: Outside, call: str
) -> None:
    at = 0
    while True:
        at += 1
        world.move_to(MORNING + timedelta(days=at))
        export = world.export(interval="every 1 minutes")
        path = f"/v1/exports/{export}"
        world.wait(timedelta(minutes=1))
        begun: list[int] = []

        def end(export: str = export, path: str = path, begun: list[int] = begun) -> None:
            begun.append(len(world.audit(export)))
            method, asked = ("POST", f"{path}:pause") if call == "pause" else ("DELETE", path)
            assert world.request(method, asked).status in (200, 204)

        outside.arm(at, "before", end)
        world.tick()
        with outside.watching():
            assert world.step()  # the tick
            world.step()  # and the message that it publishes, if the export is due then
        outside.arm(0, "before")
        if not begun:
            assert at > 10
            return
        world.settle()
        assert not world.failures, world.failures[0]
        ended = [event["status"] for event in world.audit(export)]
        assert ended == ["COMPLETED" if call == "pause" else "CANCELLED"] * begun[0], at


# --- editing


def test_two_edits_at_once_are_two_versions_and_neither_is_lost(world: World) -> None:
    export = world.export()
    path = f"/v1/exports/{export}"
    changes: list[dict[str, Any]] = [{"name": "Renamed"}, {"at": "04:00"}]
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda change: world.request("PATCH", path, change), changes))
    assert [answer.status for answer in answers] == [200, 200]
    history = world.request("GET", f"{path}/history").body["history"]
    assert [version["version"] for version in history] == [3, 2, 1]
    newest = history[0]["config"]
    assert (newest["name"], newest["at"]) == ("Renamed", "04:00")
    shown = world.request("GET", path).body
    assert (shown["name"], shown["at"], shown["next_due"]) == ("Renamed", "04:00", "2026-11-23T04:00:00Z")


@pytest.mark.ours_only("locks end the paused edit first, which is then answered 503")
def test_an_edit_met_by_another_at_each_of_its_calls_loses_neither(world: World, outside: Outside) -> None:
    at = 0
    while True:
        at += 1
        path = f"/v1/exports/{world.export()}"
        other: list[int] = []

        def edit(path: str = path, other: list[int] = other) -> None:
            other.append(world.request("PATCH", path, {"at": "04:00"}).status)

        outside.arm(at, "before", edit)
        with outside.watching():
            assert world.request("PATCH", path, {"name": "Renamed"}).status == 200
        outside.arm(0, "before")
        shown = world.request("GET", path).body
        if not other:
            assert at > 6
            return
        assert other == [200]
        assert (shown["name"], shown["at"], shown["version"]) == ("Renamed", "04:00", 3), at


@pytest.mark.parametrize(
    "same",
    [
        {},
        {"name": "Nightly"},
        {"timezone": "UTC"},
        {"timezone": None},
        {"end": None},
        {"connector_config": {}},
    ],
    ids=str,
)
def test_an_edit_that_changes_nothing_makes_no_version(world: World, same: dict[str, Any]) -> None:
    export = world.export()
    before = world.request("GET", f"/v1/exports/{export}").body
    answer = world.request("PATCH", f"/v1/exports/{export}", same)
    assert (answer.status, answer.body) == (200, before)
    assert len(world.request("GET", f"/v1/exports/{export}/history").body["history"]) == 1


@pytest.mark.parametrize(
    ("changes", "end", "due"),
    [
        ({"name": "Renamed"}, "2026-11-24T00:00:00Z", "2026-11-24T02:00:00Z"),
        ({"timezone": "Asia/Kathmandu"}, "2026-11-23T18:15:00Z", "2026-11-23T20:15:00Z"),
        ({"timezone": "America/Sao_Paulo"}, "2026-11-23T03:00:00Z", "2026-11-23T05:00:00Z"),
        ({"interval": "hourly"}, "2026-11-23T01:00:00Z", "2026-11-23T01:00:00Z"),
        ({"interval": "every 15 minutes"}, "2026-11-23T00:15:00Z", "2026-11-23T00:15:00Z"),
        ({"interval": "weekly"}, "2026-11-30T00:00:00Z", "2026-11-30T02:00:00Z"),
        ({"interval": "monthly"}, "2026-12-01T00:00:00Z", "2026-12-01T02:00:00Z"),
        ({"at": "05:30"}, "2026-11-24T00:00:00Z", "2026-11-24T05:30:00Z"),
        ({"end": "2026-11-23T12:34:00Z"}, "2026-11-23T12:34:00Z", "2026-11-24T02:00:00Z"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_the_next_window_after_an_edit_begins_where_the_last_ended(
    world: World, changes: dict[str, Any], end: str, due: str
) -> None:
    export = world.export()
    world.run_due(MORNING)
    edited = world.request("PATCH", f"/v1/exports/{export}", changes).body
    assert edited["next_window_start"] == "2026-11-23T00:00:00Z"
    assert edited["next_due"] == due
    at = datetime.fromisoformat(due)
    world.run_due(at if at > MORNING else None)
    windows = sorted((event["window"] for event in world.audit(export)), key=lambda window: window["start"])
    assert windows[:2] == [
        {"start": "2026-11-22T09:17:00Z", "end": "2026-11-23T00:00:00Z"},
        {"start": "2026-11-23T00:00:00Z", "end": end},
    ]
    for before, after in itertools.pairwise(windows):
        assert before["end"] == after["start"]


def test_an_edit_of_sites_and_bucket_is_what_the_next_window_exports(world: World) -> None:
    world.suite.storage.create_bucket("acme-other")
    world.grant("acme-other", world.acme)
    world.work_order("NORTH")
    export = world.export(start="2026-11-22T09:00:00Z")
    world.run_due(MORNING)
    changes = {"site_ids": [OTHER_SITE], "connector_config": {"storage_uri": "gs://acme-other/new"}}
    assert world.request("PATCH", f"/v1/exports/{export}", changes).status == 200
    world.work_order("NORTH_AGAIN")
    world.work_order("SOUTH", site=world.other_site, photographs=1)
    before = world.landed()
    world.run_due(NEXT_MORNING)
    assert world.landed() == before
    landed = world.landed("acme-other")
    (file,) = [name for name in landed if "/dt=" in name]
    assert file.startswith(f"new/{OTHER_SITE}/work-orders-timeline/dt=2026-11-23/")
    assert [orjson.loads(line)["name"] for line in landed[file].splitlines()] == ["SOUTH"]
    assert len(landed) == 3, "one file, one image (`export_images` stays as it was), one manifest"


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"start": "2026-11-22T09:00:00Z"}, ["start"]),
        ({"interval": "once"}, ["interval"]),
        ({"end": "2026-11-22T23:59:00Z"}, ["end"]),
        ({"start": "2026-11-20T00:00:00Z", "end": "2026-11-21T00:00:00Z"}, ["start", "end"]),
        ({"site_ids": [SITE, THEIR_SITE]}, ["site_ids[1]"]),
        ({"site_ids": []}, ["site_ids"]),
        ({"name": None}, ["name"]),
        ({"connector_config": None}, ["connector_config"]),
        ({"connector_config": {"storage_uri": "ftp://x"}}, ["connector_config.storage_uri"]),
        ({"colour": "green"}, ["colour"]),
        ({"version": 7}, ["version"]),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_an_edit_that_is_refused_names_the_fields_and_changes_nothing(
    world: World, changes: dict[str, Any], fields: list[str]
) -> None:
    export = world.export()
    world.run_due(MORNING)
    before = world.request("GET", f"/v1/exports/{export}").body
    answer = world.request("PATCH", f"/v1/exports/{export}", changes)
    assert answer.status == 400, answer
    assert [error["field"] for error in answer.body["errors"]] == fields
    assert world.request("GET", f"/v1/exports/{export}").body == before
    assert len(world.request("GET", f"/v1/exports/{export}/history").body["history"]) == 1


def test_before_its_first_window_the_start_can_be_edited(world: World) -> None:
    export = world.export(start="2026-12-01T00:00:00Z")
    path = f"/v1/exports/{export}"
    sooner = world.request("PATCH", path, {"start": "2026-11-23T06:00:00Z", "end": "2026-11-25T00:00:00Z"})
    assert sooner.status == 200, sooner
    assert sooner.body["next_window_start"] == "2026-11-23T06:00:00Z"
    now = world.request("PATCH", path, {"start": None})
    assert now.body["next_window_start"] == "2026-11-22T09:17:00Z"
    refused = world.request("PATCH", path, {"end": "2026-11-22T09:17:00Z"})
    assert (refused.status, [each["field"] for each in refused.body["errors"]]) == (400, ["end"])
    back = world.request("PATCH", path, {"start": "2020-01-01T00:00:00Z"})
    assert (back.status, [each["field"] for each in back.body["errors"]]) == (400, ["start"])


def test_what_runs_once_cannot_become_a_schedule(world: World) -> None:
    export = world.export(interval="once")
    answer = world.request("PATCH", f"/v1/exports/{export}", {"interval": "daily"})
    assert (answer.status, answer.body["errors"][0]["field"]) == (400, "interval")


@pytest.mark.parametrize(
    ("bounds", "changes"),
    [
        ({"start": "2026-12-24T00:00:00Z", "end": "2026-12-25T00:00:00Z"}, {"end": None}),
        ({"end": "2026-12-25T00:00:00Z"}, {"start": "2026-12-24T00:00:00Z", "end": None}),
        ({"end": "2026-12-25T00:00:00Z"}, {"end": "1970-01-01T00:00:00Z"}),
    ],
    ids=["no end, in the future", "start in the future, no end", "end where everything begins"],
)
def test_what_runs_once_is_not_left_without_a_window_by_an_edit(
    world: World, bounds: dict[str, Any], changes: dict[str, Any]
) -> None:
    path = f"/v1/exports/{world.export(interval='once', **bounds)}"
    answer = world.request("PATCH", path, changes)
    assert answer.status == 400, answer
    assert [error["field"] for error in answer.body["errors"]] == ["end"]
    assert world.request("GET", path).body["state"] == "ACTIVE"


def test_an_export_that_lies_far_behind_can_be_edited_all_the_same(world: World) -> None:
    export = world.export(interval="every 1 minutes")
    path = f"/v1/exports/{export}"
    world.wait(timedelta(hours=10))
    assert world.request("PATCH", path, {"name": "Renamed"}).status == 200
    finer = world.request("PATCH", f"/v1/exports/{world.export()}", {"interval": "every 1 minutes"})
    assert finer.status == 200
    assert world.request("POST", f"{path}:pause").status == 200
    world.wait(timedelta(days=3))
    assert world.request("PATCH", path, {"interval": "every 2 minutes"}).status == 200


def test_a_change_that_leaves_too_much_to_catch_up_with_is_refused(world: World) -> None:
    export = world.export()
    world.wait(timedelta(hours=10))
    answer = world.request("PATCH", f"/v1/exports/{export}", {"interval": "every 1 minutes"})
    assert (answer.status, [each["field"] for each in answer.body["errors"]]) == (400, ["interval"])
    assert "400 windows" in answer.body["detail"]


def test_another_end_has_an_export_that_ended_go_on_without_a_gap(world: World) -> None:
    export = world.export(end="2026-11-23T12:00:00Z")
    path = f"/v1/exports/{export}"
    world.run_due(NEXT_MORNING)
    assert world.request("GET", path).body["state"] == "ENDED"
    edited = world.request("PATCH", path, {"end": None})
    assert (edited.status, edited.body["state"]) == (200, "ACTIVE")
    world.run_due(NEXT_MORNING + timedelta(days=1))
    windows = sorted(event["window"]["start"] for event in world.audit(export))
    assert windows[2:] == ["2026-11-23T12:00:00Z", "2026-11-24T00:00:00Z"]
