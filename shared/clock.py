"""The only module that reads the process's clock, and only for durations.

What is due comes from a tick's publish time, windows from that, leases and expiries from Firestore's times.
"""

import time


def elapsed_since(start: float) -> float:
    """Seconds since `start`, a reading of `stopwatch`."""
    return time.monotonic() - start


def stopwatch() -> float:
    """A reading in seconds that only means something to `elapsed_since`."""
    return time.monotonic()
