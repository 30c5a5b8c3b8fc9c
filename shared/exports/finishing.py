"""Step seven of a run: the manifest; and what is written whichever way a run ends: the audit event, the mails
that report a failure or whom it did not reach, and that its export is suspended."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from google.cloud import firestore

from shared import logs
from shared.exports import audit, export, failed, mailing, manifest, names, runs, statistics
from shared.exports.audit import Outcome
from shared.exports.delivering import delivered_files, destination, first_files
from shared.exports.manifest import LostImage
from shared.exports.runs import COMPLETED, FAILED, Run
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, fields_of, read_time, server_time
from shared.work import pieces
from shared.work.attempts import Attempt
from shared.work.kinds import Done, End, Writes

DELETED_LINE_BYTES = 37
"""A work order's id and a newline, in the staged lists of deletions."""

DELETED_BLOCK_BYTES = DELETED_LINE_BYTES * 16 * 1024

ADVICE = (
    "See that your server or bucket answers: the export's connection test tells. Then retry the run. If it "
    "is nothing of yours, ask Waybill's operators."
)
"""What people are told to do about a run that waited too long."""

MISSING, CONFLICTS = "missing", "conflicts"
"""How images are lost: gone from our bucket, or something else has their name in the customer's."""


def finish(cloud: Cloud, run: Run, attempt: Attempt) -> Done:
    """Deliver the manifest of a run whose files and images are all there, and end it.

    The manifest is the same bytes whoever writes it.
    """
    if run.totals is None:
        raise ValueError(f"the run {run.id} has nothing pinned yet")
    lost = _losses(cloud, run)
    staged = cloud.objects.create_stream(
        cloud.settings.staging_bucket,
        names.staged(run.customer, run.export, run.label, "manifest.json"),
        manifest.pieces(
            run,
            files=delivered_files(cloud, run),
            missing=_lost(cloud, lost, MISSING),
            conflicts=_lost(cloud, lost, CONFLICTS),
            deleted=_deleted(cloud, run),
        ),
        "application/json",
    )
    with destination(cloud, run) as there:
        there.deliver(staged, names.manifest(run.export, run.window, run.label), attempt.heartbeat)
    failed.mark_redone(cloud, run, attempt.heartbeat)
    outcome = Outcome(
        status=COMPLETED,
        files=first_files(cloud, run),
        images=run.totals.images - sum(lost.counts.values()),
        images_missing=lost.counts[MISSING],
        images_conflicting=lost.counts[CONFLICTS],
        not_delivered=tuple(lost.named),
        mails=mailing.outcome(cloud, run),
    )
    logs.info("run completed", rows=run.totals.rows, files=run.totals.files, images=run.totals.images)
    return Done(end=End(COMPLETED, {"audit": audit.event(run, outcome, None)}))


def ending(cloud: Cloud, transaction: firestore.Transaction, work: Snapshot, end: End) -> Writes:
    """What is written with a run's end: the audit event, and its numbers among those of the day; of a failure
    also the mails that report it, and that its export is suspended where it fails at its last due time."""
    writes = _ending(cloud, transaction, work, end)
    counts, days = statistics.counted(fields_of(work), end.state, writes.fields["audit"], read_time(work))
    return replace(writes, fields={**writes.fields, **counts}, merged=days)


def _ending(cloud: Cloud, transaction: firestore.Transaction, work: Snapshot, end: End) -> Writes:
    run, at = runs.from_snapshot(work), read_time(work)
    if end.state == COMPLETED:
        event = end.fields["audit"]
        reports = mailing.report_undelivered(cloud, run, event["mails_not_sent"], at)
        return Writes({"audit": audit.ended(event, run, at)}, reports, _last_outcome(run, end, at))
    outcome = Outcome(
        end.state,
        first_files(cloud, run),
        error=end.fields.get("error"),
        next_action=end.fields.get("next_action"),
    )
    event = audit.event(run, outcome, at)
    if end.state != FAILED:
        return Writes({"audit": event})
    why = {"error": outcome.error, "next_action": outcome.next_action}
    fields = fields_of(work)
    changes = {"audit": event, **failed.fails(fields, at)}
    updates = _last_outcome(run, end, at)
    owner = updates[f"exports/{run.export}"]
    if _suspends(cloud, transaction, run, fields):
        logs.warning(
            "export suspended",
            due_times=export.MAX_DUE_TIMES,
            error=outcome.error,
            next_action=outcome.next_action,
        )
        reports = mailing.report(cloud, run, mailing.SUSPENDED_LETTER, at.isoformat(), why, at)
        owner |= {"state": export.SUSPENDED, "suspended": why}
    elif not fields.get("reported"):  # a run's own failure is reported once, however often it fails
        reports = mailing.report(cloud, run, mailing.FAILED_LETTER, run.id, why, at)
    elif asked := _unreported_retry(cloud, transaction, run, fields):
        reports = mailing.report(cloud, run, mailing.FAILED_LETTER, f"{run.id} {asked.isoformat()}", why, at)
        owner["retry_reported"] = asked
    else:
        reports = {}
    reported = {"reported": True} if reports else {}
    return Writes({**changes, **reported}, reports, updates)


