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
    """Check one photograph after the other, each within the seconds of CPU that one may take."""
    error = _errno()
    jail.enter(CONFIG["memory"], CONFIG["cpu_seconds"])
    child.send(b"r")
    while True:
        _, content = child.receive()
        error.value = 0
        # At its end the kernel ends this process, whatever a decoder is in the middle of.
        signal.setitimer(signal.ITIMER_PROF, CONFIG["cpu_seconds_each"])
        found = pictures.check(content)
        signal.setitimer(signal.ITIMER_PROF, 0)
        # A decoder of C that gets no memory often says that the file is broken.
        if found == pictures.UNREADABLE and error.value == errno.ENOMEM:
            raise MemoryError
        child.send(b"c", json.dumps([astuple(each) for each in found]).encode())


def _errno() -> ctypes.c_int:
    """This thread's errno, which a call that is given no memory sets to ENOMEM, and one that works leaves.
    https://man7.org/linux/man-pages/man3/errno.3.html"""
    locate = ctypes.CDLL(None).__errno_location
    locate.restype = ctypes.POINTER(ctypes.c_int)
    found: ctypes.c_int = locate().contents
    return found


child.main(run)
