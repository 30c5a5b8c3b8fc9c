"""Many exports due in one minute: the tick publishes them and ends, and each window begins once."""

import json
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from infra.local.project import topic_path
from infra.local.pubsub import Delivery
from infra.local.traffic import Fault
from shared.exports import beginning, tick
from shared.exports.beginning import BEGIN_WITHIN
from shared.exports.export import BEGIN_FUNCTION
from shared.gcp.documents import PAGE_DOCUMENTS, fields_of
from shared.minute import TICK_SECONDS
from shared.work import turns
from tests import kills
from tests.outside import Outside
from tests.subjects.small_run import MORNING
from tests.world import World

BATCH_WRITES = 500
"""How many documents a test writes at once."""

INSTANCES = 100
"""How many instances of a function run side by side in the cloud, if nothing else is set.
https://cloud.google.com/run/docs/configuring/max-instances"""

RUNS = "export_work_orders_timeline"

LATER = MORNING + timedelta(minutes=20)
"""When the many exports are due: by then a piece published at MORNING is stalled."""


def make_due(world: World, exports: int, customers: int) -> None:
    """Write documents of so many exports, of that many customers in turn, all due at LATER."""
    made = world.cloud.db.document(f"exports/{world.export(at='02:20')}")
    export, customer = fields_of(made.get()), fields_of(world.cloud.db.document("customers/acme").get())
    made.delete()
    documents = {f"customers/customer-{number:03}": customer for number in range(customers)}
    for number in range(exports):
        documents[f"exports/{number:06}"] = {**export, "customer": f"customer-{number % customers:03}"}
    paths = list(documents)
    for start in range(0, len(paths), BATCH_WRITES):
        batch = world.cloud.db.batch()
        for path in paths[start : start + BATCH_WRITES]:
            batch.set(world.cloud.db.document(path), documents[path])
        batch.commit()


def stall_one(world: World) -> None:
    """Have a run of another export start at MORNING. Its message is lost."""
    world.export(at="02:00")
    world.tick(MORNING)
    deliver(world, "tick")
    deliver(world, BEGIN_FUNCTION)
    assert len(deliver(world, RUNS, lambda _: True)) == 1


def deliver(
    world: World, function: str, push: Callable[[Delivery], bool] | None = None
) -> list[tuple[Delivery, float]]:
    """Deliver each message of a function that is due, and no other. Returns how many seconds of CPU each
    took: a clock would count what else the machine does."""
    topics = [topic_path(function, world.suite.project)]
    delivered = []
    while delivery := world.suite.pubsub.take(topics):
        began = time.process_time()
        world.suite.pubsub.hand_over(delivery, push or world.push)
        delivered.append((delivery, time.process_time() - began))
    return delivered


def published(world: World) -> Counter[str]:
    """How many messages each function has yet to get."""
    return Counter(each.topic.rpartition("/")[2] for each in world.waiting())


def runs(world: World) -> Counter[str]:
    """How many runs each of the many exports has."""
    found = world.cloud.db.collection_group("runs").select([]).stream()
    owners = (each.reference.parent.parent.id for each in found)
    return Counter(owner for owner in owners if owner.isdigit())


