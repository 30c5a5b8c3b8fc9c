"""What is asked of jobs: import, export, look at one, cancel one; and a URL for uploading a large file.

A job whose parameters are wrong is made all the same: it is Rejected, with the reason.
"""

import contextlib
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from google.api_core.exceptions import AlreadyExists
from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter

from shared import audit_trail, exact, ids, logs
from shared.accounts import limits, stored
from shared.accounts.customers import get_customer
from shared.accounts.keys import Caller
from shared.addresses import checked
from shared.cutting import shown
from shared.errors import Conflict, FieldProblem, Invalid, NotFound
from shared.gcp.clients import Cloud
from shared.gcp.documents import server_time
from shared.http.idempotency import Repeatable
from shared.items import types
from shared.jobs import filters
from shared.jobs import job as jobs
from shared.jobs.job import ENDED, EXPORT, IMPORT, REJECTED, STATUSES, UNDER_WAY, WAITING, Job
from shared.jobs.steps import KIND
from shared.outbox import links, mails, outside
from shared.sandbox.sql import MAX_SQL_BYTES
from shared.sandbox.velocity import MAX_TEMPLATE_BYTES
from shared.work import control, overview

UPLOAD_TYPE = "application/octet-stream"
"""What an uploaded file says it is."""

MAX_NAME = 200
"""How many characters a job's name may have."""

JSON_TYPES = ("application/json",)
CSV_TYPES = ("text/plain", "plain/text", "text/csv")
"""The content types, as clients write them."""

YES, NO = ("true", "1", "yes"), ("false", "0", "no")

STATES: Mapping[str, Sequence[str]] = {
    "Open": (*WAITING, *UNDER_WAY),
    **{STATUSES[state]: (state,) for state in ENDED},
}
"""By what a list of jobs is filtered: `Open` for those that have not ended, else how they ended."""

Sent = Mapping[str, str]
"""The fields of a form, as they were sent."""


def new_id(cloud: Cloud, caller: Caller, once: Repeatable) -> str:
    """The id of the job that a request makes."""
    return str(uuid.UUID(hex=once.id(cloud, f"jobs\n{caller.customer}", 32), version=4))


def made_before(cloud: Cloud, once: Repeatable, id: str) -> Job | None:
    """The job of that id, where a request with the same key has made it before; None where it is still to
    be made."""
    return jobs.get(cloud, id) if once.key is not None else None


def make_upload(cloud: Cloud, caller: Caller, size: str) -> tuple[str, str]:
    """The id of a new upload, and the URL that the file is to be uploaded to: one object of our name and
    never another; with a `size` exactly one of that many bytes. Invalid where that is not allowed, TooMany
    where the customer made too many within a week, or too many bytes are stored."""
    most = limits.value(cloud.db, caller.customer, limits.BATCH_BYTES)
    declared = None
    if size:
        if not size.isdecimal() or not 0 < int(size) <= most:
            raise Invalid.field("size", f"must be a number of bytes, at most {most}; got {shown(size)}")
        declared = int(size)
    week = server_time(cloud.db) - jobs.UPLOAD_LIFE
    most = limits.value(cloud.db, caller.customer, limits.JOB_UPLOADS)
    limits.JOB_UPLOADS.check(most, uploads_since(cloud, caller.customer, week))
    stored.check(cloud, caller.customer, declared)
    id = cloud.new_id()
    name = jobs.upload_name(caller.customer, id)
    url = cloud.objects.start_upload(cloud.settings.uploads_bucket, name, UPLOAD_TYPE, declared)
    stored.expect(cloud, name, declared, jobs.UPLOAD_LIFE)
    document = {"customer": caller.customer, "created": firestore.SERVER_TIMESTAMP, "url": url}
    batch, reference = cloud.db.batch(), cloud.db.document(f"uploads/{id}")
    batch.create(reference, document)
    audit_trail.note(cloud.db, batch, caller.customer, reference.path)
    batch.commit()
    return id, url


def uploads_since(cloud: Cloud, customer: str, at: datetime) -> Any:
    """The query of a customer's uploads of files of records that were made after `at`."""
    query = cloud.db.collection("uploads").where(filter=FieldFilter("customer", "==", customer))
    return query.where(filter=FieldFilter("created", ">", at))


