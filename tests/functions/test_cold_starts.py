"""What the process of a function loads before it can answer, which its first caller waits for."""

import gc
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import shared
from infra.bundle import Bundle
from tests.benchmarks.cold_start import FUNCTION, deployed

FUNCTIONS = list(Bundle.load().functions)

HEAVY = {
    "PIL",
    "aiohttp",
    "airspeed",
    "asyncssh",
    "duckdb",
    "email_validator",
    "google.cloud.pubsub_v1",
    "google.cloud.scheduler",
    "google.cloud.storage",
    "pi_heif",
    "pyarrow",
}
"""What takes long to load: 30 to 300 ms each."""

LOADED = {
    # They look at photographs, or at what is called one.
    name: frozenset({"PIL"})
    for name in ("analyse_work_order", "batches", "console", "ingest_batch", "ingest_work_orders")
}
"""What of it a function loads at its start all the same; every other loads it where it is needed."""

IMPORT = """
import importlib.metadata, importlib.machinery, importlib.util, json, linecache, sys

asked, compiled, read = [], [], []

def distributions(**_):
    asked.append(True)
    return iter(())

def source_to_code(self, data, path, **options):
    compiled.append(path)
    return original(self, data, path, **options)

def getlines(path, *_):
    read.append(path)
    return lines(path)

original, lines = importlib.machinery.SourceFileLoader.source_to_code, linecache.getlines
linecache.getlines = getlines
importlib.machinery.SourceFileLoader.source_to_code = source_to_code
importlib.metadata.distributions = distributions
sys.path.insert(0, sys.argv[1])
spec = importlib.util.spec_from_file_location("main", sys.argv[2])
spec.loader.exec_module(importlib.util.module_from_spec(spec))
print(json.dumps({"loaded": sorted(sys.modules), "compiled": compiled, "asked": bool(asked), "read": read}))
"""
"""Imports a main.py, and prints what that loaded and compiled, which sources it read as text, and whether it
read what is known of all installed packages."""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """As it is deployed."""
    with deployed() as made:
        yield made / FUNCTION


def imported(folder: Path, main: Path) -> dict[str, list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT, str(folder), str(main)],
        env={"PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_loads_what_is_heavy_where_it_is_needed(name: str, folder: Path) -> None:
    found = imported(folder, folder / "functions" / name / "main.py")
    assert HEAVY & set(found["loaded"]) == LOADED.get(name, frozenset())
    assert not found["asked"], "something read what is known of each installed package"
    assert found["read"] == [], "a model that reads the text below its fields parses its source"


@pytest.mark.slow
def test_what_is_deployed_is_compiled_already(folder: Path) -> None:
    found = imported(folder, folder / "main.py")
    assert "shared.exports.api" in found["loaded"]
    assert [path for path in found["compiled"] if path.startswith(str(folder))] == []


def test_garbage_is_looked_for_seldom() -> None:
    assert gc.get_threshold()[0] == shared.GARBAGE_OBJECTS
