"""Holding one way to do some work against others: by turns, in one run, and only where all did the same."""

import gc
import hashlib
import logging
import resource
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Generic, TypeVar

from infra.local.clock import cpu_seconds
from shared.clock import elapsed_since, stopwatch
from shared.gcp.clients import Cloud
from tests.benchmarks.services import Services

T = TypeVar("T")


@dataclass(frozen=True)
class Figure:
    """What `make bench` reports: ours over theirs, of the same work in one run; less is better.

    `ours` and `theirs` are in `unit`. `limit` is what `ratio` may be at most; None where it is only watched.
    """

    name: str
    ratio: float
    ours: float
    theirs: float
    unit: str
    limit: float | None


@dataclass
class Ground:
    """What a benchmark stands on: our clients, and the services they call, which run in another process.

    `quick` asks for little work: it is to see that all of it still works, and the figures mean nothing.
    """

    cloud: Cloud
    served: Services
    quick: bool
    _prepared: set[object] = field(default_factory=set)

    def once(self, prepare: Callable[["Ground"], None]) -> None:
        """Do what several benchmarks need done before them."""
        if prepare not in self._prepared:
            self._prepared.add(prepare)
            prepare(self)


@contextmanager
def quiet() -> Iterator[None]:
    """The functions' log must not go into the tables; what is an error is still said."""
    log, silent = logging.getLogger("waybill"), logging.NullHandler()
    log.addHandler(silent)
    try:
        yield
    finally:
        log.removeHandler(silent)


class DifferentWork(Exception):
    """Two sides of a comparison did not do the same, so holding their times together means nothing."""


@dataclass(frozen=True)
class Took:
    """Seconds by the clock, and of this process's CPU."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Spread:
    """A figure over the repetitions."""

    median: float
    least: float
    most: float


@dataclass(frozen=True)
class Done:
    """What a side did: how many things of how many bytes in all, and a digest of those."""

    items: int
    bytes: int
    sha256: str


def children_cpu_seconds() -> float:
    """The CPU of all processes that this one has started and waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@dataclass(frozen=True)
class Side(Generic[T]):
    """One way to do the work. `work` is timed and given the number of the repetition.

    `cpu` tells the seconds of CPU spent so far: `children_cpu_seconds` where another program does the work.
    """

    name: str
    work: Callable[[int], T]
    cpu: Callable[[], float] = cpu_seconds


@dataclass(frozen=True)
class SideTook:
    """A side, its time at each repetition, and what it did."""

    name: str
    took: list[Took]
    done: Done


@dataclass(frozen=True)
class Comparison:
    """The first side, ours, against each of the others; `unit` is what `Done.items` counts."""

    name: str
    unit: str
    sides: list[SideTook]

    def seconds(self, side: SideTook, clock: str) -> Spread:
        """A side's `wall` or `cpu`."""
        return spread(getattr(took, clock) for took in side.took)

    def ratio(self, side: SideTook, clock: str) -> Spread:
        """How many times the `wall` or `cpu` of ours a side takes, repetition by repetition."""
        pairs = zip(side.took, self.sides[0].took, strict=True)
        return spread([getattr(theirs, clock) / getattr(ours, clock) for theirs, ours in pairs])

    def share(self, side: SideTook, clock: str) -> Spread:
        """Which part of a side's `wall` or `cpu` ours takes, repetition by repetition."""
        pairs = zip(side.took, self.sides[0].took, strict=True)
        return spread([getattr(ours, clock) / getattr(theirs, clock) for theirs, ours in pairs])

    def figure(self, name: str, against: int, clock: str, limit: float | None) -> Figure:
        """Ours over the side of that number, by `wall` or `cpu`."""
        ours, theirs = self.sides[0], self.sides[against]
        each, other = (self.seconds(side, clock).median / side.done.items * 1e6 for side in (ours, theirs))
        unit = f"µs {'of CPU ' if clock == 'cpu' else ''}for each of the {self.unit}"
        return Figure(name, self.share(theirs, clock).median, each, other, unit, limit)


def compare(
    name: str,
    unit: str,
    repetitions: int,
    sides: Sequence[Side[T]],
    done: Callable[[Side[T], int, T], Done],
) -> Comparison:
    """Run the sides by turns, once unmeasured and then `repetitions` times.

    `done` says what a side did, unmeasured, from the result of its work. DifferentWork where that is not
    the same for all, every time.
    """
    took: dict[str, list[Took]] = {side.name: [] for side in sides}
    dones: dict[str, Done] = {}
    for repetition in range(repetitions + 1):
        for side in sides:
            time, result = timed(lambda side=side, at=repetition: side.work(at), side.cpu)  # type: ignore[misc]
            did = dones[side.name] = done(side, repetition, result)
            if did != dones[sides[0].name]:
                raise DifferentWork(f"{name}: {sides[0].name} did {dones[sides[0].name]}, {side.name} {did}")
            if repetition:
                took[side.name].append(time)
    return Comparison(name, unit, [SideTook(side.name, took[side.name], dones[side.name]) for side in sides])


def timed(work: Callable[[], T], clock: Callable[[], float] = cpu_seconds) -> tuple[Took, T]:
    """Do it; returns what it took, by the clock and by that clock of the CPU, and its result."""
    gc.collect()  # what another left behind is not counted here
    cpu, wall = clock(), stopwatch()
    result = work()
    return Took(elapsed_since(wall), clock() - cpu), result


def shown(comparison: Comparison) -> Comparison:
    """Print it as a table; returns it."""
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
        ratios = [times(comparison.ratio(side, clock)) for clock in clocks]
        print(
            f"  {side.name:50} {wall:7.3f} {cpu:7.3f} {cpu / done.items * 1e6:11,.1f}   "
            + "  ".join(f"{ratio:20}" for ratio in ratios).rstrip(),
            flush=True,
        )
    return comparison


def times(ratio: Spread) -> str:
    """A ratio as tables show it."""
    return f"{ratio.median:.1f} ({ratio.least:.1f} to {ratio.most:.1f})"


def seconds(took: Spread) -> str:
    """Seconds as tables show them."""
    return f"{took.median:.3f} ({took.least:.3f} to {took.most:.3f})"


def spread(values: Iterable[float]) -> Spread:
    """The median, and the least and the most."""
    values = list(values)
    return Spread(median(values), min(values), max(values))


def digest(pieces: Sequence[bytes]) -> Done:
    """What a side did that made these."""
    return Done(len(pieces), sum(map(len, pieces)), hashlib.sha256(b"\n".join(pieces)).hexdigest())
