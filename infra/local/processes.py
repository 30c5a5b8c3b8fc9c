"""Each function in a process of its own, under functions-framework, started when it is first needed."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO

from infra.bundle import Function
from infra.local.clock import machine_time, wait

REPOSITORY = Path(__file__).parents[2]

IDLE = timedelta(minutes=5)
"""How long a process without a request stays, of the machine's time."""

OVERDUE = timedelta(minutes=10)
"""How long an instance that was too slow for its event runs on, beside the next one."""

START = timedelta(seconds=60)
"""How long a function may take to listen."""

GRACE = timedelta(seconds=3)
"""How long a process may take to end after SIGTERM."""

_STEP_SECONDS = 0.02


class StartFailed(Exception):
    """A function's process did not come to listen; the message says where its output is."""


@dataclass(frozen=True)
class Start:
    """One cold start: which function, how long until it listened, and its process."""

    function: str
    seconds: float
    pid: int


@dataclass(eq=False)
class Instance:
    """One process of a function. `in_use` counts the requests it is serving, first the one it starts for."""

    function: str
    port: int
    process: "subprocess.Popen[bytes]"
    in_use: int = 1
    leave_at: datetime = field(default_factory=lambda: machine_time() + IDLE)

    @property
    def pid(self) -> int:
        """The process id, which is also its group's."""
        return self.process.pid

    def signal_group(self, number: signal.Signals) -> None:
        """Signal the process and all it has started; nothing where they are gone."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)


class FunctionProcesses:
    """Starts, hands out and ends the processes of functions. Safe to share between threads.

    `env` gives a function's environment; beyond it a process sees PATH, LANG and what the runner sets.
    Its output goes to `<logs>/<function>.log`.
    """

    def __init__(
        self,
        functions: Mapping[str, Function],
        *,
        env: Callable[[Function], Mapping[str, str]],
        logs: Path,
        root: Path = REPOSITORY,
    ) -> None:
        self.functions = functions
        self.starts: list[Start] = []
        self._env = env
        self._logs = logs
        self._root = root
        self._changed = threading.Condition()
        self._starting = {name: threading.Lock() for name in functions}
        self._current: dict[str, Instance] = {}
        self._all: list[Instance] = []
        self._stopped = False
        self._reaper = threading.Thread(target=self._reap, name="processes", daemon=True)
        self._reaper.start()

    @contextmanager
    def use(self, name: str) -> Iterator[Instance]:
        """A running instance of the function, started if need be, kept until the block ends.

        StartFailed where it does not start, KeyError where there is no such function.
        """
        instance = self.acquire(name)
        try:
            yield instance
        finally:
            self.release(instance)

    def acquire(self, name: str) -> Instance:
        """As `use`; whoever acquires must `release`."""
        with self._starting[name]:
            with self._changed:
                found = self._current.get(name)
                if found is not None and found.process.poll() is None:
                    found.in_use += 1
                    return found
            if found is not None:
                self._end([found], GRACE)
            return self._start(self.functions[name])

    def release(self, instance: Instance) -> None:
        """The request is served."""
        with self._changed:
            instance.in_use -= 1
            instance.leave_at = max(instance.leave_at, machine_time() + IDLE)
            self._changed.notify_all()

    def overdue(self, instance: Instance) -> None:
        """The instance did not answer in time: it runs on, and the next event gets a new one.

        https://cloud.google.com/run/docs/configuring/request-timeout
        """
        with self._changed:
            if self._current.get(instance.function) is instance:
                del self._current[instance.function]
            instance.leave_at = machine_time() + OVERDUE
            self._changed.notify_all()

    def pid(self, name: str) -> int | None:
        """The process that serves the function now; None where none runs."""
        with self._changed:
            found = self._current.get(name)
            return found.pid if found is not None and found.process.poll() is None else None

    def kill(self, name: str) -> int:
        """SIGKILL the function's process and its workers; returns its pid. LookupError where none runs."""
        with self._changed:
            found = self._current.pop(name, None)
        if found is None:
            raise LookupError(f"no process of {name} is running")
        self._end([found], timedelta())
        return found.pid

    def stop(self) -> None:
        """End every process: SIGTERM, and SIGKILL for what is still there a few seconds later."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
            ending = list(self._all)
        self._end(ending, GRACE)
        self._reaper.join()

    def _start(self, function: Function) -> Instance:
        began = machine_time()
        instance = self._launch(function)
        while not _accepts(instance.port):
            ended = instance.process.poll() is not None
            if ended or self._stopped or machine_time() - began > START:
                self._end([instance], timedelta())
                log = self._log(function.name)
                last = b" ".join(log.read_bytes().splitlines()[-1:]).decode(errors="replace")
                raise StartFailed(f"{function.name} does not start; its output is in {log}. It ends: {last}")
            wait(_STEP_SECONDS)
        self.starts.append(Start(function.name, (machine_time() - began).total_seconds(), instance.pid))
        with self._changed:
            self._current[function.name] = instance
        return instance

    def _launch(self, function: Function) -> Instance:
        port = free_port()
        command = [
            *(sys.executable, "-m", "infra.local.launcher"),
            *("--source", f"functions/{function.name}/main.py"),
            *("--target", function.name),
            *("--signature-type", function.signature_type),
            *("--host", "127.0.0.1"),
            *("--port", str(port)),
        ]
        with self._output(function.name) as output, self._changed:
            if self._stopped:
                raise StartFailed(f"{function.name} does not start: the suite is ending")
            process = subprocess.Popen(
                command,
                cwd=self._root,
                env=self._environment(function),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            instance = Instance(function.name, port, process)
            self._all.append(instance)
        return instance

    def _environment(self, function: Function) -> dict[str, str]:
        # gunicorn keeps a socket in HOME, and Google's libraries look there for a person's credentials.
        home = self._logs.parent / "home" / function.name
        home.mkdir(parents=True, exist_ok=True)
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(home),
            "LANG": os.environ.get("LANG", "C.UTF-8"),
            "PYTHONPATH": os.pathsep.join(dict.fromkeys([str(self._root), str(REPOSITORY)])),
            "PYTHONUNBUFFERED": "1",
            # https://cloud.google.com/run/docs/container-contract#services-env-vars
            "K_SERVICE": function.name,
            "THREADS": str(function.concurrency),
            **self._env(function),
        }

    def _log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def _output(self, name: str) -> IO[bytes]:
        self._logs.mkdir(parents=True, exist_ok=True)
        return self._log(name).open("ab")

    def _end(self, instances: list[Instance], grace: timedelta) -> None:
        """End these: all are asked, then each is waited for, and what is left of its group is killed."""
        deadline = machine_time() + grace
        if grace:
            for instance in instances:
                instance.signal_group(signal.SIGTERM)
        for instance in instances:
            while instance.process.poll() is None and machine_time() < deadline:
                wait(_STEP_SECONDS)
            instance.signal_group(signal.SIGKILL)
            instance.process.wait()
            if instance.process.stdin is not None:
                instance.process.stdin.close()
        with self._changed:
            self._all = [each for each in self._all if each not in instances]

    def _reap(self) -> None:
        """End what has been idle or overdue for long enough."""
        while True:
            with self._changed:
                if self._stopped:
                    return
                now = machine_time()
                idle = [each for each in self._all if not each.in_use]
                leaving = [each for each in idle if each.leave_at <= now]
                if not leaving:
                    waits = [(each.leave_at - now).total_seconds() for each in idle]
                    self._changed.wait(min(waits, default=None))
                    continue
                for each in leaving:
                    if self._current.get(each.function) is each:
                        del self._current[each.function]
            self._end(leaving, GRACE)


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False
