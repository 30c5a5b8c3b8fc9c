"""Holding one way to do some work against others: by turns, in one run, and only where all did the same."""

import gc
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Generic, TypeVar

from infra.local.clock import cpu_seconds
from shared.clock import elapsed_since, stopwatch

T = TypeVar("T")


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


@dataclass(frozen=True)
class Side(Generic[T]):
    """One way to do the work. `work` is timed and given the number of the repetition."""

    name: str
    work: Callable[[int], T]


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

    def as_json(self) -> dict[str, Any]:
        """All of it, ratios included."""
        ratios = [
            {"side": side.name, **{clock: asdict(self.ratio(side, clock)) for clock in ("wall", "cpu")}}
            for side in self.sides[1:]
        ]
        return {**asdict(self), "times_ours": ratios}


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
            time, result = timed(lambda side=side, at=repetition: side.work(at))  # type: ignore[misc]
            did = dones[side.name] = done(side, repetition, result)
            if did != dones[sides[0].name]:
                raise DifferentWork(f"{name}: {sides[0].name} did {dones[sides[0].name]}, {side.name} {did}")
            if repetition:
                took[side.name].append(time)
    return Comparison(name, unit, [SideTook(side.name, took[side.name], dones[side.name]) for side in sides])


def timed(work: Callable[[], T]) -> tuple[Took, T]:
    """Do it; returns what it took, and its result."""
    gc.collect()  # what another left behind is not counted here
    cpu, wall = cpu_seconds(), stopwatch()
    result = work()
    return Took(elapsed_since(wall), cpu_seconds() - cpu), result


def spread(values: Iterable[float]) -> Spread:
    """The median, and the least and the most."""
    values = list(values)
    return Spread(median(values), min(values), max(values))


def digest(pieces: Sequence[bytes]) -> Done:
    """What a side did that made these."""
    return Done(len(pieces), sum(map(len, pieces)), hashlib.sha256(b"\n".join(pieces)).hexdigest())
