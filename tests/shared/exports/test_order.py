"""Fifty exports of one customer due at once: in turn, in order of due time, whatever dies or hangs."""

import json
import random
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from google.cloud.firestore_v1 import FieldFilter

from infra.local.pubsub import Delivery
from shared.accounts.customers import add_site
from shared.accounts.keys import create_key
from shared.exports.beginning import MAX_EXPORTS
from shared.exports.export import BEGIN_FUNCTION
from shared.exports.runs import DELIVERING, RUNNING
from shared.gcp.documents import fields_of
from shared.work.slots import SLOT_LEASE
from tests.outside import Killed, Outside
from tests.subjects.small_run import MORNING
from tests.world import BUCKET, THEIR_SITE, World

pytestmark = pytest.mark.slow  # a minute together

FAILING, STUCK = 2, 4
"""Which ones, in order of due time, fail and never answer."""

DEADLY = 0.25
"""How often a process dies at one of its first DEADLY_CALLS calls."""

DEADLY_CALLS = 40


class Crowd:
    """Exports of one customer that one tick finds due, two at each minute before it, and how they go."""

    def __init__(self, world: World, exports: int, parallel: int, *, stuck: bool = True) -> None:
        self.world = world
        self.parallel = parallel
        self.most = 0
        world.cloud.db.document("customers/acme").update({"parallel_exports": parallel})
        world.suite.storage.create_bucket("acme-closed")
        world.work_order("WO_1", photographs=0)
        self.exports = [self._make(number) for number in range(exports)]
        self.stuck = self.exports[STUCK] if stuck else None
        self.failing = self.exports[FAILING]

    def _make(self, number: int) -> str:
        bucket = "acme-closed" if number == FAILING else BUCKET
        return self.world.export(
            name=f"Number {number}",
            at=f"01:{number // 2:02}",
            connector_config={"storage_uri": f"gs://{bucket}/{number:02}", "export_images": False},
        )

    def push(self, delivery: Delivery) -> bool:
        """Deliver, a moment later, and look at who is at it; what the stuck one's run is sent goes
        unanswered."""
        self.world.wait(timedelta(milliseconds=10))
        if self.stuck and delivery.function != BEGIN_FUNCTION and self.stuck.encode() in delivery.data:
            return True
        answered = self.world.push(delivery)
        self.look()
        return answered

    def look(self) -> None:
        """Count those that hold a slot: that are under way and have shown life within the lease."""
        now = self.world.suite.clock.now()
        under_way = (
            self.world.cloud.db.collection_group("runs")
            .where(filter=FieldFilter("state", "in", [RUNNING, DELIVERING]))
            .where(filter=FieldFilter("customer", "==", "acme"))
            .where(filter=FieldFilter("waiting", "==", False))
            .where(filter=FieldFilter("heartbeat", ">=", now - SLOT_LEASE))
            .order_by("heartbeat")
            .select([])
        )
        self.most = max(self.most, len(list(under_way.stream())))  # `held` looks at it: a delivery may fail

    def runs(self, customer: str) -> Iterator[dict[str, Any]]:
        for each in self.world.cloud.db.collection_group("runs").stream():
            fields = fields_of(each)
            if fields["customer"] == customer:
                yield {**fields, "name": fields["config"]["name"], "export": each.reference.parent.parent.id}

    def go(self, minutes: int) -> None:
        """Ticks each minute, and all that comes of them."""
        for _ in range(minutes):
            self.world.tick()
            while self.world.suite.pubsub.deliver_due(self.push):
                pass
            if not self.under_way():
                return
            self.world.wait(timedelta(minutes=1))
        raise AssertionError([(run["due"], run["state"]) for run in self.others()])

    def under_way(self) -> bool:
        """Whether a run of theirs other than the stuck one has yet to end."""
        left = (
            self.world.cloud.db.collection_group("runs")
            .where(filter=FieldFilter("customer", "==", "acme"))
            .where(filter=FieldFilter("state", "in", ["PENDING", RUNNING, DELIVERING]))
            .order_by("due")
            .select([])
        )
        return any(each.reference.parent.parent.id != self.stuck for each in left.stream())

    def others(self) -> list[dict[str, Any]]:
        """The runs of all but the stuck one, in order of their start."""
        theirs = [run for run in self.runs("acme") if run["export"] != self.stuck]
        return sorted(theirs, key=lambda run: (run["started"], run["due"]) if "started" in run else ())

    def held(self) -> None:
        """Each of the others ran once, in order, and landed; the failing one said why."""
        ran = self.others()
        assert len(ran) == len(self.exports) - (self.stuck is not None)
        dues = [run["due"] for run in ran]
        assert dues == sorted(dues), "not in order of due time"
        states = {run["export"]: run["state"] for run in ran}
        assert states.pop(self.failing) == "FAILED"
        assert set(states.values()) == {"COMPLETED"}, states
        (failed,) = (run["audit"] for run in ran if run["export"] == self.failing)
        assert "acme-closed" in failed["error"]
        landed = self.world.landed()
        for kind in ("/dt=", "/_manifests/"):
            files = sorted(name for name in landed if kind in name)
            assert [name[:2] for name in files] == [
                f"{number:02}"
                for number, export in enumerate(self.exports)
                if export not in (self.stuck, self.failing)
            ]
        assert self.most == self.parallel, "at a time, at some moment"


