"""The child that decodes photographs. Started by decoding.py as a program, never imported."""

# ruff: noqa: E402
import json
import sys

CONFIG = json.loads(sys.argv[1])
sys.path[:] = CONFIG["path"]

import ctypes
import errno
import signal
from dataclasses import astuple

import pi_heif  # type: ignore[import-untyped]  # noqa: F401  (its codecs are to be open before the jail)

from shared.sandbox import child, jail
from shared.workorders import pictures


def run() -> None:
    """Check photographs, or make their thumbnails, one after the other, each within the seconds of CPU that
    one may take."""
    error = _errno()
    jail.enter(CONFIG["memory"], CONFIG["cpu_seconds"])
    child.send(b"r")
    while True:
        task, content = child.receive()
        error.value = 0
        # At its end the kernel ends this process, whatever a decoder is in the middle of.
        signal.setitimer(signal.ITIMER_PROF, CONFIG["cpu_seconds_each"])
        made = _thumbnail(content) if task == b"t" else _check(content)
        signal.setitimer(signal.ITIMER_PROF, 0)
        # A decoder of C that gets no memory often says that the file is broken.
        if made is None and error.value == errno.ENOMEM:
            raise MemoryError
        child.send(b"u" if made is None else b"c", made or b"")


def _check(content: bytes) -> bytes | None:
    """What the checks say of a photograph, as JSON; None of one that cannot be read."""
    found = pictures.check(content)
    return None if found == pictures.UNREADABLE else json.dumps([astuple(each) for each in found]).encode()


def _thumbnail(asked: bytes) -> bytes | None:
    """The thumbnail of a photograph, before which two bytes say its width, and one whether it is turned."""
    return pictures.thumbnail(asked[3:], int.from_bytes(asked[:2]), turned=asked[2:3] == b"\1")


def _errno() -> ctypes.c_int:
    """This thread's errno, which a call that is given no memory sets to ENOMEM, and one that works leaves.
    https://man7.org/linux/man-pages/man3/errno.3.html"""
    locate = ctypes.CDLL(None).__errno_location
    locate.restype = ctypes.POINTER(ctypes.c_int)
    found: ctypes.c_int = locate().contents
    return found


child.main(run)
