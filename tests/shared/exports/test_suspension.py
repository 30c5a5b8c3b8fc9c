"""An export whose bucket refuses is suspended, and recovers all its windows in order; one paused does not."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from infra.local.pubsub import Delivery
from shared.exports import by_hand, failed, pausing, retrying
from shared.exports import export as exports
from shared.gcp.documents import fields_of
from shared.workorders import store
from tests import kills
from tests.outside import Outside
from tests.shared.exports.nights import (
    REFUSED,
    asked,
    due,
    each_day,
    exported,
    fix,
    go_on,
    in_order,
    live,
    nightly,
    refuse,
    shown,
    states,
    tried,
    windows,
    work_on,
)
from tests.world import World


@pytest.fixture(autouse=True)
def deliveries_take_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Server timestamps are in milliseconds: what one delivery does has its own."""
    push = world.push

    def later(delivery: Delivery) -> bool:
        world.wait(timedelta(milliseconds=10))
        return push(delivery)

    monkeypatch.setattr(world, "push", later)


# --- a bucket that refuses


@pytest.mark.slow
@pytest.mark.parametrize("by", ["resume", "test"])
def test_a_bucket_that_refuses_for_a_week_gets_all_its_windows_in_order_when_it_is_mended(
    world: World, by: str
) -> None:
    export = nightly(world)
    refuse(world)
    first = work_on(world, 1)
    world.run_due(due(1))
    for day in range(2, 6):
        before = windows(world, export)
        if day == 3:  # a version of its own, in this day's window
            world.move_to(due(3) - timedelta(hours=12))
            store.edit(world.cloud, world.site, first, metadata={"day": 3})
        live(world, day, day)
        after = windows(world, export)
        assert tried(world, export) == list(range(day, 0, -1))
        assert states(world, export) == ["FAILED"] * day
        started = [fields["started"] for fields in after]
        assert started == sorted(started), "not the oldest first"
        assert all(new["started"] > old["started"] for old, new in zip(before, after, strict=False))
    live(world, 6, 7)
    suspended = shown(world, export)
    assert (suspended["state"], len(windows(world, export))) == ("SUSPENDED", 5)
    assert REFUSED in suspended["suspended"]["error"]
    assert suspended["suspended"]["next_action"]
    assert world.landed() == {}
    fix(world)
    answer = asked(world, export, by)
    assert answer["passed"] if by == "test" else answer["left_out"] is None
    assert (shown(world, export)["state"], shown(world, export)["suspended"]) == ("ACTIVE", None)
    go_on(world)
    assert states(world, export) == ["COMPLETED"] * 7
    expected = each_day(1, 7)
    expected[2][1].insert(0, "WO_1")
    assert exported(world) == expected
    assert [r["metadata"].get("day") for r in world.records() if r["name"] == "WO_1"] == [None, 3]
    in_order(world, export)
    live(world, 8, 8)
    assert exported(world)[7:] == each_day(8, 8)


def test_what_mends_by_itself_at_the_third_due_time_leaves_no_trace(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "MAX_DUE_TIMES", 3)
    export = nightly(world)
    refuse(world)
    live(world, 1, 2)
    fix(world)
    live(world, 3, 3)
    assert exported(world) == each_day(1, 3)
    in_order(world, export)
    assert (shown(world, export)["state"], shown(world, export)["suspended"]) == ("ACTIVE", None)
    assert [(run["status"], run["error"]) for run in world.audit(export)] == [("COMPLETED", None)] * 3
    refuse(world)
    live(world, 4, 5)  # its own first two: what came before does not count
    assert shown(world, export)["state"] == "ACTIVE"
    live(world, 6, 6)
    assert shown(world, export)["state"] == "SUSPENDED"


