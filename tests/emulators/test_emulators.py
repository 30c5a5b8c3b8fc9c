"""How the suites run on Google's emulators, and that it is said where they do not."""

import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infra.local.clock import machine_time
from infra.local.processes import REPOSITORY
from tests.emulators import __main__ as command
from tests.emulators import programs
from tests.emulators.clock import MovedClock, micros
from tests.infra.local.standin import until

START = datetime(2026, 11, 22, 9, 17, tzinfo=UTC)


def path_with(directory: Path, *names: str) -> str:
    directory.mkdir(parents=True)
    for name in names:
        (directory / name).write_text("#!/bin/sh\n")
        (directory / name).chmod(0o755)
    return str(directory)


@pytest.mark.parametrize(
    ("there", "said"),
    [
        ((), "of Firestore and of Pub/Sub"),
        ((programs.PUBSUB,), "of Firestore"),
        ((programs.FIRESTORE,), "of Pub/Sub"),
    ],
    ids=["neither", "no Firestore", "no Pub/Sub"],
)
def test_where_an_emulator_is_missing_a_line_says_so_and_nothing_runs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    there: tuple[programs.Program, ...],
    said: str,
) -> None:
    monkeypatch.setenv("PATH", path_with(tmp_path / "sdk" / "bin", "gcloud", "java"))
    for program in there:
        place = tmp_path / "sdk" / program.path
        path_with(place.parent, place.name)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("the suites ran"))
    assert command.main() == 0
    assert capsys.readouterr().out == (
        f"Google's emulator {said} is not on this machine: "
        "the suites of exports and batches ran on our own services only.\n"
    )


@pytest.mark.parametrize("tool", ["gcloud", "java"])
def test_without_gcloud_or_java_both_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: str
) -> None:
    for program in (programs.FIRESTORE, programs.PUBSUB):
        place = tmp_path / "sdk" / program.path
        path_with(place.parent, place.name)
    monkeypatch.setenv("PATH", path_with(tmp_path / "sdk" / "bin", tool))
    assert programs.missing() == ["Firestore", "Pub/Sub"]
    (tmp_path / "sdk" / "bin" / ("java" if tool == "gcloud" else "gcloud")).symlink_to(
        tmp_path / "sdk" / "bin" / tool
    )
    assert programs.missing() == []


def test_a_program_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text(
        f"#!/bin/sh\necho $$ > {tmp_path}/pid.new; mv {tmp_path}/pid.new {tmp_path}/pid; sleep 600\n"
    )
    program.chmod(0o755)
    starter = f"""
import os, pathlib, signal
from tests.emulators.programs import start
start([{str(program)!r}], pathlib.Path({str(tmp_path / "output")!r}))
while not os.path.exists({str(tmp_path / "pid")!r}):
    pass
os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run([sys.executable, "-c", starter], cwd=REPOSITORY, check=False, timeout=60)
    assert ended.returncode == -signal.SIGKILL
    pid = int((tmp_path / "pid").read_text())
    until(lambda: not alive(pid), "the program gone")


def alive(pid: int) -> bool:
    """Whether a process runs, and not as a zombie whom nobody waits for."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_make_check_runs_them() -> None:
    recipe = (REPOSITORY / "Makefile").read_text().partition("\ncheck:")[2].partition("\n\n")[0]
    assert "python -m tests.emulators " in recipe
    for suite in command.SUITES:
        assert (REPOSITORY / suite).exists(), suite


def test_where_they_are_the_suites_run_on_them_and_their_result_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ran: list[list[str]] = []

    def run(asked: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        ran.append(asked)
        return subprocess.CompletedProcess(asked, 3)

    monkeypatch.setattr(command, "missing", list)
    monkeypatch.setattr(subprocess, "run", run)
    assert command.main(["-n", "2"]) == 3
    assert ran == [[sys.executable, "-m", "pytest", "--google", "-m", "not slow", "-n", "2", *command.SUITES]]


def test_a_moved_clock_says_a_time_of_the_machine_in_the_suites_and_back() -> None:
    clock = MovedClock(START)
    before = micros(machine_time())
    first = clock.now()
    assert START <= first < START + timedelta(seconds=10)
    clock.set(START + timedelta(hours=2))
    after = micros(machine_time())
    assert micros(START) <= clock.suites(before) <= micros(first)
    assert micros(START + timedelta(hours=2)) <= clock.suites(after)
    for machines in (before, after):
        assert clock.machines(clock.suites(machines)) == machines


def test_what_a_moved_clock_leaped_over_is_before_all_that_came_after_the_leap() -> None:
    clock = MovedClock(START)
    before = micros(machine_time())
    leaped = clock.advance(timedelta(hours=2))
    after = micros(machine_time())
    between = clock.machines(micros(START + timedelta(hours=1)))
    assert before <= between < clock.machines(micros(leaped)) <= after
    assert clock.machines(micros(START) - 1) < before, "nothing was there before the start"


def test_a_moved_clock_leaps_at_a_whole_millisecond_to_the_very_time() -> None:
    clock = MovedClock(START)
    at = START + timedelta(minutes=1)
    clock.set(at)
    began = clock.machines(micros(at))
    assert began % 1000 == 0
    assert clock.suites(began) == micros(at)
    assert clock.suites(began - 1) < micros(at) - 50_000_000


def test_a_moved_clock_never_goes_back_and_restarts_where_it_began() -> None:
    clock = MovedClock(START)
    clock.advance(timedelta(days=8))
    with pytest.raises(ValueError, match="never goes back"):
        clock.set(START)
    with pytest.raises(ValueError, match="never goes back"):
        clock.advance(timedelta(seconds=-1))
    clock.restart()
    assert START <= clock.now() < START + timedelta(seconds=10)
