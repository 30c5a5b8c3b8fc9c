"""The limits of Google Cloud and of Waybill's own code, and which one is met first where a usage grows."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta

from infra.bundle import Bundle, Function
from infra.estimate import charges, prices
from infra.estimate.charges import SETTINGS, parts_of
from infra.estimate.usage import DAYS, Usage
from shared import removals
from shared.accounts import limits as customers_limits
from shared.delivery.base import BUCKET_WRITES, SLICES_AT_ONCE
from shared.exports import beginning, tick, writing
from shared.exports.export import BEGIN_FUNCTION
from shared.work import pieces
from shared.work.stages import MAX_PUBLISHED
from shared.workorders import envelope, stored

FACTORS = (10, 100, 1_000)
GROWN = ("customers", "exports", "work_orders", "images", "batch")
"""What grows, and how many times."""

MOST = 10**7
"""How many times a usage is grown at most to find out where a limit is met."""

PEAK = 2
"""How many times the mean the busiest hours have: all of a day's work comes within twelve hours."""

INDEX_WRITES = 500
"""Writes a second that an index on an ever-growing value takes.
https://cloud.google.com/firestore/docs/best-practices#high_read_write_and_delete_rates_to_a_narrow_document_range"""

COMMIT_SECONDS = 0.06
"""How long a commit of COMMIT_PIECES takes, about."""

BEGIN_SECONDS = 0.4
"""How long beginning one export's window takes, with the start of its customer's first run, about."""

_SECONDS = timedelta(days=DAYS).total_seconds()


@dataclass(frozen=True)
class Limit:
    """A limit.

    name    what is limited
    value   at most so many
    unit    of what
    source  where the limit is from
    then    what an operator does before it is met
    used    how many a usage needs
    """

    name: str
    value: float
    unit: str
    source: str
    then: str
    used: Callable[[Usage], float]

    def met(self, usage: Usage) -> bool:
        """Whether a usage needs more than there may be."""
        return self.used(usage) > self.value

    def met_at(self, usage: Usage, quantity: str, number: int) -> int:
        """How much of a quantity meets it first, where `number` does and the usage does not."""
        least, enough = getattr(usage, quantity), number
        while enough - least > 1:
            middle = (least + enough) // 2
            if self.met(replace(usage, **{quantity: middle})):
                enough = middle
            else:
                least = middle
        return int(enough)


@dataclass(frozen=True)
class Met:
    """Which limit is met first where a quantity of a usage grows.

    quantity, factor  what grows, and how many times
    number            how much there is of it then
    limit             the first one that is met then, or else the next one
    met               whether it is met then
    used              how many are needed then
    at                how much of the quantity meets it
    """

    quantity: str
    factor: int
    number: int
    limit: Limit
    met: bool
    used: float
    at: int


def growth(usage: Usage, bundle: Bundle | None = None) -> Iterator[Met]:
    """Which limit is met first, for each quantity that grows and each factor. A limit that the usage meets as
    it is does not count, and what nothing limits is left out."""
    known = [each for each in every(bundle or Bundle.load(), usage) if not each.met(usage)]
    for quantity in GROWN:
        now = getattr(usage, quantity)
        for enough in (*FACTORS, MOST):
            grown = usage.grown(quantity, enough)
            if now and (found := [each for each in known if each.met(grown)]):
                break
        else:
            continue
        at, limit = min(((each.met_at(usage, quantity, now * enough), each) for each in found), key=_first)
        for factor in FACTORS:
            used = limit.used(usage.grown(quantity, factor))
            yield Met(quantity, factor, now * factor, limit, now * factor >= at, used, at)


def _first(found: tuple[int, Limit]) -> int:
    return found[0]


def met_already(usage: Usage, bundle: Bundle | None = None) -> list[Limit]:
    """The limits that a usage meets as it is."""
    return [each for each in every(bundle or Bundle.load(), usage) if each.met(usage)]