def test_runs_by_hand_and_retries_that_fail_do_not_count(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "MAX_DUE_TIMES", 2)
    export = nightly(world)
    refuse(world)
    live(world, 1, 1)
    (scheduled,) = world.audit(export)
    past = {"start": "2026-11-20T00:00:00Z", "end": "2026-11-21T00:00:00Z"}
    made = [asked(world, export, "run")["run_id"], asked(world, export, "backfill", past)["run_id"]]
    world.drain()
    for run in (*made, scheduled["run_id"], scheduled["run_id"]):
        assert world.request("POST", f"/v1/exports/{export}/runs/{run}:retry").status == 200
        world.drain()
    assert {run["status"] for run in world.audit(export)} == {"FAILED"}
    assert shown(world, export)["state"] == "ACTIVE"
    assert tried(world, export) == [1]
    documents = world.cloud.db.collection(f"exports/{export}/runs")
    ended = {run: fields_of(document(documents, run))["finished"] for run in made}
    world.run_due(due(2))
    assert shown(world, export)["state"] == "SUSPENDED"
    assert {run: fields_of(document(documents, run))["finished"] for run in made} == ended


def document(collection: Any, id: str) -> Any:
    return collection.document(id).get()


def test_the_suspension_of_one_export_touches_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "MAX_DUE_TIMES", 2)
    world.suite.storage.create_bucket("acme-archive")
    world.grant("acme-archive", world.acme)
    good = nightly(
        world, connector_config={"storage_uri": "gs://acme-archive/waybill", "export_images": False}
    )
    bad = nightly(world)
    refuse(world)
    live(world, 1, 3)
    assert (shown(world, bad)["state"], states(world, bad)) == ("SUSPENDED", ["FAILED"] * 2)
    assert (shown(world, good)["state"], states(world, good)) == ("ACTIVE", ["COMPLETED"] * 3)


# --- a tick that comes twice, or late


def test_a_tick_that_comes_twice_or_late_tries_nothing_twice(world: World) -> None:
    export = nightly(world)
    refuse(world)
    live(world, 1, 1)
    reference = world.cloud.db.document(f"exports/{export}")
    stale = failed.oldest(reference, 400)
    world.tick(due(2))
    tick = world.suite.pubsub.deliver_due
    late: list[Delivery] = []

    def push(delivery: Delivery) -> bool:
        if delivery.function in ("tick", "begin_exports"):
            late.append(delivery)
            world.push(delivery)  # twice at once, as Pub/Sub may
        return world.push(delivery)

    while tick(push):
        pass
    assert tried(world, export) == [2, 1]
    started = [fields["started"] for fields in windows(world, export)]
    assert [delivery.function for delivery in late] == ["tick", "begin_exports", "begin_exports"]
    for delivery in late:
        world.push(delivery)
    for minute in (1, 2):
        world.run_due(due(2) + timedelta(minutes=minute))
    # One that read what is due, or what failed, before the first one did its work, and goes on after it.
    pausing.try_again(world.cloud, reference, due(2))
    assert [by_hand.reopen(world.cloud, each, {}) for each in stale] == [None]
    world.run_due(due(2) + timedelta(minutes=3))
    assert [fields["started"] for fields in windows(world, export)] == started
    assert (tried(world, export), shown(world, export)["state"]) == ([2, 1], "ACTIVE")


# --- paused


def test_one_paused_for_a_week_leaves_the_gap_out_and_backfills_on_request(world: World) -> None:
    export = nightly(world)
    live(world, 1, 1)
    assert asked(world, export, "pause")["state"] == "PAUSED"
    live(world, 2, 7)
    resumed = asked(world, export, "resume")
    gap = {"start": "2026-11-23T00:00:00Z", "end": "2026-11-29T00:00:00Z"}
    assert (resumed["state"], resumed["left_out"]) == ("ACTIVE", gap)
    assert resumed["next_window_start"] == gap["end"]
    asked(world, export, "backfill", gap)
    world.drain()
    (end, names) = exported(world)[1]
    assert (end, names) == ("2026-11-29", [f"WO_{day}" for day in range(2, 8)])
    assert shown(world, export)["next_window_start"] == gap["end"]
    live(world, 8, 9)
    assert exported(world)[2:] == each_day(8, 9)


