"""Import and export jobs: made as a client's call makes them, performed piece by piece as by `run_job`."""

import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict

from shared.accounts.customers import add_customer
from shared.accounts.keys import Caller
from shared.gcp.clients import Cloud
from shared.gcp.documents import id_ranges, server_time
from shared.gcp.objects import Stored
from shared.items import store
from shared.jobs import job as jobs
from shared.jobs import service
from shared.jobs.job import ENDED, Job
from shared.jobs.steps import KIND
from tests.benchmarks import works
from tests.benchmarks.measure import Ground
from tests.benchmarks.works import Performed

CUSTOMER = "jobs"
CALLER = Caller(key="bench", customer=CUSTOMER, scopes=frozenset(), site=None)
COLUMNS = ("id", "name", "team", "street", "hours", "note")


def onboard(ground: Ground) -> None:
    """Make the customer whose jobs these are."""
    add_customer(ground.cloud.db, id=CUSTOMER, slug=CUSTOMER, name="Jobs")


def rows(records: int) -> Iterator[bytes]:
    """A CSV file of technicians, row by row, with the header row first: about 200 bytes each."""
    yield (",".join(COLUMNS) + "\n").encode()
    for n in range(records):
        yield (
            f'{n:07},Zoë Lefèvre {n},team {n % 97},"{n % 200} Rue de l\'Église, 7500{n % 20} Paris",'
            f"{n * 37 % 1000},Trained for meters and cabinets; works from Monday to Thursday; has "
            f"van {n % 997:03} and the keys of district {n % 41:02}; speaks French and Dutch\n"
        ).encode()


def upload(cloud: Cloud, content: Iterable[bytes]) -> Stored:
    """Put a file where clients' uploads are."""
    writer = cloud.objects.writer(
        cloud.settings.uploads_bucket, jobs.upload_name(CUSTOMER, cloud.new_id()), "text/csv"
    )
    for block in content:
        writer.write(block)
    return writer.close()


def import_job(cloud: Cloud, type: str, file: Stored) -> Job:
    """Make a job that imports a CSV file."""
    sent = {"jobName": type, "itemType": type, "contentType": "text/plain"}
    job = service.begin_import(cloud, CALLER, CUSTOMER, str(uuid.uuid4()), sent, asdict(file))
    return _accepted(job)


def export_job(cloud: Cloud, type: str, sql: str = "") -> Job:
    """Make a job that exports a type as a JSON array, or what a query answers."""
    sent = {"jobName": type, "itemType": type, "contentType": "application/json"}
    asked: Mapping[str, str] = {"sqlQuery": sql} if sql else {"filters": "0"}
    job = service.begin_export(cloud, CALLER, CUSTOMER, str(uuid.uuid4()), {**sent, **asked})
    return _accepted(job)


def _accepted(job: Job) -> Job:
    assert job.state not in ENDED, job.reason
    return job


def perform_all(cloud: Cloud, path: str) -> Job:
    """Do all pieces of a job, one after another, and return the job at its end. AssertionError where it did
    not complete."""
    return jobs.from_snapshot(works.perform_all(cloud, KIND, path))


def perform_apart(job: Job) -> Performed:
    """Do a job in a process of its own."""
    return works.perform_apart(__name__, job.path)


def items(cloud: Cloud, type: str) -> list[bytes]:
    """The records of a type's items, in the order of their ids."""
    (whole,) = id_ranges(0, 1)
    found = store.scan(cloud, CUSTOMER, type, whole, server_time(cloud.db))
    return [each.record for each in found]


def result(cloud: Cloud, job: Job) -> Iterator[bytes]:
    """The file that an export made, in blocks."""
    (file,) = cloud.db.collection(f"{job.path}/files").stream()
    staged = Stored(**file.get("staged"))
    for start in range(0, staged.size, 1 << 20):
        yield cloud.objects.read(staged, start, min(start + (1 << 20), staged.size))


def main() -> None:
    """Do the job that the first argument names; print what it took."""
    works.report(_performed)


def _performed(cloud: Cloud) -> int:
    job = perform_all(cloud, sys.argv[1])
    return job.totals.processed if job.totals else 0


if __name__ == "__main__":
    main()
