"""From a PATCH of a work order to its line in the customer's bucket, with windows of one minute: how long it
takes, and where the seconds go.

Nothing sleeps. The wait for the window's end is made by setting the suite's clock: it is as long as it would
be. What Google Cloud adds (Scheduler, and each message's way) is assumed, by the constants below. All else is
done, and timed: the tick, the run's pieces with their calls, and taking messages.
"""

import math
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from uuid import UUID

import orjson
from werkzeug.wrappers import Response

from infra.local.suite import Suite
from shared.accounts.customers import add_customer, add_site
from shared.accounts.keys import Caller, create_key
from shared.exports import service
from shared.http.idempotency import Repeatable
from shared.window import floor_minute
from shared.workorders import store
from tests.benchmarks import services
from tests.benchmarks.measure import Figure, Ground
from tests.benchmarks.services import Services
from tests.benchmarks.whole_run import TOTAL, tick_and_deliver
from tests.world import environ, framework

CHANGES, QUICK_CHANGES = 40, 2
"""How many changes are followed, spread evenly over their minutes."""

LIMIT = 75.0
"""Seconds from the change to its line, at the 95th percentile."""

TICK_LATE_SECONDS = 5.0
"""Assumed: how late the tick of a minute is published. Cloud Scheduler promises nothing; jobs start within
seconds. https://cloud.google.com/scheduler/docs/overview"""

HOP_SECONDS = 0.5
"""Assumed: how long a message is on its way from its publisher to a function that runs already: Pub/Sub,
Eventarc and the start of a request. https://cloud.google.com/pubsub/architecture"""

INTERVAL = "every 1 minutes"
"""The shortest there is."""

CUSTOMER, BUCKET = "latency", "bench-latency"
MINUTE = timedelta(minutes=1)

WAIT, LATE, HOPS = "waiting for the window's end", "the tick's lateness", "messages' way"


def bench(ground: Ground) -> Iterator[Figure]:
    """Follow some changes, each in a minute of its own."""
    changes = QUICK_CHANGES if ground.quick else CHANGES
    key, id = _prepare(ground)
    parts: dict[str, list[float]] = defaultdict(list)
    latencies = []
    for number in range(changes):
        took = _follow(ground, key, id, number, (number + 0.5) / changes)
        latencies.append(sum(took.values()))
        for part, seconds in took.items():
            parts[part].append(seconds)
    print(f"\nfrom a change to its line, windows of one minute, {changes} changes; seconds")
    print(f"  {'':50} {'mean':>7} {'at 95 %':>7}")
    for part, each in {**parts, "in all": latencies}.items():
        how = {WAIT: " (made by the clock)", LATE: " (assumed)", HOPS: " (assumed)"}.get(part, " (measured)")
        how = "" if part == "in all" else how
        print(f"  {part + how:50} {sum(each) / changes:7.2f} {percentile(each):7.2f}")
    late = percentile(latencies)
    yield Figure("latency", late, late, 1.0, "s at the 95th percentile", LIMIT)


def percentile(values: list[float], share: float = 0.95) -> float:
    """The least value that so many are not above."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


def _prepare(ground: Ground) -> tuple[str, str]:
    """Make a customer with a work order, an export of it each minute and a key; returns the key and the work
    order's id."""
    cloud, served = ground.cloud, ground.served
    served.ask(services.onboard, CUSTOMER, CUSTOMER, BUCKET)
    add_customer(cloud.db, id=CUSTOMER, slug=CUSTOMER, name="Latency")
    site = add_site(cloud.db, id=str(UUID(int=0x1A7E)), customer=CUSTOMER, name="North")
    key = create_key(cloud.db, customer=CUSTOMER, scopes=["batches"], site=site.id)
    made = store.create(cloud, site, "WO_1", metadata={"change": -1}, photographs=[])
    body = {
        "name": "Each minute",
        "site_ids": [site.id],
        "interval": INTERVAL,
        "connector_type": "cloud_storage",
        "connector_config": {"storage_uri": f"gs://{BUCKET}/minutes"},
    }
    caller = Caller(key="bench", customer=CUSTOMER, scopes=frozenset(), site=None)
    service.create(cloud, caller, body, Repeatable(None, ""))
    # The window in which it was made is brought first.
    served.ask(_set, floor_minute(served.ask(_now)) + MINUTE)
    tick_and_deliver(served)
    return key, str(made.id)


def _follow(ground: Ground, key: str, id: str, number: int, phase: float) -> dict[str, float]:
    """Change the work order at a phase of a minute, and bring the window: seconds, by what they go to.
    AssertionError where the line is not there then."""
    served = ground.served
    before = set(_files(served))
    begin = floor_minute(served.ask(_now)) + MINUTE
    served.ask(_set, begin + MINUTE * phase)
    answer = Response.from_app(
        framework("batches"),
        environ(
            f"/v0.2/work-orders/{id}",
            method="PATCH",
            json={"metadata": {"change": number}},
            headers={"Authorization": f"Token {key}"},
        ),
    )
    assert answer.status_code == 200, answer.get_data()
    changed = datetime.fromisoformat(answer.get_json()["update_date"])
    while delivery := served.ask(services.take):  # its analysis is not what is waited for here
        served.ask(services.acknowledge, delivery)
    end = floor_minute(changed) + MINUTE
    served.ask(_set, end)
    steps = tick_and_deliver(served)
    (name,) = (each for each in set(_files(served)) - before if "/_manifests/" not in each)
    lines = [orjson.loads(line) for line in served.ask(services.read, BUCKET, name).splitlines()]
    assert [(line["id"], line["metadata"]["change"]) for line in lines] == [(id, number)], lines
    hops = served.ask(_delivered)
    return {
        WAIT: (end - changed).total_seconds(),
        LATE: TICK_LATE_SECONDS,
        HOPS: hops * HOP_SECONDS,
        **{step: took.wall for step, took in steps.items() if step != TOTAL},
    }


def _files(served: Services) -> list[str]:
    return [each.name for each in served.ask(services.landed, BUCKET, "minutes/")]


def _now(suite: Suite) -> datetime:
    return suite.clock.now()


def _set(suite: Suite, at: datetime) -> None:
    """Set the clock, and forget which calls were made."""
    suite.move_clock(max(at, suite.clock.now()))
    suite.traffic.forget()


def _delivered(suite: Suite) -> int:
    """How many messages were delivered since the clock was set."""
    return len(suite.traffic.calls("pubsub.push"))
