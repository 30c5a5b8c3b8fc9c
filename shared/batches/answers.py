"""What `/v0.2` answers: each form, and what makes it."""

from collections.abc import Mapping
from typing import Annotated, Any, NotRequired, cast

import orjson
from pydantic import Field
from typing_extensions import TypedDict

from shared.accounts.api import SiteParameter, TaskGroup, parameters_of, task_groups_of
from shared.accounts.customers import Site
from shared.batches import batch as batches
from shared.batches.batch import ENDED, UNDER_WAY, WAITING_FOR_UPLOAD
from shared.batches.problems import problem
from shared.http.bodies import Moment, documented
from shared.http.errors import FieldError
from shared.outbox.mails import REFUSED, SKIPPED
from shared.workorders.listing import Listed
from shared.workorders.record import Level, Value, encode, iso, timeline_line
from shared.workorders.store import Held
from shared.workorders.stored import DONE, DUE, FAILED, WAITING

Status = Annotated[str, Field(json_schema_extra={"enum": [WAITING_FOR_UPLOAD, *UNDER_WAY, *ENDED]})]
"""How far a batch is."""

Analysis = Annotated[str, Field(json_schema_extra={"enum": [DUE, WAITING, DONE, FAILED]})]
"""How far the analysis of a work order is."""


@documented
class BatchError(TypedDict):
    """Why a batch failed."""

    code: str
    """What is wrong, as a program reads it."""
    message: str
    """What is wrong and what to do, as a person reads it."""


@documented
class MailNotSent(TypedDict):
    """A mail about the end of a batch that was not sent."""

    address: str
    """Whom it was for."""
    status: Annotated[str, Field(json_schema_extra={"enum": [SKIPPED, REFUSED]})]
    """`SKIPPED`: mail to this address is not delivered; `REFUSED`: the mail was not accepted."""
    reason: str
    """Why, in a sentence."""


@documented
class Batch(TypedDict):
    """A batch: an archive of work orders."""

    id: str
    """The batch's id, a UUID."""
    batch_id: str
    """The same id."""
    status: Status
    """How far the batch is."""
    site_id: str
    """The site that its work orders are of."""
    filename: str | None
    """The archive's name, as the customer gave it."""
    code_page: str | None
    """The code page of the names in the archive, where the batch was made with one."""
    create_date: Moment
    """When the batch was made."""
    size: int | None
    """How many bytes the archive was said to have, where the batch was made with that."""
    origin: str | None
    """The origin whose pages can use the upload URL, where the batch was made with one; else no page can."""
    expire_date: Moment
    """When the upload URL stops working."""
    finish_date: Moment | None
    """When the batch ended."""
    upload_url: NotRequired[str]
    """Where the archive is to be uploaded to, in a resumable upload of Cloud Storage; only while the batch is
    WAITING_FOR_UPLOAD. It is a secret."""
    work_orders_total: int | None
    """How many work orders the archive holds; null until that is known."""
    work_orders_done: int
    """How many of them were imported."""
    work_orders_failed: int
    """How many of them were not."""
    images: int
    """How many images were imported."""
    bytes: int
    """How large those are together."""
    errors: int
    """How many errors the errors file lists."""
    warnings: int
    """How many warnings the errors file lists."""
    codes: dict[str, int]
    """How many lines of the errors file have each code."""
    error: BatchError | None
    """Why the batch failed, where it did."""
    mails_not_sent: list[MailNotSent]
    """The mails about its end that were not sent: correct these addresses in `notify` of the next one."""


@documented
class BatchErrorLine(TypedDict):
    """An error or a warning of a batch: a line of its errors file."""

    work_order: str
    """The work order's folder; empty where it is about none."""
    file: str
    """The file; empty where it is about none."""
    code: str
    """What is wrong, as a program reads it."""
    level: Level
    """`error`: the work order or the file was not imported; `warning`: everything was."""
    message: str
    """What is wrong and what to do, as a person reads it."""


@documented
class BatchErrors(TypedDict):
    """A page of the errors of a batch, in the order of its archive."""

    errors: list[BatchErrorLine]
    """The errors. A page can have fewer than were asked for, or none, and a next page all the same."""
    next_page_token: str | None
    """Asks for the next page; null on the last."""


@documented
class BatchList(TypedDict):
    """A page of batches, the newest first."""

    batches: list[Batch]
    """The batches."""
    next_page_token: str | None
    """Asks for the next page; null on the last."""


@documented
class DataConformity(TypedDict):
    """What a check found in a photograph."""

    check: str
    """Which check."""
    code: str
    """What it found."""
    level: Level
    """How bad that is; a photograph with an `error` does not count as progress."""


@documented
class JobConformity(TypedDict):
    """What an analysis says of a task, and what a person corrected."""

    task_name: str
    """Which task."""
    analyzed_value: Value
    """The value that the analysis found."""
    corrected_value: Value
    """The value that a person gave in its place."""
    corrected_date: str | None
    """When they did."""
    message: str | None
    """A sentence about the value."""
    is_conformity_validated: bool
    """Whether the task is done as it should be."""


@documented
class Input(TypedDict):
    """A photograph; or a text or a number, which is the `value` of its metadata."""

    id: str
    """Its id."""
    file_extension: str
    """What kind of file its image is: `jpg`, `jpeg`, `png`, `webp`, `heic` or `heif`; empty where it is a
    text or a number."""
    metadata: dict[str, Any]
    """What was sent with it."""
    data_conformity: list[DataConformity]
    """What checks found in it."""
    job_conformity: list[JobConformity]
    """What an analysis says of it."""