@pytest.mark.parametrize(
    ("exports", "customers", "page", "together", "messages", "answered"),
    [
        pytest.param(45, 2, 10, 20, 4, 2, id="45 of two customers, in small pages and messages"),
        pytest.param(10_000, 100, None, None, 200, 5, id="10,000 of 100 customers", marks=pytest.mark.slow),
    ],
)
def test_many_due_at_once_begin_once_each_by_messages_and_the_sweep_is_reached(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    exports: int,
    customers: int,
    page: int | None,
    together: int | None,
    messages: int,
    answered: int,
) -> None:
    """The messages of so many customers are answered. Those of the others are lost, and the next tick
    publishes them again."""
    if page and together:
        monkeypatch.setattr(turns, "PAGE_DOCUMENTS", page)
        monkeypatch.setattr(beginning, "MAX_EXPORTS", together)
    make_due(world, exports, customers)
    stall_one(world)
    world.suite.traffic.forget()
    world.tick(LATER)
    [(_, tick_seconds)] = deliver(world, "tick")
    calls = Counter(call.kind for call in world.suite.traffic.calls())
    pages = exports // (page or PAGE_DOCUMENTS) + 1
    assert tick_seconds < TICK_SECONDS
    assert dict(calls) == {
        "pubsub.push": 1,
        "firestore.RunQuery": pages + 7,  # the sweep's four, pending runs, windows to retry, deletions
        "firestore.BatchGetDocuments": 1,  # the stalled piece's work
        "firestore.Commit": 2,  # the piece, and that customers have more than one message
        "pubsub.Publish": 2,  # the exports, and the stalled piece
    }
    assert (published(world), runs(world)) == ({BEGIN_FUNCTION: messages, RUNS: 1}, {})

    answers = {f"customer-{number:03}" for number in range(0, customers, customers // answered)}
    once = {f"{number:06}": 1 for number in range(exports) if f"customer-{number % customers:03}" in answers}
    begun: list[Delivery] = []

    def push(delivery: Delivery) -> bool:
        if json.loads(delivery.data)["customer"] not in answers:
            return True
        begun.append(delivery)
        return world.push(delivery)

    delivered = deliver(world, BEGIN_FUNCTION, push)
    named = Counter(export for each, _ in delivered for export in json.loads(each.data)["exports"])
    assert named == {f"{number:06}": 1 for number in range(exports)}
    most = max(seconds for _, seconds in delivered)
    print(f"{tick_seconds:.1f} s of CPU for the tick, {most:.2f} s at most for one of {messages} messages")
    assert not world.failures, world.failures[0]
    rounds = -(-messages // INSTANCES)
    assert tick_seconds + rounds * most < BEGIN_WITHIN.total_seconds()
    assert runs(world) == once
    assert published(world)[RUNS] == 1 + answered  # each customer has one slot

    world.tick()
    deliver(world, "tick")
    assert published(world)[BEGIN_FUNCTION] == messages - len(begun)
    for each in begun:
        assert world.push(each)
    assert (runs(world), published(world)[RUNS]) == (once, 1 + answered)
    assert not world.failures, world.failures[0]


def test_a_tick_publishes_only_so_many_and_the_next_ones_the_rest(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "PAGE_DOCUMENTS", 10)
    monkeypatch.setattr(tick, "MAX_DUE", 20)
    make_due(world, 45, 1)
    begun = []
    for minute in range(4):
        world.tick(LATER + timedelta(minutes=minute))
        deliver(world, "tick")
        deliver(world, BEGIN_FUNCTION)
        begun.append(len(runs(world)))
    assert begun == [20, 40, 45, 45]
    assert not world.failures, world.failures[0]


def test_another_customers_export_is_begun_first_however_far_one_is_behind(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One instance begins less than what the one customer has due in a minute. Its messages do not pile up:
    those of the last tick are left to those of this one."""
    monkeypatch.setattr(beginning, "MAX_EXPORTS", 2)
    make_due(world, 12, 1)
    world.onboard("globex", "globex")
    other = fields_of(world.cloud.db.document("exports/000000").get()) | {"customer": "globex"}
    begun: list[str] = []

    def begin(_: Any, export: str, *__: Any) -> int:
        begun.append(export)
        return 1

    monkeypatch.setattr(beginning, "_begin", begin)
    topics = [topic_path(BEGIN_FUNCTION, world.suite.project)]
    for minute in range(4):
        world.cloud.db.document(f"exports/other-{minute}").set(other)
        world.tick(LATER + timedelta(minutes=minute))
        deliver(world, "tick")
        before = len(begun)
        while f"other-{minute}" not in begun:
            delivery = world.suite.pubsub.take(topics)
            assert delivery is not None
            world.suite.pubsub.hand_over(delivery, world.push)
        assert len(begun) - before <= 2 + 1, "one message of the first, and the other's"
        waiting = len(world.waiting())
        world.cloud.db.document(f"exports/other-{minute}").delete()
    assert waiting <= 2 * 6, "the messages of two ticks"
    assert not world.failures, world.failures[0]


def test_messages_of_a_tick_begin_all_that_is_due_though_the_next_one_came(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beginning, "MAX_EXPORTS", 2)
    make_due(world, 7, 2)
    for minute in range(2):
        world.tick(LATER + timedelta(minutes=minute))
        deliver(world, "tick")
    world.suite.traffic.forget()
    deliver(world, BEGIN_FUNCTION)
    assert runs(world) == {f"{number:06}": 1 for number in range(7)}
    assert not world.failures, world.failures[0]


def test_a_message_begins_windows_for_so_long_only(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    make_due(world, 4, 1)
    seconds = iter([0.0, beginning.BEGIN_SECONDS - 0.1, beginning.BEGIN_SECONDS])
    monkeypatch.setattr(beginning, "elapsed_since", lambda _: next(seconds))
    world.tick(LATER)
    deliver(world, "tick")
    deliver(world, BEGIN_FUNCTION)
    assert sum(runs(world).values()) == 2


def test_where_what_is_due_cannot_be_asked_for_the_sweep_is_reached(world: World) -> None:
    make_due(world, 2, 1)
    stall_one(world)
    refused = Fault("error", status=7)  # PERMISSION_DENIED
    world.suite.traffic.arm("firestore.RunQuery", refused, resource="exports")
    world.tick(LATER)
    deliver(world, "tick")
    assert "PermissionDenied" in world.failures[0]
    assert published(world) == {"tick": 1, RUNS: 1}


def test_pending_runs_that_take_a_tick_too_long_are_left_to_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_due(world, 4, 4)
    world.tick(LATER)
    deliver(world, "tick")
    with monkeypatch.context() as patch:
        patch.setattr(beginning, "start_pending", lambda *_: None)
        deliver(world, BEGIN_FUNCTION)
    seconds = iter([0.0, 10.0, tick.PENDING_SECONDS - 0.1, tick.PENDING_SECONDS])
    monkeypatch.setattr(tick, "elapsed_since", lambda _: next(seconds))
    tick.start_pending(world.cloud, LATER)
    found = world.cloud.db.collection_group("runs").stream()
    assert Counter(each.get("state") for each in found) == {"RUNNING": 3, "PENDING": 1}


def test_an_export_that_cannot_be_read_is_logged_and_stops_no_other_of_its_message(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    exports = [world.export(name=f"Number {number}") for number in range(3)]
    world.cloud.db.document(f"exports/{exports[1]}").update({"config": {"interval": "never"}})
    world.tick(MORNING)
    deliver(world, "tick")
    [(delivery, _)] = deliver(world, BEGIN_FUNCTION)
    assert all(export in delivery.data.decode() for export in exports)
    assert not world.failures, world.failures[0]
    begun = [len(list(world.cloud.db.collection(f"exports/{each}/runs").stream())) for each in exports]
    assert begun == [1, 0, 1]
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    errors = [(line["export"], line["message"]) for line in lines if line["severity"] == "ERROR"]
    assert errors == [(exports[1], "a window that is due could not begin")]


# --- killed


class Behind(kills.InWorld):
    """Two exports of a customer with a slot for each run; two windows of each are due. What their runs' own
    functions are sent is acknowledged, and nothing more."""

    EXPORTS, WINDOWS = 2, 2
    GOES_BY = timedelta(minutes=20)

    def __init__(self, world: World, outside: Outside) -> None:
        self.world = world
        self.outside = outside
        self.sent: set[str] = set()
        slots = {"parallel_exports": self.EXPORTS * self.WINDOWS}
        world.cloud.db.document("customers/acme").update(slots)
        self.exports = [world.export(name=f"Number {number}") for number in range(self.EXPORTS)]

    def push(self, delivery: Delivery) -> bool:
        if delivery.function not in ("tick", BEGIN_FUNCTION):
            self.sent.add(json.loads(delivery.data)["work"])
            return True
        return bool(self.outside.alive(lambda: self.world.push(delivery)))

    def kept(self) -> Callable[[], None]:
        back, sent = super().kept(), set(self.sent)

        def restore() -> None:
            back()
            self.sent.clear()
            self.sent.update(sent)

        return restore

    def set_off(self) -> None:
        self.world.tick(MORNING + timedelta(days=1))

    def settle(self) -> None:
        """Ticks, and all that comes of them."""
        for _ in range(3):
            self.world.wait(self.GOES_BY)
            self.world.tick()
            while self.world.suite.pubsub.deliver_due(self.push):
                pass

    def done_once(self) -> None:
        assert not self.world.failures, self.world.failures[0]
        found: dict[str, str] = {}
        for export in self.exports:
            documents = list(self.world.cloud.db.collection(f"exports/{export}/runs").stream())
            windows = sorted((each.get("window_start"), each.get("window_end")) for each in documents)
            assert len(windows) == len(set(windows)) == self.WINDOWS, windows
            assert windows[0][1] == windows[1][0], windows
            found |= {each.reference.path: each.get("state") for each in documents}
            left = fields_of(self.world.cloud.db.document(f"exports/{export}").get())
            assert left["next_start"] == windows[-1][1]
        assert set(found.values()) == {"RUNNING"}, found
        assert self.sent == set(found), "each run is published"


@pytest.mark.slow
@kills.MODES
def test_a_tick_or_a_message_killed_or_paused_anywhere_begins_each_window_once(
    new_world: Callable[[], World], outside: Outside, mode: kills.Mode[Behind]
) -> None:
    kills.each(lambda: Behind(new_world(), outside), mode)


class AtOnce(Behind):
    """The same, while no time goes by: no transaction that is paused has expired."""

    GOES_BY = timedelta(0)


@pytest.mark.slow
def test_two_ticks_or_messages_at_once_begin_each_window_once(
    new_world: Callable[[], World], outside: Outside
) -> None:
    kills.each(lambda: AtOnce(new_world(), outside), kills.PAUSED)


def test_with_every_message_delivered_twice_each_window_begins_once(
    new_world: Callable[[], World], outside: Outside
) -> None:
    kills.twice(Behind(new_world(), outside))
