"""Whether a thing costs the same however many there are: a record of an export, a page of sites, of exports
and of runs, an export that is due, a sample of a dataset.

What counts is the CPU of our process. That of the services, which are Python and ours, stands beside it.
`python -m tests.benchmarks.scale --full-scale` exports a million records, too.
"""

import argparse
import itertools
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple
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
from shared.workorders.store import MARGIN
from tests.benchmarks import datasets, memory, records, services, works
from tests.benchmarks import samples as work_orders
from tests.benchmarks.measure import DifferentWork, Figure, Ground, quiet, timed

RECORDS, QUICK_RECORDS = (1_000, 10_000, 100_000), (10, 20)
MILLION = 1_000_000
PAGES, QUICK_PAGES = (100, 1_000, 10_000), (60, 70)
DUE, QUICK_DUE = (1_000, 10_000), (10, 20)
SAMPLES, QUICK_SAMPLES = (1_000, 10_000), (12, 24)
"""How many there are, from few to many."""

COUNTED_FROM = 10_000
"""From how many records on the time of a record counts: fewer have the export's own cost in it."""

RECORDS_READ, PAGE_ROUNDS, DUE_ROUNDS = 300_000, 15, 3
"""About how many records are read of each size, and how often pages are, and what is due."""

MOST_AGAIN = 10
"""How often in a round a small thing is done at most, to take as long as a large one."""

PART_RECORDS = 25_000
"""Of a part. Those of plans are larger, but a slow machine reads one for longer than a heartbeat lasts."""

OTHER_READS = 5
"""How many documents are read for a part beside its own at most."""

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


class _Work(NamedTuple):
    """What is done for one size, with a number that is another each time, and of how many things it is."""

    things: int
    do: Callable[[int], Any]


