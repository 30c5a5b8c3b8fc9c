"""`make bench`: the benchmarks, as a table and as .local/bench.json. README.md says what each compares."""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from infra.local.processes import REPOSITORY
from shared.clock import elapsed_since, stopwatch
from tests.benchmarks import (
    archives,
    cold_start,
    copies,
    datasets,
    idle_tick,
    imports,
    latency,
    memory,
    pages,
    queries,
    records,
    scale,
    services,
    sftp,
    states,
    whole_run,
)
from tests.benchmarks.measure import Figure, Ground, quiet

BENCHMARKS: Mapping[str, Callable[[Ground], Iterable[Figure]]] = {
    "records": records.bench,
    "states": states.bench,
    "copies": copies.bench,
    "archives": archives.bench,
    "whole_run": whole_run.bench,
    "pages": pages.bench,
    "imports": imports.bench,
    "queries": queries.bench,
    "memory": memory.bench,
    "datasets": datasets.bench,
    "sftp": sftp.bench,
    "cold_start": cold_start.bench,
    "idle_tick": idle_tick.bench,
    "latency": latency.bench,
    "scale": scale.bench,
}
"""In the order in which they run."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run them; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="little work; the figures mean nothing")
    parser.add_argument("--only", default=",".join(BENCHMARKS), help="some of them, as in: records,copies")
    parser.add_argument("--to", type=Path, default=REPOSITORY / ".local" / "bench.json", help="the JSON file")
    asked = parser.parse_args(arguments)
    names = asked.only.split(",")
    if unknown := sorted(set(names) - set(BENCHMARKS)):
        parser.error(f"there is no {unknown[0]}; there are {', '.join(BENCHMARKS)}")
    begun = stopwatch()
    with services.running() as (served, cloud), quiet():
        ground = Ground(cloud, served, asked.quick)
        figures: list[Figure] = []
        asked.to.parent.mkdir(parents=True, exist_ok=True)
        for name in names:
            figures += BENCHMARKS[name](ground)
            # After each: a run of half an hour may be ended before its end.
            asked.to.write_text(json.dumps(as_json(figures), indent=2, ensure_ascii=False) + "\n")
    show(figures)
    if asked.quick:
        print("\nThis was little work: the figures mean nothing.")
    print(f"\nAll of it took {elapsed_since(begun):.0f} s. The figures are in {asked.to}")
    return 0


def show(figures: Sequence[Figure]) -> None:
    """Print the table of the figures."""
    print(f"\n  {'figure':40} {'ratio':>8} {'limit':>6}  {'ours':>12} {'theirs':>12}  unit")
    for each in figures:
        limit = "" if each.limit is None else f"{each.limit:g}"
        missed = each.limit is not None and each.ratio > each.limit
        print(
            f"  {each.name:40} {each.ratio:8.3f} {limit:>6}  {each.ours:12,.1f} {each.theirs:12,.1f}  "
            f"{each.unit}{'  MISSED' if missed else ''}"
        )


def as_json(figures: Sequence[Figure]) -> dict[str, dict[str, float | str | None]]:
    """The figures by name, as .local/bench.json has them."""
    return {
        each.name: {
            "ratio": each.ratio,
            "ours": each.ours,
            "theirs": each.theirs,
            "unit": each.unit,
            "limit": each.limit,
        }
        for each in figures
    }


if __name__ == "__main__":
    sys.exit(main())
