"""The calculator's counts against what the suite's services count, for small cases.

The counts are exact where the functions do the same each time. Where pieces wait in their customer's queue,
it depends on the order in which they end how often that is looked at: there the calculator says the most, and
the test says by how much it may be wrong.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from infra.estimate import charges
from infra.estimate.charges import Charges
from infra.estimate.usage import Usage
from infra.local import traffic
from shared import removals
from shared.batches import importing, reporting
from shared.datasets import reading, samples
from shared.datasets.request import ALL
from shared.gcp.documents import fields_of
from shared.jobs import importing as job_importing
from shared.settings import Settings
from shared.work import lifetimes
from tests.archives import File, zipped
from tests.metered import INVOCATIONS, Metered
from tests.subjects.small_dataset import Datasets
from tests.subjects.small_job import Jobs
from tests.world import BUNDLE, OTHER_SITE, SITE, World, jpeg

pytestmark = pytest.mark.slow

BEGINNING = datetime(2026, 11, 22, 10, tzinfo=UTC)
MORNING = datetime(2026, 11, 23, 2, tzinfo=UTC)

Measure = Callable[..., Metered]


@pytest.fixture
def metered(world: World, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Metered]:
    """Begins to add up: what was charged for before is forgotten."""

    def begin() -> Metered:
        world.drain()
        world.suite.traffic.take_billed()
        return Metered(world, monkeypatch)

    return begin


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Gives the functions and the calculator other sizes than the usual ones."""

    def have(**changed: int) -> None:
        for name, value in changed.items():
            monkeypatch.setenv(f"WAYBILL_{name.upper()}", str(value))
        made: Settings = replace(charges.SETTINGS, **changed)  # type: ignore[arg-type]
        monkeypatch.setattr(charges, "SETTINGS", made)

    return have


def counts(name: str, expected: Charges) -> dict[str, float]:
    """What the calculator says of a function, by what is charged."""
    found = {
        INVOCATIONS: expected.calls,
        traffic.READS: expected.reads,
        traffic.WRITES: expected.writes,
        traffic.DELETES: expected.deletes,
        traffic.CLASS_A: expected.class_a,
        traffic.CLASS_B: expected.class_b,
        traffic.MESSAGES: expected.messages,
        traffic.MESSAGE_BYTES: expected.message_bytes(called_by_message=not BUNDLE.functions[name].paths),
    }
    return {charged: number for charged, number in found.items() if number}


def same(seen: Mapping[str, Mapping[str, int]], expected: Mapping[str, Charges]) -> None:
    """Each function was charged for exactly that; of bytes of messages within one in a hundred, since the
    names in an event of Cloud Storage differ in length."""
    assert seen.keys() == expected.keys()
    for name, charged in seen.items():
        known = counts(name, expected[name])
        bytes_of = charged.get(traffic.MESSAGE_BYTES, 0), known.pop(traffic.MESSAGE_BYTES, 0)
        assert bytes_of[0] == pytest.approx(bytes_of[1], rel=0.01), name
        assert {**charged, traffic.MESSAGE_BYTES: 0} == {**known, traffic.MESSAGE_BYTES: 0}, name


def at_most(seen: Mapping[str, int], name: str, expected: Charges, least: float) -> None:
    """A function was charged for at most that, and for so large a share of it at least."""
    known = counts(name, expected)
    assert seen.keys() == known.keys()
    for charged, number in seen.items():
        assert least * known[charged] <= number <= known[charged], (name, charged, number, known[charged])


def export(world: World, *, orders: int, images: int, sites: int = 1, exports: int = 1) -> None:
    """Have so many work orders in each site, spread over a day, and exports of these sites."""
    world.move_to(BEGINNING)
    for number in range(orders):
        for site in (world.site, world.other_site)[:sites]:
            name = f"WO_{number}"
            world.work_order(name, site=site, photographs=images)
        world.wait(timedelta(hours=14) / orders - timedelta(seconds=10))
    for each in range(exports):
        place = {"storage_uri": f"gs://acme-bi/{each}", "export_images": bool(images)}
        chosen = [SITE, OTHER_SITE][:sites]
        world.export(start="2026-11-22T10:00:00Z", site_ids=chosen, connector_config=place)


