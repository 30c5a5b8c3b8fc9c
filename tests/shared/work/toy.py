"""A toy kind of work: one module, as any kind. It makes a list of numbers, writes each down, and ends.

plan    how many numbers there are
double  one piece a number: an object in our bucket, and the number doubled
finish  adds the doubled numbers up, and says whose they are; not to be cancelled
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from cloudevents.http import from_http

from infra.local.pubsub import Delivery, cloud_event_request
from shared.errors import GiveUp, Retry
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, fields_of
from shared.gcp.messages import parse
from shared.work import control, pieces
from shared.work.attempts import Attempt
from shared.work.engine import perform
from shared.work.kinds import Done, End, Kind, Later, Stage, Writes
from shared.work.sweep import sweep
from tests.outside import Outside
from tests.world import World

PLANS, DOUBLES = "export_source", "copy_images"
"""The topics whose messages go to the toy; their real functions are not called."""

OLD = timedelta(days=7)


@dataclass(frozen=True)
class Toy:
    id: str
    path: str
    count: int
    plans: dict[str, str]
    planned: datetime | None


@dataclass
class Steps:
    """What the toy's steps do beside their work, by stage: a test sets it."""

    does: dict[str, Callable[[Attempt], Any]] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)

    def begin(self, stage: str, attempt: Attempt) -> Any:
        self.done.append(attempt.piece.name)
        return self.does[stage](attempt) if stage in self.does else None


def parse_toy(snapshot: Snapshot) -> Toy:
    fields = fields_of(snapshot)
    return Toy(
        snapshot.id, snapshot.reference.path, fields["count"], fields.get("plans", {}), fields.get("planned")
    )


def toy_kind(steps: Steps) -> Kind[Toy]:
    def plan(cloud: Cloud, toy: Toy, attempt: Attempt) -> Done | Later:
        changed = steps.begin("plan", attempt)
        if changed is not None:
            instead: Done | Later = changed
            return instead
        numbers = ((f"{number:06}", {"number": number}) for number in range(toy.count))
        return Done(plans={"double": numbers}, work={"planned": attempt.piece.heartbeat})

    def double(cloud: Cloud, toy: Toy, attempt: Attempt) -> Done | Later:
        changed = steps.begin("double", attempt)
        if changed is not None:
            result: Done | Later = changed
            return result
        number = attempt.fields["number"]
        name = f"toys/{toy.id}/{number}"
        cloud.objects.create(cloud.settings.staging_bucket, name, b"%d" % number, "text/plain")
        return Done({"doubled": 2 * number, "by": attempt.id})

    def finish(cloud: Cloud, toy: Toy, attempt: Attempt) -> Done | Later:
        changed = steps.begin("finish", attempt)
        if changed is not None:
            instead: Done | Later = changed
            return instead
        found = [each.fields for each in pieces.results(cloud, toy.path, toy.plans["double"])]
        counted = {"sum": sum(each["doubled"] for each in found), "by": [each.get("by") for each in found]}
        return Done(end=End("COMPLETED", counted))

    def ending(_: Cloud, __: Any, work: Snapshot, end: End) -> Writes:
        return Writes(documents={f"{work.reference.path}/ends/{end.state}": {"state": end.state}})

    def waiting(_: Cloud, toy: Toy, why: str) -> Writes:
        return Writes(documents={f"{toy.path}/reports/waiting": {"why": why}})

    return Kind(
        name="toy",
        collection="toys",
        stages=(
            Stage("plan", "PLANNING", lambda _: PLANS, plan),
            Stage("double", "DOUBLING", lambda _: DOUBLES, double),
            Stage("finish", "FINISHING", lambda _: PLANS, finish, cancellable=False),
        ),
        parse=parse_toy,
        ids=lambda toy: {"toy": toy.id},
        ending=ending,
        waiting=waiting,
        replans=lambda toy, now: {} if toy.planned is not None and now - toy.planned > OLD else None,
    )


class Toys:
    """Toys in the small world: messages are delivered when a test says so."""

    def __init__(self, world: World, outside: Outside) -> None:
        self.world = world
        self.outside = outside
        self.steps = Steps()
        self.kind = toy_kind(self.steps)
        self.faults: list[str] = []
        self.twice = False

    @property
    def cloud(self) -> Cloud:
        return self.world.cloud

    def make(
        self, id: str = "one", count: int = 3, customer: str = "acme", after: timedelta | None = None
    ) -> Any:
        reference = self.cloud.db.document(f"toys/{id}")
        control.create(self.cloud, self.kind, reference, customer, {"count": count}, after)
        return reference

    def push(self, delivery: Delivery) -> bool:
        """Deliver as usual, but a process that was killed answers nothing."""
        return bool(self.outside.alive(lambda: self.deliver(delivery)))

    def deliver(self, delivery: Delivery) -> bool:
        headers, body = cloud_event_request(delivery)
        try:
            perform(self.cloud, self.kind, parse(from_http(headers, body)).body)
            if self.twice:
                perform(self.cloud, self.kind, parse(from_http(headers, body)).body)
        except Retry:
            return False
        except Exception as fault:
            self.faults.append(repr(fault))
            return False
        return True

    def drain(self, push: Callable[[Delivery], bool] | None = None) -> None:
        for _ in range(2_000):
            if not self.world.suite.pubsub.deliver_due(push or self.push):
                return
        raise AssertionError("messages go round in circles")

    def sweep(self) -> None:
        sweep(self.cloud, self.world.suite.clock.now())

    def settle(self) -> None:
        """Let time go by, with its redeliveries and sweeps, until nothing is open. A message that an attempt
        is paused at is not waited for."""
        for minutes in (*[5] * 20, *[360] * 10):
            self.world.wait(timedelta(minutes=minutes))
            self.sweep()
            self.drain()
            left = [each.reference.path for each in self.open_pieces()]
            if not left and not self.world.waiting():
                return
        raise AssertionError(f"still open: {left}, {self.world.waiting()}")

    def open_pieces(self) -> Iterator[Snapshot]:
        for each in self.cloud.db.collection_group("pieces").stream():
            if each.get("next") is not None or each.get("status") in ("OPEN", "QUEUED", "READY"):
                yield each


def fields(reference: Any) -> dict[str, Any]:
    return fields_of(reference.get())


def fails(error: Exception) -> Callable[[Attempt], Any]:
    def step(_: Attempt) -> Any:
        raise error

    return step


__all__ = ["GiveUp", "Retry", "Toys", "fails", "fields"]
