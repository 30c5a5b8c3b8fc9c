"""Wrong keys, tokens and links: counted by the address that they come from, and slowed before anything is
read.

Each instance of a function counts for itself; the load balancer has a limit over all of them. Many people can
share an address, as an office does: what was right a short while ago passes however many others are wrong.
"""

import hashlib
import math
import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

import flask

from shared import logs
from shared.clock import elapsed_since, stopwatch
from shared.errors import TooMany, Unauthenticated
from shared.http.origin import address_of
from shared.http.rates import Rate, Rates

WRONG = Rate(per_second=0.2, burst=20)
"""How many wrong ones of an address are looked at: twenty at once, then one every five seconds."""

ADDRESSES_KEPT = 10_000
"""Of how many addresses the wrong ones are counted: about 2 MB."""

KNOWN_KEPT = 10_000
"""How many right ones are remembered, by their hash: about 2 MB."""

KNOWN_SECONDS = 600.0
"""For how long they are."""

_NAMED = re.compile(r"(?:wb_)?([0-9a-f]{16}|[0-9a-f]{32})(?:_.*)?", re.DOTALL)
# What a key, the access key of a signature, or the token of a link begins with: its id, which is no secret.

Found = TypeVar("Found")


class _Known:
    """The hashes of what was right, the one that was used last at the end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at: OrderedDict[str, float] = OrderedDict()

    def add(self, name: str) -> None:
        with self._lock:
            self._at[name] = stopwatch()
            self._at.move_to_end(name)
            if len(self._at) > KNOWN_KEPT:
                self._at.popitem(last=False)

    def drop(self, name: str) -> None:
        with self._lock:
            self._at.pop(name, None)

    def has(self, name: str) -> bool:
        with self._lock:
            at = self._at.get(name)
            return at is not None and elapsed_since(at) < KNOWN_SECONDS

    def clear(self) -> None:
        with self._lock:
            self._at.clear()


_wrong = Rates(ADDRESSES_KEPT)
_known = _Known()


def check(
    request: flask.Request, what: str, carried: str, find: Callable[[], Found], *, secret: bool = True
) -> Found:
    """What `find` finds for what a request carries: a key, a token, or the token of a link.

    `what` is what the log calls it. `secret`: whether it proves by itself who has it, which the access key of
    a signature does not. TooMany, before `find` is asked, where too many wrong ones came from its address and
    this one is not known; Unauthenticated as `find` raises it, which counts.
    """
    address = address_of(request)
    name = hashlib.sha256(carried.encode() if secret else f"{address} {carried}".encode()).hexdigest()
    if not _known.has(name):
        seconds = _wrong.wait(address, WRONG)
        if seconds:
            raise TooMany(
                f"too many wrong keys, tokens or links came from {address}: wait {math.ceil(seconds)} s",
                seconds,
            )
    try:
        found = find()
    except Unauthenticated:
        if secret:
            _known.drop(name)
        _wrong.take(address, WRONG)
        slowed = _wrong.wait(address, WRONG) > 0
        logs.warning(f"a {what} was refused", id=id_of(carried), address=address, slowed=slowed)
        raise
    _known.add(name)
    return found


def id_of(carried: str) -> str | None:
    """The id of a key or a link in what a request carries; None where it has none."""
    named = _NAMED.fullmatch(carried)
    return named[1] if named else None


def forget() -> None:
    """Count from the beginning, for a process that goes on as if just started, as tests do."""
    _wrong.clear()
    _known.clear()
