"""The body of a request while it arrives. It is read here and nowhere else, a block at a time.

Nothing is read until someone asks: a route asks once it knows who is calling and that they may. Each block
has a deadline, so that whoever sends one byte and waits holds a thread for seconds and not for ever. What
nobody asked for is left where it is: the answer is sent first, and then the connection is closed.
"""

import contextlib
import math
import socket
import threading
from collections.abc import Iterator
from typing import Any

import flask
from werkzeug.wsgi import get_content_length

from shared.clock import elapsed_since, stopwatch
from shared.errors import Invalid, Retry, TooMany, TooSlow
from shared.http.origin import address_of
from shared.http.rates import Rate, Rates

BLOCK_BYTES = 64 * 1024
"""How much of a body is read at once."""

BLOCK_SECONDS = 10.0
"""Within how many seconds a block must arrive, or the rest of a body that is shorter: 6.4 KiB a second."""

BODY_SECONDS = 240.0
"""How many seconds are waited for a whole body: 32 MB on a line of 1.1 Mbit/s. A function that takes so much
has 300 (infra/bundle.yaml)."""

UNKNOWN_AT_ONCE = 4
"""Of how many callers at once, that are not known yet, an instance reads the bodies: half the requests that
the smallest instance serves at once (infra/bundle.yaml), so that the other half is left to who is known."""

UNKNOWN_SECONDS = 1.0
"""For how long each of these is read in peace. After that the one that is read for the longest ends where
another comes: so whoever sends one byte and waits keeps nobody from logging in."""

LATE = Rate(per_second=1 / 60, burst=20)
"""How many such bodies of an address may fail to arrive: twenty at once, then one a minute."""

ADDRESSES_KEPT = 10_000
"""Of how many addresses these are counted: about 2 MB."""

DROPPED_BYTES = 64 * 1024 * 1024
"""How much of a body is read and dropped after the answer, so that its sender gets to read it: many clients
send the whole body first, and lose the answer where the connection is closed meanwhile."""

DROPPED_BLOCK_SECONDS = 2.0
"""Within how many seconds a block must arrive that is dropped."""

DROPPED_SECONDS = 10.0
"""How many seconds are waited in all for what is dropped."""

DROPPING_AT_ONCE = 4
"""Of how many requests at once the bodies are dropped so; the connections of others are closed at once."""

_SENT = "waybill.sent"
# Where the environment of a request has its body.

_unknown: dict["Sent", float] = {}  # since when each is read, the longest first
_unknown_lock = threading.Lock()
_late = Rates(ADDRESSES_KEPT)
_dropping = threading.BoundedSemaphore(DROPPING_AT_ONCE)


class Sent:
    """The body of one request, of which at most a block is in memory.

    gunicorn's socket has no timeout, and one of a single `recv` would not help: gunicorn calls it again until
    it has what was asked for. So a timer ends the reading from outside.
    """

    def __init__(self, environ: dict[str, Any]) -> None:
        self.length: int | None = get_content_length(environ)
        self._stream = environ["wsgi.input"]
        self._socket: socket.socket | None = environ.get("gunicorn.socket")
        chunked = "HTTP_TRANSFER_ENCODING" in environ
        self._left = None if chunked else self.length or 0
        self._waited = 0.0
        self._late = False
        self._reading = False
        self._lock = threading.Lock()

    @property
    def ended(self) -> bool:
        """Whether all of it was read."""
        return self._left == 0

    def read(self) -> bytes:
        """The next block; empty at the end.

        TooSlow where it does not arrive in time, Invalid where the body is broken or ends too early.
        """
        seconds = min(BLOCK_SECONDS, BODY_SECONDS - self._waited)
        block = self._receive(seconds)
        if block or self.ended:
            return block
        if self._late:
            raise TooSlow("the request's body does not arrive: send it again, without a pause")
        raise Invalid.field("body", "ends too early, or its chunks are broken: send it again")

    def end(self) -> None:
        """Read no more of it, said by another thread: whoever reads it is told that it does not arrive."""
        with self._lock:
            self._late = True
            if self._reading:
                self._shut()

    def drop(self) -> None:
        """After the answer: let its sender get it, and end the connection."""
        if self._socket is None:
            return
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        if _dropping.acquire(blocking=False):
            try:
                self._drop()
            finally:
                _dropping.release()
        # gunicorn's main thread waits two seconds for each connection that it closes unless nothing can come.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RD)

    def _drop(self) -> None:
        began, left = stopwatch(), DROPPED_BYTES
        while left > 0 and not self.ended:
            seconds = min(DROPPED_BLOCK_SECONDS, DROPPED_SECONDS - elapsed_since(began))
            block = self._receive(seconds)
            if not block:
                return
            left -= len(block)

    def _receive(self, seconds: float) -> bytes:
        """A block; empty at the end, and where none came within these seconds or none can come."""
        if self._left == 0 or self._late or seconds <= 0:
            self._late = self._late or seconds <= 0
            return b""
        size = BLOCK_BYTES if self._left is None else min(BLOCK_BYTES, self._left)
        began = stopwatch()
        try:
            with self._within(seconds):
                block: bytes = self._stream.read(size)
        except Exception:  # gunicorn has several for chunks that are broken, and they share no base
            return b""
        finally:
            self._waited += elapsed_since(began)
        if self._late:
            return b""
        if self._left is not None:
            self._left -= len(block)
        elif not block:
            self._left = 0
        return block

    @contextlib.contextmanager
    def _within(self, seconds: float) -> Iterator[None]:
        if self._socket is None:
            yield
            return
        timer = threading.Timer(seconds, self._too_late)
        timer.daemon = True
        with self._lock:
            self._reading = True
            if self._late:  # it was ended a moment ago
                self._shut()
        timer.start()
        try:
            yield
        finally:
            with self._lock:
                self._reading = False
            timer.cancel()

    def _too_late(self) -> None:
        with self._lock:
            if self._reading:
                self._late = True
                self._shut()

    def _shut(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RD)  # type: ignore[union-attr]


def sent(request: flask.Request) -> Sent:
    """The body of a request."""
    return body_of(request.environ)


def body_of(environ: dict[str, Any]) -> Sent:
    """The body of the request that has this environment."""
    found: Sent | None = environ.get(_SENT)
    if found is None:
        found = environ[_SENT] = Sent(environ)
    return found


@contextlib.contextmanager
def of_the_unknown(request: flask.Request) -> Iterator[None]:
    """Around reading the body of a caller who is not known yet. At most UNKNOWN_AT_ONCE are read at once: for
    another one the one ends that is read for the longest.

    Retry where that has not been read for UNKNOWN_SECONDS; TooMany where too many of its address did not
    arrive.
    """
    body, address = sent(request), address_of(request)
    if seconds := _late.wait(address, LATE):
        raise TooMany(
            f"too many bodies from {address} did not arrive: wait {math.ceil(seconds)} s, and send a request "
            "without a pause",
            seconds,
        )
    with _unknown_lock:
        if len(_unknown) >= UNKNOWN_AT_ONCE:
            longest, began = next(iter(_unknown.items()))
            if elapsed_since(began) < UNKNOWN_SECONDS:
                raise Retry("too many requests of callers that are not known yet are under way")
            del _unknown[longest]
            longest.end()
        _unknown[body] = stopwatch()
    try:
        yield
    except TooSlow:
        _late.take(address, LATE)
        raise
    finally:
        with _unknown_lock:
            _unknown.pop(body, None)


def forget() -> None:
    """Count from the beginning, for a process that goes on as if just started, as tests do."""
    _late.clear()