def open_jobs(cloud: Cloud, customer: str) -> Any:
    """The query of a customer's jobs that have not ended."""
    return overview.open_of(cloud, KIND, customer)


def newest(cloud: Cloud, customer: str, *, state: str | None, kind: str | None) -> Any:
    """The query of a customer's jobs, the newest first: all, or those that are in one of the states of
    `STATES[state]`, and that are of this kind."""
    found = cloud.db.collection("jobs").where(filter=FieldFilter("customer", "==", customer))
    if kind is not None:
        found = found.where(filter=FieldFilter("does", "==", kind))
    if state is not None:
        found = found.where(filter=FieldFilter("state", "in", list(STATES[state])))
    return found.order_by("created", direction=firestore.Query.DESCENDING).select(jobs.LISTED)


def check_room(cloud: Cloud, caller: Caller) -> None:
    """TooMany where the customer may have no further job now."""
    most = limits.value(cloud.db, caller.customer, limits.JOBS)
    limits.JOBS.check(most, open_jobs(cloud, caller.customer))


def begin_import(
    cloud: Cloud,
    caller: Caller,
    community: str,
    id: str,
    sent: Sent,
    file: Mapping[str, Any] | None,
    problem: Invalid | None = None,
) -> Job:
    """Make an import job of these fields, and of its file as it stands in Storage or of the upload in
    `uploadId`. `problem` is what was wrong with the request as such: then that is the reason. Conflict where
    the items would be of one type too many."""
    read = _Reading(sent)
    fields = _common(read)
    fields |= {"does": IMPORT, "community": community, "merge": read.flag("merge", False)}
    fields |= {"header_row": read.flag("headerRow", True)}
    fields |= {"template": read.text("template", MAX_TEMPLATE_BYTES)}
    fields |= {"file": file, "upload": jobs.digits(id) if file is not None else None}
    with read.problems_of():
        types.check_importable(fields["item_type"])
    upload = sent.get("uploadId", "").strip()
    if file is None:
        if not upload:
            read.wrong("file", "is needed: send it, or send the uploadId of a file that you upload")
        elif not _is_theirs(cloud, caller, upload):
            read.wrong("uploadId", f"there is no upload {shown(upload)}: ask for an upload URL")
        else:
            fields["upload"] = upload
    elif upload:
        read.wrong("uploadId", "must not be sent together with a file")
    if fields["template"] and not fields["csv"]:
        read.wrong("template", "is for CSV files: send the contentType text/plain")
    if problem is not None:
        read.problems = problem.problems
    if not read.problems:
        types.check_room(cloud, caller.customer, fields["item_type"])
    return _create(cloud, caller, id, fields, read)


def begin_export(cloud: Cloud, caller: Caller, community: str, id: str, sent: Sent) -> Job:
    """Make an export job of these fields."""
    read = _Reading(sent)
    fields = _common(read)
    fields |= {"does": EXPORT, "community": community, "header_row": read.flag("rowHeader", True)}
    fields |= {"template": read.text("template", MAX_TEMPLATE_BYTES)}
    fields |= {"sql": read.text("sqlQuery", MAX_SQL_BYTES).strip()}
    fields["filters"] = None
    if not fields["sql"]:
        with read.problems_of():
            wanted = filters.parse(sent.get("filters", ""))
            # As JSON: a map in Firestore cannot have every name, nor an integer every value.
            # https://cloud.google.com/firestore/quotas#limits
            fields["filters"] = None if wanted is None else exact.dumps(wanted)
        with read.problems_of():
            types.check_name(fields["item_type"])
    if fields["template"] and not fields["csv"]:
        read.wrong("template", "makes CSV: send the contentType text/plain")
    return _create(cloud, caller, id, fields, read)


def get(cloud: Cloud, caller: Caller, id: str) -> Job:
    """The caller's job of that id; NotFound where there is none, or it is another customer's."""
    with contextlib.suppress(ValueError):
        job = jobs.get(cloud, str(uuid.UUID(id.strip())))
        if job is not None and job.customer == caller.customer:
            return job
    raise NotFound(f"there is no job {shown(id)}")


