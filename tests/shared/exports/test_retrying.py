"""Failed windows are shown at their export, and are retried by the config as it is now."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from infra.local.pubsub import Delivery
from shared.exports import export as exports
from shared.exports import failed, retrying
from shared.workorders import store
from tests import kills
from tests.outside import Outside
from tests.shared.exports.nights import (
    asked,
    due,
    each_day,
    exported,
    fix,
    live,
    nightly,
    refuse,
    shown,
    states,
    tried,
    windows,
    work_on,
)
from tests.world import BUCKET, OTHER_SITE, World

NEW = "acme-new"
NOTIFY = ["owner@acme.example"]


@pytest.fixture(autouse=True)
def deliveries_take_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one delivery does has a time of its own."""
    push = world.push

    def later(delivery: Delivery) -> bool:
        world.wait(timedelta(milliseconds=10))
        return push(delivery)

    monkeypatch.setattr(world, "push", later)


def edit(world: World, export: str, **changes: Any) -> None:
    answer = world.request("PATCH", f"/v1/exports/{export}", changes)
    assert answer.status == 200, answer


def move(world: World, export: str) -> None:
    """Have it deliver to another bucket, which does not refuse."""
    world.suite.storage.create_bucket(NEW)
    world.grant(NEW, world.acme)
    edit(world, export, connector_config={"storage_uri": f"gs://{NEW}/waybill"})


def failing(world: World, days: int = 2, **changes: Any) -> str:
    """An export of which the windows of so many days failed; `:run` may begin a window a minute from now."""
    export = nightly(world, notify=NOTIFY, **changes)
    refuse(world)
    live(world, 1, days)
    world.wait(timedelta(minutes=1))
    return export


def count(world: World, export: str) -> int:
    found: int = shown(world, export)["failed_windows"]["count"]
    return found


def retry(world: World, export: str) -> None:
    asked(world, export, "retry-failed")
    world.drain()
    assert not world.failures, world.failures[0]


def versions(world: World, export: str) -> list[int]:
    return [fields["version"] for fields in windows(world, export)]


# --- shown


def test_an_export_shows_how_many_of_its_windows_failed_and_since_when(world: World) -> None:
    export = nightly(world)
    none = {"count": 0, "since": None, "oldest": None, "retrying": False}
    assert shown(world, export)["failed_windows"] == none
    refuse(world)
    live(world, 1, 1)
    first = shown(world, export)["failed_windows"]
    assert (first["count"], first["since"][:16]) == (1, "2026-11-23T02:00")
    assert first["oldest"] == {"start": "2026-11-22T09:17:00Z", "end": "2026-11-23T00:00:00Z"}
    live(world, 2, 3)  # the first one fails at each due time again
    assert shown(world, export)["failed_windows"] == {**first, "count": 3}
    assert world.request("POST", f"/v1/exports/{export}:pause").body["failed_windows"]["count"] == 3
    fix(world)
    retry(world, export)
    assert shown(world, export)["failed_windows"] == none
    assert states(world, export) == ["COMPLETED"] * 3


# --- by the config as it is now


