"""What a tick costs where nothing is due: the same, however many exports there are."""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from itertools import islice
from typing import Any

import pytest

from shared.gcp.documents import fields_of
from tests.subjects.documents_read import documents_read
from tests.subjects.small_run import MORNING
from tests.world import World

pytestmark = pytest.mark.ours_only("looks at what our Firestore reads")

CALLS = {"pubsub.push": 1, "firestore.RunQuery": 8}
"""What a tick without work asks for: which exports are due, of which failed windows are to be retried, which
are being deleted, which runs are pending, and which pieces are to be looked at, a query for each of their
four states. The push is the tick itself. A query that finds nothing is billed as one read.
https://firebase.google.com/docs/firestore/pricing#operations"""

BATCH_WRITES = 500
"""How many documents a test writes at once."""

STATES = ("ACTIVE", "ACTIVE", "ACTIVE", "PAUSED", "SUSPENDED", "ENDED", "DELETED")


def configure(world: World, exports: int) -> None:
    """Write documents of that many exports of which none is due, and of what each ran last."""
    made = world.cloud.db.document(f"exports/{world.export()}")
    template = fields_of(made.get())
    made.delete()

    def documents() -> Iterator[tuple[str, dict[str, Any]]]:
        for number in range(exports):
            state = STATES[number % len(STATES)]
            due = {
                "ACTIVE": MORNING + timedelta(minutes=1 + number),
                "PAUSED": MORNING - timedelta(days=30),  # what is long past is not due for all that
                "SUSPENDED": MORNING - timedelta(days=3),
            }.get(state)
            yield f"exports/{number:06}", {**template, "state": state, "next_due": due}
            if number % 10 == 0:
                ended = "FAILED" if state == "SUSPENDED" else "COMPLETED"
                run = {"customer": "acme", "state": ended, "origin": "Schedule", "due": MORNING}
                yield f"exports/{number:06}/runs/0123456789", {**run, "swept": MORNING - timedelta(days=1)}

    waiting = documents()
    while some := list(islice(waiting, BATCH_WRITES)):
        batch = world.cloud.db.batch()
        for path, fields in some:
            batch.set(world.cloud.db.document(path), fields)
        batch.commit()


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of the documents that Firestore has answered with."""
    return documents_read(monkeypatch)


@pytest.mark.parametrize("exports", [0, 500, pytest.param(2_000, marks=pytest.mark.slow)])
def test_a_tick_costs_the_same_however_many_exports_are_not_due(
    world: World, read: list[str], exports: int
) -> None:
    configure(world, exports)
    world.suite.traffic.forget()
    read.clear()
    world.run_due(MORNING)
    calls = Counter(call.kind for call in world.suite.traffic.calls())
    assert (dict(calls), read) == (CALLS, [])


def test_a_tick_at_which_one_of_many_is_due_reads_that_one(world: World, read: list[str]) -> None:
    configure(world, 200)
    due = world.export()
    read.clear()
    world.tick(MORNING)
    world.step()  # the tick
    world.step()  # and the one message that it publishes
    assert {path.split("/")[1] for path in read if path.startswith("exports/")} == {due}
