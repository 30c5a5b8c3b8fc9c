"""The only module that reads the process's clock: for durations, and for the dates of signed requests.

What is due comes from a tick's publish time, windows from that, leases and expiries from Firestore's times.
"""

import time


def elapsed_since(start: float) -> float:
    """Seconds since `start`, a reading of `stopwatch`."""
    return time.monotonic() - start


def stopwatch() -> float:
    """A reading in seconds that only means something to `elapsed_since`."""
    return time.monotonic()


def unix_seconds() -> int:
    """Seconds since 1970 by this machine, for the date of a signed request: whoever gets one compares it with
    a clock of their own. Nothing else is decided by it."""
    return int(time.time())
