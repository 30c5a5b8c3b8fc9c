"""What each function is charged for in a month, counted from the code's own constants.

Each `Charges` below is what one such thing is charged for. `tests/infra/estimate/test_charges.py` holds them
against what the suite's services count for a small case.
"""

import functools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from operator import add, attrgetter

from infra.estimate.usage import DAYS, Usage
from infra.local.traffic import ENTRIES_A_READ, LEAST_BYTES
from shared import minute
from shared.batches import archive, importing, planning, reporting
from shared.datasets import reading
from shared.delivery.base import COPIES_A_SECOND
from shared.exports import beginning, config
from shared.gcp import objects
from shared.jobs import importing as jobs
from shared.jobs.reading import base as files
from shared.settings import Settings
from shared.work.stages import MAX_IN_LINE, REFILL

SETTINGS = Settings(project="estimate")
"""The sizes that functions have unless their environment says otherwise."""


@dataclass(frozen=True)
class Charges:
    """What Google charges for.

    calls      of the function
    reads, writes, deletes  of documents in Firestore
    class_a, class_b        operations of Cloud Storage
    messages   that are published
    publishes  requests that publish them; Pub/Sub charges for LEAST_BYTES of each at least
    more_bytes bytes of messages beyond that, published and delivered
    kept       documents that Firestore deletes by their age later, and charges for like a delete
               (`shared/work/lifetimes.py`)
    seconds    that instances are busy, beside what each call takes
    """

    calls: float = 0
    reads: float = 0
    writes: float = 0
    deletes: float = 0
    class_a: float = 0
    class_b: float = 0
    messages: float = 0
    publishes: float = 0
    more_bytes: float = 0
    kept: float = 0
    seconds: float = 0

    def __add__(self, other: "Charges") -> "Charges":
        return Charges(*map(add, _numbers(self), _numbers(other)))

    def __mul__(self, times: float) -> "Charges":
        return Charges(*(number * times for number in _numbers(self)))

    __rmul__ = __mul__

    def message_bytes(self, *, called_by_message: bool) -> float:
        """What Pub/Sub charges for: requests to publish, and deliveries."""
        requests = self.publishes + (self.calls if called_by_message else 0)
        return LEAST_BYTES * requests + self.more_bytes


_numbers = attrgetter(*(each.name for each in fields(Charges)))

NOTHING = Charges()

QUEUED = Charges(reads=12)
"""A piece that waits in its customer's queue, beyond what it costs itself. Its attempt looks at the queue
when it begins and when it ends: it finds MAX_IN_LINE pieces and no room, and an attempt at one of the last
finds none. So this is the most."""

OPENED = Charges(writes=1, messages=1)
"""A piece that waited and is published: by the attempts before it, where another function planned it."""


class Queue:
    """So many pieces of a plan: those published `at_once`, those `queued`, and what it `costs` whoever does
    them that they wait."""

    def __init__(self, pieces: float) -> None:
        self.queued = max(0, pieces - MAX_IN_LINE)
        self.at_once = pieces - self.queued
        self.costs = QUEUED * self.queued + Charges(publishes=math.ceil(self.queued / REFILL))


# --- exports

TICK = Charges(calls=1, reads=8, messages=1, publishes=1)
"""A tick that finds nothing: a query for what is due, what is to be retried, what is to be deleted, for
pieces in each of four states, and for runs that wait. Its message is Cloud Scheduler's."""

BEGIN = Charges(calls=1, reads=7, writes=2)
"""A message that begins windows: the customer's limits, and the start of its first run."""

WINDOW = Charges(reads=3, writes=2)
"""A window that begins: the export read twice, once in the transaction that creates the run."""

NEXT_RUN = Charges(reads=1, writes=2)
"""A run that starts when another one of its customer ends."""

RUN = Charges(calls=3, reads=39, writes=25, class_a=2, class_b=1, messages=2, publishes=2, kept=8)
"""A run that finds nothing: its stages, its manifest, its audit event."""

SITE = Charges(reads=2)
"""A further site of a run: its document, and a count."""

