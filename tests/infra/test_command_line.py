"""Commands as a shell runs them: without our packages, into a pipe that closes, without settings."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.command_line import CUT_OFF
from infra.local.processes import REPOSITORY

SECONDS = 60

HELP = [("infra", "--help"), ("infra", "add-site", "--help"), ("infra.local", "--help")]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has nothing but its own library."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    return folder / "bin" / "python"


def run(
    program: Path | str, *words: str, then: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `python -m …`, perhaps piped to something, in an environment of nothing else."""
    line = f'exec 2>&1; set -o pipefail; "$0" -m "$@"{then}'
    return subprocess.run(
        ["bash", "-c", line, str(program), *words],
        cwd=REPOSITORY,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **environment},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@pytest.mark.parametrize(
    "words",
    [
        ("infra", "status"),
        ("infra", "--help"),
        ("infra.local", "up"),
        ("infra.local", "ls"),
        ("infra.local", "demo"),
    ],
)
def test_outside_the_virtual_environment_it_says_which_python_to_use(
    bare: Path, words: tuple[str, ...]
) -> None:
    done = run(bare, *words)
    assert done.returncode == 1
    assert done.stdout.startswith(f"This Python ({bare}) lacks the package ")
    assert ".venv/bin/python" in done.stdout
    assert len(done.stdout.splitlines()) == 1, done.stdout


def test_a_package_that_only_a_command_needs_is_named_too(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['orjson'] = None\n")
    done = run(sys.executable, "infra", "status", PYTHONPATH=str(tmp_path))
    assert (done.returncode, len(done.stdout.splitlines())) == (1, 1), done.stdout
    assert "lacks the package orjson" in done.stdout


@pytest.mark.parametrize("words", HELP)
@pytest.mark.parametrize("reader", ["true", "head -1", "head -c 1"])
def test_a_reader_that_goes_away_ends_a_command_without_a_trace(words: tuple[str, ...], reader: str) -> None:
    done = run(sys.executable, *words, then=f" | {reader}")
    assert "Traceback" not in done.stdout
    assert "Broken" not in done.stdout
    assert done.returncode in (0, CUT_OFF), done.stdout


def test_a_command_that_writes_more_than_a_pipe_holds_ends_without_a_trace(tmp_path: Path) -> None:
    program = tmp_path / "long.py"
    program.write_text(
        "from infra import command_line\n"
        "def main():\n    for _ in range(100_000): print('x' * 80)\n    return 0\n"
        "command_line.run(main)\n"
    )
    done = run(sys.executable, "long", then=" | head -1", PYTHONPATH=f"{tmp_path}:{REPOSITORY}")
    assert (done.returncode, done.stdout) == (CUT_OFF, "x" * 80 + "\n")


def test_ctrl_c_ends_a_command_without_a_trace(tmp_path: Path) -> None:
    program = tmp_path / "long.py"
    program.write_text(
        "import os, signal\nfrom infra import command_line\n"
        f"command_line.run(lambda: os.kill(os.getpid(), {signal.SIGINT.value}))\n"
    )
    done = run(sys.executable, "long", PYTHONPATH=f"{tmp_path}:{REPOSITORY}")
    assert (done.returncode, done.stdout) == (130, "")


@pytest.fixture
def closed() -> Iterator[str]:
    """A host where nothing listens, as after `make up` has ended."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


COMMANDS = [
    ("status",),
    ("add-customer", "a", "--slug", "a", "--name", "A"),
    ("add-key", "--customer", "a", "--scope", "exports"),
    ("console-address", "list"),
    ("check-bucket", "gs://a/b", "--customer", "a"),
    ("show-run", "a", "b"),
    ("rotate-secrets",),
]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_without_settings_it_says_how_to_have_them(words: tuple[str, ...]) -> None:
    done = run(sys.executable, "infra", *words)
    assert (done.returncode, len(done.stdout.splitlines())) == (1, 1), done.stdout
    assert done.stdout.startswith("GOOGLE_CLOUD_PROJECT is not set: ")
    assert ". .local/env" in done.stdout


@pytest.mark.parametrize("words", COMMANDS[:2], ids=lambda words: words[0])
@pytest.mark.parametrize("host", ["", "localhost", "localhost:port"])
def test_a_suite_that_is_gone_is_told_at_once(closed: str, words: tuple[str, ...], host: str) -> None:
    done = run(
        sys.executable, "infra", *words, GOOGLE_CLOUD_PROJECT="p", FIRESTORE_EMULATOR_HOST=host or closed
    )
    assert (done.returncode, len(done.stdout.splitlines())) == (1, 1), done.stdout
    assert f"{host or closed}, where nothing answers. On a laptop, while `make up` runs" in done.stdout
