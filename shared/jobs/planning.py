"""Planning a job: see whether it can be done, before anything is done. An export is cut into parts."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from google.cloud.firestore_v1 import FieldFilter

from shared import logs
from shared.gcp.clients import Cloud
from shared.gcp.documents import id_ranges, read_time
from shared.items import store, types
from shared.items.types import folded
from shared.jobs import job as jobs
from shared.jobs import reading
from shared.jobs.job import EXPORT, IMPORT, REJECTED, Job, ending_of
from shared.jobs.reading import Layout, Position, Unreadable
from shared.sandbox import sql
from shared.sandbox.errors import OverLimit, Refused
from shared.sandbox.velocity import Templates
from shared.sources import SOURCES
from shared.sources.base import Selection
from shared.window import Window
from shared.work.attempts import Attempt
from shared.work.kinds import Done, Fields

STAGE = "plan"

BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)
"""A time before the first work order."""

MAX_SITES = 1_000
"""Of how many sites an export job takes the work orders."""

MAX_NAMED = 50
"""How many of a customer's types an error names."""

SOURCE_NAMES = ("WorkOrder", "Input", "Conformity")
"""The types that every customer has, as clients write them."""

NO_RECORDS = "The file holds no records: see that it is the right one."

MAX_HEADER_BYTES = 256 * 1024
"""How long a header row may be: the job's document, which holds 1 MiB, has it twice."""

PART_DIGITS = 6
"""So that parts are in order."""


def plan(cloud: Cloud, job: Job, attempt: Attempt) -> Done:
    """Find out how the file of an import is read, or what an export reads."""
    if job.template:
        try:
            with Templates(job.template):
                pass
        except (Refused, OverLimit) as refused:
            return Done(next="finish", work=ending_of(REJECTED, str(refused)))
    return _plan_export(cloud, job, attempt) if job.does == EXPORT else _plan_import(cloud, job)


def _plan_import(cloud: Cloud, job: Job) -> Done:
    read, size = reader(cloud, job)
    try:
        layout = reading.look(read, size, csv=job.csv, header_row=job.header_row)
    except Unreadable as unreadable:
        return Done(next="finish", work=ending_of(REJECTED, str(unreadable)))
    if len(layout.header.encode()) > MAX_HEADER_BYTES:
        reason = f"The header row has more than {MAX_HEADER_BYTES:,} bytes: leave columns out."
        return Done(next="finish", work=ending_of(REJECTED, reason))
    types.know(cloud, job.customer, job.item_type)
    logs.info("import planned", form=layout.form, encoding=layout.encoding)
    return Done(next=IMPORT, work={"layout": asdict(layout)})


def reader(cloud: Cloud, job: Job) -> tuple[reading.Read, int]:
    """What reads bytes of a job's file, and how many there are."""
    file = job.file
    if file is None:
        raise ValueError(f"the job {job.id} has no file")
    return lambda start, end: cloud.objects.read(file, start, end) if start < end else b"", file.size


def layout_of(job: Job) -> Layout:
    """How the file of a job is read; ValueError where it is not known yet."""
    if job.layout is None:
        raise ValueError(f"the job {job.id} is {job.state} and was not planned")
    start, columns = Position(**job.layout["start"]), tuple(job.layout["columns"])
    return Layout(**{**job.layout, "start": start, "columns": columns})


def _plan_export(cloud: Cloud, job: Job, attempt: Attempt) -> Done:
    at = read_time(attempt.work)
    try:
        parts = list(_tables(cloud, job, at) if job.sql else _parts(cloud, job, job.item_type, at))
    except (Refused, OverLimit) as refused:
        return Done(next="finish", work=ending_of(REJECTED, str(refused)))
    logs.info("export planned", parts=len(parts))
    pieces = ((f"{number:0{PART_DIGITS}}", each) for number, each in enumerate(parts))
    # Where it is planned anew, what clients were shown does not go back.
    work = {"read_time": at, "reached": jobs.progress(cloud, job).processed}
    return Done(next=EXPORT, work=work, plans={EXPORT: pieces})


def _tables(cloud: Cloud, job: Job, at: datetime) -> Iterator[Fields]:
    """The parts of the tables that a query reads. Each type is read once, by whatever names. Refused where a
    table is none of the customer's."""
    names: dict[str, list[str]] = {}
    for table in sql.check(job.sql):
        names.setdefault(_type_of(cloud, job, table), []).append(table)
    for type, tables in names.items():
        for part in _parts(cloud, job, type, at):
            yield {**part, "tables": tables}


def _type_of(cloud: Cloud, job: Job, table: str) -> str:
    """The item type that a table is: clients write `<community>_entity_<ItemType>`, or the type alone."""
    community, entity, type = folded(table).rpartition("_entity_")
    if entity and community not in (folded(job.community), folded(job.customer)):
        type = folded(table)
    if type in types.SOURCES or types.get(cloud, job.customer, type) is not None:
        return type
    known = [each.name for each in types.of_customer(cloud, job.customer, MAX_NAMED)]
    names = ", ".join([*known, *SOURCE_NAMES])
    raise Refused(f"There is no table {table}. The tables are {names}.")


def _parts(cloud: Cloud, job: Job, type: str, at: datetime) -> Iterator[Fields]:
    source = types.SOURCES.get(folded(type))
    most = cloud.settings.part_records
    if source is None:
        items = store.number_of(cloud, job.customer, type, at)
        for part in id_ranges(items, most):
            yield {"type": type, "first": part.first, "before": part.before}
        return
    for each in SOURCES[source].parts(cloud, selection(job, _sites(cloud, job.customer), at)):
        yield {"type": type, "part": asdict(each)}


def _sites(cloud: Cloud, customer: str) -> list[str]:
    """The ids of a customer's sites. Refused where they are more than MAX_SITES."""
    query = cloud.db.collection("sites").where(filter=FieldFilter("customer", "==", customer))
    ids = sorted(each.id for each in query.select([]).limit(MAX_SITES + 1).stream())
    if len(ids) > MAX_SITES:
        raise Refused(
            f"There are more than {MAX_SITES:,} sites, too many for a job: make exports of some sites each."
        )
    return ids


def selection(job: Job, sites: Sequence[str], at: datetime) -> Selection:
    """All records of these sites, as of a time."""
    return Selection(job.customer, tuple(sites), Window(BEGINNING, at), at)