FOUND = Charges(reads=-7, publishes=1)
"""A run that finds something. Four queries for its parts find some, which are counted with those, and no plan
is empty: only of an empty one is counted what is left when it begins."""

PART = Charges(calls=1, reads=11, writes=4, class_a=1, class_b=1, messages=1, kept=1)
"""A part that is written: planned, published, taken, finished; read again by three steps."""

FILE = Charges(reads=2, writes=1, class_a=1, class_b=1)
"""A file that is delivered: copied, compared, written down."""

IMAGES = Charges(writes=-1)
"""A run with images: `finish` is another function's to publish."""

IMAGE_LIST = Charges(class_a=1, class_b=1)
"""A part's list of its images."""

SLICE_PLANNED = Charges(reads=2, writes=2, messages=1)
"""A further slice of images, for the function that plans it and reads its result. Of one that is queued it
writes and publishes less."""

COPY = Charges(reads=-1, writes=3, messages=1, publishes=1)
"""Copying a run's images: the step to what follows. The last slice looks for no other in its queue."""

SLICE = Charges(calls=1, reads=8, writes=2, class_b=1, kept=1)
"""A slice of images: taken, read, finished."""

IMAGE = Charges(class_a=1)
"""An image that is copied: one rewrite, in a batch. One that is there already is also looked at (class B)."""


def counted(documents: float, most: int) -> Charges:
    """The counts by which a window of evenly spread documents is cut into parts of at most so many."""
    parts = parts_of(documents, most)
    levels = math.ceil(math.log2(parts)) if parts > 1 else 0
    queries = 2 * parts - 1
    entries = documents / ENTRIES_A_READ * (levels + 1)
    return Charges(reads=max(queries, entries))


def parts_of(documents: float, most: int) -> int:
    """Into how many parts so many documents are cut."""
    return math.ceil(documents / most) if documents else 0


def of_run(sites: int, documents: float, images: float, file_bytes: float) -> dict[str, Charges]:
    """A run over so many sites that finds so many work orders with so many images to copy, and writes files
    of so many bytes in all."""
    with_records = min(sites, documents)
    if not with_records:
        return {TIMELINE: RUN + SITE * (sites - 1)}
    per_site = documents / with_records
    parts = with_records * parts_of(per_site, SETTINGS.part_records)
    files = with_records * max(1, math.ceil(file_bytes / with_records / config.FILE_BYTES))
    run = RUN + FOUND + SITE * (sites - 1) + PART * parts + Queue(parts).costs + FILE * files
    run += Charges(reads=documents)
    run += Charges(reads=with_records * (counted(per_site, SETTINGS.part_records).reads - 1))
    run += Charges(class_a=files * _composes(parts / files))
    run += Charges(seconds=documents * RECORD_SECONDS)
    if not images:
        return {TIMELINE: run}
    slices = parts * math.ceil(images / parts / SETTINGS.slice_images)
    line = Queue(slices)
    run += IMAGES + IMAGE_LIST * parts + SLICE_PLANNED * (line.at_once - 1)
    run += Charges(reads=1, writes=1) * line.queued
    copy = COPY + SLICE * slices + OPENED * line.queued + line.costs
    copy += IMAGE * images + Charges(seconds=images * COPY_SECONDS)
    return {TIMELINE: run, "copy_images": copy}


def _composes(objects_joined: float) -> int:
    """The calls that join so many objects into one."""
    return math.ceil((objects_joined - 1) / (objects.MAX_COMPOSE - 1)) if objects_joined > 1 else 0


def of_due_time(usage: Usage, records: float, images: float) -> dict[str, Charges]:
    """All exports of one customer that are due at one time, each with so many records and images."""
    if not usage.exports:
        return {}
    full, rest = divmod(usage.exports, beginning.MAX_EXPORTS)
    messages = full + bool(rest)
    # What of a message is charged for beyond the least: of each customer they go with others' in one request.
    more = full * _more(beginning.MAX_EXPORTS) + _more(rest)
    begin = BEGIN * messages + WINDOW * usage.exports + Charges(messages=1, publishes=1, more_bytes=more)
    run = of_run(usage.sites, records, images, records * usage.record_bytes)
    made = {name: charges * usage.exports for name, charges in run.items()}
    made[TIMELINE] += (NEXT_RUN + Charges(messages=1, publishes=1)) * (usage.exports - 1)
    published = Charges(messages=messages, publishes=1, more_bytes=more)
    return {"tick": published, "begin_exports": begin, **made}