def due(usage: Usage, orders: int, images: int) -> dict[str, Charges]:
    expected = charges.of_due_time(usage, orders, images)
    more = Charges(reads=usage.exports - 1) + charges.TICK
    return {**expected, "tick": expected["tick"] + more}


@pytest.mark.parametrize(
    ("orders", "images", "sites", "exports"),
    [(0, 0, 1, 1), (1, 0, 1, 1), (3, 0, 2, 1), (2, 1, 1, 1), (2, 2, 2, 1), (2, 1, 1, 3)],
)
def test_a_nightly_export(
    world: World, metered: Callable[[], Metered], orders: int, images: int, sites: int, exports: int
) -> None:
    export(world, orders=orders, images=images, sites=sites, exports=exports)
    meter = metered()
    world.run_due(MORNING)
    usage = Usage(sites=sites, exports=exports)
    same(meter.taken(), due(usage, orders * sites, orders * sites * images))


@pytest.mark.parametrize(
    ("orders", "part", "slices"), [(2, 1, 5000), (4, 1, 5000), (4, 2, 1), (4, 50_000, 1)]
)
def test_an_export_of_several_parts_and_slices(
    world: World,
    metered: Callable[[], Metered],
    sizes: Callable[..., None],
    orders: int,
    part: int,
    slices: int,
) -> None:
    sizes(part_records=part, slice_images=slices)
    export(world, orders=orders, images=1)
    meter = metered()
    world.run_due(MORNING)
    same(meter.taken(), due(Usage(), orders, orders))


def test_parts_and_slices_that_wait(
    world: World, metered: Callable[[], Metered], sizes: Callable[..., None]
) -> None:
    sizes(part_records=1, slice_images=1)
    export(world, orders=12, images=1)
    meter = metered()
    world.run_due(MORNING)
    seen, expected = meter.taken(), due(Usage(), 12, 12)
    at_most(seen[charges.TIMELINE], charges.TIMELINE, expected[charges.TIMELINE], 0.85)
    at_most(seen["copy_images"], "copy_images", expected["copy_images"], 0.85)


def test_a_tick_that_finds_nothing(world: World, metered: Callable[[], Metered]) -> None:
    meter = metered()
    world.run_due()
    same(meter.taken(), {"tick": charges.TICK})


def batch(world: World, orders: int, images: int) -> None:
    world.import_archive(
        zipped(
            [
                File(f"WO_{order}/meter-{image}.jpg", jpeg(f"{order}-{image}"))
                for order in range(orders)
                for image in range(images)
            ]
        )
    )


def removed(world: World) -> None:
    """Let the time go by until the archive is removed."""
    world.wait(removals.ARCHIVES_KEPT + timedelta(hours=1))
    world.run_due()


@pytest.mark.parametrize(("orders", "images"), [(1, 1), (2, 2), (5, 1)])
def test_a_batch(world: World, metered: Callable[[], Metered], orders: int, images: int) -> None:
    meter = metered()
    batch(world, orders, images)
    removed(world)
    usage = Usage(work_orders=orders, images=orders * images, image_bytes=3_000)
    expected = charges.of_batch(usage, orders)
    same(meter.taken(), {**expected, "tick": expected["tick"] + charges.TICK})


def test_a_batch_of_two_slices(
    world: World, metered: Callable[[], Metered], sizes: Callable[..., None]
) -> None:
    sizes(slice_files=2)
    meter = metered()
    batch(world, 4, 1)
    removed(world)
    usage = Usage(work_orders=4, images=4, image_bytes=3_000)
    expected = charges.of_batch(usage, 4)
    same(meter.taken(), {**expected, "tick": expected["tick"] + charges.TICK})


def test_work_orders_whose_checks_wait(
    world: World, metered: Callable[[], Metered], monkeypatch: pytest.MonkeyPatch
) -> None:
    """How often the report of a batch goes on depends on which check ends first."""
    monkeypatch.setattr(importing, "CHUNK_ORDERS", 20)
    meter = metered()
    batch(world, 24, 1)
    seen = meter.taken()
    usage = Usage(work_orders=24, images=24, image_bytes=3_000)
    expected = charges.of_batch(usage, 24)
    one_report = charges.REPORT_AGAIN + Charges(reads=reporting.READ_TOGETHER, messages=1, publishes=1)
    for name in ("analyse_work_order", "ingest_work_orders"):
        known, more = counts(name, expected[name]), counts(name, one_report)
        for charged, number in seen[name].items():
            within = 0.1 * known[charged] + more.get(charged, 0)
            assert number == pytest.approx(known[charged], abs=within), (name, charged)


