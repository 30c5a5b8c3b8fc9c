"""`/ls/api` over HTTP: the routes of jobs and item types; `service` does the work. Those of tokens are in
`tokens_api`."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from shared.accounts import stored as stored_bytes
from shared.cutting import shown
from shared.errors import Invalid, NotFound, TooLarge
from shared.gcp.documents import server_time
from shared.gcp.unreadable import readable
from shared.http.bodies import OneOf
from shared.http.forms import REQUEST_BYTES, FileBytes, Part
from shared.http.idempotency import Repeatable
from shared.http.paging import Page, page
from shared.http.routes import Body, Route, Routes
from shared.items import types
from shared.items.types import Definition
from shared.jobs import answers, rejects, service
from shared.jobs import job as jobs
from shared.jobs.answers import JobStatus
from shared.jobs.caller import SCOPE, SURFACE, JobsCall
from shared.jobs.job import EXPORT, IMPORT, Job
from shared.jobs.tokens_api import TOKEN_ROUTES

TOO_LARGE = (
    "is larger than a request may be: ask POST /ls/api/batch/upload-url for a URL, upload the file there, "
    "and send its uploadId in place of the file"
)


class ImportForm(BaseModel):
    """What is imported, and how. The parts may come in any order."""

    jobName: str = Field(default="", description="The job's name; it is only shown.")
    itemType: str = Field(description="The type of the items.")
    contentType: str = Field(description="`application/json`, or `text/plain` for CSV.")
    file: FileBytes = Field(default=b"", description="The file, to 32 MB with all the rest.")
    uploadId: str = Field(default="", description="In place of the file: the id of an upload.")
    template: FileBytes = Field(
        default=b"", description="A Velocity template that makes the JSON of an item of each CSV row."
    )
    merge: str = Field(
        default="false",
        description="`true` merges each record into the item that is there; else it replaces that.",
    )
    headerRow: str = Field(
        default="true", description="Whether the first row of a CSV file names the columns."
    )
    notificationEmail: str = Field(default="", description="Who is mailed when the job ends.")


class ExportForm(BaseModel):
    """What is exported, and how."""

    jobName: str = Field(default="", description="The job's name; it is only shown.")
    itemType: str = Field(default="", description="The type of the items; a query needs none.")
    contentType: str = Field(description="`application/json`, or `text/plain` for CSV.")
    rowHeader: str = Field(default="true", description="Whether a CSV file begins with a row of names.")
    template: str = Field(default="", description="A Velocity template that makes a CSV row of each item.")
    sqlQuery: str = Field(default="", description="A SELECT whose rows are exported; it beats `filters`.")
    filters: str = Field(
        default="0",
        description="An object of fields and values, as JSON or as a Python literal; `0` for none.",
    )
    notificationEmail: str = Field(default="", description="Who is mailed when the job ends.")


class WhichJob(BaseModel):
    """Which job is meant."""

    jobId: str = Field(default="", description="The job's id.")


class JobsPage(Page):
    """Which jobs are listed."""

    state: Annotated[str, OneOf(tuple(service.STATES))] | None = Field(
        default=None, description="`Open` for jobs that have not ended, else how they ended."
    )
    kind: Annotated[str, OneOf((IMPORT, EXPORT))] | None = Field(
        default=None, description="Whether they import or export."
    )


class RejectsPage(Page):
    """Whose rejected records are listed."""

    jobId: str = Field(description="The job's id.")


class Size(BaseModel):
    """How large the file is."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    size: str = Field(default="", description="In bytes; then it must have exactly those.")


def _import(call: JobsCall, parts: Iterator[Part], once: Repeatable) -> JobStatus:
    cloud, id = call.cloud, service.new_id(call.cloud, call.caller, once)
    if made := service.made_before(cloud, once, id):
        return _shown(call, made)
    service.check_room(cloud, call.caller)
    sent: dict[str, str] = {}
    file = None
    problem = None
    try:
        seen: set[str] = set()
        for part in parts:
            if part.name in seen:
                problem = problem or Invalid.field(part.name, "is in the form twice: send it once")
                continue
            seen.add(part.name)
            if part.name == "file":
                stored_bytes.check(cloud, call.caller.customer)
                name = jobs.upload_name(call.caller.customer, jobs.digits(id))
                stored = cloud.objects.create_stream(
                    cloud.settings.uploads_bucket, name, part.blocks, service.UPLOAD_TYPE
                )
                # A browser sends an empty file without a name where none was chosen.
                file = None if stored.size == 0 and part.filename == "" else asdict(stored)
            else:
                sent[part.name] = part.text()
    except TooLarge:
        problem = Invalid.field("file", TOO_LARGE)
    except Invalid as invalid:
        problem = invalid
    made = service.begin_import(cloud, call.caller, call.caller.community, id, sent, file, problem)
    return _shown(call, made)


def _export(call: JobsCall, body: dict[str, str], once: Repeatable) -> JobStatus:
    cloud, id = call.cloud, service.new_id(call.cloud, call.caller, once)
    if made := service.made_before(cloud, once, id):
        return _shown(call, made)
    service.check_room(cloud, call.caller)
    return _shown(call, service.begin_export(cloud, call.caller, call.caller.community, id, body))


def _status(call: JobsCall, body: WhichJob) -> JobStatus:
    return _shown(call, service.get(call.cloud, call.caller, body.jobId))


