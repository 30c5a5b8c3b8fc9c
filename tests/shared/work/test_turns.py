"""What one customer has due hides nothing of another's, however much and however old it is."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from google.cloud.firestore_v1 import FieldFilter

from shared.exports import beginning, operating, retrying, tick
from shared.exports.export import ACTIVE, BEGIN_FUNCTION
from shared.exports.runs import PENDING
from shared.outbox.mails import REFUSED
from shared.outbox.service import not_sent
from shared.work import overview, pieces, sweep, turns
from shared.work.pieces import GATE, OPEN, QUEUED, SHARDS
from tests.world import World

FEW = 5
"""How many documents a tick takes here, in the place of some hundreds."""

Ask = Callable[[int], list[Any]]


def due_runs(world: World, most: int = FEW, at: datetime | None = None) -> list[str]:
    """The ids of the runs that are found, of those that wait."""
    query = world.cloud.db.collection_group("runs").where(filter=FieldFilter("state", "==", PENDING))
    found = turns.due(world.cloud, query, "due", at or world.suite.clock.now(), most, "test")
    return [each.id for each in found]


def wait_for_slots(world: World, customer: str, number: int, minutes: float) -> None:
    """Have so many runs of a customer wait, the first of them for so long."""
    since = world.suite.clock.now() - timedelta(minutes=minutes)
    for each in range(number):
        run = {"customer": customer, "state": PENDING, "due": since + timedelta(seconds=each)}
        world.cloud.db.document(f"exports/{customer}/runs/{customer}-{each:02}").set(run)


def test_as_long_as_all_are_taken_they_come_by_age_and_customers_take_turns(world: World) -> None:
    wait_for_slots(world, "a", 3, minutes=60)
    wait_for_slots(world, "b", 2, minutes=50)
    world.suite.traffic.forget()
    assert due_runs(world, most=6) == ["a-00", "b-00", "a-01", "b-01", "a-02"]
    assert [call.kind for call in world.suite.traffic.calls("firestore.")] == ["firestore.RunQuery"]


def test_older_documents_of_one_customer_hide_no_others(world: World) -> None:
    wait_for_slots(world, "m", 12, minutes=60)
    for customer in ("b", "z"):
        wait_for_slots(world, customer, 1, minutes=1)
    found = due_runs(world)
    assert found[:3] == ["m-00", "b-00", "z-00"]
    assert len(found) == len(set(found))
    assert [each for each in found if each.startswith("m")][:FEW] == [f"m-{each:02}" for each in range(FEW)]


def test_what_is_not_due_yet_and_what_has_no_time_is_passed_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "SHARE", 2)
    wait_for_slots(world, "m", 12, minutes=60)
    wait_for_slots(world, "late", 3, minutes=-60)
    wait_for_slots(world, "z", 1, minutes=1)
    for each in range(5):
        without = {"customer": "z", "state": PENDING, "due": None}
        world.cloud.db.document(f"exports/z/runs/none-{each}").set(without)
    found = due_runs(world)
    assert "z-00" in found
    assert {each[0] for each in found} == {"m", "z"}


@pytest.mark.parametrize("due", [7, True, "yesterday"])
def test_what_has_something_else_for_a_time_is_passed_over(
    world: World, monkeypatch: pytest.MonkeyPatch, due: object
) -> None:
    monkeypatch.setattr(turns, "SHARE", 2)
    wait_for_slots(world, "m", 12, minutes=60)
    for customer in ("b", "z"):
        for each in range(3):
            wrong = {"customer": customer, "state": PENDING, "due": due}
            world.cloud.db.document(f"exports/{customer}/runs/wrong-{each}").set(wrong)
        wait_for_slots(world, customer, 1, minutes=1)
    found = due_runs(world)
    assert {"b-00", "z-00"} < set(found)
    assert not any(each.startswith("wrong") for each in found)


def test_the_next_tick_goes_on_behind_the_customer_where_this_one_stopped(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "SHARE", 2)
    monkeypatch.setattr(turns, "MAX_PAGES", 3)
    wait_for_slots(world, "a", 12, minutes=60)
    customers = [f"c{number}" for number in range(7)]
    for customer in customers:
        wait_for_slots(world, customer, 2, minutes=1)
    seen = [{each.partition("-")[0] for each in due_runs(world)} - {"a"} for _ in range(4)]
    assert seen == [{"c0", "c1"}, {"c2", "c3", "c4"}, {"c5", "c6"}, {"c0", "c1"}]


def test_the_second_look_is_bounded_however_much_is_due(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "SHARE", 2)
    monkeypatch.setattr(turns, "MAX_PAGES", 3)
    for number in range(10):
        wait_for_slots(world, f"c{number}", 3, minutes=60)
    world.suite.traffic.forget()
    found = due_runs(world)
    assert len(found) <= FEW + 3 * 2
    assert len(world.suite.traffic.calls("firestore.RunQuery")) == 1 + 3


@pytest.mark.parametrize("status", [OPEN, QUEUED, GATE])
def test_stalled_pieces_of_one_customer_hide_no_others_from_the_sweep(
    world: World, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    """Each piece belongs to no work any more: the sweep closes what it looks at."""
    for name in ("MAX_SWEPT", "MAX_QUEUED"):
        monkeypatch.setattr(sweep, name, FEW)
    now = world.suite.clock.now()
    paths = {}
    for customer, number, hours in (("m", 12, 90), ("b", 1, 30), ("z", 1, 30)):
        for each in range(number):
            at = now - timedelta(hours=hours)
            piece = pieces.new(customer, "copy_images", "double", "double-x", f"{each:06}", at)
            paths[customer] = f"toys/{customer}/pieces/double-x.{each:06}"
            world.cloud.db.document(paths[customer]).set({**piece, "status": status, "shard": each % SHARDS})
    world.sweep()
    found = {each: world.cloud.db.document(paths[each]).get().get("status") for each in ("b", "z")}
    assert found == {"b": "CLOSED", "z": "CLOSED"}


def test_pieces_that_take_a_sweep_too_long_are_left_to_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    at = world.suite.clock.now()
    for number in range(5):
        piece = pieces.new(f"c{number}", "copy_images", "copy", "copy-1", str(number), at - pieces.STALLED)
        world.cloud.db.document(f"exports/e/runs/r{number}/pieces/copy-1.{number}").set(piece)

    def left() -> int:
        found = world.cloud.db.collection_group("pieces").stream()
        return sum(each.get("status") == OPEN for each in found)

    times = iter([0.0, 10.0, sweep.SWEEP_SECONDS - 0.1, sweep.SWEEP_SECONDS, 0.0, 0.0])
    monkeypatch.setattr(sweep, "elapsed_since", lambda _: next(times))
    sweep.sweep(world.cloud, at)
    assert left() == 2
    [told] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (told["message"], told["resumed"], told["left"]) == ("pieces are left to the next tick", 3, 2)
    sweep.sweep(world.cloud, at)
    assert left() == 0


def test_the_sweep_takes_customers_in_turn_whatever_their_pieces_wait_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = world.suite.clock.now() - timedelta(hours=90)
    for customer, number, status in (("m", 3, OPEN), ("b", 2, GATE)):
        for each in range(number):
            piece = pieces.new(customer, "copy_images", "double", "double-x", f"{each:06}", at)
            path = f"toys/{customer}/pieces/double-x.{each:06}"
            world.cloud.db.document(path).set({**piece, "status": status, "shard": each % SHARDS})
    order: list[str] = []
    monkeypatch.setattr(sweep, "_resume", lambda _, piece, __: order.append(piece.get("customer")))
    sweep.sweep(world.cloud, world.suite.clock.now())
    assert order == ["m", "b", "m", "b", "m"]


def test_pending_runs_of_one_customer_keep_no_slot_of_another_empty(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tick, "MAX_PENDING", FEW)
    wait_for_slots(world, "m", 12, minutes=60)
    wait_for_slots(world, "b", 1, minutes=1)
    started: list[str] = []
    monkeypatch.setattr(beginning, "start_pending", lambda _, customer: started.append(customer))
    tick.start_pending(world.cloud, world.suite.clock.now())
    assert started == ["m", "b"]


def exports_due(world: World, customer: str, number: int, hours: float, **fields: Any) -> None:
    at = world.suite.clock.now() - timedelta(hours=hours)
    for each in range(number):
        export = {"customer": customer, "state": ACTIVE, "next_due": at, **fields}
        world.cloud.db.document(f"exports/{customer}-{each:04}").set(export)


def named(world: World) -> list[Any]:
    """The customers of the messages that begin or retry windows, in order."""
    published: list[Any] = []
    topic = f"projects/{world.suite.project}/topics/{BEGIN_FUNCTION}"
    while delivery := world.suite.pubsub.take([topic]):
        published.append(delivery.data)
    return published


def test_due_exports_of_one_customer_hide_no_others(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tick, "MAX_DUE", FEW)
    monkeypatch.setattr(beginning, "MAX_EXPORTS", 2)
    exports_due(world, "m", 12, hours=2)
    exports_due(world, "b", 1, hours=1)
    tick.publish_due(world.cloud, world.suite.clock.now())
    published = named(world)
    assert b"b-0000" in published[1], published
    assert all(b'"m"' in each for each in (published[0], *published[2:]))


def test_retries_of_one_customer_hide_no_others(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tick, "MAX_RETRIES", FEW)
    now = world.suite.clock.now()
    exports_due(world, "m", 12, hours=2, retry_asked=now - timedelta(hours=2))
    exports_due(world, "b", 11, hours=1, retry_asked=None)
    world.cloud.db.document("exports/b-0003").update({"retry_asked": now - timedelta(minutes=1)})
    tick.publish_retries(world.cloud, now)
    assert b"b-0003" in named(world)[1]


def test_of_one_customer_only_so_many_exports_are_retried_at_once(world: World) -> None:
    now = world.suite.clock.now()
    for each in range(retrying.MAX_AT_ONCE + 3):
        exports_due(world, f"{each:02}", 1, hours=1, retry_asked=now - timedelta(hours=2, minutes=-each))
        world.cloud.db.document(f"exports/{each:02}-0000").update({"customer": "acme"})
    exports_due(world, "globex", 1, hours=1, retry_asked=now)
    tick.publish_retries(world.cloud, now)
    first = [f"{each:02}-0000" for each in range(retrying.MAX_AT_ONCE)]
    published = [json.loads(each)["retry"] for each in named(world)]
    assert sorted(published) == [*first, "globex-0000"]
    for id, customer, messages in (
        ("00-0000", "acme", 1),
        (f"{retrying.MAX_AT_ONCE}-0000", "acme", 0),
        ("globex-0000", "globex", 1),
    ):
        asked: Any = SimpleNamespace(id=id, customer=customer)
        retrying.publish(world.cloud, asked)
        assert len(named(world)) == messages, id


def test_more_of_one_customer_than_is_listed_hides_no_others_from_operators(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "MAX_LISTED", FEW)
    wait_for_slots(world, "m", 12, minutes=60)
    wait_for_slots(world, "b", 1, minutes=1)
    query = world.cloud.db.collection_group("runs").where(filter=FieldFilter("state", "==", PENDING))
    found = overview.listed(world.cloud, query.order_by("due"), lambda each: each.id)
    assert found == overview.Listed(["m-00", "m-01", "m-02", "m-03", "b-00"], 8)


def test_what_operators_are_shown_is_chosen_among_so_many(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "MAX_READ", FEW + 1)
    for number, customer in enumerate(("m", "b", "c")):
        wait_for_slots(world, customer, FEW, minutes=60 - number)
    query = world.cloud.db.collection_group("runs").where(filter=FieldFilter("state", "==", PENDING))
    found = turns.first(query.order_by("due"), FEW)
    assert [each.id for each in found] == ["m-00", "m-01", "m-02", "m-03", "b-00"]


def test_failed_windows_of_one_customer_hide_no_others_from_operators(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operating, "MAX_FAILED_WINDOWS", FEW)
    now = world.suite.clock.now()
    for customer, number, hours in (("m", 12, 9), ("b", 1, 1)):
        for each in range(number):
            run = {"customer": customer, "export": customer, "config": {"name": customer}, "unexported": True}
            failed = {"first_failed": now - timedelta(hours=hours)}
            world.cloud.db.document(f"exports/{customer}/runs/{customer}-{each}").set(run | failed)
    assert [each.customer for each in operating.failing(world.cloud)] == ["m", "b"]


def test_mails_of_one_customer_that_were_not_sent_hide_no_others_from_operators(world: World) -> None:
    now = world.suite.clock.now()
    made: dict[str, Any] = {"letter": "run", "address": "ann@x.example", "facts": {}, "links": []}
    for field in ("attempt", "error", "files", "message_id", "next_action", "not_taken_since", "then"):
        made[field] = None
    for customer, number, hours in (("m", 12, 1), ("b", 1, 9)):
        for each in range(number):
            mail = {**made, "customer": customer, "state": REFUSED, "created": now, "waits_for": "x"}
            finished = {"finished": now - timedelta(hours=hours, minutes=each)}
            world.cloud.db.document(f"exports/{customer}/mails/{customer}-{each:02}").set(mail | finished)
    found = not_sent(world.cloud, now - timedelta(days=1), FEW)
    assert [each.id for each in found] == ["m-00", "m-01", "m-02", "m-03", "b-00"]