def every(bundle: Bundle, usage: Usage) -> Iterator[Limit]:
    """Every limit that such a usage can meet, however much it grows."""
    own = len(bundle.accounts) + 1
    yield Limit(
        "service accounts of the project",
        usage.accounts,
        "accounts",
        "https://cloud.google.com/iam/quotas",
        "ask Google to raise the quota “Service Account Count”, then set `service_accounts` of Terraform",
        lambda usage: usage.customers + own,
    )
    yield Limit(
        "exports due at one time",
        tick.MAX_DUE,
        "exports a tick",
        "shared/exports/tick.py, MAX_DUE",
        "nothing: the next tick, a minute later, publishes the rest",
        lambda usage: usage.customers * usage.exports,
    )
    begin = bundle.functions[BEGIN_FUNCTION]
    yield Limit(
        "windows begun in time",
        begin.instances.most * beginning.BEGIN_WITHIN.total_seconds() / BEGIN_SECONDS,
        f"windows within {beginning.BEGIN_WITHIN.seconds} seconds",
        f"infra/bundle.yaml, {begin.name}; shared/exports/beginning.py, BEGIN_WITHIN",
        f"raise the instances of {begin.name}",
        lambda usage: usage.customers * usage.exports,
    )
    for function in bundle.functions.values():
        if function.name in charges.of_month(Usage()):
            yield _instances(function)
    yield Limit(
        "a customer's runs one after another",
        1,
        "of the time between two due times",
        "shared/accounts/limits.py, parallel_exports",
        "raise the customer's `parallel_exports`",
        _runs_in_a_row,
    )
    yield Limit(
        "a customer's runs that wait",
        customers_limits.WAITING_RUNS.default,
        customers_limits.WAITING_RUNS.unit,
        "shared/accounts/limits.py, waiting_runs",
        "spread the customer's exports over the day with `at`; windows wait meanwhile, and none is lost",
        lambda usage: usage.exports,
    )
    yield Limit(
        "a customer's exports",
        customers_limits.EXPORTS.default,
        customers_limits.EXPORTS.unit,
        "shared/accounts/limits.py, exports",
        "raise the customer's `exports`",
        lambda usage: usage.exports,
    )
    yield Limit(
        "parts of a run",
        writing.MAX_PARTS,
        "parts",
        "shared/exports/writing.py, MAX_PARTS",
        "export shorter windows",
        _parts,
    )
    yield Limit(
        "slices of a run's images, written in one attempt",
        540 / COMMIT_SECONDS * pieces.COMMIT_PIECES,
        "slices",
        "https://cloud.google.com/functions/quotas#time_limits; shared/work/pieces.py, COMMIT_PIECES",
        "export shorter windows",
        lambda usage: usage.images / usage.due_times / SETTINGS.slice_images,
    )
    yield Limit(
        "photographs of a work order",
        stored.MAX_INPUTS,
        "photographs",
        "shared/workorders/stored.py, MAX_INPUTS",
        "nothing: the customer sends more work orders",
        _images_of_an_order,
    )
    yield Limit(
        "files of an archive",
        customers_limits.BATCH_FILES.default,
        customers_limits.BATCH_FILES.unit,
        "shared/accounts/limits.py, batch_files",
        "raise the customer's `batch_files`, or have it send more archives",
        lambda usage: usage.batch * _images_of_an_order(usage),
    )
    yield Limit(
        "bytes of an archive",
        customers_limits.BATCH_BYTES.default,
        "bytes",
        "shared/accounts/limits.py, batch_bytes",
        "raise the customer's `batch_bytes`, or have it send more archives",
        lambda usage: usage.batch * _images_of_an_order(usage) * usage.image_bytes,
    )
    yield Limit(
        "bytes of a customer's uploads that are kept",
        customers_limits.STORED_BYTES.default,
        "bytes",
        "shared/accounts/limits.py, stored_bytes",
        "raise the customer's `stored_bytes`",
        lambda usage: PEAK * usage.images * usage.image_bytes * removals.ARCHIVES_KEPT.days / DAYS,
    )
    yield Limit(
        "writes to the index of work orders by their stamp",
        INDEX_WRITES * envelope.SHARDS,
        "writes a second",
        "Firestore's best practices; shared/workorders/envelope.py, SHARDS",
        "raise SHARDS",
        lambda usage: PEAK * 2 * usage.customers * usage.work_orders / _SECONDS,
    )
    yield Limit(
        "writes to the index of pieces by their time",
        INDEX_WRITES * pieces.SHARDS,
        "writes a second",
        "Firestore's best practices; shared/work/pieces.py, SHARDS",
        "raise SHARDS",
        lambda usage: PEAK * sum(each.writes for each in charges.of_month(usage).values()) / _SECONDS,
    )
    yield Limit(
        "photographs written to a bucket",
        BUCKET_WRITES,
        "writes a second before the bucket has ramped up",
        "https://cloud.google.com/storage/docs/request-rate#ramp-up",
        "nothing where it grows slowly: a bucket takes twice as much after twenty minutes of use",
        lambda usage: PEAK * usage.customers * usage.images / _SECONDS,
    )


def _instances(function: Function) -> Limit:
    """The instances of a function that are busy at once, where the month's work comes within PEAK of the
    month."""

    def busy(usage: Usage) -> float:
        charged = charges.of_month(usage)[function.name]
        each = prices.REQUEST_SECONDS if function.paths else prices.CALL_SECONDS
        return PEAK * (charged.calls * each / function.concurrency + charged.seconds) / _SECONDS

    return Limit(
        f"instances of {function.name}",
        function.instances.most,
        "instances busy at once",
        f"infra/bundle.yaml, {function.name}",
        f"raise the instances of {function.name}: until then its messages wait, and none is lost",
        busy,
    )


def _runs_in_a_row(usage: Usage) -> float:
    each = charges.of_run(
        usage.sites,
        usage.work_orders / usage.due_times,
        usage.images / usage.due_times,
        usage.work_orders / usage.due_times * usage.record_bytes,
    )
    # The steps of a run follow each other; its parts, and its slices, are done side by side.
    seconds = charges.RUN.calls * prices.CALL_SECONDS
    seconds += sum(
        (part.calls * prices.CALL_SECONDS + part.seconds) / min(part.calls, most)
        for part, most in zip(each.values(), (MAX_PUBLISHED, SLICES_AT_ONCE), strict=False)
    )
    return usage.exports * seconds / customers_limits.PARALLEL_EXPORTS.default * usage.due_times / _SECONDS


def _parts(usage: Usage) -> float:
    per_site = usage.work_orders / usage.due_times / usage.sites
    return usage.sites * parts_of(per_site, SETTINGS.part_records)


def _images_of_an_order(usage: Usage) -> float:
    return usage.images / usage.work_orders if usage.work_orders else 0
