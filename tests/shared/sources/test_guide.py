"""A module put in the folder is a source. The module is the one of the guide, as the guide has it."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from infra.local.clock import SuiteClock
from infra.local.suite import Suite
from shared import sources
from shared.gcp.documents import fields_of, plain
from shared.workorders.record import iso
from tests.conftest import START
from tests.shared.sources.reading import items, one_by_one, rows_of, selection, since, wrong_archive
from tests.world import World

ROOT = Path(__file__).parents[3]
GUIDE = (ROOT / "docs" / "developers" / "sources.md").read_text()


def block(language: str) -> str:
    """The one block of that language in the guide."""
    [found] = re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    assert isinstance(found, str)
    return found


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Suite]:
    """Services of a test's own: they read which indexes are declared once, when they start."""
    clock = SuiteClock(frozen_at=START)
    with Suite(state=tmp_path / "services", clock=clock, run_functions=False) as services:
        yield services


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guide's index is declared. Ask for it before `world`."""
    declared = json.loads((ROOT / "infra" / "firestore.indexes.json").read_text())
    declared["indexes"].append(json.loads(block("json")))
    (tmp_path / "infra").mkdir()
    (tmp_path / "infra" / "firestore.indexes.json").write_text(json.dumps(declared))
    monkeypatch.setattr("infra.local.suite.REPOSITORY", tmp_path)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The guide's module is in the folder."""
    folder = tmp_path / "more"
    folder.mkdir()
    (folder / "batches.py").write_text(block("python"))
    monkeypatch.setattr(sources, "__path__", [*sources.__path__, str(folder)])
    for name, source in sources._found().items():
        monkeypatch.setitem(sources.SOURCES, name, source)
    yield
    del sys.modules["shared.sources.batches"], sources.batches  # type: ignore[attr-defined]


def row_of(world: World, batch: str) -> dict[str, Any]:
    snapshot = world.cloud.db.document(f"batches/{batch}").get()
    fields = fields_of(snapshot)
    return {
        "id": batch,
        "site_id": world.site.id,
        "status": fields["state"],
        "filename": fields["filename"],
        "work_orders": 0 if "totals" in fields else None,
        "totals": fields.get("totals", {}),
        "create_date": iso(fields["created"]),
        "finish_date": iso(plain(snapshot.update_time)),
    }


def test_the_guides_source_reads_what_is_there(index: None, world: World, module: None) -> None:
    assert list(sources.SOURCES)[:2] == [sources.DEFAULT, "batch-errors"]
    ended = [world.import_archive(wrong_archive("WO_1"))["id"], world.batch(filename="two.zip")]
    world.batch()
    assert world.request("DELETE", f"/v0.2/batches/{ended[1]}").status == 204
    wanted = since(world)
    found = items(world.cloud, "batches", wanted)
    assert sorted(rows_of(found), key=str) == sorted((row_of(world, id) for id in ended), key=str)
    assert items(world.cloud, "batches", wanted, most=1) == found
    assert one_by_one(world.cloud, "batches", wanted) == found
    later = selection(wanted.window.end, since(world).window.end)
    assert items(world.cloud, "batches", later) == []


def test_a_run_of_it_delivers_the_rows(index: None, world: World, module: None) -> None:
    id = world.import_archive(wrong_archive("WO_1"))["id"]
    world.export(export_type="batches", start="2026-11-22T00:00:00Z")
    world.run_due(datetime(2026, 11, 23, 2, tzinfo=UTC))
    assert world.records() == [row_of(world, id)]
    assert world.manifests()[-1]["rows"] == 1


def test_it_is_among_the_options(index: None, world: World, module: None) -> None:
    answer = world.request("GET", "/v1/options")
    assert "batches" in json.dumps(answer.body), answer


def test_without_the_guides_index_it_is_refused(world: World, module: None) -> None:
    with pytest.raises(Exception, match="index"):
        items(world.cloud, "batches", since(world))


ELSEWHERE = """
import sys
from datetime import datetime

from flask import Request
from werkzeug.test import EnvironBuilder

from functions.exports.main import exports
from shared.gcp.clients import connect
from shared.sources import SOURCES, __file__ as where
from shared.sources.base import Selection
from shared.window import Window

key, site, *bounds = sys.argv[1:]
start, end = map(datetime.fromisoformat, bounds)
headers = [("Authorization", f"Token {key}")]
options = exports(Request(EnvironBuilder(path="/v1/options", headers=headers).get_environ()))
assert "batches" in options.get_data(as_text=True), options.get_data()
cloud, selection = connect(), Selection("acme", (site,), Window(start, end), end)
source = SOURCES["batches"]
for part in source.parts(cloud, selection):
    for item in source.items(cloud, selection, part):
        sys.stdout.write(item.lines.decode())
cloud.close()
"""


@pytest.mark.slow
def test_in_a_process_of_its_own_it_is_known_by_being_in_the_folder(
    index: None, world: World, tmp_path: Path
) -> None:
    for package in ("shared", "functions"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "shared" / "sources" / "batches.py").write_text(block("python"))
    id = world.import_archive(wrong_archive("WO_1"))["id"]
    window = since(world).window
    bounds = [window.start.isoformat(), window.end.isoformat()]
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, world.key, world.site.id, *bounds],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert [orjson.loads(line) for line in done.stdout.splitlines()] == [row_of(world, id)]
