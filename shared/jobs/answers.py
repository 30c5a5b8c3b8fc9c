"""What `/ls/api` answers about jobs and item types: each form, and what makes it."""

from datetime import UTC, datetime
from typing import Annotated, Any, NotRequired, cast

from pydantic import Field
from typing_extensions import TypedDict

from shared.gcp.clients import Cloud
from shared.http.bodies import documented
from shared.items import types
from shared.items.types import FieldType
from shared.jobs import job as jobs
from shared.jobs.finishing import REJECTS, RESULT, UNPROCESSED
from shared.jobs.job import EXPORT, IMPORT, LINK_LIFE, STATUSES, Job
from shared.jobs.rejects import Shown
from shared.outbox import links

Status = Annotated[str, Field(json_schema_extra={"enum": list(dict.fromkeys(STATUSES.values()))})]
"""How far a job is."""

JobKind = Annotated[str, Field(json_schema_extra={"enum": [IMPORT, EXPORT]})]
"""What a job does."""

READY = {
    IMPORT: "The file has been stored and the job is ready for processing",
    EXPORT: "The job is ready for processing",
}
WAITS_FOR_FILE = "The job waits for its file to be uploaded"
RUNS = "The job is processing"
CANCELING = "The job is being canceled"


@documented
class JobStatus(TypedDict):
    """A job, and how far it is."""

    submitTime: str
    """When the job was made, as `2015-05-26T13:35:25+0000`."""
    jobId: str
    """The job's id, a UUID."""
    notificationEmail: str
    """Who is mailed when the job ends; empty for nobody."""
    jobName: str
    """The job's name."""
    jobKind: JobKind
    """Whether it imports or exports."""
    contentType: str
    """The type of its file, as it was sent."""
    itemType: str
    """The type of its items."""
    recordsProcessed: str
    """How many records were processed, those that were rejected included."""
    recordsRejected: str
    """How many of them were rejected."""
    runTime: str
    """For how many milliseconds the job ran."""
    status: Status
    """How far the job is."""
    reason: str
    """The same in a sentence; of a job that did not complete, why, and what to do."""
    notificationError: NotRequired[str]
    """Why the mail about the job's end was not sent, where that is so."""
    links: NotRequired[list[str]]
    """Where the files of a completed export can be downloaded, for a week, without a key. Secrets."""
    rejected: NotRequired[str]
    """Where the rejected records of an import can be downloaded, in the form they came in, each with the
    reason. A secret, good for a week."""
    unprocessed: NotRequired[str]
    """Where the records can be downloaded that a canceled import did not process. A secret, good for a
    week."""


@documented
class ListedJob(TypedDict):
    """A job in a list."""

    submitTime: str
    """When the job was made, as `2015-05-26T13:35:25+0000`."""
    jobId: str
    """The job's id, a UUID."""
    jobName: str
    """The job's name."""
    jobKind: JobKind
    """Whether it imports or exports."""
    contentType: str
    """The type of its file, as it was sent."""
    itemType: str
    """The type of its items."""
    recordsProcessed: NotRequired[str]
    """How many records were processed, once the job has ended. Until then the job's status has it."""
    recordsRejected: NotRequired[str]
    """How many of them were rejected, once the job has ended."""
    runTime: str
    """For how many milliseconds the job ran."""
    status: Status
    """How far the job is."""
    reason: str
    """The same in a sentence; of a job that did not complete, why, and what to do."""


@documented
class JobList(TypedDict):
    """A page of a customer's jobs."""

    jobs: list[ListedJob]
    """The jobs of this page, the newest first."""
    next_page_token: str | None
    """What the next page is asked for with; null on the last one."""


@documented
class RejectedRecord(TypedDict):
    """A record that an import rejected."""

    record: int
    """The record's number in its file, from 1."""
    line: int
    """The line that it begins on, from 1."""
    reason: str
    """Why it was rejected, and what to do."""
    text: str
    """The record as it came in, at most its first 2,000 bytes."""
    cut: bool
    """Whether the record has more than `text`."""


@documented
class RejectList(TypedDict):
    """A page of the records that an import rejected."""

    rejects: list[RejectedRecord]
    """The records of this page, in the order of the file."""
    next_page_token: str | None
    """What the next page is asked for with; null on the last one."""


@documented
class UploadUrl(TypedDict):
    """Where a file that is too large for a request is uploaded to."""

    uploadId: str
    """What an import takes in place of a file."""
    uploadUrl: str
    """The URL of a resumable upload of Cloud Storage. It is a secret, and works for a week."""


@documented
class ItemType(TypedDict):
    """What the items of a type are."""

    itemType: str
    """The type's name."""
    key: str | None
    """The field whose value tells two items apart; null for `id`, else `objectId`."""
    required: list[str]
    """The fields that every item must have."""
    types: dict[str, FieldType]
    """The type of each field that must have one."""


@documented
class ItemTypeList(TypedDict):
    """A page of a customer's item types."""

    itemTypes: list[ItemType]
    """The types of this page, by name."""
    next_page_token: str | None
    """What the next page is asked for with; null on the last one."""


def listed(job: Job, now: datetime) -> ListedJob:
    """A job in a list, at Firestore's time `now`. What is only known of its pieces is left out."""
    began, ended = job.started or job.created, job.finished or now
    made: ListedJob = {
        "submitTime": f"{job.created.astimezone(UTC):%Y-%m-%dT%H:%M:%S}+0000",
        "jobId": job.id,
        "jobName": job.name,
        "jobKind": job.does,
        "contentType": job.content_type,
        "itemType": job.item_type,
        "runTime": str(max(0, round((ended - began).total_seconds() * 1000))),
        "status": job.status,
        "reason": _reason(job),
    }
    if job.totals is not None:
        made["recordsProcessed"] = str(job.totals.processed)
        made["recordsRejected"] = str(job.totals.rejected)
    return made


def status(cloud: Cloud, job: Job, now: datetime) -> JobStatus:
    """A job, at Firestore's time `now`."""
    progress = jobs.progress(cloud, job)
    made: dict[str, Any] = {
        **listed(job, now),
        "notificationEmail": job.email,
        "recordsProcessed": str(progress.processed),
        "recordsRejected": str(progress.rejected),
    }
    ended = job.finished or now
    for mail in job.mails_not_sent:
        made["notificationError"] = f"{mail['address']} was not mailed. {mail['reason']}"
    token = links.token(cloud.settings, job.link) if job.link else None
    if job.link and token and now < ended + LINK_LIFE:
        url = f"{cloud.settings.url}/v1/downloads/{token}?file="
        results = [f"{url}{id}" for id in job.link["files"] if id.startswith(RESULT)]
        made |= {"links": results} if results else {}
        made |= {id: f"{url}{id}" for id in (REJECTS, UNPROCESSED) if id in job.link["files"]}
    return cast(JobStatus, made)


def rejected(shown: Shown) -> RejectedRecord:
    """A record that an import rejected."""
    return {
        "record": shown.number,
        "line": shown.line,
        "reason": shown.reason,
        "text": shown.text,
        "cut": shown.more,
    }


def item_type(shown: types.ItemType) -> ItemType:
    """What the items of a type are."""
    return {
        "itemType": shown.name,
        "key": shown.key,
        "required": list(shown.required),
        "types": dict(shown.types),
    }


def _reason(job: Job) -> str:
    if job.reason:
        return job.reason
    return {"Initialized": WAITS_FOR_FILE, "Accepted": READY[job.does], "Canceling": CANCELING}.get(
        job.status, RUNS
    )
