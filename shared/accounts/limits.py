"""What a customer can make and use, and how much of it: each limit by its name, in one place.

A limit has a default. An operator sets another value for one customer (`python -m infra limits`): it is then
the field of that name of the customer's document. docs/customers/limits.md is the same table for customers.

What is in use is counted by a query, before something is made and outside the transaction that makes it. A
count within it, or a counter in one document, would have all that a customer makes wait for each other
(https://cloud.google.com/firestore/docs/transaction-data-contention). So requests that overlap can each find
the last place free: a limit can be exceeded by as many as overlap, less one (decision 0050).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from google.cloud import firestore

from shared.clock import elapsed_since, stopwatch
from shared.errors import Conflict, Refused, TooMany
from shared.gcp.documents import count, fields_of
from shared.http.rates import REQUESTS_A_SECOND

ASK = "ask the operators of Waybill for a higher limit"
"""What helps with every limit."""


@dataclass(frozen=True)
class Limit:
    """A limit of a customer.

    name     what it is called, also as the field of a customer's document
    default  its value, unless an operator has set another
    unit     what it is a number of
    reason   why it is not higher
    now      what helps where it is reached, or None where only a higher limit does
    status   the HTTP status of what is refused: 429 where it helps to wait, else 409
    """

    name: str
    default: int
    unit: str
    reason: str
    now: str | None = None
    status: int = TooMany.status

    def of(self, fields: Mapping[str, Any]) -> int:
        """The value for the customer whose document has these fields."""
        value: int = fields.get(self.name, self.default)
        return value

    def check(self, most: int, query: Any, more: int = 1) -> None:
        """Raise the limit's error where `more` of what `query` finds would be more than `most`, the
        customer's value. A count reads one document for each thousand that it finds.
        https://cloud.google.com/firestore/pricing#aggregation_queries"""
        used = in_use(query, most)
        if used + more > most:
            raise self.reached(most, used, more)

    def reached(self, most: int, used: int, more: int = 1, seconds: float | None = None) -> Refused:
        """The error that says that `more` do not fit; `seconds` until they do, where that is known."""
        told = self.sentence(most, used, more)
        return TooMany(told, seconds) if self.status == TooMany.status else Conflict(told)

    def sentence(self, most: int, used: int, more: int = 1) -> str:
        """What is said then: which limit it is, its value, what is in use, and what to do."""
        wanted = f", and this needs {more:,}" if more > 1 else ""
        ways = f"{self.now}, or {ASK}" if self.now else ASK
        return f"the limit {self.name} is {most:,} {self.unit}, and {used:,} are in use{wanted}: {ways}"


