"""Importing records: ours against Google's client, by the CPU of the importing process."""

import csv
import io
from collections.abc import Iterator

import orjson
from google.cloud import firestore
from google.cloud.firestore_v1.bulk_writer import BulkWriterOptions

from shared.gcp.clients import Cloud
from shared.gcp.objects import Stored
from shared.items import store
from shared.items.types import folded
from tests.benchmarks import jobs
from tests.benchmarks.measure import Done, Figure, Ground, Side, compare, digest, shown

NO_THROTTLE = BulkWriterOptions(initial_ops_per_second=1_000_000, max_ops_per_second=1_000_000)
"""A BulkWriter begins with 500 writes a second, and sleeps to keep to that. Ours is not throttled either."""

RECORDS, QUICK_RECORDS = 5000, 30
REPETITIONS = 3

SET_LIMIT, BULK_WRITER_LIMIT = 0.2, 0.67


def bench(ground: Ground) -> Iterator[Figure]:
    """Import that many records of a CSV file in Storage, three ways; each time as a type of its own.

    The client's sides write the very same documents. They check nothing, and do not know how far they are.
    """
    ground.once(jobs.onboard)
    cloud, records = ground.cloud, QUICK_RECORDS if ground.quick else RECORDS
    file = jobs.upload(cloud, jobs.rows(records))

    def ours(repetition: int) -> str:
        type = f"Ours{repetition}"
        jobs.perform_all(cloud, jobs.import_job(cloud, type, file).path)
        return type

    def one_by_one(repetition: int) -> str:
        type = f"Set{repetition}"
        for reference, document in _documents(cloud, file, type):
            reference.set(document)
        return type

    def bulk_writer(repetition: int) -> str:
        type = f"Bulk{repetition}"
        writer = cloud.db.bulk_writer(options=NO_THROTTLE)
        for reference, document in _documents(cloud, file, type):
            writer.set(reference, document)
        writer.close()
        return type

    def done(_: Side[str], __: int, type: str) -> Done:
        return digest(sorted(jobs.items(cloud, type)))

    sides = [
        Side("an import job", ours),
        Side("client: set, one after the other", one_by_one),
        Side("client: BulkWriter, not throttled", bulk_writer),
    ]
    found = shown(compare("importing records", "records", REPETITIONS, sides, done))
    yield found.figure("import_cpu_vs_set", 1, "cpu", SET_LIMIT)
    yield found.figure("import_cpu_vs_bulk_writer", 2, "cpu", BULK_WRITER_LIMIT)


def _documents(
    cloud: Cloud, file: Stored, type: str
) -> "list[tuple[firestore.DocumentReference, dict[str, object]]]":
    blob = cloud.objects._client.bucket(file.bucket).blob(file.name)
    made = []
    for row in csv.DictReader(io.StringIO(blob.download_as_bytes().decode(), newline="")):
        key = row["id"]
        reference = cloud.db.document(f"items/{store.id_of(jobs.CUSTOMER, type, key)}")
        found_by = {"customer": jobs.CUSTOMER, "type": folded(type), "key": key}
        made.append((reference, {**found_by, "encoding": "plain", "record": orjson.dumps(row)}))
    return made