def _more(exports: int) -> int:
    """By how many bytes a message that begins so many exports is larger than the least that is charged."""
    made = beginning.bodies("customer", ["0" * 36] * exports, datetime(2026, 1, 1, tzinfo=UTC))
    return sum(max(0, len(json.dumps(each)) - LEAST_BYTES) for each in made)


# --- batches

POST_BATCH = Charges(calls=1, reads=12, writes=4, class_a=1)
"""A batch that is made: the key, the limits, the session."""

GET_BATCH = Charges(calls=1, reads=2)
"""A batch that is asked for once, at its end."""

RECEIVE = Charges(calls=1, reads=15, writes=11, class_a=1, class_b=2, messages=2, publishes=2)
"""An archive that came: its event, its plan with one slice."""

EVENT_BYTES = 72
"""About how many bytes more than LEAST_BYTES an event of Cloud Storage has."""

ARCHIVE_SLICE_PLANNED = Charges(reads=1, writes=2, messages=1)
"""A further slice. Of one that is queued less is written and published."""

IMPORT = Charges(calls=1, reads=8, writes=12, messages=1, publishes=1, kept=7)
"""Importing an archive, beside its slices: the report, the end."""

ARCHIVE_SLICE = Charges(calls=1, reads=18, writes=5, deletes=1, class_b=1, publishes=1, kept=1)
"""A slice: taken, its listing read, saved once, finished; its photographs' names are kept for the report."""

CHUNK = Charges(reads=8, writes=3, deletes=1)
"""A further save within a slice, and its photographs' names."""

WORK_ORDER = Charges(reads=4, writes=3, class_b=1, messages=1)
"""A work order that is imported and is new: written with its analysis, which is then published. Its files are
read with one call, as long as they have at most SPAN_BYTES."""

PHOTOGRAPH = Charges(class_a=1)
"""A photograph that is stored."""

REPORT_AGAIN = Charges(calls=1, reads=17, writes=4)
"""A report that waited for checks and goes on. It reads the group that it waits for again."""

ANALYSIS = Charges(calls=1, reads=9, writes=2, deletes=1)
"""A work order that is checked."""

CHECK = Charges(class_b=1)
"""A photograph that is checked."""

REMOVE = Charges(calls=1, reads=6, writes=2, deletes=2)
"""An archive that is removed after its import. The tick publishes it."""

SWEPT = Charges(reads=1, writes=1, messages=1, publishes=1)
"""A piece that the tick publishes."""


def of_batch(usage: Usage, work_orders: int) -> dict[str, Charges]:
    """An archive of so many new work orders, each with its share of the photographs."""
    if not work_orders:
        return {}
    images = work_orders * usage.images / max(1, usage.work_orders)
    packed = images * usage.image_bytes
    slices = math.ceil(
        max(
            work_orders / planning.MAX_SLICE_ORDERS,
            images / SETTINGS.slice_files,
            packed / SETTINGS.slice_bytes,
        )
    )
    chunks = max(slices, math.ceil(max(work_orders / importing.CHUNK_ORDERS, images / importing.CHUNK_FILES)))
    line = Queue(slices)
    directory = images * DIRECTORY_BYTES
    receive = RECEIVE + ARCHIVE_SLICE_PLANNED * (line.at_once - 1) + Charges(writes=line.queued)
    receive += Charges(class_b=max(1, math.ceil(directory / archive.BLOCK)))
    receive += Charges(more_bytes=2 * EVENT_BYTES)
    imported = IMPORT + ARCHIVE_SLICE * slices + OPENED * line.queued + line.costs
    imported += CHUNK * (chunks - slices)
    imported += WORK_ORDER * work_orders + PHOTOGRAPH * images
    spans = math.ceil(packed / work_orders / importing.SPAN_BYTES)
    imported += Charges(class_b=work_orders * max(0, spans - 1), seconds=images * IMPORT_SECONDS)
    due = Queue(work_orders)
    imported += OPENED * -due.queued
    again = math.ceil(due.queued / reporting.READ_TOGETHER)
    imported += (REPORT_AGAIN + Charges(reads=min(work_orders, reporting.READ_TOGETHER))) * again
    analysed = ANALYSIS * work_orders + CHECK * images + OPENED * due.queued + due.costs
    analysed += Charges(messages=again, publishes=again, seconds=images * CHECK_SECONDS)
    return {
        "batches": POST_BATCH + GET_BATCH,
        "ingest_batch": receive,
        "ingest_work_orders": imported,
        "analyse_work_order": analysed,
        "tick": SWEPT,
        "remove_objects": REMOVE,
    }


