"""The one clock of the suite. It can be set forward, never back: a demo shows two days in a minute."""

import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

_MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_SCHEDULED = 2
# Which clock of a process: the time for which the kernel ran it.
# https://github.com/torvalds/linux/blob/v6.6/include/linux/posix-timers.h


class SuiteClock:
    """Gives every service of the suite the same time.

    Running (the default) it is the machine's time plus an offset, which `set` enlarges and `file` keeps
    across restarts. Frozen it stands still but for a microsecond at each reading, so that a test sees the
    same times at every run and still never sees one twice.
    """

    def __init__(self, *, frozen_at: datetime | None = None, file: Path | None = None) -> None:
        self._lock = threading.Lock()
        self._file = file
        self._begins = self._frozen = frozen_at
        self._last = _EPOCH
        self._offset = timedelta()
        if file is not None and file.exists():
            kept = json.loads(file.read_text())
            self._offset = timedelta(seconds=kept["offset_seconds"])

    def now(self) -> datetime:
        """The suite's time, UTC, to the microsecond; each answer is later than the one before."""
        with self._lock:
            return self._read()

    def set(self, at: datetime) -> datetime:
        """Move to `at`; a time already past raises ValueError. Returns the time that it is now."""
        with self._lock:
            now = self._read()
            if at < now:
                raise ValueError(
                    f"the suite's clock stands at {now.isoformat()} and never goes back to {at.isoformat()}"
                )
            self._move(at - now)
            return self._read()

    def advance(self, by: timedelta) -> datetime:
        """Move on by a duration, at least zero. Returns the time that it is now."""
        if by < timedelta():
            raise ValueError("the suite's clock never goes back")
        with self._lock:
            self._move(by)
            return self._read()

    def restart(self) -> None:
        """Go back to where a frozen clock began, for services that forgot everything. ValueError for one that
        runs."""
        if self._begins is None:
            raise ValueError("only a frozen clock goes back")
        with self._lock:
            self._frozen, self._last = self._begins, _EPOCH

    def kept(self) -> Callable[[], None]:
        """What takes a frozen clock back to now. ValueError for one that runs."""
        if self._begins is None:
            raise ValueError("only a frozen clock goes back")
        with self._lock:
            frozen, last = self._frozen, self._last

        def restore() -> None:
            with self._lock:
                self._frozen, self._last = frozen, last

        return restore

    def _read(self) -> datetime:
        if self._frozen is not None:
            self._frozen += _MICROSECOND
            reading = self._frozen
        else:
            reading = datetime.fromtimestamp(time.time(), UTC) + self._offset
        self._last = max(reading, self._last + _MICROSECOND)
        return self._last

    def _move(self, by: timedelta) -> None:
        if self._frozen is not None:
            self._frozen += by
            return
        self._offset += by
        if self._file is not None:
            kept = self._file.with_suffix(".new")
            kept.write_text(json.dumps({"offset_seconds": self._offset.total_seconds()}))
            kept.replace(self._file)


def machine_time() -> datetime:
    """The machine's own time, for what clients hold against theirs: the expiry of an access token."""
    return datetime.fromtimestamp(time.time(), UTC)


def wait(seconds: float) -> None:
    """Sleep on the machine's own time, for a fault that delays an answer."""
    time.sleep(seconds)


def cpu_seconds() -> float:
    """The CPU time that this process has used so far, in all its threads; for benchmarks."""
    return time.process_time()


def cpu_seconds_of(pid: int) -> float:
    """The same of another process, which must be running; ProcessLookupError where it is not. Linux only.
    https://man7.org/linux/man-pages/man3/clock_getcpuclockid.3.html"""
    try:
        return time.clock_gettime(~pid << 3 | _SCHEDULED)
    except OSError as gone:
        raise ProcessLookupError(f"there is no process {pid}") from gone