@pytest.mark.parametrize(("records", "chunk"), [(1, 300), (4, 300), (4, 2)])
def test_an_import_job(
    world: World, metered: Callable[[], Metered], monkeypatch: pytest.MonkeyPatch, records: int, chunk: int
) -> None:
    monkeypatch.setattr(job_importing, "CHUNK_RECORDS", chunk)
    client = Jobs(world)
    meter = metered()
    rows = [f"{number},Zoe {number}\n".encode() for number in range(records)]
    client.imported(b"id,name\n" + b"".join(rows))
    same(meter.taken(), charges.of_import(records, 20 * records))


@pytest.mark.parametrize(("records", "part"), [(4, 50_000), (8, 4)])
def test_an_export_job(
    world: World, metered: Callable[[], Metered], sizes: Callable[..., None], records: int, part: int
) -> None:
    sizes(part_records=part)
    client = Jobs(world)
    client.imported(b"id,name\n" + b"".join(f"{number},Zoe\n".encode() for number in range(records)))
    meter = metered()
    client.exported()
    same(meter.taken(), charges.of_job_export(records))


@pytest.mark.parametrize(("orders", "images", "slices"), [(1, 1, 2000), (4, 2, 2000), (4, 1, 1)])
def test_an_export_of_a_dataset(
    world: World,
    metered: Callable[[], Metered],
    monkeypatch: pytest.MonkeyPatch,
    orders: int,
    images: int,
    slices: int,
) -> None:
    monkeypatch.setattr(reading, "SLICE_SAMPLES", slices)
    client = Datasets(world)
    labelled: list[Mapping[str, Any]] = [{"results": {"state": {"value": "good"}}}] * images
    for number in range(orders):
        client.work_order(f"WO-{number}", labelled)
    dataset = client.create(task_names=["state"], dataset_type=samples.DETECTION)
    meter = metered()
    client.exported(dataset, export_type=ALL, annotation_format="COCO")
    same(meter.taken(), charges.of_dataset(orders, orders * images, 3_000))


def kept(world: World) -> int:
    """How many documents there are that Firestore deletes by age. The sums of a day are no run's own."""
    of_works = ("pieces", "runs", "batches", "jobs", "dataset_tasks", "downloads", "audit_trail", "stored")
    found = (each for name in of_works for each in world.cloud.db.collection_group(name).stream())
    return sum(lifetimes.REMOVE_AFTER in fields_of(each) for each in found)


def test_documents_that_go_by_their_age(world: World) -> None:
    batch(world, 2, 1)
    removed(world)
    expected = charges.of_batch(Usage(work_orders=2, images=2), 2)
    assert kept(world) == sum(each.kept for each in expected.values())

    before, client = kept(world), Jobs(world)
    client.imported(b"id,name\n1,Zoe\n")
    client.exported()
    jobs = [charges.of_import(1, 10), charges.of_job_export(1)]
    assert kept(world) - before == sum(each.kept for job in jobs for each in job.values())


def test_documents_of_a_run_that_go_by_their_age(world: World) -> None:
    export(world, orders=2, images=1)
    before = kept(world)
    world.run_due(MORNING)
    run = charges.of_run(1, 2, 2, 8_000)
    assert kept(world) - before == sum(each.kept for each in run.values())


def test_a_request(world: World, metered: Callable[[], Metered]) -> None:
    made = world.export()
    meter = metered()
    assert world.request("GET", f"/v1/exports/{made}").status == 200
    same(meter.taken(), {"exports": charges.REQUEST})


def test_each_function_is_counted_or_named() -> None:
    counted = set(charges.of_month(Usage()))
    assert counted | set(charges.UNCOUNTED) == set(BUNDLE.functions)
    assert not counted & set(charges.UNCOUNTED)