def cancel(cloud: Cloud, job: Job) -> None:
    """Cancel what of a job has not been processed. What was imported stays. One that has ended, or is being
    cancelled, stays as it is."""
    with contextlib.suppress(Conflict):
        control.cancel(cloud, KIND, cloud.db.document(job.path))


def revoke(cloud: Cloud, job: Job) -> None:
    """Withdraw the links to a job's files, those of its mail too; also one that is still to be sent leads to
    nothing. Conflict where there are none."""
    if job.link is None:
        raise Conflict(f"the job {job.id} has no links to be withdrawn")
    mailed = cloud.db.collection(f"{job.path}/mails").stream()
    for id in (job.link["id"], *(id for each in mailed for id in mails.from_snapshot(each).links)):
        links.revoke(cloud, job.customer, id, job.path)
    batch = cloud.db.batch()
    for id in job.link["files"]:
        batch.delete(cloud.db.document(f"{job.path}/files/{id}"))
    batch.update(cloud.db.document(job.path), {"link": firestore.DELETE_FIELD})
    audit_trail.note(cloud.db, batch, job.customer, job.path)
    batch.commit()
    logs.info("links withdrawn", job=job.id, customer=job.customer)


def _create(cloud: Cloud, caller: Caller, id: str, fields: dict[str, Any], read: "_Reading") -> Job:
    reference = cloud.db.document(jobs.path(id))
    fields |= {"user": caller.key}
    with logs.bound(job=id, customer=caller.customer):
        if read.problems:
            reason = f"{Invalid(read.problems)}."
            ended = {
                "state": REJECTED,
                "reason": reason,
                "open": False,
                "finished": firestore.SERVER_TIMESTAMP,
            }
            at = server_time(cloud.db)
            batch = cloud.db.batch()
            batch.create(reference, {**fields, **control.new(KIND.name, caller.customer, at), **ended})
            audit_trail.note(cloud.db, batch, caller.customer, reference.path)
            with contextlib.suppress(AlreadyExists):  # the same request has made it at this moment
                batch.commit()
            logs.info("job rejected", reason=reason)
        else:
            if fields["email"]:
                outside.name(cloud, get_customer(cloud.db, caller.customer), [fields["email"]])
            control.create(cloud, KIND, reference, caller.customer, fields)
            logs.info("job made", does=fields["does"])
    return get(cloud, caller, id)


def _common(read: "_Reading") -> dict[str, Any]:
    written = read.text("contentType", MAX_NAME)
    meant = written.partition(";")[0].strip().casefold()
    if meant not in (*JSON_TYPES, *CSV_TYPES):
        read.wrong("contentType", f"must be application/json, or text/plain for CSV; got {shown(written)}")
    email = read.text("notificationEmail", MAX_NAME).strip()
    if email:
        try:
            email = checked(email)
        except ValueError as wrong:
            read.wrong("notificationEmail", str(wrong))
            email = ""
    return {
        "name": read.text("jobName", MAX_NAME).strip(),
        "item_type": read.text("itemType", MAX_NAME).strip(),
        "content_type": written,
        "csv": meant in CSV_TYPES,
        "email": email,
    }


def _is_theirs(cloud: Cloud, caller: Caller, upload: str) -> bool:
    if not ids.MADE.fullmatch(upload):
        return False
    snapshot = cloud.db.document(f"uploads/{upload}").get()
    return bool(snapshot.exists and snapshot.get("customer") == caller.customer)


class _Reading:
    """Reads the fields of a form, and notes what is wrong with them."""

    def __init__(self, sent: Sent) -> None:
        self._sent = sent
        self.problems: list[FieldProblem] = []

    def wrong(self, field: str, message: str) -> None:
        self.problems.append(FieldProblem(field, message))

    def text(self, name: str, most: int) -> str:
        value = self._sent.get(name, "")
        if len(value.encode()) > most:
            self.wrong(name, f"has more than {most} bytes")
            return ""
        return value

    def flag(self, name: str, default: bool) -> bool:
        value = self._sent.get(name, "").strip()
        if value.casefold() in (*YES, *NO, ""):
            return value.casefold() in YES if value else default
        self.wrong(name, f"must be true or false; got {shown(value)}")
        return default

    @contextlib.contextmanager
    def problems_of(self) -> Any:
        try:
            yield
        except Invalid as invalid:
            self.problems += invalid.problems
