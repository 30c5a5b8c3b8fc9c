"""Importing archives takes memory by the slice, never by the archive: measured in a process of its own."""

import os
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import requests

from infra.local.suite import Suite
from shared.exact import MAX_CONTAINERS
from tests.conftest import ACCOUNT
from tests.world import World, jpeg

MAX_MEMORY = 260
"""MiB that a batch may add to a process's peak, which measured 140 and 200: what is in flight
(`importing.IN_FLIGHT_BYTES`) and its copies, or a chunk's JSON as Python's values. A function has 1 GiB."""

ORDERS, PHOTOGRAPHS, PHOTOGRAPH_BYTES = 20, 8, 2 << 20

FULL_OF_LISTS = 36
"""How many work orders have metadata that take far more memory than space in the archive."""

SCRIPT = """
import resource, sys
from shared.batches import batch as batches
from shared.batches.steps import KIND
from shared.gcp.clients import connect
from shared.work import pieces
from shared.work.engine import perform

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

def do(piece):
    perform(cloud, KIND, pieces.message(batch.path, piece))

cloud = connect()
batch = batches.get(cloud, sys.argv[1])
before = peak()
do("receive")
slices = batches.get(cloud, batch.id).slices
for piece in pieces.of_plan(cloud, batch.path, slices, ["OPEN", "QUEUED"]).stream():
    do(piece.id)
do("report")
print(peak() - before)
"""


def taken(world: World, suite: Suite, archive: Path) -> int:
    """Take the archive in, in a process of its own; returns the MiB by which its peak grew."""
    id = world.batch()
    with archive.open("rb") as content:
        answer = requests.put(world.shown(id)["upload_url"], data=content, timeout=120)
    assert answer.status_code == 200, answer.text
    environment = {**os.environ, **suite.env(ACCOUNT)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, id], env=environment, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    world.drain()  # what is to be checked, and the end
    assert world.shown(id)["status"] == "COMPLETED", world.shown(id)
    return int(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_300_megabytes_of_photographs(world: World, suite: Suite, tmp_path: Path) -> None:
    noise = random.Random(0)
    archive = tmp_path / "large.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as made:
        for order in range(ORDERS):
            for number in range(PHOTOGRAPHS):
                photo = jpeg(f"{order} {number}") + noise.randbytes(PHOTOGRAPH_BYTES)
                made.writestr(f"WO_{order}/meter-{number}.jpg", photo)
    assert archive.stat().st_size > 300 << 20
    assert taken(world, suite, archive) < MAX_MEMORY
    assert len(world.imported()) == ORDERS
    assert len(world.suite.storage.list("waybill-local-images")) == ORDERS * PHOTOGRAPHS


@pytest.mark.slow
def test_json_that_is_small_in_the_archive_and_large_in_memory(
    world: World, suite: Suite, tmp_path: Path
) -> None:
    archive = tmp_path / "lists.zip"
    # A list takes 4 bytes here and 64 there, and a file has as many as it may.
    lists = b'{"a": [' + b"[], " * (MAX_CONTAINERS - 3) + b"[]]}"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as made:
        for order in range(FULL_OF_LISTS):
            made.writestr(f"WO_{order}/metadata.json", lists)
    assert taken(world, suite, archive) < MAX_MEMORY
    assert world.cloud.db.collection("work_orders").count().get()[0][0].value == FULL_OF_LISTS
