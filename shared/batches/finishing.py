"""The end of a batch: when every slice is taken in, or why it failed."""

from dataclasses import asdict
from typing import Any

from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter

from shared import logs
from shared.batches import batch as batches
from shared.batches import errors_file
from shared.batches.batch import (
    COMPLETED,
    COMPLETED_WITH_ERRORS,
    FAILED,
    PROCESSING,
    UNDER_WAY,
    Batch,
    Progress,
)
from shared.batches.planning import PLAN_SLICE
from shared.batches.problems import Problem, problem
from shared.gcp.clients import Cloud
from shared.gcp.documents import count


def finish_if_done(cloud: Cloud, batch: Batch) -> None:
    """End a batch whose slices are all taken in, by a strong count; else do nothing. Whoever sees all done
    ends it: what the slices add up to is the same for all."""
    if batch.status != PROCESSING:
        return
    if count(batch.slices_in(cloud).where(filter=FieldFilter("written", "==", True))) < (batch.slices or 0):
        return
    totals = batches.progress(cloud, batch)
    outcome = _outcome(totals)

    def decide(current: Batch) -> dict[str, Any] | None:
        if current.status != PROCESSING:
            return None
        return {
            "totals": asdict(totals),
            "finished": firestore.SERVER_TIMESTAMP,
            **outcome,
        }

    batches.move(cloud, batch, decide)
    logs.info("batch ended", status=outcome["status"], **asdict(totals))


def fail(cloud: Cloud, batch: Batch, found: Problem) -> None:
    """End a batch that trying again cannot help, and say what would. What has ended already stays as it is.

    Where its archive could not be planned, what is wrong with it is the errors file.
    """
    reached = batches.progress(cloud, batch)
    unplanned = batch.slices is None
    if unplanned:
        reached = reached.plus(Progress(**errors_file.counted([found])))

    def decide(current: Batch) -> dict[str, Any] | None:
        if current.status not in UNDER_WAY or current.slices != batch.slices:
            return None
        return {
            "status": FAILED,
            "totals": asdict(reached),
            "error": _error(found),
            "finished": firestore.SERVER_TIMESTAMP,
        }

    more = errors_file.documents(batch, PLAN_SLICE, 0, [found]) if unplanned else {}
    batches.move(cloud, batch, decide, more)
    logs.error("batch failed", code=found.code, error=found.message)


def _outcome(totals: Progress) -> dict[str, Any]:
    if not totals.work_orders_done and totals.errors:
        return {"status": FAILED, "error": _error(problem("NOTHING_TAKEN_IN"))}
    return {"status": COMPLETED_WITH_ERRORS if totals.errors else COMPLETED}


def _error(found: Problem) -> dict[str, str]:
    return {"code": found.code, "message": found.message}
