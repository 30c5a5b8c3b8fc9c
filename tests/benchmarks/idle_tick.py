"""A tick with very many exports against one with few, where no export is due, and where ten are.

By CPU of ours and by calls. The time by the clock would be that of the laptop's Firestore, which has no index
of a single field: two of the tick's queries look through all exports there. Google's has one of each field.
https://firebase.google.com/docs/firestore/query-data/index-overview#automatic_indexing
"""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from infra.local.suite import Suite
from shared import minute
from shared.accounts.customers import add_customer, add_site
from shared.accounts.keys import Caller
from shared.exports import service
from shared.gcp.clients import Cloud
from shared.gcp.documents import fields_of, server_time
from shared.gcp.messages import Message
from shared.http.idempotency import Repeatable
from tests.benchmarks import services
from tests.benchmarks.measure import Done, Figure, Ground, Side, compare, digest, shown
from tests.benchmarks.services import Services

EXPORTS, QUICK_EXPORTS = 10_000, 100
FEW = 10
TICKS, QUICK_TICKS = 5, 2
"""How many ticks are timed as one."""

REPETITIONS, QUICK_REPETITIONS = 7, 1
DUE = 10
LIMIT = 1.2
CUSTOMER = "idle"
BATCH_WRITES = 500

STATES = ("ACTIVE", "ACTIVE", "ACTIVE", "PAUSED", "SUSPENDED", "ENDED", "DELETED")
"""The states of exports, by turns; those that are due are active."""


def bench(ground: Ground) -> Iterator[Figure]:
    """Tick by turns in two projects, with many exports and with few."""
    many = QUICK_EXPORTS if ground.quick else EXPORTS
    ticks = QUICK_TICKS if ground.quick else TICKS
    with ExitStack() as opened:
        served_many, cloud_many = opened.enter_context(services.running())
        _connect(cloud_many)
        served_few, cloud_few = opened.enter_context(services.running())
        _connect(cloud_few)
        sides = (
            (f"{many:,} exports", served_many, cloud_many, many),
            (f"{FEW} exports", served_few, cloud_few, FEW),
        )
        at = server_time(cloud_many.db).replace(second=0, microsecond=0)
        for _, _, cloud, exports in sides:
            _configure(cloud, exports, at)
        calls = {}
        for due in (0, DUE):
            for _, _, cloud, _ in sides:
                _make_due(cloud, due, at)
            works = []
            for name, served, cloud, _ in sides:
                calls[name] = _calls(served, cloud, at)
                works.append(Side(name, partial(_tick, served, cloud, at, ticks)))
            repetitions = QUICK_REPETITIONS if ground.quick else REPETITIONS
            done = partial(_done, ticks)
            label = f"tick_with_{due}_due" if due else "idle_tick"
            found = shown(compare(f"{label}, {due} exports are due", "ticks", repetitions, works, done))
            ours, theirs = (found.seconds(side, "cpu").median / ticks * 1e3 for side in found.sides)
            ratio = found.share(found.sides[1], "cpu").median
            yield Figure(label, ratio, ours, theirs, "ms of CPU a tick", LIMIT)
            one, other = (calls[name] for name, *_ in sides)
            yield Figure(f"{label}_calls", one / other, one, other, "calls a tick", LIMIT)


def _connect(cloud: Cloud) -> None:
    """Publish a message, so that Pub/Sub's client is made while the environment names these services."""
    cloud.messages.publish("tick", {})


def _tick(served: Services, cloud: Cloud, at: datetime, ticks: int, _: int) -> Services:
    for _ in range(ticks):
        minute.tick(cloud, Message({}, at, "tick"))
    return served


def _done(ticks: int, _side: Side[Services], _repetition: int, served: Services) -> Done:
    """What the ticks published: the same exports, whatever else there is."""
    published = []
    while delivery := served.ask(services.take):
        published.append(delivery.data)
        served.ask(services.acknowledge, delivery)
    did = digest(published)
    return Done(ticks, did.bytes, did.sha256)


def _calls(served: Services, cloud: Cloud, at: datetime) -> int:
    """How many calls one tick makes."""
    served.ask(_forget)
    minute.tick(cloud, Message({}, at, "tick"))
    calls = served.ask(_count)
    while delivery := served.ask(services.take):
        served.ask(services.acknowledge, delivery)
    return calls


def _forget(suite: Suite) -> None:
    suite.traffic.forget()


def _count(suite: Suite) -> int:
    return len(suite.traffic.calls())


def _configure(cloud: Cloud, exports: int, at: datetime) -> None:
    """Write documents of that many exports, none of which is due at `at`, and of what some ran last."""
    add_customer(cloud.db, id=CUSTOMER, slug=CUSTOMER, name="Idle")
    site = add_site(cloud.db, id=str(UUID(int=0x1D1E)), customer=CUSTOMER, name="North")
    body = {
        "name": "Nightly",
        "site_ids": [site.id],
        "interval": "daily",
        "connector_type": "cloud_storage",
        "connector_config": {"storage_uri": "gs://idle-bi/nightly"},
    }
    caller = Caller(key="bench", customer=CUSTOMER, scopes=frozenset(), site=None)
    made = service.create(cloud, caller, body, Repeatable(None, ""))
    template = fields_of(cloud.db.document(f"exports/{made.id}").get())
    cloud.db.document(f"exports/{made.id}").delete()
    batch, held = cloud.db.batch(), 0
    for number in range(exports):
        state = "ACTIVE" if number < DUE else STATES[number % len(STATES)]
        due = {
            "ACTIVE": at + timedelta(days=1, minutes=number),
            "PAUSED": at - timedelta(days=30),
            "SUSPENDED": at - timedelta(days=3),
        }.get(state)
        path = f"exports/{number:06}"
        batch.set(cloud.db.document(path), {**template, "state": state, "next_due": due})
        held += 1
        if number % 10 == 0:
            run = {"customer": CUSTOMER, "state": "COMPLETED", "origin": "Schedule", "due": at}
            batch.set(cloud.db.document(f"{path}/runs/0123456789"), {**run, "swept": at - timedelta(days=1)})
            held += 1
        if held >= BATCH_WRITES:
            batch.commit()
            batch, held = cloud.db.batch(), 0
    batch.commit()


def _make_due(cloud: Cloud, due: int, at: datetime) -> None:
    for number in range(due):
        cloud.db.document(f"exports/{number:06}").update({"next_due": at - timedelta(minutes=1)})
