"""How often something may happen: a bucket of tokens for each name, in the memory of this instance.

A bucket holds at most `burst` tokens, gets `per_second` of them back each second, and begins full. Each
instance of a function has buckets of its own, so that n instances let n times as much happen; what must hold
over all of them is the load balancer's to keep.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from shared.clock import stopwatch

REQUESTS_A_SECOND = 50
"""How many requests of one customer an instance answers in a second, in the long run, unless an operator has
set another number for the customer (`shared.accounts.limits`)."""

BURST_SECONDS = 4.0
"""For how many seconds' worth of requests a bucket is full, unless its rate says otherwise."""


@dataclass(frozen=True)
class Rate:
    """How many a second, in the long run, and how many at once."""

    per_second: float
    burst: float

    @classmethod
    def of(cls, per_second: float) -> "Rate":
        """So many a second, and at once as many as in BURST_SECONDS."""
        return cls(per_second, max(1.0, per_second * BURST_SECONDS))


class Rates:
    """Buckets by name, at most `kept` of them: a further name takes the place of the one that was not used
    for the longest time, whose bucket is full again when it comes back. Safe to share between threads."""

    def __init__(self, kept: int, clock: Callable[[], float] = stopwatch) -> None:
        self._kept = kept
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, and when there were

    def take(self, name: str, rate: Rate) -> float:
        """Take one token: 0 where there was one; else none is taken, and it is the seconds until there is
        one."""
        with self._lock:
            tokens, now = self._now(name, rate)
            missing = max(0.0, 1 - tokens)
            self._buckets[name] = (tokens if missing else tokens - 1, now)
            self._buckets.move_to_end(name)
            if len(self._buckets) > self._kept:
                self._buckets.popitem(last=False)
            return missing / rate.per_second

    def wait(self, name: str, rate: Rate) -> float:
        """The seconds until there is a token, 0 where there is one. None is taken."""
        with self._lock:
            return max(0.0, 1 - self._now(name, rate)[0]) / rate.per_second

    def clear(self) -> None:
        """Forget every bucket, for a process that goes on as if just started, as tests do."""
        with self._lock:
            self._buckets.clear()

    def __len__(self) -> int:
        return len(self._buckets)

    def _now(self, name: str, rate: Rate) -> tuple[float, float]:
        now = self._clock()
        tokens, at = self._buckets.get(name, (rate.burst, now))
        return min(rate.burst, tokens + (now - at) * rate.per_second), now