# --- jobs

JOB_MADE = Charges(calls=2, reads=14, writes=5, messages=1, publishes=1)
"""A job that is begun, and asked for once, at its end."""

IMPORT_MADE = Charges(reads=7, writes=1, class_a=1)
"""What an import needs beyond that: its file is put into the bucket with its request."""

FILE_CAME = Charges(calls=1, reads=6, writes=1, class_b=1, messages=1, publishes=1)
"""A file of records that came to be in the bucket; the request has told of it before."""

JOB_IMPORT = Charges(calls=2, reads=22, writes=15, class_b=2, kept=7)
"""An import of one commit, without its records."""

JOB_CHUNK = Charges(reads=2, writes=1)
"""A further commit."""

JOB_EXPORT = Charges(calls=3, reads=38, writes=23, class_a=2, class_b=3, messages=2, publishes=2, kept=9)
"""An export of one part, without its records."""

JOB_PART = Charges(calls=1, reads=12, writes=4, class_a=1, class_b=2, messages=1, kept=1)
"""A further part."""


def of_import(records: int, size: float) -> dict[str, Charges]:
    """An import job of so many new records in a file of that size."""
    commits = max(1, math.ceil(max(records / jobs.CHUNK_RECORDS, size / jobs.CHUNK_BYTES)))
    did = JOB_IMPORT + JOB_CHUNK * (commits - 1) + Charges(writes=records)
    did += Charges(class_b=max(1, math.ceil(size / files.BLOCK_BYTES)), seconds=records * ITEM_SECONDS)
    came = FILE_CAME + Charges(more_bytes=EVENT_BYTES)
    # The event is published by Cloud Storage, and delivered to `ingest_batch`.
    made = JOB_MADE + IMPORT_MADE + Charges(messages=1, publishes=1, more_bytes=EVENT_BYTES)
    return {"jobs": made, "ingest_batch": came, "run_job": did}


def of_job_export(records: int) -> dict[str, Charges]:
    """An export job of so many records."""
    parts = max(1, parts_of(records, SETTINGS.part_records))
    did = JOB_EXPORT + JOB_PART * (parts - 1) + Queue(parts).costs
    did += Charges(reads=records, seconds=2 * records * RECORD_SECONDS)
    return {"jobs": JOB_MADE, "run_job": did}


# --- datasets

DATASET_EXPORT = Charges(calls=2, reads=12, writes=5, class_a=3, messages=1, publishes=1)
"""A task that is begun, with a look at where it delivers to, and asked for once, at its end."""

TASK = Charges(calls=7, reads=71, writes=40, class_a=10, class_b=5, messages=6, publishes=6, kept=13)
"""A task of one part and one slice, without its samples and work orders: a version, the files of COCO."""

READ_PART = Charges(calls=1, reads=10, writes=4, class_a=2, class_b=1, messages=1, kept=1)
"""A further part of the work orders."""

SAMPLE_SLICE = Charges(calls=2, reads=25, writes=8, class_a=2, class_b=1, messages=2, kept=2)
"""A further slice of samples, which is selected and written."""

JOINED = Charges(class_a=2)
"""A task of more than one slice: their files are joined."""

