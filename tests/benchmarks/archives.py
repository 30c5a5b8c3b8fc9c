"""Importing an archive: from the upload that is there to the work orders and their photographs."""

import io
import random
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import orjson
from PIL import Image as Picture

from shared.accounts.customers import Site, add_customer, add_site
from shared.batches import batch as batches
from shared.batches.receiving import LOOK_AFTER
from shared.batches.steps import KIND
from shared.work import control, pieces
from shared.work.engine import perform
from shared.work.pieces import OPEN, QUEUED
from shared.workorders import store
from shared.workorders.store import Photograph
from tests.benchmarks import services
from tests.benchmarks.measure import Done, Figure, Ground, Side, compare, digest, shown

CUSTOMER = "bench"
TASK_GROUPS = ("meter", "cabinet", "antenna")
IMAGE_BYTES = 100 * 1024
"""Of a photograph that was made smaller for a bad line."""

WORK_ORDERS, QUICK_WORK_ORDERS = 100, 3
REPETITIONS = 5

THREADS = 8
"""As many as ours reads work orders at once."""


def bench(ground: Ground) -> Iterator[Figure]:
    """Import that many work orders of three photographs, three ways; each time into a site of its own."""
    cloud, served = ground.cloud, ground.served
    work_orders, repetitions = QUICK_WORK_ORDERS if ground.quick else WORK_ORDERS, REPETITIONS
    add_customer(cloud.db, id=CUSTOMER, slug="bench", name="Bench")
    content = _archive(work_orders)
    for repetition in range(repetitions + 1):
        name = batches.archive_name(CUSTOMER, f"ours-{repetition}")
        archive = cloud.objects.create(cloud.settings.uploads_bucket, name, content, "application/zip")

    def site(side: str, repetition: int) -> Site:
        id = f"{side}-{repetition}"
        return add_site(cloud.db, id=id, customer=CUSTOMER, name=id, task_groups=TASK_GROUPS)

    def ours(repetition: int) -> str:
        where = site("ours", repetition)
        reference = cloud.db.document(batches.path(where.id))
        made: dict[str, Any] = {
            "site_id": where.id,
            "user": "bench",
            "filename": None,
            "declared": None,
            "notify": [],
        }
        control.create(cloud, KIND, reference, CUSTOMER, made, after=LOOK_AFTER)
        perform(cloud, KIND, pieces.message(reference.path, "receive"))
        batch = batches.from_snapshot(reference.get())
        assert batch.slices is not None, batch
        for piece in list(pieces.of_plan(cloud, batch.path, batch.slices, [OPEN, QUEUED]).stream()):
            perform(cloud, KIND, pieces.message(batch.path, piece.id))
        reached = batches.progress(cloud, batch)
        assert (reached.work_orders_done, reached.errors) == (work_orders, 0), reached
        return where.id

    def plainly(side: str, repetition: int, threads: int) -> str:
        where = site(side, repetition)
        blob = cloud.objects._client.bucket(archive.bucket).blob(archive.name)
        with blob.open("rb") as file, zipfile.ZipFile(file) as opened, ThreadPoolExecutor(threads) as pool:
            folders: dict[str, list[str]] = defaultdict(list)
            for name in opened.namelist():
                folders[name.partition("/")[0]].append(name)
            made = []
            for folder, names in folders.items():
                files = {name.partition("/")[2]: opened.read(name) for name in names}
                metadata = orjson.loads(files.pop("metadata.json"))
                photographs = [
                    Photograph(file.rpartition("-")[0], file, content) for file, content in files.items()
                ]
                made.append(
                    pool.submit(
                        store.create, cloud, where, folder, metadata=metadata, photographs=photographs
                    )
                )
            for each in made:
                each.result()
        return where.id

    def done(_: Side[str], __: int, where: str) -> Done:
        landed = served.ask(services.landed, cloud.settings.images_bucket, f"{CUSTOMER}/{where}/")
        found = digest(sorted(each.crc32c.encode() for each in landed))
        return replace(found, bytes=sum(each.size for each in landed))

    compared = compare(
        "importing an archive",
        "photographs",
        repetitions,
        [
            Side("a batch", ours),
            Side("zipfile and Google's client, one after the other", lambda n: plainly("plain", n, 1)),
            Side(f"the same in {THREADS} threads", lambda n: plainly("threads", n, THREADS)),
        ],
        done,
    )
    yield shown(compared).figure("ingest_cpu_vs_client", 1, "cpu", None)


def _archive(work_orders: int) -> bytes:
    chance = random.Random(1)
    small = io.BytesIO()
    Picture.new("RGB", (640, 480), (90, 90, 90)).save(small, "JPEG")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as made:
        for number in range(work_orders):
            folder = f"WO_{number:05}"
            made.writestr(f"{folder}/metadata.json", orjson.dumps({"street": f"Rue {number}", "floor": 3}))
            for place, group in enumerate(TASK_GROUPS):
                # What stands behind a picture's end is no part of it, and makes each another.
                content = small.getvalue() + chance.randbytes(IMAGE_BYTES - small.tell())
                made.writestr(f"{folder}/{group}-{place}.jpg", content)
    return out.getvalue()
