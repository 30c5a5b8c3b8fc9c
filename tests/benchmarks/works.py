"""Works of the engine, performed piece by piece as their function does, in this process or in one of its
own."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from infra.local.clock import cpu_seconds
from infra.local.processes import REPOSITORY
from shared.clock import elapsed_since, stopwatch
from shared.gcp.clients import Cloud, connect
from shared.gcp.documents import Snapshot
from shared.work import pieces
from shared.work.engine import perform
from shared.work.kinds import COMPLETED, Kind
from shared.work.pieces import OPEN, QUEUED
from tests.benchmarks.measure import Figure


@dataclass(frozen=True)
class Performed:
    """What a process of its own took for so many records: seconds by the clock and of its CPU, and its peak
    memory in bytes before it began and at its end."""

    records: int
    wall: float
    cpu: float
    before: int
    peak: int


def perform_all(cloud: Cloud, kind: Kind[Any], path: str) -> Snapshot:
    """Do all pieces of a work, one after another, and return it at its end. AssertionError where it did not
    complete."""
    while True:
        work: Snapshot = cloud.db.document(path).get()
        if not work.get("open"):
            assert work.get("state") == COMPLETED, work.to_dict()
            return work
        for piece in list(pieces.of_plan(cloud, path, work.get("plan"), [OPEN, QUEUED]).stream()):
            perform(cloud, kind, pieces.message(path, piece.id))


def perform_apart(module: str, path: str) -> Performed:
    """Do a work in a process of its own: the module's `main` calls `report`. RuntimeError with what it wrote
    where that fails."""
    done = subprocess.run(
        [sys.executable, "-m", module, path], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return Performed(**json.loads(done.stdout.splitlines()[-1]))


def report(work: Callable[[Cloud], int]) -> None:
    """Do a work, which returns how many records it had, and print what it took."""
    cloud = connect()
    before, cpu, wall = _peak(), cpu_seconds(), stopwatch()
    records = work(cloud)
    took = Performed(records, elapsed_since(wall), cpu_seconds() - cpu, before, _peak())
    sys.stdout.write(f"{json.dumps(asdict(took))}\n")


def show(name: str, took: Performed) -> None:
    """Print it as a line of a table."""
    before, peak = took.before / 1e6, took.peak / 1e6
    print(f"  {name:50} {took.wall:7.1f} {took.cpu:7.1f} {before:15.1f} {peak:10.1f}", flush=True)


def show_head() -> None:
    """Print the head of that table."""
    print("\nmemory, each in a process of its own")
    print(f"  {'':50} {'wall s':>7} {'CPU s':>7} {'MB at its start':>15} {'MB at most':>10}")


def growth(name: str, small: Performed, large: Performed, limit: float) -> Figure:
    """The peak memory of a large work over that of a small one."""
    return Figure(name, large.peak / small.peak, large.peak / 1e6, small.peak / 1e6, "MB at most", limit)


def _peak() -> int:
    """The most memory that this process has had, in bytes. What `getrusage` answers has the parent's in it.
    https://man7.org/linux/man-pages/man5/proc_pid_status.5.html"""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024