SAMPLE = Charges(class_a=1)
"""A sample whose image is copied."""


def of_dataset(work_orders: int, samples: int, image_bytes: int) -> dict[str, Charges]:
    """The export of a dataset as COCO: so many samples of so many work orders, all by a new version."""
    parts = max(1, parts_of(work_orders, SETTINGS.part_records))
    slices = max(
        1,
        math.ceil(max(samples / reading.SLICE_SAMPLES, samples * image_bytes / reading.SLICE_IMAGE_BYTES)),
    )
    did = TASK + READ_PART * (parts - 1) + SAMPLE_SLICE * (slices - 1)
    did += Queue(parts).costs + Queue(slices).costs * 2
    did += JOINED if slices > 1 else NOTHING
    did += Charges(reads=work_orders) + SAMPLE * samples
    did += Charges(seconds=work_orders * RECORD_SECONDS + samples * COPY_SECONDS)
    return {"datasets": DATASET_EXPORT, "export_dataset": did}


# --- requests

REQUEST = Charges(calls=1, reads=3)
"""A request for one thing: its key, its customer, the thing. A page reads what it shows."""


# --- a month


TIMELINE = "export_work_orders_timeline"
"""The function whose exports are counted. Those of the other sources do the same."""

DIRECTORY_BYTES = 120
"""About how many bytes an archive's directory has for each file."""

RECORD_SECONDS = 60 / SETTINGS.part_records
"""How long a record takes: `part_records` are about a minute's work (shared/settings.py)."""

COPY_SECONDS = 1 / COPIES_A_SECOND
"""How long an image takes to be copied by one instance."""

IMPORT_SECONDS = 1 / 25
"""How long a photograph takes to be imported: an instance writes some 25 a second (infra/bundle.yaml)."""

CHECK_SECONDS = 0.1
"""How long a photograph takes to be checked: two children decode at once, each one in about 0.2 seconds of
one processor."""

ITEM_SECONDS = 1 / 2_000
"""How long an item takes to be imported: 300 are committed in about 0.15 seconds."""

UNCOUNTED: Mapping[str, str] = {
    "downloads": "a read or two for each click on a link in a mail",
    "send_mail": "a mail costs what SendGrid asks for it; its function about ten reads and writes",
    "export_work_orders_states": "costs what `export_work_orders_timeline` costs",
    "export_source": "costs what `export_work_orders_timeline` costs",
    "console": "its pages ask the APIs in its process: the requests are counted with `exports`",
}
"""The functions that are not counted, and why."""


@functools.lru_cache(maxsize=64)
def of_month(usage: Usage) -> Mapping[str, Charges]:
    """What each function is charged for in a month, by its name. ValueError for an interval that there is
    not."""
    total: dict[str, Charges] = {}
    for times, made in _parts(usage):
        for name, charges in made.items():
            total[name] = total.get(name, NOTHING) + charges * times
    return total


def _parts(usage: Usage) -> Iterator[tuple[float, dict[str, Charges]]]:
    """What happens in a month: how often, and what it is charged for."""
    yield ticks(), {"tick": TICK}
    due, everyone = usage.due_times, usage.customers
    run = of_due_time(usage, usage.work_orders / due, usage.images / due)
    yield due * everyone, run
    # The first export that a tick finds costs no more than finding none.
    yield max(0.0, due * (everyone * usage.exports - 1)), {"tick": Charges(reads=1)}
    full, last = divmod(usage.work_orders, usage.batch) if usage.work_orders else (0, 0)
    yield full * everyone, of_batch(usage, usage.batch)
    yield everyone, of_batch(usage, last)
    yield usage.imports * everyone, of_import(usage.items, usage.items * usage.item_bytes)
    yield usage.job_exports * everyone, of_job_export(usage.items)
    yield usage.datasets * everyone, of_dataset(usage.work_orders, usage.samples, usage.image_bytes)
    yield usage.requests * everyone, {"exports": REQUEST}


def ticks() -> float:
    """The ticks of a month."""
    return timedelta(days=DAYS) / timedelta(seconds=minute.TICK_SECONDS)