def dying(crowd: Crowd, outside: Outside, seed: int) -> Any:
    """Delivers as the crowd does, but now and then to a process that dies."""
    chance = random.Random(seed)
    push = crowd.world.push

    def die(delivery: Delivery) -> bool:
        fatal = chance.random() < DEADLY
        outside.arm(chance.randint(1, DEADLY_CALLS) if fatal else 0, chance.choice(("before", "after")))
        try:
            with outside.watching():
                return push(delivery)
        except Killed:
            outside.dead = False
            return False

    return die


SOME = [(12, 1), (12, 3)]
"""How many exports, and how many may run at once. Each test takes fifty once, too: as many as one message
begins."""


@pytest.mark.parametrize(("exports", "parallel"), [*SOME, (MAX_EXPORTS, 1)])
def test_one_that_fails_and_one_that_is_stuck_keep_none_of_fifty_from_running_in_order(
    world: World, exports: int, parallel: int, capsys: pytest.CaptureFixture[str]
) -> None:
    crowd = Crowd(world, exports, parallel)
    world.move_to(MORNING)
    crowd.go(35)
    crowd.held()
    assert not world.failures, world.failures[0]
    (stuck,) = (run for run in crowd.runs("acme") if run["export"] == crowd.stuck)
    assert stuck["state"] == "RUNNING"
    ended = max(run["finished"] for run in crowd.others())
    if parallel == 1:  # it held the only slot, for its lease and until the next tick
        after = [run["started"] for run in crowd.others() if run["started"] > stuck["started"]]
        assert SLOT_LEASE <= min(after) - stuck["started"] <= SLOT_LEASE + timedelta(minutes=2)
    else:
        assert ended - stuck["started"] < timedelta(minutes=2)
    while crowd.world.suite.clock.now() - stuck["started"] < timedelta(hours=4):
        world.wait(timedelta(minutes=16))
        world.tick()
        while world.suite.pubsub.deliver_due(crowd.push):
            pass
    (event,) = world.audit(str(crowd.stuck))
    assert event["status"] == "RUNNING"
    logged = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    errors = [
        line for line in logged if line["severity"] == "ERROR" and str(crowd.stuck) in line.get("work", "")
    ]
    assert "nobody begins a piece" in errors[-1]["message"], errors
    assert errors[-1]["function"] == "export_work_orders_timeline"


def test_a_stuck_one_that_is_answered_again_lands_and_runs_beside_no_more_than_may(world: World) -> None:
    crowd = Crowd(world, 8, 1)
    world.move_to(MORNING)
    stuck, gone = crowd.stuck, timedelta(minutes=20)
    world.tick()
    while world.suite.pubsub.deliver_due(crowd.push):
        pass
    world.wait(gone)  # silent for longer than the sweep waits, and not for its lease
    crowd.stuck = None
    crowd.go(3)
    crowd.held()
    assert [run["state"] for run in crowd.runs("acme") if run["export"] == stuck] == ["COMPLETED"]


@pytest.mark.parametrize(
    ("exports", "parallel", "seed"),
    [(*some, seed) for some in SOME for seed in (1, 2)] + [(MAX_EXPORTS, 3, 1)],
)
def test_processes_that_die_change_neither_the_order_nor_how_many_run_at_a_time(
    world: World, outside: Outside, monkeypatch: pytest.MonkeyPatch, exports: int, parallel: int, seed: int
) -> None:
    crowd = Crowd(world, exports, parallel)
    monkeypatch.setattr(world, "push", dying(crowd, outside, seed))
    world.move_to(MORNING)
    # Two of three deaths cost their run the lease, and a minute until the sweep: four minutes each.
    crowd.go(150)
    crowd.held()


def test_another_customers_exports_go_on_while_one_is_stuck(world: World) -> None:
    globex = world.onboard("globex", "globex")
    add_site(world.cloud.db, id=THEIR_SITE, customer="globex", name="Theirs", task_groups=("meter",))
    key = create_key(world.cloud.db, customer="globex", scopes=["exports"], site=THEIR_SITE)
    world.suite.storage.create_bucket("globex-bi")
    world.grant("globex-bi", globex)
    crowd = Crowd(world, 8, 1)
    for number in range(3):
        body = {
            "name": f"Theirs {number}",
            "site_ids": [THEIR_SITE],
            "interval": "daily",
            "connector_type": "cloud_storage",
            "connector_config": {"storage_uri": f"gs://globex-bi/{number}", "export_images": False},
        }
        assert world.request("POST", "/v1/exports", body, key=key).status == 201
    world.move_to(MORNING)
    world.tick()
    while world.suite.pubsub.deliver_due(crowd.push):
        pass
    assert [run["state"] for run in crowd.runs("globex")] == ["COMPLETED"] * 3
    waiting = {run["name"] for run in crowd.runs("acme") if run["state"] == "PENDING"}
    assert {"Number 6", "Number 7"} <= waiting
