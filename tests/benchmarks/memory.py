"""Peak memory: a large work against a small one of the same kind, each in a process of its own."""

import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, TypeVar
from uuid import NAMESPACE_URL, uuid5

from shared.accounts.customers import add_site
from shared.batches import batch as batches
from shared.batches.receiving import LOOK_AFTER
from shared.batches.steps import KIND as BATCH
from shared.exports import beginning, runs, service
from shared.exports.steps import KIND as RUN
from shared.gcp.clients import Cloud
from shared.gcp.documents import server_time
from shared.gcp.messages import Message
from shared.http.idempotency import FRESH
from shared.work import control, pieces
from shared.work.engine import perform
from shared.work.pieces import OPEN, QUEUED
from shared.workorders import envelope
from tests.benchmarks import archives, datasets, jobs, services, works
from tests.benchmarks import samples as work_orders
from tests.benchmarks.measure import Figure, Ground
from tests.benchmarks.services import Services
from tests.benchmarks.works import Performed

JOB_RECORDS, QUICK_JOB_RECORDS = 1_000_000, 30
EXPORTED, QUICK_EXPORTED = 50_000, 30
COPIED, QUICK_COPIED = 100_000, 60
IMPORTED, QUICK_IMPORTED = 600, 10
"""How many records, images and archived work orders the large work has; the small one has a tenth. That
tenth must be more than what is read at once, as 1,000 work orders are: else it is the page that grows."""

LIMIT = 1.1

T = TypeVar("T")


def bench(ground: Ground) -> Iterator[Figure]:
    """Do each kind of work once with so much, and once with a tenth."""
    ground.once(jobs.onboard)
    ground.once(datasets.onboard)
    works.show_head()
    quick, cloud, served = ground.quick, ground.cloud, ground.served
    least, most = _pair([_jobs(cloud, f"Of{n}", n) for n in _sizes(quick, QUICK_JOB_RECORDS, JOB_RECORDS)])
    growths = [works.growth("rss_growth_jobs", least[does], most[does], LIMIT) for does in most]
    yield max(growths, key=lambda each: each.ratio)
    exported = [_export(cloud, served, n) for n in _sizes(quick, QUICK_EXPORTED, EXPORTED)]
    yield works.growth("rss_growth_export", *_pair(exported), LIMIT)
    copied = [_copy(cloud, served, n) for n in _sizes(quick, QUICK_COPIED, COPIED)]
    yield works.growth("rss_growth_copy", *_pair(copied), LIMIT)
    imported = [_ingest(cloud, n) for n in _sizes(quick, QUICK_IMPORTED, IMPORTED)]
    yield works.growth("rss_growth_ingest", *_pair(imported), LIMIT)