def _measured(
    ground: Ground, what: str, by_size: Mapping[int, _Work], rounds: int, uncounted: int = 1
) -> dict[int, float]:
    """The seconds of our CPU for each thing of each size: the median of so many rounds, after those that are
    not counted. A round does all sizes, each for about as long: a machine is slower at one time than at
    another."""
    ours: dict[int, list[float]] = {size: [] for size in by_size}
    theirs: dict[int, list[float]] = {size: [] for size in by_size}
    most, number = max(work.things for work in by_size.values()), itertools.count()
    for turn in range(uncounted + rounds):
        for size, work in by_size.items():
            times = min(MOST_AGAIN, most // work.things)
            before = ground.served.ask(services_cpu)
            took = sum(timed(partial(work.do, next(number)))[0].cpu for _ in range(times))
            if turn >= uncounted:
                ours[size].append(took / times / work.things)
                theirs[size].append((ground.served.ask(services_cpu) - before) / times / work.things)
    each = {size: statistics.median(took) for size, took in ours.items()}
    for size, seconds in each.items():
        services_seconds = statistics.median(theirs[size])
        print(f"  {what:30} {size:>11,} {seconds * 1e6:12,.1f} {services_seconds * 1e6:12,.1f}", flush=True)
    return each


def services_cpu(_: Suite) -> float:
    """The CPU that the services have used."""
    return cpu_seconds()


# --- records


def _records(ground: Ground, sizes: Sequence[int]) -> dict[int, float]:
    """The step `write` of runs over the first so many work orders of a site, in parts. Most of that is
    gRPC's, and depends on how both processes share the cores.

    A part also reads what was stamped up to MARGIN before its window. So the clock moves by that between two
    parts: else each would read all that were filled just before it, too.
    """
    cloud = ground.cloud
    parts: list[Window] = []
    windows, written = {}, 0
    for size in sizes:
        while written < size:
            more = min(size - written, PART_RECORDS)
            ground.served.ask(services.wait, MARGIN)
            start = server_time(cloud.db)
            memory.fill(cloud, work_orders.SITE, range(written, written + more))
            parts.append(Window(start, server_time(cloud.db)))
            written += more
        windows[size] = list(parts)
    by_size = {}
    for size, filled in windows.items():
        runs = [records.run_of(window, server_time(cloud.db)) for window in filled]
        _reads_its_own(ground, runs[-1])
        by_size[size] = _Work(size, partial(_write_parts, cloud, runs, size))
    rounds = 1 if ground.quick else max(1, RECORDS_READ // max(sizes))
    return _measured(ground, "a record of an export", by_size, rounds, uncounted=0)


def _reads_its_own(ground: Ground, part: Run) -> None:
    """DifferentWork where a run of one part reads more documents than it writes records."""
    ground.served.ask(services.documents_read)
    rows = records.write_part(ground.cloud, part, 0)["rows"]
    read = ground.served.ask(services.documents_read)
    if read > rows + OTHER_READS:
        raise DifferentWork(f"{read:,} documents were read for {rows:,} records")


def _write_parts(cloud: Cloud, runs: Sequence[Run], size: int, repetition: int) -> None:
    rows = sum(records.write_part(cloud, run, repetition)["rows"] for run in runs)
    if rows != size:
        raise DifferentWork(f"{rows:,} records were written of {size:,}")


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


def _pages(ground: Ground, what: str, lists: Mapping[int, tuple[Caller, str]]) -> dict[int, float]:
    """What the first page of a list takes, of each size. Its answer has the list under the last segment of
    its path."""

    def ask(caller: Caller, path: str, _: int) -> None:
        found = len(_answer(ground.cloud, caller, "GET", path)[path.rpartition("/")[2]])
        assert found == DEFAULT_PAGE, found

    by_size = {number: _Work(1, partial(ask, *each)) for number, each in lists.items()}
    return _measured(ground, f"a page of {what}", by_size, 1 if ground.quick else PAGE_ROUNDS)


def _sites(ground: Ground, sizes: Sequence[int]) -> dict[int, float]:
    lists = {}
    for number in sizes:
        caller = _customer(ground.cloud, f"s{number}")
        fields = fields_of(ground.cloud.db.document(f"sites/{_site(ground.cloud, caller)}").get())
        _write(ground.cloud, (("sites", f"s{number}-{n:06}", fields) for n in range(number)))
        lists[number] = caller, "/v1/sites"
    return _pages(ground, "sites", lists)


def _exports(ground: Ground, sizes: Sequence[int]) -> dict[int, float]:
    lists = {}
    for number in sizes:
        caller = _customer(ground.cloud, f"e{number}")
        fields = _export(ground.cloud, caller)
        _write(ground.cloud, (("exports", f"e{number}-{n:06}", fields) for n in range(number)))
        lists[number] = caller, "/v1/exports"
    return _pages(ground, "exports", lists)


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
    by_size: dict[int, _Work] = {}
    fields = _export(cloud, _customer(cloud, "due"))
    long_ago = server_time(cloud.db) - timedelta(days=3_000)
    for number in sizes:
        # All others are due years later: at that time these are all that is due, with the smaller number.
        at = long_ago + timedelta(days=len(by_size))
        changed = {**fields, "next_due": at}
        new = range(written, number)
        _write(cloud, (("exports", f"due-{n:06}", {**changed, "customer": f"due{n % 100}"}) for n in new))
        written = number
        by_size[number] = _Work(number, partial(_publish, cloud, at))
    return _measured(ground, "an export that is due", by_size, 1 if ground.quick else DUE_ROUNDS)


def _publish(cloud: Cloud, at: datetime, _: int) -> None:
    tick.publish_due(cloud, at)


def _runs(ground: Ground, sizes: Sequence[int]) -> dict[int, float]:
    """The first page of an export's runs, all of which are like one that was done."""
    cloud, lists = ground.cloud, {}
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
        lists[number] = caller, f"/v1/exports/{id}/runs"
    return _pages(ground, "runs", lists)


# --- samples


def _samples(ground: Ground, sizes: Sequence[int]) -> dict[int, float]:
    """The export of a dataset as COCO, with a new version."""
    by_size = {}
    for number in sizes:
        dataset = datasets.make(ground.cloud, ground.served, f"scale-{number}", number)
        by_size[number] = _Work(number, partial(_export_dataset, ground.cloud, dataset, number))
    return _measured(ground, "a sample of a dataset", by_size, 1)


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
