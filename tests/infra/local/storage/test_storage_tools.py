"""Tools that people look into buckets with, as judges: gcloud and rclone, each where the machine has it."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.infra.local.storage.suite import BUCKET, OWNER, Suite

SECONDS = 120
CONTENTS = {
    "a.txt": b"a",
    "d/b.txt": b"first\r\n\r\nsecond\n",
    "d/e/c.txt": b"c",
    "sp ace/\u00fc#?%2F.txt": b"u",
}

Run = Callable[..., str]

pytestmark = pytest.mark.slow


def tool(name: str) -> str:
    """Where a tool is. It judges where it is; without it nothing of ours is worse."""
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"{name} is not on this machine: its opinion is missing")
    return program


def run(program: str, *arguments: str, env: dict[str, str], home: Path) -> str:
    done = subprocess.run(
        [program, *arguments],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env={"PATH": os.environ["PATH"], "HOME": str(home), **env},
        check=False,
    )
    assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def filled(suite: Suite) -> Suite:
    for name, content in CONTENTS.items():
        suite.storage.put(BUCKET, name, content)
    return suite


@pytest.fixture
def gcloud(filled: Suite, tmp_path: Path) -> Run:
    program = tool("gcloud")
    token = tmp_path / "token"
    token.write_text(filled.identity.mint(OWNER))
    env = {
        "CLOUDSDK_CONFIG": str(tmp_path / "gcloud"),
        "CLOUDSDK_CORE_PROJECT": "waybill-test",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": f"{filled.url}/storage/v1/",
        "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": str(token),
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "true",
        "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "true",
        "CLOUDSDK_STORAGE_RESUMABLE_THRESHOLD": "1Mi",
    }
    return lambda *arguments: run(program, "storage", *arguments, env=env, home=tmp_path)


def files(folder: Path) -> dict[str, bytes]:
    return {str(each.relative_to(folder)): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


def test_gcloud_lists_and_fetches_a_bucket(gcloud: Run, tmp_path: Path) -> None:
    place = f"gs://{BUCKET}"
    assert gcloud("ls", place).split("\n")[:-1] == [f"{place}/{each}" for each in ("a.txt", "d/", "sp ace/")]
    every = gcloud("ls", f"{place}/**").split("\n")[:-1]
    assert sorted(every) == sorted(f"{place}/{name}" for name in CONTENTS)
    assert "6B" not in gcloud("ls", "-l", f"{place}/d/*.txt")
    assert gcloud("cat", f"{place}/d/b.txt").encode() == b"first\n\nsecond\n", "newlines as text has them"
    into = tmp_path / "into"
    into.mkdir()
    gcloud("cp", "-r", f"{place}/*", str(into))
    assert files(into) == CONTENTS
    gcloud("hash", f"{place}/a.txt")
    gcloud("objects", "describe", f"{place}/a.txt")


@pytest.mark.parametrize("size", [0, 10, 2 * 1024 * 1024 + 7])
def test_gcloud_writes_copies_and_deletes(filled: Suite, gcloud: Run, tmp_path: Path, size: int) -> None:
    content = (b"line\r\n\r\n" * (size // 8 + 1))[:size]
    source = tmp_path / "source.bin"
    source.write_bytes(content)
    gcloud("cp", str(source), f"gs://{BUCKET}/new/x")
    assert filled.storage.read(BUCKET, "new/x") == content
    gcloud("cp", f"gs://{BUCKET}/new/x", f"gs://{BUCKET}/new/y")
    assert filled.storage.read(BUCKET, "new/y") == content
    gcloud("rm", f"gs://{BUCKET}/new/*")
    assert filled.storage.list(BUCKET, "new/") == []


def test_rclone_lists_and_fetches_a_bucket(filled: Suite, tmp_path: Path) -> None:
    program = tool("rclone")
    filled.storage.grant(BUCKET, "allUsers", "roles/storage.objectViewer")
    remote = f":gcs,anonymous,endpoint='{filled.url}/storage/v1/':{BUCKET}"
    into = tmp_path / "into"
    once = ("--config", os.devnull, "--retries", "1", "--low-level-retries", "1")
    listed = run(program, *once, "lsf", "-R", "--files-only", remote, env={}, home=tmp_path)
    assert sorted(listed.split("\n")[:-1]) == sorted(CONTENTS)
    run(program, *once, "copy", remote, str(into), env={}, home=tmp_path)
    assert files(into) == CONTENTS
