"""The end of a batch: when every slice is taken in, or why it failed, or that no archive came. Whoever is to
be told of it is mailed: the mails are made in the transaction that ends it."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from google.cloud.firestore_v1 import FieldFilter

from shared import logs
from shared.accounts.customers import sites_of
from shared.batches import batch as batches
from shared.batches import errors_file
from shared.batches.batch import (
    COMPLETED,
    COMPLETED_WITH_ERRORS,
    EXPIRED,
    FAILED,
    PROCESSING,
    UNDER_WAY,
    WAITING_FOR_UPLOAD,
    Batch,
    Progress,
)
from shared.batches.planning import PLAN_SLICE
from shared.batches.problems import Problem, problem
from shared.gcp.clients import Cloud
from shared.gcp.documents import count, server_time
from shared.outbox import mails


def finish_if_done(cloud: Cloud, batch: Batch) -> None:
    """End a batch whose slices are all taken in, by a strong count; else do nothing. Whoever sees all done
    ends it: what the slices add up to is the same for all."""
    if batch.status != PROCESSING:
        return
    if count(batch.slices_in(cloud).where(filter=FieldFilter("written", "==", True))) < (batch.slices or 0):
        return
    totals = batches.progress(cloud, batch)
    status, why = _outcome(totals)
    _end(cloud, batch, status, totals, lambda current: current.status == PROCESSING, why=why)
    logs.info("batch ended", status=status, **asdict(totals))


def fail(cloud: Cloud, batch: Batch, found: Problem) -> None:
    """End a batch that trying again cannot help, and say what would. What has ended already stays as it is.

    Where its archive could not be planned, what is wrong with it is the errors file.
    """
    reached = batches.progress(cloud, batch)
    unplanned = batch.slices is None
    if unplanned:
        reached = reached.plus(Progress(**errors_file.counted([found])))

    def may(current: Batch) -> bool:
        return current.status in UNDER_WAY and current.slices == batch.slices

    more = errors_file.documents(batch, PLAN_SLICE, 0, [found]) if unplanned else {}
    _end(cloud, batch, FAILED, reached, may, why=found, more=more)
    logs.error("batch failed", code=found.code, error=found.message)


def expire(cloud: Cloud, batch: Batch) -> None:
    """End a batch that no archive came for in time."""
    _end(cloud, batch, EXPIRED, None, lambda current: current.status == WAITING_FOR_UPLOAD)
    logs.info("batch expired")


def _end(
    cloud: Cloud,
    batch: Batch,
    status: str,
    totals: Progress | None,
    may: Callable[[Batch], bool],
    *,
    why: Problem | None = None,
    more: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """End a batch that may end so as it stands, with these documents and the mails that tell of it."""
    told = _mails(cloud, batch, status, totals or Progress(), why)
    known: dict[str, Any] = {"totals": asdict(totals)} if totals is not None else {}
    if why is not None:
        known["error"] = {"code": why.code, "message": why.message}
    ended = batches.ended(status, **known)
    batches.move(cloud, batch, lambda current: ended if may(current) else None, {**(more or {}), **told})
    # Also where somebody else ended it: they may have died before they told.
    if told:
        mails.publish(cloud, told)


def _mails(
    cloud: Cloud, batch: Batch, status: str, totals: Progress, why: Problem | None
) -> dict[str, dict[str, Any]]:
    if not batch.notify:
        return {}
    site = sites_of(cloud.db, [batch.site], batch.customer).get(batch.site)
    facts = {
        "batch": batch.id,
        "filename": batch.filename,
        "site": site.name if site is not None else batch.site,
        "status": status,
        "error": why.message if why is not None else None,
        **asdict(totals),
    }
    at = server_time(cloud.db)
    return mails.documents(batch.path, "batch", batch.id, batch.notify, facts, customer=batch.customer, at=at)


def _outcome(totals: Progress) -> tuple[str, Problem | None]:
    if not totals.work_orders_done and totals.errors:
        return FAILED, problem("NOTHING_TAKEN_IN")
    return COMPLETED_WITH_ERRORS if totals.errors else COMPLETED, None