def test_pausing_a_suspended_export_leaves_out_what_did_not_begin_and_not_what_failed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "MAX_DUE_TIMES", 2)
    export = nightly(world)
    refuse(world)
    live(world, 1, 3)
    paused = asked(world, export, "pause")
    assert (paused["state"], paused["suspended"]) == ("PAUSED", None)
    fix(world)
    live(world, 4, 4)
    assert asked(world, export, "test")["passed"]
    assert shown(world, export)["state"] == "PAUSED"  # a person paused it, and a person resumes it
    resumed = asked(world, export, "resume")
    assert resumed["left_out"] == {"start": "2026-11-24T00:00:00Z", "end": "2026-11-26T00:00:00Z"}
    live(world, 5, 6)
    assert exported(world) == [*each_day(1, 2), *each_day(5, 6)]
    assert states(world, export) == ["COMPLETED"] * 4


def test_no_window_of_a_suspended_export_is_skipped(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "MAX_DUE_TIMES", 2)
    export = nightly(world)
    refuse(world)
    live(world, 1, 3)
    fix(world)
    refused = world.request("POST", f"/v1/exports/{export}:resume?skip=true")
    says = "to skip them, pause it first, and then resume it with `skip`"
    assert (refused.status, says in refused.body["detail"]) == (409, True), refused.body
    assert shown(world, export)["state"] == "SUSPENDED"
    asked(world, export, "pause")
    assert asked(world, export, "resume?skip=true")["left_out"] == {
        "start": "2026-11-24T00:00:00Z",
        "end": "2026-11-26T00:00:00Z",
    }


def test_a_suspended_export_that_ends_is_suspended_no_more_and_says_how_to_retry(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "MAX_DUE_TIMES", 2)
    export = nightly(world, end="2026-11-26T12:00:00Z")
    refuse(world)
    live(world, 1, 3)
    assert (shown(world, export)["state"], bool(shown(world, export)["suspended"])) == ("SUSPENDED", True)
    fix(world)
    world.wait(timedelta(days=2))
    assert world.request("POST", f"/v1/exports/{export}:run").status == 201
    world.drain()
    ended = shown(world, export)
    assert (ended["state"], ended["suspended"], ended["failed_windows"]["count"]) == ("ENDED", None, 2)
    refused = world.request("POST", f"/v1/exports/{export}:resume")
    assert (refused.status, "`:retry-failed` retries" in refused.body["detail"]) == (409, True), refused.body
    asked(world, export, "retry-failed")
    world.drain()
    assert shown(world, export)["failed_windows"]["count"] == 0


# --- edited


def test_a_suspended_export_that_is_sent_elsewhere_goes_on_there(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "MAX_DUE_TIMES", 2)
    world.suite.storage.create_bucket("acme-new")
    world.grant("acme-new", world.acme)
    export = nightly(world)
    refuse(world)
    live(world, 1, 3)
    moved = {"connector_config": {"storage_uri": "gs://acme-new/waybill"}}
    edited = world.request("PATCH", f"/v1/exports/{export}", moved)
    assert (edited.status, edited.body["state"]) == (200, "SUSPENDED")
    assert asked(world, export, "test")["passed"]
    assert shown(world, export)["state"] == "ACTIVE"
    go_on(world)
    live(world, 4, 7)
    # What had failed goes by the config as it is now, too.
    assert states(world, export) == ["COMPLETED"] * 7
    assert exported(world, "acme-new") == each_day(1, 7)
    assert world.landed() == {}


# --- more than may wait


def test_of_more_failed_windows_than_a_due_time_takes_the_oldest_are_tried_and_resuming_retries_all(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pausing, "MAX_WAITING", 2)
    monkeypatch.setattr(retrying, "READ_AT_ONCE", 2)
    monkeypatch.setattr(exports, "MAX_DUE_TIMES", 2)
    export = nightly(world, start="2026-11-17T00:00:00Z")
    refuse(world)
    world.run_due(due(0) + timedelta(hours=9))  # five windows at once
    assert states(world, export) == ["FAILED"] * 5
    world.run_due(due(1))
    assert tried(world, export) == [2, 2, 1, 1, 1, 1]
    assert shown(world, export)["state"] == "SUSPENDED"
    fix(world)
    asked(world, export, "resume")
    world.drain()
    assert states(world, export) == ["COMPLETED"] * 6
    live(world, 2, 2)
    assert len(world.manifests()) == 7
    in_order(world, export)