def _sizes(quick: bool, few: int, many: int) -> tuple[int, ...]:
    """A tenth, and all; where it is only to be seen that it works, one of them."""
    return (few,) if quick else (many // 10, many)


def _pair(took: list[T]) -> tuple[T, T]:
    """What the small work took, and the large one."""
    return took[0], took[-1]


def _jobs(cloud: Cloud, type: str, records: int) -> dict[str, Performed]:
    file = jobs.upload(cloud, jobs.rows(records))
    took = {"import": jobs.perform_apart(jobs.import_job(cloud, type, file))}
    took["export"] = jobs.perform_apart(jobs.export_job(cloud, type))
    for does, each in took.items():
        assert each.records == records, each
        works.show(f"{does} of {records:,} records ({file.size:,} bytes of CSV)", each)
    return took


def _export(cloud: Cloud, served: Services, records: int) -> Performed:
    """A run of so many work orders without photographs."""
    site = str(uuid5(NAMESPACE_URL, f"export-{records}"))
    add_site(cloud.db, id=site, customer=datasets.CUSTOMER, name=site, task_groups=work_orders.TASK_GROUPS)
    fill(cloud, site, range(records))
    took = works.perform_apart(__name__, begin_run(cloud, served, site, images=False))
    assert took.records == records, took
    works.show(f"export of {records:,} work orders", took)
    return took


def fill(cloud: Cloud, site: str, numbers: range) -> None:
    """Write so many work orders of a site, without photographs. All have the record of the first: to make
    them would take longer than what is measured."""
    fields = datasets.document(datasets.order_of(site, 0), {})

    def create(number: int) -> Callable[[Any], None]:
        id = str(uuid5(NAMESPACE_URL, f"{site}/{number}"))
        made = {**fields, "shard": envelope.shard_of(id)}
        return lambda batch: batch.create(cloud.db.document(f"work_orders/{id}"), made)

    pieces.in_commits(cloud.db, map(create, numbers))


def _copy(cloud: Cloud, served: Services, images: int) -> Performed:
    """A run of work orders with so many photographs in all."""
    site = str(uuid5(NAMESPACE_URL, f"copy-{images}"))
    add_site(cloud.db, id=site, customer=datasets.CUSTOMER, name=site, task_groups=work_orders.TASK_GROUPS)
    datasets.fill(cloud, served, site, images)
    took = works.perform_apart(__name__, begin_run(cloud, served, site, images=True))
    landed = served.ask(services.landed, datasets.BUCKET, f"{site}/{site}/images/")
    assert len(landed) == images, len(landed)
    works.show(f"export with {images:,} photographs", took)
    return took


def begin_run(cloud: Cloud, served: Services, site: str, *, images: bool) -> str:
    """Begin a run of all of a site; returns its path."""
    served.ask(services.wait, timedelta(minutes=2))  # a window ends at a whole minute
    body = {
        "name": site,
        "site_ids": [site],
        "interval": "once",
        "connector_type": "cloud_storage",
        "connector_config": {"storage_uri": f"gs://{datasets.BUCKET}/{site}", "export_images": images},
    }
    made = service.create(cloud, datasets.CALLER, body, FRESH)
    at = server_time(cloud.db)
    message = {"customer": datasets.CUSTOMER, "exports": [made.id], "at": at.isoformat()}
    beginning.begin(cloud, Message(message, at, made.id))
    [run] = cloud.db.collection(f"exports/{made.id}/runs").stream()
    return str(run.reference.path)


def _ingest(cloud: Cloud, number: int) -> Performed:
    """The import of an archive of so many work orders, up to its checks."""
    customer = datasets.CUSTOMER
    id = f"ingest-{number}"
    add_site(cloud.db, id=id, customer=customer, name=id, task_groups=archives.TASK_GROUPS)
    content = archives.archive(number)
    name = batches.archive_name(customer, id)
    cloud.objects.create(cloud.settings.uploads_bucket, name, content, "application/zip")
    reference = cloud.db.document(batches.path(id))
    made: dict[str, Any] = {"site_id": id, "user": "bench", "filename": None, "declared": None, "notify": []}
    control.create(cloud, BATCH, reference, customer, made, after=LOOK_AFTER)
    took = works.perform_apart(__name__, reference.path)
    assert took.records == number, took
    works.show(f"import of {number:,} work orders ({len(content):,} bytes)", took)
    return took


# --- in a process of its own


def main() -> None:
    """Do the run or the batch that the first argument names; print what it took."""
    works.report(_exported if sys.argv[1].startswith("exports/") else _imported)


def _exported(cloud: Cloud) -> int:
    run = runs.from_snapshot(works.perform_all(cloud, RUN, sys.argv[1]))
    return run.totals.rows if run.totals else 0


def _imported(cloud: Cloud) -> int:
    perform(cloud, BATCH, pieces.message(sys.argv[1], "receive"))
    batch = batches.from_snapshot(cloud.db.document(sys.argv[1]).get())
    assert batch.slices is not None, batch
    for piece in list(pieces.of_plan(cloud, batch.path, batch.slices, [OPEN, QUEUED]).stream()):
        perform(cloud, BATCH, pieces.message(batch.path, piece.id))
    return batches.progress(cloud, batch).work_orders_done


if __name__ == "__main__":
    main()
