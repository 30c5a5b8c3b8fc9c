"""The end of a job: the files that can be downloaded, the link to them, and the mail."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from google.cloud import firestore

from shared import logs
from shared.accounts.customers import get_customer
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, fields_of, read_time
from shared.gcp.objects import Stored
from shared.jobs import job as jobs
from shared.jobs import planning, reading, rejects
from shared.jobs.job import EXPORT, LINK_LIFE, REJECTED, STATUSES, Job, Progress
from shared.jobs.planning import NO_RECORDS
from shared.jobs.reading import Position
from shared.outbox import links, mails
from shared.outbox.letters import About
from shared.outbox.mails import Files
from shared.outbox.rendering import file_name
from shared.work.attempts import Attempt
from shared.work.kinds import CANCELLED, COMPLETED, FAILED, Done, End, Writes

STAGE, CANCEL = "finish", "cancel"

CANCELLED_REASON = "The job was canceled."

INTERNAL_REASON = "Something failed on our side. Send the job again; if it fails again, quote its jobId."
"""What the customer is shown where we failed. What we met says nothing to them."""

RESULT, REJECTS, UNPROCESSED = "result", "rejected", "unprocessed"
"""What the files of a job are: their documents' ids begin so."""

SUFFIXES = {"csv": "csv", "json_array": "json", "json_object": "jsonl", "json_lines": "jsonl"}
"""What files of rejected records are called by, by the form of the file that they came in."""


def finish(cloud: Cloud, job: Job, attempt: Attempt) -> Done:
    """Make the files that can be downloaded, and end the job."""
    totals = jobs.progress(cloud, job)
    written = fields_of(attempt.work).get("files")
    if written is not None:
        totals = Progress(sum(file["rows"] for file in written))
    state, reason = _outcome(job, totals, cancelled=attempt.piece.stage == CANCEL)
    if job.does == EXPORT:
        files = _exported(job, written or []) if state == COMPLETED else {}
    else:
        files = _left(cloud, job, attempt, totals, state)
    documents: dict[str, Any] = {f"{job.path}/files/{id}": document for id, document in files.items()}
    fields: dict[str, Any] = {"totals": asdict(totals), "reason": reason}
    if documents:
        customer = get_customer(cloud.db, job.customer)
        held = Files(customer.account, f"{job.path}/files")
        about = About("job", job.name or job.id, customer.name, (), None, None, "UTC")
        expires = read_time(attempt.work) + LINK_LIFE
        id = jobs.digits(job.id)
        link, document = links.derived(cloud.settings, id, job.customer, about, held, job.path, expires)
        fields["link"] = {**link, "files": sorted(files)}
        documents[links.path(id)] = document
    logs.info("job ends", state=state, **asdict(totals))
    return Done(documents=documents, end=End(state, fields))


def ending(cloud: Cloud, _: firestore.Transaction, work: Snapshot, end: End) -> Writes:
    """What else is written when a job ends: the mail about it. A job that the engine failed gets a reason."""
    job = jobs.from_snapshot(work)
    fields: dict[str, Any] = {}
    if "reason" not in end.fields:
        fields = {"reason": INTERNAL_REASON, "totals": asdict(jobs.progress(cloud, job))}
    if not job.email:
        return Writes(fields)
    known = {**end.fields, **fields}
    link = known.get("link")
    customer = get_customer(cloud.db, job.customer)
    if refused := mails.not_made(cloud, customer, [job.email], read_time(work)):
        return Writes({**fields, mails.NOT_SENT: refused})
    facts = {
        "customer": customer.name,
        "job": job.id,
        "name": job.name or job.id,
        "does": job.does,
        "item_type": job.item_type,
        "status": STATUSES[end.state],
        "reason": known["reason"],
        "processed": known["totals"]["processed"],
        "rejected": known["totals"]["rejected"],
        "files": len(link["files"]) if link else 0,
    }
    held = Files(customer.account, f"{job.path}/files") if link else None
    made = mails.documents(
        job.path,
        "job",
        job.id,
        [job.email],
        facts,
        customer=job.customer,
        at=read_time(work),
        link=held,
        told=True,
    )
    return Writes(fields, made)


def _outcome(job: Job, totals: Progress, cancelled: bool) -> tuple[str, str]:
    """How a job ends, and why, in a sentence."""
    done = totals.processed - totals.rejected
    if cancelled:
        done_then = "" if job.does == EXPORT else f" {_counted(job, totals)}"
        return CANCELLED, f"{CANCELLED_REASON}{done_then}"
    if job.ending is not None:
        reason = job.ending["reason"]
        return job.ending["state"], f"{reason} {_counted(job, totals)}" if done else reason
    if job.does == EXPORT:
        return COMPLETED, _counted(job, totals)
    if not totals.processed:
        return REJECTED, NO_RECORDS
    if not done:
        return FAILED, f"{_counted(job, totals)} {totals.first}"
    return COMPLETED, f"{_counted(job, totals)} {totals.first}".strip()


def _counted(job: Job, totals: Progress) -> str:
    done = totals.processed - totals.rejected
    if job.does == EXPORT:
        return f"{_records(totals.processed)} exported."
    if not totals.rejected:
        return f"{_records(done)} imported."
    return f"{done:,} of {_records(totals.processed)} imported, and {totals.rejected:,} rejected."


def _records(count: int) -> str:
    return "1 record was" if count == 1 else f"{count:,} records were"


def _exported(job: Job, files: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    extension = "csv" if job.csv else "json"
    base = _base(job)
    made = {}
    for number, file in enumerate(files, start=1):
        name = f"{base}.{extension}" if len(files) == 1 else f"{base}-{number}.{extension}"
        made[f"{RESULT}-{number:04}"] = _document(name, file["rows"], Stored(**file["staged"]))
    return made


def _left(cloud: Cloud, job: Job, attempt: Attempt, totals: Progress, state: str) -> dict[str, Any]:
    """The files of an import: the rejected records, and those that were not processed."""
    if job.layout is None or job.file is None:
        return {}
    layout = planning.layout_of(job)
    extension = SUFFIXES[layout.form]
    base, made = _base(job), {}

    def store(id: str, rows: int | None, content: Iterator[bytes]) -> None:
        name = rejects.staged(job, f"{id}-{attempt.id}.{extension}")
        stored = cloud.objects.create_stream(
            cloud.settings.staging_bucket, name, _alive(attempt, content), "application/octet-stream"
        )
        made[id] = _document(f"{base}-{id}.{extension}", rows, stored)

    if totals.rejected:
        some = ((each.raw, each.reason, each.line) for each in rejects.read(cloud, job))
        store(REJECTS, totals.rejected, reading.write_back(layout, some))
    if state == CANCELLED:
        piece = cloud.db.document(f"{job.path}/pieces/{jobs.IMPORT}").get()
        saved = fields_of(piece).get("position") if piece.exists else None
        position = Position(**saved) if saved else layout.start
        if position.offset < job.file.size:
            read, size = planning.reader(cloud, job)
            store(UNPROCESSED, None, reading.rest(layout, read, size, position))
    return made


def _alive(attempt: Attempt, content: Iterator[bytes]) -> Iterator[bytes]:
    for block in content:
        attempt.heartbeat()
        yield block


def _base(job: Job) -> str:
    """What the files of a job are called by: its name, as far as a file's name may have it."""
    return file_name(job.name or job.item_type) or job.does


def _document(name: str, rows: int | None, stored: Stored) -> dict[str, Any]:
    return {"name": name, "rows": rows, "bytes": stored.size, "staged": asdict(stored)}
