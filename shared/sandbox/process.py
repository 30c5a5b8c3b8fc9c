"""Starts a child process for what comes from customers, speaks with it, and stops it at its limits.

The child is this interpreter, started anew (`-I -S`: no environment variables, no user's directory, no .pth
files). It holds none of our memory, no credentials, and no open file but its pipes; it puts itself in the
jail before it reads any input. What it answers is data, and its size is checked here.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

from shared.clock import elapsed_since, stopwatch
from shared.sandbox import child
from shared.sandbox.errors import OutOfMemory, OutOfTime, OverLimit, Refused

MAX_SENTENCE = 2_000
"""Characters of a sentence that the parent passes on."""

MAX_FRAME = 64 * 1024 * 1024
"""Bytes of one answer that the parent is ready to hold."""

PASSED = ("LD_LIBRARY_PATH",)
"""The one variable a child gets: where the interpreter finds its own libraries, if it was started so."""


@dataclass(frozen=True)
class Limits:
    """What a child may use. Past it, it is stopped and OverLimit is raised.

    memory       bytes of data
    seconds      of wall time, from the start of the child or of the batch
    cpu_seconds  of all its threads together
    """

    memory: int
    seconds: float
    cpu_seconds: int


ALIVE_SECONDS = 15.0
"""How often `alive` is called while a child says nothing."""


class Crashed(RuntimeError):
    """A child ended by itself without a word.

    by_signal  whether the kernel ended it, for what its code did to memory or to numbers
    """

    def __init__(self, message: str, *, by_signal: bool) -> None:
        super().__init__(message)
        self.by_signal = by_signal


class Child:
    """A running child. Use it as a context: it is killed at the end, whatever it is doing.

    The thread that starts it must live as long as it does: the kernel kills the child with its starter.
    """

    def __init__(
        self,
        file: Path,
        config: dict[str, Any],
        limits: Limits,
        what: str,
        advice: str,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        """Start it.

        file    the program, which reads sys.path and `config` from its first argument, as JSON
        what    names what it works on at the start of a sentence: `The query`
        advice  the sentence that says what to do about a limit
        alive   is called now and then while the child is waited for; what it raises passes
        """
        self.limits, self.what, self.advice, self._alive = limits, what, advice, alive
        argument = {
            **config,
            "path": [str(Path(entry).resolve()) for entry in sys.path],
            "memory": limits.memory,
            "cpu_seconds": limits.cpu_seconds,
        }
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-X", "utf8", str(file), json.dumps(argument)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={name: os.environ[name] for name in PASSED if name in os.environ},
            cwd="/",
            close_fds=True,
            start_new_session=True,
            bufsize=0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._in, False)
        os.set_blocking(self._out, False)
        self.restart_clock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def restart_clock(self) -> None:
        """The limit on wall time counts from now."""
        self._start = stopwatch()

    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def kill(self) -> int:
        """Kill it with all that it started. Answers its return code, as subprocess has it."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # it leads a group of its own
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        return self._process.returncode

    def send(self, kind: bytes, body: bytes = b"") -> None:
        """Send a frame. A child that ends meanwhile raises what it has to say."""
        for piece in (kind + len(body).to_bytes(8, "big"), body):
            rest = memoryview(piece)
            while rest:
                try:
                    rest = rest[os.write(self._in, rest) :]
                except BlockingIOError:
                    self._wait(self._in, selectors.EVENT_WRITE)
                except BrokenPipeError:
                    self.receive()
                    self._died()

    def receive(self) -> tuple[bytes, bytes]:
        """The next frame: its kind and body.

        Raises Refused or OverLimit as the child says or its limits do, RuntimeError where it failed, which is
        Crashed where it ended.
        """
        header = self._read(child.HEADER)
        kind, size = header[:1], int.from_bytes(header[1:], "big")
        if size > MAX_FRAME:
            raise OverLimit(f"{self.what} makes a row of more than {MAX_FRAME:,} bytes. {self.advice}")
        body = self._read(size)
        if kind == child.REFUSED:
            raise Refused(_sentence(body))
        if kind == child.OUT_OF_MEMORY:
            self._out_of_memory()
        if kind == child.FAULT:
            raise RuntimeError(f"the child for {self.what!r} failed: {body.decode(errors='replace')}")
        return kind, body

    def _read(self, size: int) -> bytes:
        made = bytearray()
        while len(made) < size:
            try:
                block = os.read(self._out, min(size - len(made), 1 << 20))
            except BlockingIOError:
                self._wait(self._out, selectors.EVENT_READ)
                continue
            if not block:
                self._died()
            made += block
        return bytes(made)

    def _wait(self, pipe: int, event: int) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, event)
            while (left := self.limits.seconds - elapsed_since(self._start)) > 0:
                if selector.select(min(left, ALIVE_SECONDS)):
                    return
                self._alive()
            self.kill()
            self._out_of_time()

    def _died(self) -> NoReturn:
        """It closed its pipe without a word: the kernel ended it at a limit, or it crashed."""
        try:
            code = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            code = self.kill()
        if code in (-signal.SIGXCPU, -signal.SIGPROF):  # over all it does, or by a timer that it set itself
            self._out_of_time()
        if code == -signal.SIGKILL:  # not ours: the kernel's own, when the machine's memory is used up
            self._out_of_memory()
        raise Crashed(f"the child for {self.what!r} ended with code {code}", by_signal=code < 0)

    def _out_of_time(self) -> NoReturn:
        raise OutOfTime(
            f"{self.what} took longer than {self.limits.seconds:g} seconds and was stopped. {self.advice}"
        )

    def _out_of_memory(self) -> NoReturn:
        size = self.limits.memory / 1024**3
        raise OutOfMemory(
            f"{self.what} needs more than {size:.1f} GiB of memory and was stopped. {self.advice}"
        )


def _sentence(body: bytes) -> str:
    text = body.decode(errors="replace")
    return text if len(text) <= MAX_SENTENCE else text[:MAX_SENTENCE] + "..."
