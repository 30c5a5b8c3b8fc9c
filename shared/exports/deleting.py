"""Deleting an export.

One write makes it true: from then on the export is DELETED for whoever reads it, no window or run of it
begins, a run that is not being delivered yet is cancelled before it would be, and every link is withdrawn.
What is left to do can be any amount, and is done in steps: each open run is cancelled in a transaction of its
own, its failed windows wait for nobody any more, and then the secrets go. The call does what it can in
CALL_SECONDS, and the function `begin_exports` the rest: the tick publishes the export until all is done. So
it may die anywhere.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter

from shared import audit_trail, logs
from shared.accounts import secrets
from shared.accounts.keys import Caller
from shared.clock import elapsed_since, stopwatch
from shared.delivery.base import SECRET_FIELD
from shared.errors import Conflict
from shared.exports import failed
from shared.exports.export import BEGIN_FUNCTION, DELETED, Export
from shared.exports.runs import DELIVERING
from shared.exports.service import owned
from shared.exports.steps import KIND
from shared.gcp import unreadable
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, transact
from shared.outbox import withdrawing
from shared.work import control, pieces, stages

MAX_DELIVERING = 50
"""At how many runs that are being delivered the deletion looks. Where more of them wait for something
outside, the others are cancelled all the same, unless they are being tried at that moment."""

RUNS_AT_ONCE = 100
"""How many open runs are looked up at once."""

CALL_SECONDS = 10
"""For how long the call itself cancels runs: whoever deletes finds them cancelled, unless they are many."""

DELETE_SECONDS = 45
"""For how long one message does what is left: the next tick, a minute later, publishes another."""


def delete(cloud: Cloud, caller: Caller, id: str) -> None:
    """End an export: no window begins any more, what has not been delivered is cancelled; its history stays,
    its secrets and its links go. One that is deleted already stays so, and what is left of that is done.

    Conflict while a run of it is being delivered: that one finishes, unless it waits for something outside.
    """
    reference = cloud.db.document(f"exports/{id}")

    def end(transaction: firestore.Transaction) -> tuple[Export, bool]:
        export = owned(caller, id, reference.get(transaction=transaction))
        if export.state == DELETED:
            return export, False
        delivering = _runs(reference).where(filter=FieldFilter("state", "==", DELIVERING))
        for run in delivering.limit(MAX_DELIVERING).stream(transaction=transaction):
            try:
                _must_wait(cloud, transaction, run)
            except unreadable.MALFORMED as failure:
                unreadable.report(cloud.db, run.reference.path, failure)  # nothing delivers it
        deleted = {"state": DELETED, "next_due": None, "deleting": True, **withdrawing.all_links()}
        transaction.update(reference, deleted)
        audit_trail.note(cloud.db, transaction, export.customer, reference.path)
        return export, True

    export, now = transact(cloud.db, end)
    if now:
        with logs.bound(export=id, customer=export.customer):
            logs.info("export deleted")
    if not perform(cloud, id, export.customer, CALL_SECONDS):
        cloud.messages.publish(BEGIN_FUNCTION, message(id, export.customer))


def _must_wait(cloud: Cloud, transaction: firestore.Transaction, run: Snapshot) -> None:
    """Conflict where a run is being delivered, and does not wait for something outside."""
    if not run.get("waiting"):
        raise Conflict(
            f"the run {run.id} is being delivered: delete the export when that has ended, or pause it now"
        )
    control.must_be_cancellable(cloud, KIND, transaction, run)


def message(export: str, customer: str) -> Mapping[str, Any]:
    """The message that has done what is left of the deletion of an export."""
    return {"customer": customer, "delete": export}


def perform(cloud: Cloud, export: str, customer: str, seconds: float = DELETE_SECONDS) -> bool:
    """Do what is left of the deletion of an export, for at most so many seconds; returns whether all is done.
    Doing it twice, or twice at once, is doing it once."""
    reference = cloud.db.document(f"exports/{export}")
    with logs.bound(export=export, customer=customer):
        found = reference.get(["deleting"])
        if not found.exists or not (found.to_dict() or {}).get("deleting"):
            return True
        left = _cancel_runs(cloud, reference, seconds)
        stages.start_pending(cloud, KIND, customer)
        if left or not _forget_failed(cloud, reference, seconds):
            return False
        _remove_secrets(cloud, reference)
        reference.update({"deleting": firestore.DELETE_FIELD})
        logs.info("the deletion of an export is complete")
    return True


def _cancel_runs(cloud: Cloud, reference: Any, seconds: float) -> bool:
    """Cancel the open runs of an export; returns whether some are left."""
    began, left = stopwatch(), False
    for run in _open_runs(reference):
        if elapsed_since(began) >= seconds:
            return True
        try:
            control.cancel_alone(cloud, KIND, run.reference)
        except Conflict:
            left = True  # it is being delivered at this moment: it finishes, or is cancelled when it waits
        except unreadable.MALFORMED as failure:
            unreadable.report(cloud.db, run.reference.path, failure)
    return left


def _forget_failed(cloud: Cloud, reference: Any, seconds: float) -> bool:
    """Have the failed windows of an export wait for nobody any more; returns whether that is done."""
    began = stopwatch()
    while found := failed.oldest(reference, RUNS_AT_ONCE):
        if elapsed_since(began) >= seconds:
            return False
        pieces.in_commits(cloud.db, (_forgotten(each.reference) for each in found))
    return True


def _forgotten(run: Any) -> Any:
    return lambda batch: batch.update(run, failed.tried_again())


def _open_runs(reference: Any) -> Iterator[Snapshot]:
    query = reference.collection("runs").where(filter=FieldFilter("open", "==", True)).select([])
    query, after = query.order_by("__name__").limit(RUNS_AT_ONCE), None
    while found := list((query if after is None else query.start_after(after)).stream()):
        yield from found
        after = found[-1]


def _remove_secrets(cloud: Cloud, reference: Any) -> None:
    """Remove the secrets that any version of the config logs in with."""
    versions = reference.collection("versions").select([f"config.connector_config.{SECRET_FIELD}"])
    kept = {_secret_of(each) for each in versions.stream()}
    paths = [secrets.path(each) for each in sorted(filter(None, kept))]
    pieces.in_commits(cloud.db, (_removal(cloud.db.document(path)) for path in paths))


def _removal(document: Any) -> Any:
    return lambda batch: batch.delete(document)


def _secret_of(version: Snapshot) -> str | None:
    place = (version.to_dict() or {}).get("config", {}).get("connector_config", {})
    secret: str | None = place.get(SECRET_FIELD)
    return secret


def _runs(reference: Any) -> Any:
    """The runs of an export, with the fields that say whether one can be cancelled."""
    return reference.collection("runs").select(["state", "open", "stage", "plan", "waiting"])
