"""The memory of jobs: a large one against a small one, each in a process of its own."""

from dataclasses import asdict, dataclass
from typing import Any

from shared.gcp.clients import Cloud
from tests.benchmarks import jobs
from tests.benchmarks.works import Performed


@dataclass(frozen=True)
class Growth:
    """What importing and exporting took with few records and with ten times as many."""

    small_bytes: int
    large_bytes: int
    small: dict[str, Performed]
    large: dict[str, Performed]

    def ratio(self, does: str) -> float:
        """The peak memory of the large one over that of the small one; `does` is import or export."""
        return self.large[does].peak / self.small[does].peak

    def as_json(self) -> dict[str, Any]:
        """All of it, ratios included."""
        return {**asdict(self), "ratios": {does: self.ratio(does) for does in self.large}}


def benchmark(cloud: Cloud, *, records: int) -> Growth:
    """Import and export that many records, and a tenth of them."""
    small_bytes, small = _both(cloud, "Small", records // 10)
    large_bytes, large = _both(cloud, "Large", records)
    return Growth(small_bytes, large_bytes, small, large)


def _both(cloud: Cloud, type: str, records: int) -> tuple[int, dict[str, Performed]]:
    file = jobs.upload(cloud, jobs.rows(records))
    took = {"import": jobs.perform_apart(jobs.import_job(cloud, type, file))}
    took["export"] = jobs.perform_apart(jobs.export_job(cloud, type))
    for each in took.values():
        assert each.records == records, each
    return file.size, took
