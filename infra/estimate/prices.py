"""The list prices (`prices.yaml`), and what a month's charges and bytes come to."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field

from infra.bundle import Bundle, Function
from infra.estimate import charges
from infra.estimate.charges import Charges
from infra.estimate.usage import DAYS, Usage
from shared import removals
from shared.work import lifetimes

PRICES_YAML = Path(__file__).parent / "prices.yaml"

GIB = 1024**3

CALL_SECONDS = 0.5
"""How long an instance is busy with a message beside the records and images in it: about twenty calls to
Firestore and Storage, one after the other."""

REQUEST_SECONDS = 0.1
"""The same for a request."""

LOG_BYTES = 2_000
"""About how many bytes of logs each call leaves: Cloud Run's own line, and two of ours."""

OVERHEAD = 1.5
"""How many bytes Firestore keeps for each byte of a document, with its indexes."""

DOCUMENT_BYTES = 1_500
"""About how many bytes a document of a piece or a work has."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Price(_Model):
    """A list price."""

    dollars: Annotated[float, Field(gt=0)]
    """US dollars."""

    per: Annotated[int, Field(ge=1)]
    """For so many."""

    unit: str
    """Of what."""

    source: Annotated[str, Field(pattern=r"^https://")]
    """The page that it is from."""

    def of(self, number: float) -> float:
        """What so many cost, in dollars."""
        return number / self.per * self.dollars


class Prices(_Model):
    """The list prices of a region, as they were in a month."""

    region: str
    date: Annotated[str, Field(pattern=r"^20[0-9]{2}-[01][0-9]$")]
    prices: Mapping[str, Price]

    def of(self, name: str, number: float) -> float:
        """What so many cost, in dollars. KeyError for a price that there is not."""
        return self.prices[name].of(number)


@functools.cache
def load() -> Prices:
    """The prices in the file."""
    return Prices.model_validate(yaml.safe_load(PRICES_YAML.read_text()))


CPU_OF_MEMORY = {128: 0.083, 256: 0.167, 512: 0.333, 1024: 0.583, 2048: 1.0, 4096: 2.0, 8192: 2.0}
"""How many processors an instance has by its MiB of memory, where the bundle does not say.
https://cloud.google.com/functions/docs/configuring/memory"""


@dataclass(frozen=True)
class Cost:
    """What a function costs in a month.

    function       its name
    charges        what it is charged for
    message_bytes  that Pub/Sub charges for
    cpu_seconds, gib_seconds  of its instances
    dollars        all of it
    """

    function: str
    charges: Charges
    message_bytes: float
    cpu_seconds: float
    gib_seconds: float
    dollars: float


@dataclass(frozen=True)
class Amount:
    """What is not charged by function: how much there is of it, and what it costs a month."""

    name: str
    number: float
    unit: str
    dollars: float


def of_functions(usage: Usage, bundle: Bundle | None = None) -> list[Cost]:
    """What each function costs in a month, in the order of the bundle."""
    bundle = bundle or Bundle.load()
    charged = charges.of_month(usage)
    return [_cost(each, charged[name]) for name, each in bundle.functions.items() if name in charged]


def _cost(function: Function, charged: Charges) -> Cost:
    prices, by_message = load(), not function.paths
    bytes_sent = charged.message_bytes(called_by_message=by_message)
    busy = charged.calls * (CALL_SECONDS if by_message else REQUEST_SECONDS) + charged.seconds
    cpu, memory = busy * processors(function), busy * mebibytes(function) / 1024
    bought = {
        "firestore_reads": charged.reads,
        "firestore_writes": charged.writes,
        "firestore_deletes": charged.deletes + charged.kept,
        "storage_class_a": charged.class_a,
        "storage_class_b": charged.class_b,
        "pubsub_gib": bytes_sent / GIB,
        "run_requests": charged.calls,
        "run_cpu_seconds": cpu,
        "run_gib_seconds": memory,
        "logging_gib": charged.calls * LOG_BYTES / GIB,
    }
    dollars = sum(prices.of(name, number) for name, number in bought.items())
    return Cost(function.name, charged, bytes_sent, cpu, memory, dollars)


def mebibytes(function: Function) -> int:
    """The memory of an instance in MiB."""
    number = int(function.memory[:-2])
    return number * 1024 if function.memory.endswith("Gi") else number


def processors(function: Function) -> float:
    """The processors of an instance: one where it answers several requests at once (Terraform says so)."""
    return 1.0 if function.concurrency > 1 else CPU_OF_MEMORY[mebibytes(function)]


def of_bytes(usage: Usage, bundle: Bundle | None = None) -> list[Amount]:
    """What is kept at the end of `usage.months`, for a month; what leaves Google; and what there is once."""
    prices, bundle = load(), bundle or Bundle.load()
    images = bundle.buckets["images"]
    sent = usage.customers * usage.images * usage.image_bytes
    records = usage.customers * usage.work_orders * usage.record_bytes
    fresh = min(usage.months, (images.nearline_after or DAYS * usage.months) / DAYS)
    old = usage.months - fresh
    delivered = usage.exports * (sent + records)
    items = usage.customers * usage.items * usage.item_bytes
    samples = usage.customers * usage.datasets * usage.samples * SAMPLE_BYTES
    kept = sum(each.kept for each in charges.of_month(usage).values()) * DOCUMENT_BYTES
    pieces_months = min(usage.months, lifetimes.PIECES_KEPT.days / DAYS)
    uploads = sent * removals.ARCHIVES_KEPT.days / DAYS
    staging = (
        (usage.exports * records + usage.job_exports * items) * (bundle.buckets["staging"].days or 0) / DAYS
    )

    def amount(name: str, price: str, number: float) -> Amount:
        return Amount(name, number, prices.prices[price].unit, prices.of(price, number))

    return [
        amount("photographs", "storage_standard_gib", sent * fresh / GIB),
        amount("photographs after 90 days", "storage_nearline_gib", sent * old / GIB),
        amount("photographs that get older than that", "storage_nearline_move", _moved(usage, old)),
        amount("archives", "storage_standard_gib", uploads / GIB),
        amount("staging", "storage_standard_gib", staging / GIB),
        amount("versions of datasets", "storage_standard_gib", samples * usage.months / GIB),
        amount("work orders", "firestore_gib", records * usage.months * OVERHEAD / GIB),
        amount("items of jobs", "firestore_gib", items * OVERHEAD / GIB),
        amount("runs, batches and pieces", "firestore_gib", kept * pieces_months * OVERHEAD / GIB),
        amount("delivered elsewhere", "egress_gib", delivered * usage.elsewhere / 100 / GIB),
        amount(
            "Cloud Scheduler", "scheduler_jobs", sum(each.scheduled for each in bundle.functions.values())
        ),
        amount("load balancer", "load_balancer_hours", DAYS * 24),
    ]


SAMPLE_BYTES = 600
"""About how many bytes a sample has in its version."""


def _moved(usage: Usage, old: float) -> float:
    """The photographs that are moved to Nearline in a month."""
    return usage.customers * usage.images if old else 0