EXPORTS = Limit(
    "exports",
    2_000,
    "exports that have not ended",
    "an export of every minute makes 1,440 runs a day",
    now="delete some that you no longer need",
    status=Conflict.status,
)
WAITING_RUNS = Limit(
    "waiting_runs",
    1_000,
    "runs that have not ended",
    "a free slot is given to one of the first 1,000",
    now="wait until some have ended, or cancel some",
)
BACKFILLS = Limit(
    "backfills",
    500,
    "runs by hand that have not ended",
    "half of the runs that may wait are left to the schedules; a year has 366 days",
    now="wait until some have ended, or cancel some",
)
PARALLEL_EXPORTS = Limit(
    "parallel_exports",
    1,
    "runs that go on at once",
    "one after another, as exports due at one time always ran",
)
OPEN_BATCHES = Limit(
    "open_batches",
    5_000,
    "batches that have not ended",
    "each can bring an archive within a week",
    now="wait until some have ended, or DELETE those whose archive does not come",
)
QUEUED_BATCHES = Limit(
    "queued_batches",
    1_000,
    "batches whose archive has come and that have not ended",
    "those behind them wait",
    now="wait until some have ended",
)
BATCH_BYTES = Limit(
    "batch_bytes",
    50 * 1024**3,
    "bytes of an archive, or of an uploaded file of records",
    "what a bad line uploads within the week that an upload URL lives",
)
BATCH_FILES = Limit(
    "batch_files",
    1_000_000,
    "files in an archive",
    "its directory is read within one attempt of a function",
)
STORED_BYTES = Limit(
    "stored_bytes",
    1024**4,
    "bytes of uploaded files that are kept",
    "twenty archives of the largest size; what nobody imports is paid for all the same",
    now="wait: an archive counts until three days after it was imported, any other file for thirty",
)
MAILS = Limit(
    "mails_a_day",
    50_000,
    "mails made within 24 hours",
    "an export of every hour to 1,000 recipients makes 24,000; all customers share one sender",
    now="wait until those of yesterday no longer count",
)
NEW_ADDRESSES = Limit(
    "new_addresses_a_day",
    2_000,
    "addresses outside of your own domains that are named for the first time, a day (UTC)",
    "an export names at most 1,050; whoever mails strangers is blocked, and so is Waybill",
    now="name fewer, or wait until midnight UTC",
)
MAIL_TEXT = Limit(
    "mail_text",
    60,
    "characters of a name of yours in a mail to an address outside of your own domains",
    "enough for a name, and not for a message to strangers",
)
JOBS = Limit(
    "jobs",
    500,
    "jobs that have not ended",
    "each can hold an instance with 4 GiB of memory",
    now="wait until some have ended, or cancel some",
)
JOB_UPLOADS = Limit(
    "job_uploads",
    1_000,
    "upload URLs for files of records, made within seven days",
    "each can bring a file within a week",
    now="send the file with its import, or wait until the oldest are a week old",
)
ITEM_TYPES = Limit(
    "item_types",
    1_000,
    "item types that are defined",
    "a query in SQL can name each of them as a table",
    status=Conflict.status,
)
REQUESTS = Limit(
    "requests_a_second",
    REQUESTS_A_SECOND,
    "requests a second to one instance of a function, and at once as many as in four seconds",
    "one instance answers all customers",
    now="send the next one after the seconds in Retry-After",
)
DATASETS = Limit(
    "datasets",
    1_000,
    "datasets",
    "a search for a text in their names reads up to 2,000",
    now="delete some that you no longer need",
    status=Conflict.status,
)
DATASET_TASKS = Limit(
    "dataset_tasks",
    20,
    "tasks of datasets that have not ended",
    "each can read every work order of its sites",
    now="wait until one of them has ended, or cancel one",
    status=Conflict.status,  # as docs/contracts/datasets.md says of ModelArts.4409
)
API_KEYS = Limit(
    "api_keys",
    200,
    "keys that are not revoked",
    "each is a way in; who finds out which one leaked reads their list",
    now="revoke some that are no longer used",
    status=Conflict.status,
)

LIMITS: Mapping[str, Limit] = {
    each.name: each
    for each in (
        EXPORTS,
        WAITING_RUNS,
        BACKFILLS,
        PARALLEL_EXPORTS,
        OPEN_BATCHES,
        QUEUED_BATCHES,
        BATCH_BYTES,
        BATCH_FILES,
        STORED_BYTES,
        MAILS,
        NEW_ADDRESSES,
        MAIL_TEXT,
        REQUESTS,
        JOBS,
        JOB_UPLOADS,
        ITEM_TYPES,
        DATASETS,
        DATASET_TASKS,
        API_KEYS,
    )
}
"""Every limit by its name, in the order in which they are shown."""


def value(db: firestore.Client, customer: str, limit: Limit) -> int:
    """A customer's value of a limit as it is now; LookupError where there is no such customer."""
    return limit.of(fields_of(db.document(f"customers/{customer}").get()))


def day_of(at: datetime) -> str:
    """The day (UTC) that a document counts, which has `day` and `count`."""
    return f"{at:%Y-%m-%d}"


def of_day(found: Any, now: datetime) -> int:
    """How many such a document counts on the day of `now`; none where it is not there."""
    fields = fields_of(found) if found.exists else {}
    counted: int = fields.get("count", 0) if fields.get("day") == day_of(now) else 0
    return counted


def in_use(query: Any, most: int) -> int:
    """How many a query finds, counted up to `most`, so that counting has a price that is known."""
    return count(query, up_to=most) if most > 0 else 0


KEPT_SECONDS = 60
"""How long an instance goes by a customer's value that it has read, of a limit that each request asks for."""


class Kept:
    """The values of one limit, each read again after KEPT_SECONDS. Safe to share between threads: at worst a
    value is read twice."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._values: dict[str, tuple[float, int]] = {}

    def value(self, db: firestore.Client, customer: str) -> int:
        """A customer's value, as it was within the last KEPT_SECONDS."""
        kept = self._values.get(customer)
        if kept is None or elapsed_since(kept[0]) >= KEPT_SECONDS:
            fields = db.document(f"customers/{customer}").get([self._limit.name]).to_dict() or {}
            kept = self._values[customer] = (stopwatch(), self._limit.of(fields))
        return kept[1]

    def clear(self) -> None:
        """Forget every value, for a process that goes on as if just started, as tests do."""
        self._values.clear()


REQUESTS_KEPT = Kept(REQUESTS)
"""How many requests a second this instance answers each customer."""
