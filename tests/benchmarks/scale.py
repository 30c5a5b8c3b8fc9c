"""Whether a thing costs the same however many there are: a record of an export, a page of sites, of exports
and of runs, an export that is due, a sample of a dataset.

What counts is the CPU of our process. That of the services, which are Python and ours, stands beside it.
`python -m tests.benchmarks.scale --full-scale` exports a million records, too.
"""

import argparse
import itertools
import statistics
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import NAMESPACE_URL, uuid4, uuid5

from infra.local.clock import cpu_seconds
from infra.local.suite import Suite
from shared.accounts.customers import add_customer, add_site
from shared.accounts.keys import Caller
from shared.datasets.dataset import Dataset
from shared.exports import tick
from shared.exports.api import ROUTES
from shared.exports.runs import Run
from shared.exports.steps import KIND
from shared.gcp.clients import Cloud
from shared.gcp.documents import fields_of, server_time
from shared.http.paging import DEFAULT_PAGE
from shared.http.routes import Asked
from shared.window import Window
from shared.work import pieces
from tests.benchmarks import datasets, memory, records, services, works
from tests.benchmarks import samples as work_orders
from tests.benchmarks.measure import Figure, Ground, quiet, timed

RECORDS, QUICK_RECORDS = (1_000, 10_000, 100_000), (10, 20)
MILLION = 1_000_000
PAGES, QUICK_PAGES = (100, 1_000, 10_000), (60, 70)
DUE, QUICK_DUE = (1_000, 10_000), (10, 20)
SAMPLES, QUICK_SAMPLES = (1_000, 10_000), (12, 24)
"""How many there are, from few to many."""

COUNTED_FROM = 10_000
"""From how many records on the time of a record counts: fewer have the export's own cost in it."""

RECORDS_READ, MOST_REPETITIONS, PAGE_REPETITIONS = 300_000, 20, 15
"""About how many records are read of each size, how often at most, and how often a page is."""

PART_RECORDS = 25_000
"""Of a part. Those of plans are larger, but a slow machine reads one for longer than a heartbeat lasts."""

LIMIT = 1.1


def bench(ground: Ground) -> Iterator[Figure]:
    """Do each thing where there are few, and where there are many."""
    ground.once(datasets.onboard)
    yield from _figures(ground, QUICK_RECORDS if ground.quick else RECORDS)


def _figures(ground: Ground, sizes: Sequence[int]) -> Iterator[Figure]:
    quick = ground.quick
    print("\nscale: µs of CPU for each, of our process and of the services")
    pages = QUICK_PAGES if quick else PAGES
    yield _flat("scale_records", _records(ground, sizes))
    yield _growth("scale_sites", _sites(ground, pages))
    yield _growth("scale_exports", _exports(ground, pages))
    yield _growth("scale_due_exports", _due(ground, QUICK_DUE if quick else DUE))
    yield _growth("scale_runs", _runs(ground, pages))
    yield _growth("scale_samples", _samples(ground, QUICK_SAMPLES if quick else SAMPLES))


def _flat(name: str, each: dict[int, float]) -> Figure:
    """The most that a thing took over the least, where there are COUNTED_FROM or more."""
    counted = [seconds for number, seconds in each.items() if number >= COUNTED_FROM] or each.values()
    return _figure(name, max(counted), min(counted))


def _growth(name: str, each: dict[int, float]) -> Figure:
    """What a thing took where there are most, over what it took where there are fewest: there the work's own
    cost is in it, too."""
    return _figure(name, each[max(each)], each[min(each)])


def _figure(name: str, ours: float, theirs: float) -> Figure:
    return Figure(name, ours / theirs, ours * 1e6, theirs * 1e6, "µs of CPU for each", LIMIT)


def _measured(
    ground: Ground, what: str, number: int, times: int, things: int, work: Callable[[int], Any]
) -> float:
    """The seconds of our CPU for each of so many things: the least of so many times, after one that is not
    counted. What else the machine does only adds to it."""
    ours, theirs = [], []
    for repetition in range(times + 1):
        before = ground.served.ask(services_cpu)
        took, _ = timed(lambda at=repetition: work(at))  # type: ignore[misc]
        if repetition:
            ours.append(took.cpu / things)
            theirs.append((ground.served.ask(services_cpu) - before) / things)
    _show(what, number, min(ours), min(theirs))
    return min(ours)


