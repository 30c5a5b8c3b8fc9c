"""The child: what it can reach, and how it is stopped. Each thing is tried in a child that is in the jail."""

import errno
import json
import os
import resource
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.sandbox import jail
from shared.sandbox.errors import OverLimit
from shared.sandbox.process import Child, Limits

PROBE = Path(__file__).with_name("probe.py")
LIMITS = Limits(memory=256 * 1024**2, seconds=20, cpu_seconds=7)


def started(limits: Limits = LIMITS, **config: Any) -> Child:
    config = {"parent": os.getpid(), **config}
    return Child(PROBE, config, limits, "The probe", "Do less.")


def ask(child: Child, name: str) -> Any:
    child.send(b"q", name.encode())
    return json.loads(child.receive()[1])


@pytest.fixture(scope="module")
def probe() -> Iterator[Child]:
    os.environ["WAYBILL_SECRET_OF_A_TEST"] = "secret"
    with started() as child:
        yield child
    del os.environ["WAYBILL_SECRET_OF_A_TEST"]


@pytest.mark.parametrize(
    "name",
    [
        "read a file",
        "write a file",
        "list a directory",
        "look at a file",
        "the parent's environment",
        "socket",
        "unix socket",
        "fork",
        "run a program",
        "exec",
        "kill",
        "ptrace",
        "unshare",
        "pipe",
        "memory file",
    ],
)
def test_a_child_may_not(probe: Child, name: str) -> None:
    assert ask(probe, name) == f"errno {errno.EPERM}"


def test_a_child_may_start_a_thread(probe: Child) -> None:
    assert ask(probe, "thread") == "ran"


def test_a_child_has_no_environment(probe: Child) -> None:
    own = {"PYDANTIC_DISABLE_PLUGINS"}  # `shared` sets it wherever it is imported
    assert set(ask(probe, "environment")) <= {"LC_CTYPE", "LD_LIBRARY_PATH"} | own


def test_a_child_has_its_limits(probe: Child) -> None:
    ask(probe, "thread")  # it is in the jail
    names = [resource.RLIMIT_CPU, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE, resource.RLIMIT_DATA]
    found = [resource.prlimit(probe._process.pid, name) for name in names]
    assert found == [(7, 8), (0, 0), (0, 0), (LIMITS.memory, LIMITS.memory)]


def test_a_child_imports_nothing_of_google_and_only_the_sandbox_of_ours(probe: Child) -> None:
    modules = ask(probe, "modules")
    ours = {"shared", "shared.sandbox", "shared.sandbox.child", "shared.sandbox.jail"}
    assert {m for m in modules if m.split(".")[0] in ("google", "grpc", "shared")} == ours


@pytest.mark.parametrize("name", ["memory", "mapped memory", "shared memory"])
def test_memory_past_the_limit_is_refused(name: str) -> None:
    with started(Limits(memory=64 * 1024**2, seconds=20, cpu_seconds=7)) as child:
        if name == "memory":
            with pytest.raises(OverLimit, match=r"The probe needs more than 0\.1 GiB of memory .* Do less\."):
                ask(child, name)
        else:
            assert ask(child, name) == f"errno {errno.ENOMEM}"


def test_a_child_that_hangs_is_killed_at_its_deadline() -> None:
    with started(Limits(memory=LIMITS.memory, seconds=0.3, cpu_seconds=7)) as child:
        with pytest.raises(
            OverLimit, match=r"The probe took longer than 0\.3 seconds and was stopped\. Do less\."
        ):
            ask(child, "hang")
        with pytest.raises(ProcessLookupError):
            os.kill(child._process.pid, 0)


@pytest.mark.slow
def test_a_child_that_uses_its_cpu_seconds_is_over_its_limit() -> None:
    with (
        started(Limits(memory=LIMITS.memory, seconds=20, cpu_seconds=1)) as child,
        pytest.raises(OverLimit, match="took longer than"),
    ):
        ask(child, "hang")


def test_a_child_that_does_not_read_is_killed_at_its_deadline() -> None:
    with started(Limits(memory=LIMITS.memory, seconds=0.3, cpu_seconds=7)) as child:
        child.send(b"q", b"hang")
        with pytest.raises(OverLimit, match="took longer than"):
            child.send(b"q", b"x" * 10_000_000)


def test_a_child_that_dies_is_a_fault_of_ours() -> None:
    with started() as child, pytest.raises(RuntimeError, match="ended with code 3"):
        ask(child, "die")


def test_a_child_that_fails_says_where() -> None:
    with started() as child, pytest.raises(RuntimeError, match="ZeroDivisionError"):
        ask(child, "fail")


def test_a_child_killed_by_the_kernel_needed_too_much_memory() -> None:
    with started() as child:
        os.kill(child._process.pid, 9)
        with pytest.raises(OverLimit, match="of memory"):
            ask(child, "thread")


def test_leaving_the_context_kills_the_child() -> None:
    with started() as child:
        ask(child, "thread")
    with pytest.raises(ProcessLookupError):
        os.kill(child._process.pid, 0)


def test_a_child_starts_in_any_thread() -> None:
    said: list[Any] = []

    def ask_one() -> None:
        with started() as child:
            said.append(ask(child, "socket"))

    threads = [threading.Thread(target=ask_one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == [f"errno {errno.EPERM}"] * 3


def test_a_child_that_cannot_be_jailed_does_not_run() -> None:
    with started(machine="riscv64") as child, pytest.raises(RuntimeError, match="no list of system calls"):
        ask(child, "thread")


def verdict(machine: jail.Machine, call: int, first: int = 0, audit: int | None = None) -> int:
    """What the filter answers to a call: a small interpreter of its instructions."""
    data = struct.pack("=IIQQ", call, audit or machine.audit, 0, first)
    made, here = 0, 0
    program = jail.program(machine)
    while True:
        code, then, otherwise, constant = program[here]
        here += 1
        if code == jail.LOAD:
            made = struct.unpack_from("=I", data, constant)[0]
        elif code == jail.JUMP_EQUAL:
            here += then if made == constant else otherwise
        elif code == jail.JUMP_SET:
            here += then if made & constant else otherwise
        else:
            assert code == jail.RETURN
            return constant


@pytest.mark.parametrize("name", jail.MACHINES)
def test_the_filter_lets_through_what_is_listed_and_nothing_else(name: str) -> None:
    machine = jail.MACHINES[name]
    allowed = [n for n in range(600) if verdict(machine, n) == jail.RETURN_ALLOW]
    assert allowed == sorted(machine.allowed.values())
    assert verdict(machine, machine.clone, jail.CLONE_THREAD) == jail.RETURN_ALLOW
    assert verdict(machine, machine.clone) == jail.RETURN_ERRNO | errno.EPERM
    assert verdict(machine, machine.clone3) == jail.RETURN_ERRNO | errno.ENOSYS
    assert verdict(machine, machine.allowed["read"], audit=0x40000003) == jail.RETURN_ERRNO | errno.EPERM
    assert verdict(machine, 0x40000000 | machine.allowed["read"]) == jail.RETURN_ERRNO | errno.EPERM
