"""Functions in real processes: started cold, killed, idle, too slow, and never left behind."""

import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from infra.bundle import Bundle
from infra.local import processes as module
from infra.local.clock import machine_time
from infra.local.dispatcher import push_to
from infra.local.processes import FunctionProcesses, StartFailed
from infra.local.pubsub import Delivery, PushFailed
from tests.infra.local.standin import PATIENCE, alive, checkout, notes, until

pytestmark = pytest.mark.slow


class during:
    """Run something in a thread while the block runs; its failure is the test's."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._failed: BaseException | None = None

        def run() -> None:
            try:
                work()
            except BaseException as error:
                self._failed = error

        self._thread = threading.Thread(target=run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        if self._failed is not None:
            raise self._failed


@pytest.fixture
def running(tmp_path: Path) -> Iterator[FunctionProcesses]:
    root = checkout(tmp_path / "checkout")
    bundle = Bundle.load(root / "infra" / "bundle.yaml")
    running = FunctionProcesses(
        bundle.functions,
        env=lambda function: {"GCE_METADATA_HOST": f"127.0.0.1:1/as/{function.account}"},
        logs=tmp_path / "logs",
        root=root,
    )
    yield running
    running.stop()


def delivery(function: str, **asked: Any) -> Delivery:
    return Delivery(
        subscription=f"projects/p/subscriptions/{function}",
        topic=f"projects/p/topics/{function}",
        message_id="17",
        data=json.dumps(asked).encode(),
        attributes={},
        publish_time=datetime(2026, 11, 23, 2, tzinfo=UTC),
        attempt=1,
    )


def test_an_event_starts_its_function_and_the_next_finds_it_running(
    running: FunctionProcesses, tmp_path: Path
) -> None:
    note = tmp_path / "note"
    push = push_to(running)
    assert running.pid("pack") is None
    assert push(delivery("pack", note=str(note)))
    pid = running.pid("pack")
    assert push(delivery("pack", note=str(note)))
    assert running.pid("pack") == pid
    assert [(parent, id) for _, parent, id in notes(note)] == [(pid, "17"), (pid, "17")]
    [start] = running.starts
    assert (start.function, start.pid) == ("pack", pid)
    assert 0 < start.seconds < PATIENCE.total_seconds()


def test_its_environment_is_clean(
    running: FunctionProcesses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/elsewhere/key.json")
    with running.use("desk") as instance:
        told = requests.get(f"http://127.0.0.1:{instance.port}/desk/x?y=1", timeout=10).json()
    assert told["path"] == "/desk/x?y=1"
    assert told["cwd"] == str(tmp_path / "checkout")
    env = told["env"]
    assert env["GCE_METADATA_HOST"] == "127.0.0.1:1/as/desk-account"
    assert (env["THREADS"], env["K_SERVICE"]) == ("4", "desk")
    assert Path(env["HOME"]).is_relative_to(tmp_path)
    set_by_us = {"PATH", "HOME", "LANG", "PYTHONPATH", "PYTHONUNBUFFERED", "K_SERVICE", "THREADS"}
    set_below_us = {
        "FUNCTION_TARGET",
        "FUNCTION_SIGNATURE_TYPE",
        "LC_CTYPE",
        "SERVER_SOFTWARE",
        "GCE_METADATA_HOST",
    }
    assert set(env) <= set_by_us | set_below_us


def test_an_event_that_fails_is_not_acknowledged_and_its_output_is_kept(
    running: FunctionProcesses, tmp_path: Path
) -> None:
    with pytest.raises(PushFailed, match="answered 500"):
        push_to(running)(delivery("pack", fail=True))
    until(lambda: "as asked" in (tmp_path / "logs" / "pack.log").read_text(), "the traceback in the log")


def test_killed_while_it_works_then_started_again(running: FunctionProcesses, tmp_path: Path) -> None:
    gate, note = tmp_path / "gate", tmp_path / "note"
    os.mkfifo(gate)
    push = push_to(running)

    def kill() -> None:
        until(lambda: len(notes(note)) == 1, "the function at work")
        worker = notes(note)[0][0]
        killed = running.kill("pack")
        until(lambda: not alive(killed) and not alive(worker), "both gone")

    with during(kill), pytest.raises(OSError, match=r"closed connection|reset"):
        push(delivery("pack", note=str(note), gate=str(gate)))
    assert running.pid("pack") is None
    with pytest.raises(LookupError):
        running.kill("pack")
    assert push(delivery("pack", note=str(note)))
    (_, first, _), (_, second, _) = notes(note)
    assert first != second
    assert [start.pid for start in running.starts] == [first, second]


def test_one_that_somebody_else_killed_is_started_again(running: FunctionProcesses, tmp_path: Path) -> None:
    note = tmp_path / "note"
    push = push_to(running)
    assert push(delivery("pack", note=str(note)))
    [(worker, parent, _)] = notes(note)
    os.kill(parent, signal.SIGKILL)
    until(lambda: running.pid("pack") is None, "the process gone")
    assert push(delivery("pack", note=str(note)))
    assert notes(note)[1][1] != parent
    until(lambda: not alive(worker), "its worker gone too")


def test_one_too_slow_runs_on_beside_the_next(running: FunctionProcesses, tmp_path: Path) -> None:
    gate, note = tmp_path / "gate", tmp_path / "note"
    os.mkfifo(gate)
    push = push_to(running)
    with pytest.raises(PushFailed, match="no answer within 1 seconds"):
        push(delivery("slow", note=str(note), gate=str(gate)))
    assert push(delivery("slow", note=str(note)))
    (_, first, _), (_, second, _) = notes(note)
    assert first != second
    assert alive(first), "production lets it run on"
    running.stop()
    until(lambda: not alive(first) and not alive(second), "both gone")


def test_one_that_is_idle_is_ended_and_started_again(
    running: FunctionProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running.use("desk") as instance:
        monkeypatch.setattr(module, "IDLE", timedelta())
        instance.leave_at = machine_time()
    until(lambda: not alive(instance.pid), "the idle process gone")
    with running.use("desk") as another:
        assert another.pid != instance.pid


def test_one_that_does_not_start_says_why(running: FunctionProcesses) -> None:
    with pytest.raises(StartFailed, match=r"broken does not start.*broken\.log.*no handler today"):
        running.acquire("broken")
    assert running.starts == []


def test_stopping_ends_everything_and_starts_nothing_more(running: FunctionProcesses, tmp_path: Path) -> None:
    note, gate = tmp_path / "note", tmp_path / "gate"
    os.mkfifo(gate)
    with running.use("desk") as desk:
        port = desk.port

    def stop() -> None:
        until(lambda: len(notes(note)) == 1, "the function at work")
        running.stop()

    with during(stop), pytest.raises(OSError, match=r"closed connection|reset"):
        push_to(running)(delivery("pack", note=str(note), gate=str(gate)))
    [(worker, parent, _)] = notes(note)
    until(lambda: not any(map(alive, (desk.pid, worker, parent))), "all of them gone")
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port))
    with pytest.raises(StartFailed):
        running.acquire("desk")