def _cancel(call: JobsCall, body: WhichJob) -> JobStatus:
    job = service.get(call.cloud, call.caller, body.jobId)
    service.cancel(call.cloud, job)
    return _shown(call, service.get(call.cloud, call.caller, job.id))


def _revoke(call: JobsCall, body: WhichJob) -> JobStatus:
    job = service.get(call.cloud, call.caller, body.jobId)
    service.revoke(call.cloud, job)
    return _shown(call, service.get(call.cloud, call.caller, job.id))


def _upload_url(call: JobsCall, body: Size) -> answers.UploadUrl:
    id, url = service.make_upload(call.cloud, call.caller, body.size.strip())
    return {"uploadId": id, "uploadUrl": url}


def _list(call: JobsCall, query: JobsPage) -> answers.JobList:
    cloud, customer = call.cloud, call.caller.customer
    wanted = service.newest(cloud, customer, state=query.state, kind=query.kind)
    found, token = page(query, wanted, cloud.db.collection("jobs"), customer)
    now = server_time(cloud.db)
    shown = readable(cloud.db, found, lambda each: answers.listed(jobs.from_snapshot(each), now))
    return {"jobs": list(shown), "next_page_token": token}


def _list_rejects(call: JobsCall, query: RejectsPage) -> answers.RejectList:
    found, token = rejects.page(call.cloud, service.get(call.cloud, call.caller, query.jobId), query)
    return {"rejects": [answers.rejected(each) for each in found], "next_page_token": token}


def _list_item_types(call: JobsCall, query: Page) -> answers.ItemTypeList:
    cloud, customer = call.cloud, call.caller.customer
    by_name = types.all_of(cloud, customer).order_by("name")
    found, token = page(query, by_name, cloud.db.collection("item_types"), customer)
    shown = readable(cloud.db, found, lambda each: answers.item_type(types.from_snapshot(each)))
    return {"itemTypes": list(shown), "next_page_token": token}


def _put_item_type(call: JobsCall, type: str, body: Definition) -> answers.ItemType:
    return answers.item_type(types.put(call.cloud, call.caller.customer, type, body))


def _get_item_type(call: JobsCall, type: str) -> answers.ItemType:
    found = types.get(call.cloud, call.caller.customer, type)
    if found is None:
        raise NotFound(f"there is no item type {shown(type)}")
    return answers.item_type(found)


ROUTES = Routes(
    SURFACE,
    [
        *TOKEN_ROUTES,
        Route(
            method="POST",
            path="/ls/api/batch/import",
            handler=_import,
            summary="Import a file of records",
            scope=SCOPE,
            body=Body(ImportForm, max_bytes=REQUEST_BYTES, given="parts", form=True),
            answer=JobStatus,
            repeatable=True,
            refusals=(409,),
        ),
        Route(
            method="POST",
            path="/ls/api/batch/export",
            handler=_export,
            summary="Export records",
            scope=SCOPE,
            body=Body(ExportForm, given="object", form=True),
            answer=JobStatus,
            repeatable=True,
        ),
        Route(
            method="POST",
            path="/ls/api/batch/status",
            handler=_status,
            summary="Show a job",
            scope=SCOPE,
            body=Body(WhichJob, form=True),
            answer=JobStatus,
            refusals=(404,),
        ),
        Route(
            method="POST",
            path="/ls/api/batch/cancel",
            handler=_cancel,
            summary="Cancel what of a job has not been processed",
            scope=SCOPE,
            body=Body(WhichJob, form=True),
            answer=JobStatus,
            refusals=(404,),
        ),
        Route(
            method="POST",
            path="/ls/api/batch/revoke",
            handler=_revoke,
            summary="Withdraw the links to a job's files",
            scope=SCOPE,
            body=Body(WhichJob, form=True),
            answer=JobStatus,
            refusals=(404, 409),
        ),
        Route(
            method="POST",
            path="/ls/api/batch/upload-url",
            handler=_upload_url,
            summary="Make a URL that a large file is uploaded to",
            scope=SCOPE,
            body=Body(Size, form=True),
            answer=answers.UploadUrl,
        ),
        Route(
            method="GET",
            path="/ls/api/batch/jobs",
            handler=_list,
            summary="List jobs, the newest first",
            scope=SCOPE,
            query=JobsPage,
            strict=True,
            answer=answers.JobList,
        ),
        Route(
            method="GET",
            path="/ls/api/batch/rejects",
            handler=_list_rejects,
            summary="List the records that an import rejected",
            scope=SCOPE,
            query=RejectsPage,
            strict=True,
            answer=answers.RejectList,
            refusals=(404,),
        ),
        Route(
            method="GET",
            path="/ls/api/itemTypes",
            handler=_list_item_types,
            summary="List item types by name",
            scope=SCOPE,
            query=Page,
            strict=True,
            answer=answers.ItemTypeList,
        ),
        Route(
            method="PUT",
            path="/ls/api/itemTypes/<type>",
            handler=_put_item_type,
            summary="Say what the items of a type are",
            scope=SCOPE,
            body=Body(Definition),
            answer=answers.ItemType,
            refusals=(409,),
        ),
        Route(
            method="GET",
            path="/ls/api/itemTypes/<type>",
            handler=_get_item_type,
            summary="Show what the items of a type are",
            scope=SCOPE,
            answer=answers.ItemType,
        ),
    ],
)


def _shown(call: JobsCall, job: Job) -> JobStatus:
    return answers.status(call.cloud, job, server_time(call.cloud.db))