def _last_outcome(run: Run, end: End, at: datetime) -> dict[str, dict[str, Any]]:
    """What changes of the export of a run that ends at `at`, by its path."""
    return {f"exports/{run.export}": export.ended_fields(export.LastOutcome(run.id, end.state, at))}


def _unreported_retry(
    cloud: Cloud, transaction: firestore.Transaction, run: Run, fields: dict[str, Any]
) -> datetime | None:
    """When the retry of the export's failed windows was asked for in which the run fails again. None where it
    was not retried so, or where another run of that retry has been reported."""
    asked: datetime | None = fields.get("retry_asked")
    if asked is None:
        return None
    owner = fields_of(cloud.db.document(f"exports/{run.export}").get(transaction=transaction))
    return None if owner.get("retry_reported") == asked else asked


def waiting(cloud: Cloud, run: Run, why: str) -> Writes:
    """The mails that report that a run has waited for an hour."""
    facts = {"error": why, "next_action": ADVICE}
    since = run.since.isoformat() if run.since else ""
    at = server_time(cloud.db)
    reports = mailing.report(cloud, run, mailing.WAITING_LETTER, f"{run.id} {since}", facts, at)
    return Writes(documents=reports)


def _suspends(cloud: Cloud, transaction: firestore.Transaction, run: Run, fields: dict[str, Any]) -> bool:
    """Whether the failure of a run suspends its export: at its last due time.

    Not for a run of an older version: what it fails at may be what an edit fixed. If not, the windows of the
    newest version fail as well, and suspend it.
    """
    if run.origin != runs.SCHEDULE or fields.get("due_times", 1) < export.MAX_DUE_TIMES:
        return False
    owner = fields_of(cloud.db.document(f"exports/{run.export}").get(transaction=transaction))
    return bool(owner["state"] == export.ACTIVE and owner["version"] == run.version)


@dataclass
class _Losses:
    """What the slices of a run say was lost: how many images, the names of the first, and by kind the paths
    of the slices that lost any. Those alone are read again."""

    counts: dict[str, int] = field(default_factory=lambda: {MISSING: 0, CONFLICTS: 0})
    named: list[str] = field(default_factory=list)
    slices: dict[str, list[str]] = field(default_factory=lambda: {MISSING: [], CONFLICTS: []})


def _losses(cloud: Cloud, run: Run) -> _Losses:
    lost = _Losses()
    named: dict[str, list[str]] = {MISSING: [], CONFLICTS: []}
    for piece in pieces.results(cloud, run.path, run.plans[runs.COPY]):
        for kind, count in lost.counts.items():
            found = [LostImage(**each) for each in piece.fields[kind]]
            if not found:
                continue
            lost.counts[kind] = count + len(found)
            lost.slices[kind].append(piece.path)
            room = audit.IMAGES_NAMED - len(named[kind])
            named[kind] += [f"{each.site_id}/images/{each.id}.{each.file_extension}" for each in found[:room]]
    lost.named = (named[MISSING] + named[CONFLICTS])[: audit.IMAGES_NAMED]
    return lost


def _lost(cloud: Cloud, lost: _Losses, kind: str) -> Iterator[LostImage]:
    for path in lost.slices[kind]:
        for image in fields_of(cloud.db.document(path).get())[kind]:
            yield LostImage(**image)


def _deleted(cloud: Cloud, run: Run) -> Iterator[str]:
    for part in runs.written_parts(cloud, run):
        if part.deleted:
            for block in cloud.objects.blocks(part.deleted, DELETED_BLOCK_BYTES):
                yield from block.decode().split()
