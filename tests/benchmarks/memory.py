"""The memory of jobs: a large one against a small one, each in a process of its own."""

from collections.abc import Iterator

from shared.gcp.clients import Cloud
from tests.benchmarks import jobs, works
from tests.benchmarks.measure import Figure, Ground
from tests.benchmarks.works import Performed

RECORDS, QUICK_RECORDS = 1_000_000, 30
"""How many the large file has; the small one has a tenth."""

LIMIT = 1.1


def bench(ground: Ground) -> Iterator[Figure]:
    """Import and export that many records, and a tenth of them."""
    ground.once(jobs.onboard)
    works.show_head()
    records = QUICK_RECORDS if ground.quick else RECORDS
    small = _both(ground.cloud, "Small", records // 10)
    large = _both(ground.cloud, "Large", records)
    for does in large:
        yield works.growth(f"rss_growth, {does} job", small[does], large[does], LIMIT)


def _both(cloud: Cloud, type: str, records: int) -> dict[str, Performed]:
    file = jobs.upload(cloud, jobs.rows(records))
    took = {"import": jobs.perform_apart(jobs.import_job(cloud, type, file))}
    took["export"] = jobs.perform_apart(jobs.export_job(cloud, type))
    for does, each in took.items():
        assert each.records == records, each
        works.show(f"{does} of {records:,} records ({file.size:,} bytes of CSV)", each)
    return took
