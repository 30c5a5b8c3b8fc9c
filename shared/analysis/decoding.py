"""Photographs are decoded in child processes, which are stopped where one costs too much.

What a decoder does cannot be told from a file's size or its pixels: a progressive JPEG of 340 KB can take
minutes. So each photograph has a limit of CPU time and of memory, and runs beside others. A child serves one
photograph after the other. One that is stopped, or crashes, is replaced, and only its own photograph is said
to be at fault.
"""

import atexit
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from shared.sandbox.errors import OutOfMemory, OutOfTime
from shared.sandbox.process import Child, Crashed, Limits
from shared.workorders import pictures
from shared.workorders.record import DataConformity

DECODERS = 2
"""How many children of a process decode at once. Together they may use 1.3 GiB."""

MEMORY = 640 * 1024**2
"""Bytes that a child may use. The largest pictures that are taken (`pictures.MAX_PIXELS`) need 520 to 640 MB,
but a progressive JPEG in four colours 840."""

CPU_SECONDS = 10
"""CPU seconds for one photograph. The largest sound ones took 1 to 3 here, those of telephones 0.1."""

SECONDS = 60.0
"""Wall time for one photograph, where several share a processor."""

PICTURES_EACH = 1_000
"""How many photographs a child serves, so that what a decoder leaks does not add up."""

TOO_LONG = (DataConformity("readable", "TAKES_TOO_LONG", "warning"),)
"""Of a photograph that was not checked, since decoding it took more than CPU_SECONDS."""

TOO_MUCH_MEMORY = (DataConformity("readable", "TAKES_TOO_MUCH_MEMORY", "warning"),)
"""Of a photograph that was not checked, since decoding it took more than MEMORY."""

_LIMITS = Limits(memory=MEMORY, seconds=SECONDS, cpu_seconds=PICTURES_EACH * (CPU_SECONDS + 1))

_own = threading.local()


def check(content: bytes, in_time: Callable[[], bool]) -> tuple[DataConformity, ...] | None:
    """What `pictures.check` says of a picture, or TOO_LONG or TOO_MUCH_MEMORY; None where it is no longer
    `in_time` when its turn comes."""

    def turn() -> tuple[DataConformity, ...] | None:
        return _checked(content) if in_time() else None

    return _threads().submit(turn).result()


def thumbnail(read: Callable[[], bytes], width: int, *, turned: bool) -> bytes | None:
    """The picture that `read` returns, as `pictures.thumbnail` makes it small; None where it cannot be
    decoded, or that takes too much time or memory.

    `read` is called when its turn comes, so no more than DECODERS pictures are in memory; what it raises
    passes. ValueError for a width of more than 65,535 pixels.
    """
    if not 0 < width < 1 << 16:
        raise ValueError(f"a thumbnail cannot be {width} pixels wide")
    before = width.to_bytes(2) + (b"\1" if turned else b"\0")

    def turn() -> bytes | None:
        try:
            return _decoded(b"t", before + read())
        except (OutOfTime, OutOfMemory):
            return None

    return _threads().submit(turn).result()


@cache
def _threads() -> ThreadPoolExecutor:
    """The threads that have a child each. They live as long as this process: the kernel kills a child with
    the thread that started it."""
    return ThreadPoolExecutor(DECODERS, "decoder")


def _checked(content: bytes) -> tuple[DataConformity, ...]:
    try:
        body = _decoded(b"p", content)
    except OutOfTime:
        return TOO_LONG
    except OutOfMemory:
        return TOO_MUCH_MEMORY
    return pictures.UNREADABLE if body is None else tuple(DataConformity(*each) for each in json.loads(body))


def _decoded(task: bytes, content: bytes) -> bytes | None:
    """What a child makes of a picture; None where it cannot be decoded. OutOfTime or OutOfMemory where that
    costs too much."""
    decoder = _decoder()
    healthy = False
    try:
        decoder.restart_clock()
        decoder.send(task, content)
        kind, body = decoder.receive()
        healthy = True
    except Crashed as crashed:
        if not crashed.by_signal:
            raise
        return None  # a decoder met what it cannot bear
    finally:
        _own.left -= 1
        if not healthy or not _own.left:
            _stop()
    return body if kind == b"c" else None


def _decoder() -> Child:
    """This thread's child: the one that it has, or a new one."""
    decoder: Child | None = getattr(_own, "child", None)
    if decoder is not None and not decoder.is_alive():
        _stop()  # it ended between two photographs: neither is to blame
        decoder = None
    if decoder is None:
        decoder = Child(
            Path(__file__).with_name("decoding_child.py"),
            {"cpu_seconds_each": CPU_SECONDS},
            _LIMITS,
            "The photograph",
            "Send it in a lower resolution.",
        )
        atexit.register(decoder.kill)
        try:
            decoder.receive()  # it is in the jail
        except BaseException as failed:
            _ended(decoder)
            raise RuntimeError("no child that decodes photographs could be started") from failed
        _own.child, _own.left = decoder, PICTURES_EACH
    return decoder


def _stop() -> None:
    _ended(_own.child)
    _own.child = None


def _ended(decoder: Child) -> None:
    atexit.unregister(decoder.kill)
    decoder.kill()
