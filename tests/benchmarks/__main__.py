"""`make bench`: the benchmarks, as a table and as .local/bench.json. README.md says what each compares."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from infra.local.processes import REPOSITORY
from shared.clock import elapsed_since, stopwatch
from tests.benchmarks import (
    archives,
    copies,
    datasets,
    imports,
    jobs,
    memory,
    pages,
    queries,
    records,
    services,
    states,
    whole_run,
)
from tests.benchmarks.measure import Comparison, Spread
from tests.benchmarks.memory import Growth
from tests.benchmarks.queries import Query
from tests.benchmarks.whole_run import WholeRun
from tests.benchmarks.works import Performed


@dataclass(frozen=True)
class Sizes:
    """How much work, and how often."""

    records: int
    states: int
    copies: int
    archived: int
    work_orders: int
    imported: int
    queried: int
    grown: int
    samples: int
    grown_samples: int
    repetitions: int
    runs: int


FULL = Sizes(
    records=2000,
    states=2000,
    copies=600,
    archived=100,
    work_orders=300,
    imported=5000,
    queried=100_000,
    grown=1_000_000,
    samples=6_000,
    grown_samples=50_000,
    repetitions=5,
    runs=3,
)
QUICK = Sizes(
    records=30,
    states=30,
    copies=30,
    archived=3,
    work_orders=3,
    imported=30,
    queried=30,
    grown=30,
    samples=30,
    grown_samples=60,
    repetitions=2,
    runs=1,
)
"""Of these the figures mean nothing: it is to see that all of it still works."""


PAGE_REPETITIONS = 25
"""How often a page is asked for: it takes milliseconds."""


@dataclass(frozen=True)
class Figure:
    """A figure that has a target, or is watched without one."""

    name: str
    value: float
    target: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Run them all; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="little work; the figures mean nothing")
    parser.add_argument("--to", type=Path, default=REPOSITORY / ".local" / "bench.json", help="the JSON file")
    asked = parser.parse_args(arguments)
    begun = stopwatch()
    sizes = QUICK if asked.quick else FULL
    with services.running() as (served, cloud):
        times = sizes.repetitions
        compared = [
            _shown(records.benchmark(cloud, records=sizes.records, repetitions=times)),
            _shown(states.benchmark(records=sizes.states, repetitions=times)),
            _shown(copies.benchmark(cloud, served, images=sizes.copies, repetitions=times)),
            _shown(archives.benchmark(cloud, served, work_orders=sizes.archived, repetitions=times)),
        ]
        run = whole_run.benchmark(cloud, served, work_orders=sizes.work_orders, repetitions=sizes.runs)
        _print_run(run)
        page = pages.benchmark(cloud, repetitions=PAGE_REPETITIONS)
        jobs.onboard(cloud)
        imported = _shown(imports.benchmark(cloud, records=sizes.imported, repetitions=sizes.runs))
        query = queries.benchmark(cloud, items=sizes.queried, repetitions=sizes.runs)
        _print_query(query)
        growth = memory.benchmark(cloud, records=sizes.grown)
        datasets.onboard(cloud, served)
        exported = _shown(datasets.benchmark(cloud, served, samples=sizes.samples, repetitions=sizes.runs))
        dataset_growth = datasets.growth(cloud, served, samples=sizes.grown_samples)
        _print_growth(growth, dataset_growth)
    _, one_by_one, bulk_writer = imported.sides
    _, copied = exported.sides
    figures = [
        Figure("import_rss_growth", growth.ratio("import"), "at most 1.1"),
        Figure("export_rss_growth", growth.ratio("export"), "at most 1.1"),
        Figure("import_rate_vs_client, set", imported.ratio(one_by_one, "cpu").median, "at least 5"),
        Figure(
            "import_rate_vs_client, BulkWriter", imported.ratio(bulk_writer, "cpu").median, "at least 1.5"
        ),
        Figure("console_page_vs_empty, CPU", page.ratio("cpu").median, "none"),
        Figure("console_page_vs_empty, wall", page.ratio("wall").median, "at most 2"),
        Figure("sql_overhead", query.overhead.median, "none"),
        Figure("dataset_cpu_per_sample", exported.share(copied, "cpu").median, "at most 0.15"),
        Figure("dataset_rss_growth", dataset_growth.ratio, "at most 1.1"),
    ]
    _print_figures(figures)
    found = {
        "quick": asked.quick,
        "sizes": asdict(sizes),
        "comparisons": [each.as_json() for each in (*compared, imported, exported)],
        "run": run.as_json(),
        "query": query.as_json(),
        "growth": growth.as_json(),
        "dataset_growth": dataset_growth.as_json(),
        "figures": [asdict(each) for each in figures],
    }
    asked.to.parent.mkdir(parents=True, exist_ok=True)
    asked.to.write_text(json.dumps(found, indent=2) + "\n")
    print(f"\nAll of it took {elapsed_since(begun):.0f} s. The same with every repetition: {asked.to}")
    return 0


def _shown(comparison: Comparison) -> Comparison:
    ours = comparison.sides[0]
    done = ours.done
    print(
        f"\n{comparison.name}: {done.items:,} {comparison.unit}, {done.bytes:,} bytes, "
        f"{len(ours.took)} times by turns; median (least to most)"
    )
    print(f"  {'':50} {'wall s':>7} {'CPU s':>7} {'µs CPU each':>11}   {'wall, × ours':20}  CPU, × ours")
    for side in comparison.sides:
        wall, cpu = (comparison.seconds(side, clock).median for clock in ("wall", "cpu"))
        clocks = ("wall", "cpu") if side is not ours else ()
        ratios = [_times(comparison.ratio(side, clock)) for clock in clocks]
        print(
            f"  {side.name:50} {wall:7.3f} {cpu:7.3f} {cpu / done.items * 1e6:11,.1f}   "
            + "  ".join(f"{ratio:20}" for ratio in ratios).rstrip(),
            flush=True,
        )
    return comparison


def _print_run(run: WholeRun) -> None:
    print(
        f"\n{run.name}, tick to manifest: {run.lines.items:,} work orders ({run.lines.bytes:,} bytes), "
        f"{run.images.items:,} images ({run.images.bytes:,} bytes), {len(next(iter(run.took.values())))} "
        "times; median (least to most)"
    )
    print(f"  {'':50} {'wall s':24}  CPU s")
    for step in run.took:
        wall, cpu = (_seconds(run.seconds(step, clock)) for clock in ("wall", "cpu"))
        print(f"  {step:50} {wall:24}  {cpu}")


def _print_query(query: Query) -> None:
    _shown(query.comparison)
    print(f"  ours takes {_times(query.overhead)} times as long by the clock; where the seconds go:")
    for step in query.steps:
        print(f"  {step:50} {_seconds(query.seconds(step))}")


def _print_growth(growth: Growth, of_datasets: datasets.Growth) -> None:
    print("\nmemory, each in a process of its own")
    print(f"  {'':50} {'wall s':>7} {'CPU s':>7} {'MB at its start':>15} {'MB at most':>10}")
    for bytes, took in ((growth.small_bytes, growth.small), (growth.large_bytes, growth.large)):
        for does, each in took.items():
            _print_performed(f"{does} of {each.records:,} records ({bytes:,} bytes of CSV)", each)
    for each in (of_datasets.small, of_datasets.large):
        _print_performed(f"export of a dataset of {each.records:,} samples", each)


def _print_performed(name: str, took: Performed) -> None:
    before, peak = took.before / 1e6, took.peak / 1e6
    print(f"  {name:50} {took.wall:7.1f} {took.cpu:7.1f} {before:15.1f} {peak:10.1f}")


def _print_figures(figures: Sequence[Figure]) -> None:
    print(f"\n  {'figure':50} {'measured':>8}  target")
    for each in figures:
        print(f"  {each.name:50} {each.value:8.2f}  {each.target}")


def _times(ratio: Spread) -> str:
    return f"{ratio.median:.1f} ({ratio.least:.1f} to {ratio.most:.1f})"


def _seconds(took: Spread) -> str:
    return f"{took.median:.3f} ({took.least:.3f} to {took.most:.3f})"


if __name__ == "__main__":
    sys.exit(main())