@documented
class WorkItem(TypedDict):
    """The inputs of one task group."""

    id: str
    """Its id."""
    name: str
    """The task group's name."""
    input: NotRequired[list[Input]]
    """The inputs, in the order in which they came; left out with `include_inputs=false`."""


@documented
class WorkOrder(TypedDict):
    """A work order: its record as exports have it, and what is kept beside it."""

    id: str
    """Its id, a UUID."""
    name: str
    """Its name. No other work order of its site has it."""
    site_id: str
    """The site that it is of."""
    create_date: Moment
    """When it was made."""
    update_date: Moment
    """When it was changed last."""
    metadata: dict[str, Any]
    """What was sent with it."""
    progress_score: float | None
    """The share of the site's required task groups that have a photograph without an error, from 0 to 1; null
    where the site requires none."""
    work_items: list[WorkItem]
    """Its inputs, by task group."""
    tags: list[str]
    """Its tags."""
    parameters: dict[str, Any]
    """The values of the site's parameters."""
    analysis: Analysis
    """How far its analysis is."""
    failure: NotRequired[str]
    """Why its analysis failed, where it did."""
    warnings: NotRequired[list[FieldError]]
    """What of the request was taken and may be a mistake; in the answers to POST and PATCH, where there is
    any."""


@documented
class ListedWorkOrder(TypedDict):
    """What a list says of a work order."""

    id: str
    """Its id, a UUID."""
    name: str
    """Its name. No other work order of its site has it."""
    site_id: str
    """The site that it is of."""
    create_date: Moment
    """When it was made."""
    update_date: Moment
    """When it was changed last."""
    tags: list[str]
    """Its tags."""
    analysis: Analysis
    """How far its analysis is."""
    failure: NotRequired[str]
    """Why its analysis failed, where it did."""


@documented
class WorkOrderList(TypedDict):
    """A page of work orders: the last changed first, or by their names where `name_prefix` is given."""

    work_orders: list[ListedWorkOrder]
    """The work orders. A page can have fewer than were asked for, or none, and a next page all the same."""
    next_page_token: str | None
    """Asks for the next page; null on the last. It is good for 55 minutes from when the first page was asked
    for."""


@documented
class TaskGroups(TypedDict):
    """What a site asks of its work orders."""

    task_groups: list[TaskGroup]
    """What photographs may show."""
    parameters: list[SiteParameter]
    """Which values are asked for."""


def batch(shown: batches.Batch, progress: batches.Progress) -> Batch:
    """A batch, with how far it is."""
    made: dict[str, Any] = {
        "id": shown.id,
        "batch_id": shown.id,
        "status": shown.state,
        "site_id": shown.site,
        "filename": shown.filename,
        "code_page": shown.code_page,
        "size": shown.declared,
        "origin": shown.origin,
        "create_date": iso(shown.created),
        "expire_date": iso(shown.expires),
        "finish_date": iso(shown.finished) if shown.finished else None,
        **({"upload_url": shown.upload_url} if shown.state == WAITING_FOR_UPLOAD else {}),
        "work_orders_total": shown.work_orders,
        "work_orders_done": progress.work_orders_done,
        "work_orders_failed": progress.work_orders_failed,
        "images": progress.images,
        "bytes": progress.bytes,
        "errors": progress.errors,
        "warnings": progress.warnings,
        "codes": progress.codes,
        "error": _error(shown),
        "mails_not_sent": [dict(each) for each in shown.not_sent],
    }
    return cast(Batch, made)


def _error(shown: batches.Batch) -> BatchError | None:
    if shown.code is None or shown.error is None:
        return None
    # What we met when we failed says nothing to a customer.
    message = problem("INTERNAL").message if shown.code == "INTERNAL" else shown.error
    return {"code": shown.code, "message": message}


def work_order(held: Held, *, inputs: bool = True, warnings: Mapping[str, str] | None = None) -> WorkOrder:
    """A work order, with or without its photographs; `warnings` are sentences by the fields of a request."""
    line = timeline_line(encode(held.stored.work_order), iso(held.created), iso(held.updated))
    record: dict[str, Any] = orjson.loads(line)
    if not inputs:
        for item in record["work_items"]:
            del item["input"]
    stored = held.stored
    beside = {"tags": stored.tags, "parameters": stored.parameters, "analysis": stored.analysis}
    failure = {"failure": stored.failure} if stored.analysis == FAILED else {}
    said = [{"field": field, "message": sentence} for field, sentence in (warnings or {}).items()]
    return cast(WorkOrder, record | beside | failure | ({"warnings": said} if said else {}))


def listed_work_order(shown: Listed) -> ListedWorkOrder:
    """What a list says of a work order."""
    made: dict[str, Any] = {
        "id": shown.id,
        "name": shown.name,
        "site_id": shown.site,
        "create_date": iso(shown.created),
        "update_date": iso(shown.updated),
        "tags": list(shown.tags),
        "analysis": shown.analysis,
        **({"failure": shown.failure} if shown.failure else {}),
    }
    return cast(ListedWorkOrder, made)


def task_groups(site: Site) -> TaskGroups:
    """What a site asks of its work orders."""
    return {
        "task_groups": task_groups_of(site),
        "parameters": parameters_of(site),
    }