@pytest.mark.parametrize(
    "state",
    ["ACTIVE", "SUSPENDED", *(pytest.param(each, marks=pytest.mark.slow) for each in ("PAUSED", "ENDED"))],
)
def test_one_call_exports_what_failed_by_the_config_as_it_is_now(
    world: World, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    monkeypatch.setattr(exports, "MAX_DUE_TIMES", 2 if state == "SUSPENDED" else 5)
    export = failing(world, end="2026-11-24T00:00:00Z" if state == "ENDED" else None)
    if state == "PAUSED":
        asked(world, export, "pause")
    move(world, export)
    answer = asked(world, export, "retry-failed")
    assert (answer["state"], answer["failed_windows"]["retrying"]) == (state, True)
    world.drain()
    assert exported(world, NEW) == each_day(1, 2)
    assert world.landed() == {}
    after = shown(world, export)
    assert (after["state"], after["failed_windows"]["count"]) == (state, 0)
    assert after["failed_windows"]["retrying"] is False
    assert versions(world, export) == [2, 2]
    assert [run["status"] for run in world.audit(export)] == ["COMPLETED"] * 2


def test_the_next_due_time_tries_them_by_the_config_as_it_is_now(world: World) -> None:
    export = failing(world)
    move(world, export)
    live(world, 3, 3)
    assert exported(world, NEW) == each_day(1, 3)
    assert count(world, export) == 0


@pytest.mark.slow
def test_an_edit_that_fixes_nothing_suspends_the_export_after_as_many_due_times(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "MAX_DUE_TIMES", 3)
    export = failing(world)
    edit(world, export, name="Renamed")
    live(world, 3, 3)
    assert tried(world, export) == [1, 1, 1], "the edit had no chance"
    live(world, 4, 5)
    assert shown(world, export)["state"] == "SUSPENDED"
    assert [each["subject"] for each in world.suite.sendgrid.sent if "suspended" in each["subject"]] != []


def test_what_was_written_is_delivered_elsewhere_though_it_cannot_be_read_any_more(world: World) -> None:
    export = nightly(world)
    refuse(world)
    order = work_on(world, 1)
    world.run_due(due(1))
    asked(world, export, "pause")
    store.edit(world.cloud, world.site, order, metadata={"changed": "since"})
    world.wait(timedelta(days=10))  # Firestore can be read as of seven days ago
    move(world, export)
    retry(world, export)
    (name,) = [name for name in world.landed(NEW) if "/dt=" in name]
    assert b"since" not in world.landed(NEW)[name]
    assert exported(world, NEW) == each_day(1, 1)


def test_what_an_edit_changes_in_the_files_is_read_again(world: World) -> None:
    export = failing(world, 1)
    fix(world)
    edit(world, export, file_format="csv", site_ids=[OTHER_SITE])
    retry(world, export)
    assert [name for name in world.data_files() if not name.endswith(".csv")] == []
    assert {name.split("/")[1] for name in world.data_files()} <= {OTHER_SITE}
    (manifest,) = world.manifests()
    assert (manifest["file_format"], manifest["site_ids"]) == ("csv", [OTHER_SITE])


def test_files_that_were_delivered_before_are_delivered_to_the_new_place_too(world: World) -> None:
    export = nightly(world, site_ids=[world.site.id, OTHER_SITE], connector_config=to("old"))
    world.work_order("NORTH", photographs=0)
    world.work_order("SOUTH", site=world.other_site, photographs=0)
    world.tick(due(1))
    while not world.landed():
        assert world.step()
    assert count(world, export) == 0
    refuse(world)
    world.drain()
    there = world.landed()
    assert count(world, export) == 1, world.audit(export)
    fix(world)
    edit(world, export, connector_config={"storage_uri": f"gs://{BUCKET}/new"})
    retry(world, export)
    new = {name: content for name, content in world.landed().items() if name.startswith("new/")}
    (manifest,) = world.manifests()
    assert {file["name"] for file in manifest["files"]} <= new.keys()
    assert manifest["rows"] == 2
    assert {name: world.landed()[name] for name in there} == there


def to(prefix: str) -> dict[str, Any]:
    return {"storage_uri": f"gs://{BUCKET}/{prefix}", "export_images": False}


def test_an_edit_of_something_else_lets_a_run_go_on_from_where_it_was(world: World) -> None:
    export = failing(world, 1)
    staged = {each.name for each in world.suite.storage.list("waybill-local-staging")}
    fix(world)
    edit(world, export, name="Renamed", at="04:00")
    retry(world, export)
    (manifest,) = world.manifests()
    assert manifest["export_name"] == "Renamed"
    (run,) = world.audit(export)
    (name,) = world.data_files()
    assert f"_{run['run_id']}." in name
    more = {each.name for each in world.suite.storage.list("waybill-local-staging")} - staged
    assert [name for name in more if not name.endswith("manifest.json")] == []


@pytest.mark.slow
def test_an_edit_while_a_retry_is_under_way_counts_for_what_has_not_been_retried(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrying, "READ_AT_ONCE", 1)
    monkeypatch.setattr(retrying, "RETRY_SECONDS", 0)
    export = failing(world, 3)
    fix(world)
    edit(world, export, name="First")
    asked(world, export, "retry-failed")
    world.step()
    edit(world, export, name="Second")
    for _ in range(4):
        world.wait(timedelta(minutes=1))
        world.run_due()
    assert states(world, export) == ["COMPLETED"] * 3
    assert versions(world, export) == [2, 3, 3]
    assert exported(world) == each_day(1, 3)


def test_retry_of_one_run_keeps_its_own_version(world: World) -> None:
    export = failing(world, 1)
    move(world, export)
    (run,) = world.audit(export)
    assert world.request("POST", f"/v1/exports/{export}/runs/{run['run_id']}:retry").status == 200
    world.drain()
    assert (states(world, export), versions(world, export), count(world, export)) == (["FAILED"], [1], 1)


# --- by hand


def test_windows_by_hand_that_failed_are_retried_too(world: World) -> None:
    export = failing(world, 1)
    asked(world, export, "run")
    asked(world, export, "backfill", {"start": "2026-11-20T00:00:00Z", "end": "2026-11-21T00:00:00Z"})
    world.drain()
    assert count(world, export) == 3
    move(world, export)
    retry(world, export)
    assert (count(world, export), len(exported(world, NEW))) == (0, 3)


def test_what_a_backfill_has_exported_counts_as_failed_no_more_and_is_exported_once(world: World) -> None:
    export = failing(world, 3)
    fix(world)
    two = {"start": "2026-11-22T09:17:00Z", "end": "2026-11-24T12:00:00Z"}
    made = asked(world, export, "backfill", two)["run_id"]
    world.drain()
    left = shown(world, export)["failed_windows"]
    # The third window begins in it, and ends after it.
    assert (left["count"], left["oldest"]["start"]) == (1, "2026-11-24T00:00:00Z")
    assert [fields.get("redone_by") for fields in windows(world, export)] == [made, made, None]
    live(world, 4, 4)
    assert states(world, export) == ["FAILED", "FAILED", "COMPLETED", "COMPLETED"]
    assert count(world, export) == 0
    assert len(world.manifests()) == 3


def test_a_backfill_of_an_older_version_does_not_stand_for_a_window_of_a_newer(world: World) -> None:
    export = nightly(world)
    refuse(world)
    past = {"start": "2026-11-22T00:00:00Z", "end": "2026-11-24T00:00:00Z"}
    world.move_to(due(2) - timedelta(hours=1))
    old = asked(world, export, "backfill", past)["run_id"]
    world.drain()
    edit(world, export, site_ids=[world.site.id, OTHER_SITE])
    world.run_due(due(2))
    assert count(world, export) == 3
    fix(world)
    assert world.request("POST", f"/v1/exports/{export}/runs/{old}:retry").status == 200
    world.drain()
    assert count(world, export) == 2


# --- again, in parts, and by whom


def test_a_retry_that_is_sent_again_with_its_key_is_one_and_without_is_another(world: World) -> None:
    export = failing(world, 1)
    headers = {"Authorization": f"Token {world.key}", "Idempotency-Key": "once"}
    path = f"/v1/exports/{export}:retry-failed"

    def started() -> datetime:
        at: datetime = windows(world, export)[0]["started"]
        return at

    before = started()
    for changed in (True, False):
        assert world.request("POST", path, headers=headers).status == 200
        world.drain()
        assert (started() != before) == changed
        before = started()
        world.wait(timedelta(minutes=1))
    retry(world, export)
    assert started() != before
    assert count(world, export) == 1


@pytest.mark.slow
def test_a_retry_that_fails_again_is_reported_once(world: World) -> None:
    export = failing(world, 3)
    sent = len(world.suite.sendgrid.sent)
    assert sent == 3
    for number in (1, 2):
        retry(world, export)
        assert count(world, export) == 3
        assert len(world.suite.sendgrid.sent) == sent + number
        world.wait(timedelta(minutes=1))
    world.run_due()
    assert len(world.suite.sendgrid.sent) == sent + 2


@pytest.mark.slow
def test_many_are_retried_in_parts_oldest_first_and_no_window_begins_before_they_are(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrying, "READ_AT_ONCE", 2)
    monkeypatch.setattr(retrying, "RETRY_SECONDS", 0)
    monkeypatch.setattr(exports, "MAX_DUE_TIMES", 5)
    export = failing(world, 5)
    assert shown(world, export)["state"] == "SUSPENDED"
    work_on(world, 6)
    world.move_to(due(6))
    fix(world)
    asked(world, export, "resume")
    world.drain()
    assert (states(world, export), count(world, export)) == (["COMPLETED"] * 2 + ["FAILED"] * 3, 3)
    assert shown(world, export)["failed_windows"]["retrying"] is True
    world.run_due()
    assert states(world, export) == ["COMPLETED"] * 4 + ["FAILED"]
    for _ in range(2):
        world.wait(timedelta(minutes=1))
        world.run_due()
    assert exported(world) == each_day(1, 6)
    assert shown(world, export)["failed_windows"]["retrying"] is False


def test_what_failed_again_is_not_retried_by_a_message_that_comes_again(world: World) -> None:
    export = failing(world, 1)
    path = f"exports/{export}"
    asked(world, export, "retry-failed")
    at = world.cloud.db.document(path).get().get("retry_asked")
    world.drain()
    (before,) = windows(world, export)
    # As if it had died before it wrote down how far it is.
    world.cloud.db.document(path).update({"retry_asked": at})
    world.wait(timedelta(minutes=1))
    world.run_due()
    assert windows(world, export) == [before]
    assert shown(world, export)["failed_windows"]["retrying"] is False


def test_a_failed_window_that_cannot_be_read_stops_no_other(world: World) -> None:
    export = failing(world, 2)
    fix(world)
    first = f"exports/{export}/runs/{world.audit(export)[-1]['run_id']}"
    world.cloud.db.document(first).update({"config": {"name": "what was this?"}})
    asked(world, export, "retry-failed")
    world.drain()
    assert exported(world) == each_day(2, 2)


def test_of_a_deleted_export_nothing_is_retried(world: World) -> None:
    export = failing(world, 1)
    fix(world)
    asked(world, export, "retry-failed")
    assert world.request("DELETE", f"/v1/exports/{export}").status == 204
    world.drain()
    assert world.landed() == {}
    assert shown(world, export)["failed_windows"]["retrying"] is False
    assert world.request("POST", f"/v1/exports/{export}:retry-failed").status == 409
    stranger = world.stranger()
    assert world.request("POST", f"/v1/exports/{export}:retry-failed", key=stranger).status == 404


# --- killed


class Subject(kills.InWorld):
    """An export of which two windows failed; `run` is all that comes of one call."""

    def __init__(self, world: World, outside: Outside) -> None:
        self.world = world
        self.outside = outside
        self.export = failing(world, 2)

    def push(self, delivery: Delivery) -> bool:
        return bool(self.outside.alive(lambda: self.world.push(delivery)))

    def call(self, call: str, body: Any = None) -> None:
        """Ask, and ask again where no answer comes."""
        headers = {"Authorization": f"Token {self.world.key}", "Idempotency-Key": "this one"}
        path = f"/v1/exports/{self.export}:{call}"

        def ask() -> bool:
            return self.world.request("POST", path, body, headers=headers).status in (200, 201)

        while not self.outside.alive(ask):
            pass

    def settle(self) -> None:
        self.world.wait(timedelta(minutes=20))
        self.world.tick()
        self.world.settle(sweeps=True)

    def ended(self) -> None:
        """Nothing counts as failed, and the next window follows."""
        assert shown(self.world, self.export)["failed_windows"]["count"] == 0
        assert shown(self.world, self.export)["failed_windows"]["retrying"] is False
        self.world.failures.clear()  # of a process that died
        live(self.world, 3, 3)


class Retrying(Subject):
    """`:retry-failed` of windows that were to go elsewhere, each a part of its own."""

    def __init__(self, world: World, outside: Outside) -> None:
        super().__init__(world, outside)
        move(world, self.export)

    def set_off(self) -> None:
        self.call("retry-failed")

    def done_once(self) -> None:
        assert exported(self.world, NEW) == each_day(1, 2)
        assert states(self.world, self.export) == ["COMPLETED"] * 2
        self.ended()
        assert exported(self.world, NEW) == each_day(1, 3)
        assert self.world.landed() == {}


class Backfilling(Subject):
    """A backfill of two windows that failed."""

    def __init__(self, world: World, outside: Outside) -> None:
        super().__init__(world, outside)
        fix(world)

    def set_off(self) -> None:
        self.call("backfill", {"start": "2026-11-22T09:17:00Z", "end": "2026-11-24T00:00:00Z"})

    def done_once(self) -> None:
        both = [("2026-11-24", ["WO_1", "WO_2"])]
        assert exported(self.world) == both
        assert states(self.world, self.export) == ["FAILED"] * 2
        self.ended()
        assert exported(self.world) == both + each_day(3, 3)


Kind = type[Retrying] | type[Backfilling]
Make = Callable[[Kind], Callable[[], Any]]
KINDS = pytest.mark.parametrize("kind", [Retrying, pytest.param(Backfilling, marks=pytest.mark.slow)])


@pytest.fixture
def make(new_world: Callable[[], World], outside: Outside, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes what makes fresh ones of a kind."""
    monkeypatch.setattr(retrying, "READ_AT_ONCE", 1)
    monkeypatch.setattr(failed, "READ_AT_ONCE", 1)
    return lambda kind: lambda: kind(new_world(), outside)


@kills.MODES
@KINDS
def test_killed_or_paused_at_some_calls_it_ends_the_same(
    make: Make, kind: Kind, mode: kills.Mode[Any]
) -> None:
    kills.each(make(kind), mode, sample=1)


@pytest.mark.slow
@kills.MODES_AROUND
@KINDS
@kills.SHARES
def test_killed_or_paused_at_any_call_it_ends_the_same(
    make: Make, kind: Kind, mode: kills.Mode[Any], share: int
) -> None:
    kills.each(make(kind), mode, share=share, of=kills.OF)
