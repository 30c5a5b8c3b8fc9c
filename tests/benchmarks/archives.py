"""Importing an archive: from the upload that is there to the work orders and their photographs."""

import io
import random
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import orjson
from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter
from PIL import Image as Picture

from shared.accounts.customers import Site, add_customer, add_site
from shared.batches import batch as batches
from shared.batches.receiving import LOOK_AFTER
from shared.batches.steps import KIND
from shared.gcp.clients import Cloud
from shared.gcp.documents import fields_of
from shared.gcp.objects import Stored
from shared.work import control, pieces
from shared.work.engine import perform
from shared.work.pieces import OPEN, QUEUED
from shared.workorders import images, store, stored
from shared.workorders.headers import read_header
from shared.workorders.record import Input
from shared.workorders.store import CONTENT_TYPES
from shared.workorders.stored import StoredInput
from tests.benchmarks import neutral
from tests.benchmarks.delaying import DELAY, delayed_cloud
from tests.benchmarks.imports import NO_THROTTLE
from tests.benchmarks.measure import Comparison, Done, Figure, Ground, Side, compare, digest, shown
from tests.benchmarks.neutral import Neutral

CUSTOMER = "bench"
TASK_GROUPS = ("meter", "cabinet", "antenna", "roof", "door", "cable", "fence", "mast", "key", "sign")
IMAGE_BYTES = 50_000
"""Of a photograph that was made smaller for a bad line."""

WORK_ORDERS, QUICK_WORK_ORDERS = 150, 2
"""One slice, of ten photographs each."""

REPETITIONS, QUICK_REPETITIONS = 2, 1

THREADS = 16
"""Of whoever does not want to wait for each photograph."""


def bench(ground: Ground) -> Iterator[Figure]:
    """Import an archive, each time into a site that has no work orders: by ours and by Google's clients, and
    the same where each request takes longer."""
    if why := neutral.missing():
        print(f"\nimporting an archive: {why}; there are no figures")
        return
    add_customer(ground.cloud.db, id=CUSTOMER, slug="bench", name="Bench")
    content = archive(QUICK_WORK_ORDERS if ground.quick else WORK_ORDERS)
    with neutral.cloud(ground.cloud.settings) as (server, cloud):
        compared = _compare(ground, server, cloud, content, "importing an archive", threads=1)
        yield compared.figure("ingest_cpu_vs_client", 1, "cpu", 0.4)
        with delayed_cloud() as later:
            name = f"importing an archive, {DELAY * 1000:g} ms added to each request"
            compared = _compare(ground, server, later, content, name, THREADS)
        yield compared.figure("ingest_wall_vs_client_30ms", 1, "wall", 0.5)


def _compare(
    ground: Ground, server: Neutral, cloud: Cloud, content: bytes, name: str, threads: int
) -> Comparison:
    def site(repetition: int) -> Site:
        id = f"{threads}-{repetition}"
        return add_site(ground.cloud.db, id=id, customer=CUSTOMER, name=id, task_groups=TASK_GROUPS)

    repetitions = QUICK_REPETITIONS if ground.quick else REPETITIONS
    archives = []
    for repetition in range(repetitions + 1):
        path = batches.archive_name(CUSTOMER, site(repetition).id)
        bucket = cloud.settings.uploads_bucket
        archives.append(cloud.objects.create(bucket, path, content, "application/zip"))

    def ours(repetition: int) -> Site:
        where = site(repetition)
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
        assert (reached.work_orders_failed, reached.errors) == (0, 0), reached
        return where

    def theirs(repetition: int) -> Site:
        where = site(repetition)
        _plainly(cloud, where, archives[repetition], threads)
        return where

    def done(_: Side[Site], __: int, where: Site) -> Done:
        return _landed(cloud, server, where)

    how = "one after the other" if threads == 1 else f"in {threads} threads"
    sides = [Side("a batch", ours), Side(f"zipfile, Google's clients, {how}", theirs)]
    return shown(compare(name, "photographs", repetitions, sides, done))


def _plainly(cloud: Cloud, site: Site, archive: Stored, threads: int) -> None:
    """What one writes with Google's clients: the same photographs, and the same documents."""
    bucket = cloud.objects._client.bucket(cloud.settings.images_bucket)
    blob = cloud.objects._client.bucket(archive.bucket).blob(archive.name)

    def upload(work_order: str, file: str, content: bytes) -> StoredInput:
        id, extension = store.input_id(work_order, file, content), file.rpartition(".")[2]
        to = bucket.blob(images.name_of(site.customer, site.id, id, extension))
        to.upload_from_string(
            content, content_type=CONTENT_TYPES[extension], if_generation_match=0, checksum="crc32c"
        )
        there = Stored(bucket.name, to.name, int(to.generation), int(to.size), to.crc32c)
        image = images.stored(id, extension, there, read_header(content))
        return StoredInput(file.rpartition("-")[0], Input(id=id, file_extension=extension), image)

    with blob.open("rb") as file, zipfile.ZipFile(file) as opened, ThreadPoolExecutor(threads) as pool:
        do: Callable[..., Any] = pool.map if threads > 1 else map
        folders: dict[str, list[str]] = defaultdict(list)
        for name in opened.namelist():
            folders[name.partition("/")[0]].append(name)
        waiting = []
        for folder, names in folders.items():
            files = {name.partition("/")[2]: opened.read(name) for name in names}
            metadata = orjson.loads(files.pop("metadata.json"))
            id = store.work_order_id(site.id, folder)
            taken = do(upload, [id] * len(files), files, files.values())
            waiting.append((id, folder, metadata, taken if threads > 1 else list(taken)))
        writer = cloud.db.bulk_writer(options=NO_THROTTLE)
        for id, name, metadata, taken in waiting:
            made = stored.change(site, stored.new(site, id, name), metadata=metadata, taken=list(taken))
            fields = {**store._fields(cloud, site, made), "update_date": firestore.SERVER_TIMESTAMP}
            writer.create(cloud.db.document(f"work_orders/{id}"), fields)
        writer.close()


def _landed(cloud: Cloud, server: Neutral, site: Site) -> Done:
    """What is in a site: its photographs as they stand, and its work orders, without times and generations.
    They are removed, for the other side to make the same."""
    bucket = cloud.settings.images_bucket
    there = server.objects(bucket)
    found = [f"{each['name']} {each['contentType']} {each['crc32c']}".encode() for each in there]
    server.empty(bucket)
    for each in (
        cloud.db.collection("work_orders").where(filter=FieldFilter("site_id", "==", site.id)).stream()
    ):
        fields = fields_of(each)
        lines = images.decode(fields.pop("images"))
        kept = {name: fields[name] for name in sorted(fields) if name != "update_date"}
        found.append(repr((each.id, kept, [replace(line, generation=0) for line in lines])).encode())
        each.reference.delete()
    for piece in cloud.db.collection(f"analyses/{site.id}/pieces").stream():
        piece.reference.delete()
    return replace(digest(sorted(found)), items=len(there), bytes=sum(int(each["size"]) for each in there))


def archive(work_orders: int) -> bytes:
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
