"""A child for tests: it enters the jail as the others do, then tries what it is told, and says what came."""

# ruff: noqa: E402
import json
import sys

CONFIG = json.loads(sys.argv[1])
sys.path[:] = CONFIG["path"]

import ctypes
import mmap
import os
import platform
import signal
import socket
import subprocess
import threading
from collections.abc import Callable

from shared.sandbox import child, jail


def _thread() -> str:
    said: list[str] = []
    thread = threading.Thread(target=lambda: said.append("ran"))
    thread.start()
    thread.join()
    return said[0]


def _ptrace() -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")
    return 0


def _unshare() -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x10000000) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    return 0


def _hang() -> None:
    while True:
        pass


PROBES: dict[str, Callable[[], object]] = {
    "environment": lambda: dict(os.environ),
    "modules": lambda: sorted(sys.modules),
    "thread": _thread,
    "read a file": lambda: os.open("/etc/passwd", os.O_RDONLY),
    "write a file": lambda: os.open("/tmp/waybill-probe", os.O_WRONLY | os.O_CREAT),
    "list a directory": lambda: os.listdir("/"),  # noqa: PTH208
    "look at a file": lambda: os.stat("/etc/passwd").st_size,  # noqa: PTH116
    "the parent's environment": lambda: os.open(f"/proc/{CONFIG['parent']}/environ", os.O_RDONLY),
    "socket": lambda: socket.socket().fileno(),
    "unix socket": lambda: socket.socketpair()[0].fileno(),
    "fork": os.fork,
    "run a program": lambda: subprocess.run(["/bin/true"], check=True).returncode,
    "exec": lambda: os.execv("/bin/true", ["true"]),
    "kill": lambda: os.kill(CONFIG["parent"], 0),
    "ptrace": _ptrace,
    "unshare": _unshare,
    "pipe": os.pipe,
    "memory file": lambda: os.memfd_create("x"),
    "memory": lambda: len(bytearray(CONFIG["memory"])),
    "mapped memory": lambda: len(
        mmap.mmap(-1, CONFIG["memory"], flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    ),
    "shared memory": lambda: len(mmap.mmap(-1, CONFIG["memory"] + jail.ADDRESS_SPACE_SLACK)),
    "hang": _hang,
    "die": lambda: os._exit(3),
    "fail": lambda: 1 // 0,
    "kill itself": lambda: signal.raise_signal(signal.SIGKILL),
}


def run() -> None:
    """Enter, then answer each name with what came of it."""
    if CONFIG.get("machine"):
        platform.machine = lambda: CONFIG["machine"]
    jail.enter(CONFIG["memory"], CONFIG["cpu_seconds"])
    while True:
        _, body = child.receive()
        name = body.decode()
        try:
            answer = PROBES[name]()
        except OSError as error:
            answer = f"errno {error.errno}"
        child.send(b"a", json.dumps(answer).encode())


if __name__ == "__main__":
    child.main(run)
