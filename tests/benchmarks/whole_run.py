"""A whole run, from the tick to the manifest: where its time goes."""

import random
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import orjson
from cloudevents.http import from_http

from infra.local.clock import cpu_seconds
from infra.local.pubsub import cloud_event_request
from shared.accounts.customers import add_customer, add_site
from shared.accounts.keys import Caller
from shared.clock import elapsed_since, stopwatch
from shared.exports import service
from shared.exports.steps import KIND
from shared.gcp.clients import Cloud
from shared.http.idempotency import Repeatable
from shared.workorders import store
from shared.workorders.store import Photograph
from tests.benchmarks import services
from tests.benchmarks.measure import Done, Figure, Ground, Spread, Took, digest, seconds, spread, timed
from tests.benchmarks.samples import TASK_GROUPS, work_order
from tests.benchmarks.services import Services
from tests.world import handler

CUSTOMER, BUCKET = "run", "bench-run"
SITE = str(uuid.UUID(int=0xBE7C))

IMAGE_BYTES = 20_000

STEPS = tuple(stage.name for stage in KIND.stages)
"""The steps of a run."""

TICK, REST, TOTAL = "tick", "messages, and between steps", "in all"


@dataclass(frozen=True)
class WholeRun:
    """What a run took, by step, at each repetition, and what it delivered: its lines and its images."""

    name: str
    took: dict[str, list[Took]]
    lines: Done
    images: Done

    def seconds(self, step: str, clock: str) -> Spread:
        """A step's `wall` or `cpu`."""
        return spread([getattr(took, clock) for took in self.took[step]])


WORK_ORDERS, QUICK_WORK_ORDERS = 300, 3
REPETITIONS, QUICK_REPETITIONS = 3, 1


def bench(ground: Ground) -> Iterator[Figure]:
    """Show where the time goes; there is nothing to hold it against."""
    run = perform(ground)
    print(
        f"\n{run.name}, tick to manifest: {run.lines.items:,} work orders ({run.lines.bytes:,} bytes), "
        f"{run.images.items:,} images ({run.images.bytes:,} bytes), {len(run.took[TOTAL])} times; "
        "median (least to most)"
    )
    print(f"  {'':50} {'wall s':24}  CPU s")
    for step in run.took:
        wall, cpu = (seconds(run.seconds(step, clock)) for clock in ("wall", "cpu"))
        print(f"  {step:50} {wall:24}  {cpu}", flush=True)
    yield from ()


def perform(ground: Ground) -> WholeRun:
    """Export that many work orders with three images each; each repetition is an export of its own, made
    in the same way and sent to a folder of its own."""
    cloud, served = ground.cloud, ground.served
    work_orders = QUICK_WORK_ORDERS if ground.quick else WORK_ORDERS
    repetitions = QUICK_REPETITIONS if ground.quick else REPETITIONS
    served.ask(services.onboard, CUSTOMER, CUSTOMER, BUCKET)
    add_customer(cloud.db, id=CUSTOMER, slug=CUSTOMER, name="Run")
    _make_work_orders(cloud, work_orders)
    served.ask(services.wait, timedelta(minutes=2))  # the window ends at a whole minute
    took: dict[str, list[Took]] = defaultdict(list)
    done: set[tuple[Done, Done]] = set()
    for repetition in range(repetitions + 1):
        folder = f"r{repetition}"
        _make_export(cloud, folder)
        steps = tick_and_deliver(served)
        done.add(_delivered(served, folder))
        if repetition:
            for step, time in steps.items():
                took[step].append(time)
    ((lines, images),) = done  # every run delivered the same
    return WholeRun("a whole run", dict(took), lines, images)


def _make_work_orders(cloud: Cloud, work_orders: int) -> None:
    site = add_site(cloud.db, id=SITE, customer=CUSTOMER, name="North", task_groups=TASK_GROUPS)

    def one(number: int) -> None:
        like = work_order(number)
        contents = random.Random(number)
        photographs = [
            Photograph(
                task_group=item.name,
                file_name=f"{item.name}.jpg",
                content=contents.randbytes(IMAGE_BYTES),
                metadata=item.input[0].metadata,
                data_conformity=item.input[0].data_conformity,
                job_conformity=item.input[0].job_conformity,
            )
            for item in like.work_items
        ]
        store.create(cloud, site, like.name, metadata=like.metadata, photographs=photographs)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, range(work_orders)))


def _make_export(cloud: Cloud, folder: str) -> None:
    body = {
        "name": folder,
        "site_ids": [SITE],
        "interval": "once",
        "connector_type": "cloud_storage",
        "connector_config": {"storage_uri": f"gs://{BUCKET}/{folder}", "export_images": True},
    }
    caller = Caller(key="bench", customer=CUSTOMER, scopes=frozenset(), site=None)
    service.create(cloud, caller, body, Repeatable(None, ""))


def tick_and_deliver(served: Services) -> dict[str, Took]:
    """Tick, and deliver messages until none is due: what each step of a run took, and all of it."""
    steps: dict[str, Took] = {step: Took(0, 0) for step in (TICK, *STEPS)}

    def counted(step: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*args: Any) -> Any:
            cpu, wall = cpu_seconds(), stopwatch()
            try:
                return work(*args)
            finally:
                before = steps[step]
                steps[step] = Took(before.wall + elapsed_since(wall), before.cpu + cpu_seconds() - cpu)

        return counting

    def from_tick_to_manifest() -> None:
        served.ask(services.tick)
        while delivery := served.ask(services.take):
            handle = handler(delivery.function)
            if delivery.function in ("tick", "begin_exports"):
                handle = counted(TICK, handle)
            handle(from_http(*cloud_event_request(delivery)))
            served.ask(services.acknowledge, delivery)

    stages = KIND.stages
    object.__setattr__(
        KIND, "stages", tuple(replace(each, step=counted(each.name, each.step)) for each in stages)
    )
    try:
        total, _ = timed(from_tick_to_manifest)
    finally:
        object.__setattr__(KIND, "stages", stages)
    wall, cpu = (sum(getattr(took, clock) for took in steps.values()) for clock in ("wall", "cpu"))
    return {**steps, REST: Took(total.wall - wall, total.cpu - cpu), TOTAL: total}


def _delivered(served: Services, folder: str) -> tuple[Done, Done]:
    """What the manifest lists and what is there; AssertionError where that is not all of it."""
    landed = {each.name: each for each in served.ask(services.landed, BUCKET, f"{folder}/")}
    (name,) = (name for name in landed if "/_manifests/" in name)
    manifest = orjson.loads(served.ask(services.read, BUCKET, name))
    lines: list[bytes] = []
    for file in manifest["files"]:
        lines += served.ask(services.read, BUCKET, file["name"]).splitlines()
    images = [each for each in landed.values() if "/images/" in each.name]
    listed = digest([f"{each.name.removeprefix(folder)} {each.crc32c}".encode() for each in images])
    return digest(lines), Done(listed.items, sum(each.size for each in images), listed.sha256)
