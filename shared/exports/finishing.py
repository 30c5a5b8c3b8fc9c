"""Step six of a run: when everything is there, the manifest and the audit event; or why it failed."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter

from shared import logs
from shared.errors import GiveUp
from shared.exports import audit, export, mailing, manifest, names, runs, slots
from shared.exports.audit import Outcome
from shared.exports.delivering import delivered_files, destination
from shared.exports.manifest import LostImage
from shared.exports.runs import CANCELLED, COMPLETED, DELIVERING, FAILED, PENDING, RUNNING, Run
from shared.exports.writing import blocks_of
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, count, fields_of, read_time, transact
from shared.outbox import mails

DELETED_LINE_BYTES = 37
"""A work order's id and a newline, in the staged lists of deletions."""

DELETED_BLOCK_BYTES = DELETED_LINE_BYTES * 16 * 1024


def finish_if_done(cloud: Cloud, run: Run) -> None:
    """Finish a run whose files and slices are all there, by a strong count; else do nothing.

    Whoever sees all done finishes: the manifest is the same bytes whoever writes it, and one transaction
    writes the audit event and frees the slot.
    """
    if run.state != DELIVERING or run.totals is None:
        return
    if count(cloud.db.collection(f"{run.path}/files")) < run.totals.files:
        return
    slices = cloud.db.collection(f"{run.path}/slices")
    if count(slices.where(filter=FieldFilter("written", "==", True))) < run.totals.slices:
        return
    if not mailing.all_ended(cloud, run):
        return
    staged = cloud.objects.create_stream(
        cloud.settings.staging_bucket,
        names.staged(run.customer, run.export, run.id, "manifest.json"),
        manifest.pieces(
            run,
            files=delivered_files(cloud, run),
            missing=_lost(cloud, run, "missing"),
            conflicts=_lost(cloud, run, "conflicts"),
            deleted=_deleted(cloud, run),
        ),
        "application/json",
    )
    with destination(cloud, run) as there:
        there.deliver(staged, names.manifest(run.export, run.window, run.id), lambda: None)
    outcome = _outcome(cloud, run, run.totals.images)
    if _end(cloud, run, lambda current: outcome if current.state == DELIVERING else None):
        logs.info("run completed", rows=run.totals.rows, files=run.totals.files, images=run.totals.images)


def fail(cloud: Cloud, run: Run, error: GiveUp) -> None:
    """End a run that trying again cannot help, and say what would. What ended already stays as it is."""
    outcome = Outcome(status=FAILED, error=str(error), next_action=error.next_action)

    def decide(current: Run) -> Outcome | None:
        # What an attempt met before the run was tried again says nothing of it now.
        same = current.started == run.started and (current.state != PENDING or run.state == PENDING)
        return outcome if same and current.state in (PENDING, RUNNING, DELIVERING) else None

    if _end(cloud, run, decide):
        logs.error("run failed", error=str(error), next_action=error.next_action)


def _outcome(cloud: Cloud, run: Run, images: int) -> Outcome:
    counts = {"missing": 0, "conflicts": 0}
    named: list[str] = []
    for kind in counts:
        for image in _lost(cloud, run, kind):
            counts[kind] += 1
            if len(named) < audit.IMAGES_NAMED:
                named.append(f"{image.site_id}/images/{image.id}.{image.file_extension}")
    return Outcome(
        status=COMPLETED,
        images=images - sum(counts.values()),
        images_missing=counts["missing"],
        images_conflicting=counts["conflicts"],
        not_delivered=tuple(named),
        mails=mailing.outcome(cloud, run),
    )


def _end(cloud: Cloud, run: Run, decide: Callable[[Run], Outcome | None]) -> bool:
    reference = cloud.db.document(run.path)

    def end(transaction: firestore.Transaction) -> Sequence[str] | None:
        snapshot = reference.get(transaction=transaction)
        current = runs.from_snapshot(snapshot)
        outcome = decide(current)
        if outcome is None:
            return None
        told: dict[str, dict[str, Any]] = {}
        if outcome.status == FAILED:
            suspended = _suspend_if_it_stays(cloud, transaction, current, fields_of(snapshot), outcome)
            told = _mails(cloud, current, snapshot, outcome, suspended)
        ended = {
            "state": outcome.status,
            "audit": audit.event(current, outcome, read_time(snapshot)),
            "finished": firestore.SERVER_TIMESTAMP,
            **({"told": True} if told else {}),
        }
        transaction.update(reference, ended)
        for path, mail in told.items():
            transaction.create(cloud.db.document(path), mail)
        return list(told)

    told = transact(cloud.db, end)
    if told:
        mails.publish(cloud, told)
    # Also when somebody else ended it: they may have died before they started the next.
    slots.start_waiting(cloud, run.customer)
    return told is not None


def _mails(
    cloud: Cloud, run: Run, snapshot: Snapshot, outcome: Outcome, suspended: bool
) -> dict[str, dict[str, Any]]:
    """The mails that tell of a failure: of a run's own once, however often it fails; of each suspension."""
    why = {"error": outcome.error, "next_action": outcome.next_action}
    at = read_time(snapshot)
    if suspended:
        return mailing.failure(cloud, run, mailing.SUSPENDED, at.isoformat(), why, at)
    if fields_of(snapshot).get("told"):
        return {}
    return mailing.failure(cloud, run, mailing.FAILED, run.id, why, at)


def _suspend_if_it_stays(
    cloud: Cloud, transaction: firestore.Transaction, run: Run, fields: dict[str, Any], outcome: Outcome
) -> bool:
    """Suspend the export of a run that fails at its last due time, in the transaction that fails the run.

    Not for a run of an older version: what it fails at may be what an edit mended. If not, the windows of the
    newest version fail as well, and suspend it. Returns whether it did.
    """
    if run.origin != runs.SCHEDULE or fields.get("due_times", 1) < export.DUE_TIMES_MOST:
        return False
    reference = cloud.db.document(f"exports/{run.export}")
    owner = fields_of(reference.get(transaction=transaction))
    if owner["state"] != export.ACTIVE or owner["version"] != run.version:
        return False
    why = {"error": outcome.error, "next_action": outcome.next_action}
    transaction.update(reference, {"state": export.SUSPENDED, "suspended": why})
    logs.warning("export suspended", due_times=export.DUE_TIMES_MOST, **why)
    return True


def cancelled(snapshot: Snapshot) -> dict[str, Any]:
    """The fields of a run that is cancelled, in the transaction that reads it."""
    event = audit.event(runs.from_snapshot(snapshot), Outcome(status=CANCELLED), read_time(snapshot))
    return {"state": CANCELLED, "audit": event, "finished": firestore.SERVER_TIMESTAMP}


def _lost(cloud: Cloud, run: Run, kind: str) -> Iterator[LostImage]:
    for snapshot in cloud.db.collection(f"{run.path}/slices").order_by("__name__").stream():
        for image in fields_of(snapshot)[kind]:
            yield LostImage(**image)


def _deleted(cloud: Cloud, run: Run) -> Iterator[str]:
    for part in runs.written_parts(cloud, run):
        if part.deleted:
            for block in blocks_of(cloud, part.deleted, DELETED_BLOCK_BYTES):
                yield from block.decode().split()
