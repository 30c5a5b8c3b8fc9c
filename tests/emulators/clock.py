"""A clock that tests can move, for servers that know only the machine's."""

from bisect import bisect_right
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from infra.local.clock import SuiteClock, machine_time, wait

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MILLISECOND = 1000


def micros(at: datetime) -> int:
    """Microseconds since 1970."""
    return (at - EPOCH) // _MICROSECOND


class MovedClock(SuiteClock):
    """The machine's time, moved: it goes on by itself, and a test moves it forward.

    Each move is kept with the machine's time when it was made. So a time of the machine can be said in the
    suite's, and the other way round. What the suite's clock leaped over was at the moment of the leap. Times
    are microseconds since 1970.
    """

    def __init__(self, start: datetime) -> None:
        super().__init__()
        self._start = start
        self.moved: list[Callable[[], None]] = []
        """What is called after each move."""
        self.restart()

    def restart(self) -> None:
        """Go back to the start, for servers that forgot everything."""
        with self._lock:
            self._since: list[int] = []
            self._ahead: list[int] = []
            self._last = EPOCH
            self._leap_to(micros(self._start))

    def suites(self, machines: int) -> int:
        """What the suite's clock showed at a time of the machine."""
        return machines + self._ahead[max(0, bisect_right(self._since, machines) - 1)]

    def machines(self, suites: int) -> int:
        """When the suite's clock showed a time: before a leap, where it showed none."""
        for number in range(len(self._since) - 1, -1, -1):
            at = suites - self._ahead[number]
            if at >= self._since[number]:
                following = self._since[number + 1 : number + 2]
                return min(at, following[0] - 1) if following else at
        return self._since[0] - 1

    def set(self, at: datetime) -> datetime:
        """As SuiteClock does."""
        with self._lock:
            now = self._read()
            if at < now:
                raise ValueError(
                    f"the suite's clock stands at {now.isoformat()} and never goes back to {at.isoformat()}"
                )
            self._leap_to(micros(at))
        return self._told()

    def _move(self, by: timedelta) -> None:
        raise NotImplementedError

    def advance(self, by: timedelta) -> datetime:
        """As SuiteClock does."""
        if by < timedelta():
            raise ValueError("the suite's clock never goes back")
        with self._lock:
            self._leap_to(micros(self._read() + by))
        return self._told()

    def _told(self) -> datetime:
        for each in list(self.moved):
            each()
        return self.now()

    def _read(self) -> datetime:
        reading = EPOCH + self.suites(micros(machine_time())) * _MICROSECOND
        self._last = max(reading, self._last + _MICROSECOND)
        return self._last

    def _leap_to(self, suites: int) -> None:
        """Leap at a whole millisecond: a time of a message, which has no more, is then before it or after."""
        suites -= suites % -_MILLISECOND
        since = micros(machine_time()) // _MILLISECOND * _MILLISECOND + _MILLISECOND
        while micros(machine_time()) < since:
            wait(0.0001)
        self._since.append(since)
        self._ahead.append(suites - since)
