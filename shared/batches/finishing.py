"""The end of a batch: every slice is imported, or it failed, or no archive came. The mails about it, and when
its archive is removed, are written in the transaction that ends it."""

import codecs
from dataclasses import asdict
from datetime import datetime
from itertools import chain
from typing import Any

from google.cloud import firestore

from shared import logs, removals
from shared.accounts.customers import get_customer, sites_of
from shared.batches import batch as batches
from shared.batches import errors_file
from shared.batches.batch import COMPLETED_WITH_ERRORS, Batch, Progress
from shared.batches.errors_file import PLAN_SLICE
from shared.batches.problems import Problem, problem
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, read_time
from shared.outbox import mails
from shared.outbox.mails import Files
from shared.outbox.rendering import file_name
from shared.work import pieces
from shared.work.attempts import Attempt
from shared.work.kinds import CANCELLED, COMPLETED, FAILED, Documents, Done, End, Writes


def finish(cloud: Cloud, batch: Batch, attempt: Attempt) -> Done:
    """End a batch whose slices are all imported, with what they add up to; and store its errors as a file for
    whoever is mailed."""
    if batch.slices is None:
        raise ValueError(f"the batch {batch.id} is {batch.state} and has no slices")
    totals = batch.problems
    for piece in pieces.results(cloud, batch.path, batch.slices):
        totals = totals.plus(Progress.of(piece.fields))
    state, why = _outcome(totals)
    logs.info("batch ends", state=state, **asdict(totals))
    end = ended(state, totals, why)
    removals.ready(cloud, batch.customer)
    if not batch.notify or not (totals.errors or totals.warnings):
        return Done(end=end)
    documents = {f"{_files(batch)}/errors": _errors(cloud, batch, attempt, totals)}
    return Done(documents=documents, end=End(state, {**end.fields, "errors_stored": True}))


def _files(batch: Batch) -> str:
    """The collection of the files that a batch's mails lead to."""
    return f"{batch.path}/files"


def _errors(cloud: Cloud, batch: Batch, attempt: Attempt, totals: Progress) -> dict[str, Any]:
    """The document of the errors file, stored as CSV. It begins with a byte order mark, since people open it
    in Excel."""
    lines = chain([codecs.BOM_UTF8], errors_file.as_csv(errors_file.lines(cloud, batch)))
    place = f"{batch.customer}/batches/{batch.id}/errors-{attempt.id}.csv"
    stored = cloud.objects.create_stream(
        cloud.settings.staging_bucket, place, lines, "text/csv; charset=utf-8"
    )
    stem = file_name((batch.filename or "").removesuffix(".zip")) or "batch"
    rows = totals.errors + totals.warnings
    return {"name": f"{stem}-errors.csv", "rows": rows, "bytes": stored.size, "staged": asdict(stored)}


def _outcome(totals: Progress) -> tuple[str, Problem | None]:
    if not totals.work_orders_done and totals.errors:
        return FAILED, problem("NOTHING_TAKEN_IN")
    return COMPLETED_WITH_ERRORS if totals.errors else COMPLETED, None


def ended(state: str, totals: Progress, why: Problem | None = None) -> End:
    """The end of a batch that came so far, and why it failed."""
    failed = {"code": why.code, "error": why.message} if why else {}
    return End(state, {"totals": asdict(totals), **failed})


def ending(cloud: Cloud, _: firestore.Transaction, work: Snapshot, end: End) -> Writes:
    """What else is written when a batch ends: its upload URL goes, and the addresses of `notify` are mailed.
    A batch that was cancelled sends no mail.

    A batch that the engine failed gets the code INTERNAL. If it was not planned yet, that is also the one
    line of its errors file.
    """
    fields: dict[str, Any] = {"upload_url": firestore.DELETE_FIELD}
    if end.state == CANCELLED:
        return Writes(fields)
    batch = batches.from_snapshot(work)
    documents: Documents = {}
    if end.state == FAILED and "code" not in end.fields:
        internal = problem("INTERNAL")
        totals = batches.progress(cloud, batch)
        if batch.slices is None:
            documents = errors_file.documents(batch, PLAN_SLICE, 0, [internal])
            totals = totals.plus(Progress(**errors_file.counted([internal])))
        end = ended(FAILED, totals, internal)
        # The field `error` stays what the engine wrote: that is for operators.
        fields |= {"code": internal.code, "totals": end.fields["totals"]}
    if end.state in (COMPLETED, COMPLETED_WITH_ERRORS) and batch.archive is not None:
        removed = removals.of_archive(batch.customer, batch.id, batch.archive, read_time(work))
        documents = {**documents, **removed}
    mailed = _mails(cloud, batch, end, read_time(work))
    return Writes({**fields, **mailed.fields}, {**documents, **mailed.documents})


def _mails(cloud: Cloud, batch: Batch, end: End, at: datetime) -> Writes:
    """The mails about the end of a batch."""
    if not batch.notify:
        return Writes()
    site = sites_of(cloud.db, [batch.site], batch.customer).get(batch.site)
    customer = get_customer(cloud.db, batch.customer)
    if refused := mails.not_made(cloud, customer, batch.notify, at):
        return Writes({mails.NOT_SENT: refused})
    totals = dict(end.fields.get("totals") or asdict(Progress()))
    codes = totals.pop("codes")
    facts = {
        "customer": customer.name,
        "batch": batch.id,
        "filename": batch.filename,
        "site": site.name if site is not None else batch.site,
        "status": end.state,
        "error": end.fields.get("error"),
        **totals,
        "problems": errors_file.summary(cloud, batch, codes),
    }
    link = Files(customer.account, _files(batch)) if end.fields.get("errors_stored") else None
    made = mails.documents(
        batch.path,
        "batch",
        batch.id,
        batch.notify,
        facts,
        customer=batch.customer,
        at=at,
        link=link,
        told=True,
    )
    return Writes(documents=made)