@pytest.mark.slow
def test_an_export_that_was_suspended_for_five_weeks_delivers_every_window_in_order(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "MAX_DUE_TIMES", 2)
    export = nightly(world)
    refuse(world)
    live(world, 1, 2)
    assert shown(world, export)["state"] == "SUSPENDED"
    for day in range(3, 38):
        work_on(world, day)
    for staged in world.suite.storage.list("waybill-local-staging"):  # as the bucket's lifecycle does
        world.suite.storage.remove("waybill-local-staging", staged.name)
    world.move_to(due(37))
    fix(world)
    asked(world, export, "resume")
    for _ in range(4):
        go_on(world)
    assert states(world, export) == ["COMPLETED"] * 37
    assert exported(world) == each_day(1, 37)
    in_order(world, export)


# --- killed


class Subject(kills.InWorld):
    """An export with one window that failed; `run` is all that comes of one thing that is then done."""

    def __init__(self, world: World, outside: Outside, days: int) -> None:
        self.world = world
        self.outside = outside
        self.export = nightly(world)
        refuse(world)
        live(world, 1, days)
        work_on(world, days + 1)

    def attempt(self, work: Callable[[], Any]) -> bool:
        """Do it in a process of its own; False where that was killed."""
        return bool(self.outside.alive(work))

    def push(self, delivery: Delivery) -> bool:
        return self.attempt(lambda: self.world.push(delivery))

    def settle(self) -> None:
        self.world.wait(timedelta(minutes=20))
        self.world.tick()
        self.world.settle(sweeps=True)


class Suspending(Subject):
    """The due time at which the export is suspended."""

    def __init__(self, world: World, outside: Outside) -> None:
        super().__init__(world, outside, 1)

    def set_off(self) -> None:
        self.world.tick(due(2))

    def done_once(self) -> None:
        world = self.world
        assert tried(world, self.export) == [2, 1]
        assert states(world, self.export) == ["FAILED"] * 2
        suspended = shown(world, self.export)
        assert (suspended["state"], REFUSED in suspended["suspended"]["error"]) == ("SUSPENDED", True)
        assert world.landed() == {}


class Resuming(Subject):
    """A bucket that is fixed, and `:resume`; whoever gets no answer asks again."""

    def __init__(self, world: World, outside: Outside) -> None:
        super().__init__(world, outside, 2)
        assert shown(world, self.export)["state"] == "SUSPENDED"
        fix(world)

    def set_off(self) -> None:
        path = f"/v1/exports/{self.export}:resume"
        while not self.attempt(lambda: self.world.request("POST", path).status == 200):
            pass

    def done_once(self) -> None:
        world = self.world
        assert shown(world, self.export)["state"] == "ACTIVE"
        # Not at the next due time: at once, or, where something died, when the next tick comes.
        assert states(world, self.export) == ["COMPLETED"] * 2
        assert exported(world) == each_day(1, 2)
        world.failures.clear()  # of a process that died
        live(world, 4, 4)
        assert exported(world) == each_day(1, 4)


Kind = type[Suspending] | type[Resuming]
Make = Callable[[Kind], Callable[[], Any]]
KINDS = pytest.mark.parametrize("kind", [Suspending, Resuming])


@pytest.fixture
def make(new_world: Callable[[], World], outside: Outside, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes what makes fresh ones of a kind."""
    monkeypatch.setattr(exports, "MAX_DUE_TIMES", 2)
    return lambda kind: lambda: kind(new_world(), outside)


@KINDS
def test_suspending_and_resuming_fail_nothing(make: Make, kind: Kind) -> None:
    subject = make(kind)()
    subject.outside.arm(0, "before")
    subject.run(subject.push)
    assert not subject.world.failures, subject.world.failures[0]
    subject.settle()
    subject.done_once()


@kills.MODES
@KINDS
def test_killed_or_paused_at_some_calls_it_ends_the_same(
    make: Make, kind: Kind, mode: kills.Mode[Any]
) -> None:
    kills.each(make(kind), mode, sample=2)


@pytest.mark.slow
@kills.MODES_AROUND
@KINDS
@kills.SHARES
def test_killed_or_paused_at_any_call_it_ends_the_same(
    make: Make, kind: Kind, mode: kills.Mode[Any], share: int
) -> None:
    kills.each(make(kind), mode, share=share, of=kills.OF)