def _show(what: str, number: int, ours: float, theirs: float) -> None:
    print(f"  {what:30} {number:>11,} {ours * 1e6:12,.1f} {theirs * 1e6:12,.1f}", flush=True)


def services_cpu(_: Suite) -> float:
    """The CPU that the services have used."""
    return cpu_seconds()


# --- records


def _records(ground: Ground, sizes: Sequence[int]) -> dict[int, float]:
    """The step `write` of runs over the first so many work orders of a site, in parts: the median of its
    repetitions. Most of that is gRPC's, and depends on how both processes share the cores."""
    cloud = ground.cloud
    written, bounds, windows = 0, [server_time(cloud.db)], {}
    for size in sizes:
        while written < size:
            more = min(size - written, PART_RECORDS)
            memory.fill(cloud, work_orders.SITE, range(written, written + more))
            bounds.append(server_time(cloud.db))
            written += more
        windows[size] = [Window(*pair) for pair in itertools.pairwise(bounds)]
    each, number = {}, itertools.count()
    for size, parts in windows.items():
        runs = [records.run_of(window, server_time(cloud.db)) for window in parts]
        times = 1 if ground.quick else min(MOST_REPETITIONS, max(1, RECORDS_READ // size))
        before = ground.served.ask(services_cpu)
        took = [timed(partial(_write_parts, cloud, runs, number))[0].cpu / size for _ in range(times)]
        theirs = (ground.served.ask(services_cpu) - before) / (size * times)
        each[size] = statistics.median(took)
        _show("a record of an export", size, each[size], theirs)
    return each


def _write_parts(cloud: Cloud, runs: Sequence[Run], number: Iterator[int]) -> None:
    for run in runs:
        records.write(cloud, run, next(number))


def _write(cloud: Cloud, documents: Iterator[tuple[str, str, dict[str, Any]]]) -> None:
    def create(collection: str, id: str, fields: dict[str, Any]) -> Callable[[Any], None]:
        return lambda batch: batch.set(cloud.db.document(f"{collection}/{id}"), fields)

    pieces.in_commits(cloud.db, (create(*each) for each in documents))


# --- pages


def _customer(cloud: Cloud, name: str) -> Caller:
    """A customer of its own, and a caller who may do all of it."""
    add_customer(cloud.db, id=name, slug=name, name=name)
    return Caller(key="bench", customer=name, scopes=frozenset({"exports"}), site=None)


def _site(cloud: Cloud, caller: Caller) -> str:
    """The one site that the customer has itself."""
    id = str(uuid5(NAMESPACE_URL, caller.customer))
    return add_site(cloud.db, id=id, customer=caller.customer, name="North").id


def _answer(cloud: Cloud, caller: Caller, method: str, path: str, body: Any = None) -> Any:
    asked = Asked(method, path, body=body) if body else Asked(method, path)
    return ROUTES.perform(cloud, caller, asked, uuid4().hex)


def _page(ground: Ground, what: str, number: int, caller: Caller, path: str, field: str) -> float:
    """The first page of a list."""

    def ask(_: int) -> None:
        found = len(_answer(ground.cloud, caller, "GET", path)[field])
        assert found == DEFAULT_PAGE, found

    times = 1 if ground.quick else PAGE_REPETITIONS
    return _measured(ground, what, number, times, 1, ask)


def _sites(ground: Ground, sizes: Sequence[int]) -> dict[int, float]:
    each = {}
    for number in sizes:
        caller = _customer(ground.cloud, f"s{number}")
        fields = fields_of(ground.cloud.db.document(f"sites/{_site(ground.cloud, caller)}").get())
        _write(ground.cloud, (("sites", f"s{number}-{n:06}", fields) for n in range(number)))
        each[number] = _page(ground, "a page of sites", number, caller, "/v1/sites", "sites")
    return each


def _exports(ground: Ground, sizes: Sequence[int]) -> dict[int, float]:
    each = {}
    for number in sizes:
        caller = _customer(ground.cloud, f"e{number}")
        fields = _export(ground.cloud, caller)
        _write(ground.cloud, (("exports", f"e{number}-{n:06}", fields) for n in range(number)))
        each[number] = _page(ground, "a page of exports", number, caller, "/v1/exports", "exports")
    return each


def _export(cloud: Cloud, caller: Caller) -> dict[str, Any]:
    """The fields of a nightly export of the customer."""
    made = _answer(cloud, caller, "POST", "/v1/exports", _body(_site(cloud, caller)))
    return fields_of(cloud.db.document(f"exports/{made['id']}").get())


def _body(site: str, interval: str = "daily") -> dict[str, Any]:
    return {
        "name": "Nightly",
        "site_ids": [site],
        "interval": interval,
        "connector_type": "cloud_storage",
        "connector_config": {"storage_uri": f"gs://{datasets.BUCKET}/scale"},
    }


def _due(ground: Ground, sizes: Sequence[int]) -> dict[int, float]:
    """What a tick does about the exports that are due, which are a hundred customers'."""
    cloud, written = ground.cloud, 0
    each: dict[int, float] = {}
    fields = _export(cloud, _customer(cloud, "due"))
    long_ago = server_time(cloud.db) - timedelta(days=3_000)
    for number in sizes:
        # All others are due years later: at that time these are all that is due, with the smaller number.
        at = long_ago + timedelta(days=len(each))
        changed = {**fields, "next_due": at}
        new = range(written, number)
        _write(cloud, (("exports", f"due-{n:06}", {**changed, "customer": f"due{n % 100}"}) for n in new))
        written = number
        publish = partial(_publish, cloud, at)
        each[number] = _measured(ground, "an export that is due", number, 3, number, publish)
    return each


def _publish(cloud: Cloud, at: datetime, _: int) -> None:
    tick.publish_due(cloud, at)


def _runs(ground: Ground, sizes: Sequence[int]) -> dict[int, float]:
    """The first page of an export's runs, all of which are like one that was done."""
    cloud, each = ground.cloud, {}
    caller = Caller(key="bench", customer=datasets.CUSTOMER, scopes=frozenset({"exports"}), site=None)
    site = str(uuid5(NAMESPACE_URL, "runs"))
    add_site(cloud.db, id=site, customer=caller.customer, name="North")
    done = works.perform_all(cloud, KIND, memory.begin_run(cloud, ground.served, site, images=False))
    run = fields_of(done)
    export = fields_of(done.reference.parent.parent.get())
    for number in sizes:
        id = str(uuid4())
        runs = f"exports/{id}/runs"
        times = ({"window_start": run["window_start"] + timedelta(minutes=n)} for n in range(number))
        _write(cloud, iter([("exports", id, export)]))
        _write(cloud, ((runs, f"s{n:032x}", {**run, **time}) for n, time in enumerate(times)))
        path = f"/v1/exports/{id}/runs"
        each[number] = _page(ground, "a page of runs", number, caller, path, "runs")
    return each


# --- samples


def _samples(ground: Ground, sizes: Sequence[int]) -> dict[int, float]:
    """The export of a dataset as COCO, with a new version."""
    each = {}
    for number in sizes:
        dataset = datasets.make(ground.cloud, ground.served, f"scale-{number}", number)
        export = partial(_export_dataset, ground.cloud, dataset, number)
        each[number] = _measured(ground, "a sample of a dataset", number, 1, number, export)
    return each


def _export_dataset(cloud: Cloud, dataset: Dataset, samples: int, repetition: int) -> None:
    task = datasets.begin(cloud, dataset, f"{dataset.id}/{repetition}/")
    assert datasets.export(cloud, task.path).finished_count == samples


def main() -> None:
    """Run this benchmark alone."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scale", description=__doc__)
    parser.add_argument("--full-scale", action="store_true", help="export a million records, too")
    asked = parser.parse_args()
    sizes = (*RECORDS, MILLION) if asked.full_scale else RECORDS
    with services.running() as (served, cloud), quiet():
        ground = Ground(cloud, served, quick=False)
        ground.once(datasets.onboard)
        found = _flat("scale_records", _records(ground, sizes))
        print(f"  {found.name} {found.ratio:.3f}")


if __name__ == "__main__":
    main()
