"""What customers do in a month, as far as it costs something."""

from dataclasses import dataclass, replace
from datetime import timedelta

from shared.exports import schedules

DAYS = 30
"""How many days a month is taken to have."""

_CALENDAR = {"daily": 1, "weekly": 7, "monthly": DAYS}


@dataclass(frozen=True)
class Usage:
    """The usage of all customers, who are taken to be alike.

    customers     how many there are
    work_orders   that each sends in a month
    images        photographs that each sends in a month, with these work orders
    record_bytes  of a work order's record
    image_bytes   of a photograph
    sites         that each customer has; the work orders are spread over them evenly
    exports       that each has, of all its sites, with their images, into a bucket of its own; all are due at
                  one time
    interval      of each export, as the API takes it
    batch         work orders in an archive
    imports       import jobs of each customer in a month
    job_exports   export jobs of each in a month
    items         records of each job
    item_bytes    of each of those
    datasets      exports of a dataset by each customer in a month, each with a new version
    samples       of a dataset
    requests      to the APIs and pages by each customer in a month, beside those that begin something
    months        for how many months what was sent is kept
    accounts      service accounts that the project may have: its quota
    elsewhere     the share of what is delivered that leaves Google's region, in per cent
    """

    customers: int = 100
    work_orders: int = 10_000
    images: int = 50_000
    record_bytes: int = 4_000
    image_bytes: int = 500_000
    sites: int = 1
    exports: int = 1
    interval: str = "daily"
    batch: int = 500
    imports: int = 4
    job_exports: int = 4
    items: int = 10_000
    item_bytes: int = 200
    datasets: int = 1
    samples: int = 10_000
    requests: int = 10_000
    months: int = 12
    accounts: int = 100
    elsewhere: int = 0

    @property
    def due_times(self) -> float:
        """How often the exports are due in a month. ValueError for an interval that there is not."""
        if self.interval in _CALENDAR:
            return DAYS / _CALENDAR[self.interval]
        return timedelta(days=DAYS) / timedelta(minutes=schedules.minutes_between(self.interval))

    @property
    def batches(self) -> int:
        """The archives that each customer sends in a month."""
        return -(-self.work_orders // self.batch) if self.work_orders else 0

    def grown(self, quantity: str, factor: int) -> "Usage":
        """The same with so many times as much of one quantity: the name of a field."""
        return replace(self, **{quantity: getattr(self, quantity) * factor})
