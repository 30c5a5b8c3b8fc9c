"""What the runs of a customer brought, day by day.

`customers/<customer>/run_days/<day>` has the sums of one day (UTC). The transaction that ends a run adds to
it, so that each end counts once, however often it is delivered. A run counts by its last end: where one that
failed is retried, its failure is taken back when it ends again.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from google.cloud import firestore

from shared.accounts.limits import day_of
from shared.exports.runs import COMPLETED, FAILED
from shared.gcp.clients import Cloud
from shared.gcp.documents import fields_of, server_time
from shared.work.lifetimes import REMOVE_AFTER, WORKS_KEPT

SUMS = ("records", "images", "completed", "failed")
"""The fields of a day's document that are sums."""


def counted(
    run: Mapping[str, Any], state: str, event: Mapping[str, Any], at: datetime
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """What changes of a run with these fields that ends in a state at `at`, and what is merged into documents
    of days, by their paths. `event` is its audit event."""
    today, before = day_of(at), run.get("failure_counted")
    adds: dict[str, dict[str, int]] = {}
    if before is not None:
        adds[before] = {"failed": -1}
    if state == COMPLETED:
        adds.setdefault(today, {}).update(records=event["rows"], images=event["images"], completed=1)
    if state == FAILED:
        known = adds.setdefault(today, {"failed": 0})
        known["failed"] += 1
    changes = {"failure_counted": today if state == FAILED else None}
    merged = {
        path(run["customer"], day): {
            **{name: firestore.Increment(by) for name, by in sums.items() if by},
            REMOVE_AFTER: datetime.combine(date.fromisoformat(day), datetime.min.time(), UTC) + WORKS_KEPT,
        }
        for day, sums in adds.items()
        if any(sums.values())
    }
    return changes, merged


def path(customer: str, day: str) -> str:
    """The document of a day."""
    return f"customers/{customer}/run_days/{day}"


def of(cloud: Cloud, customer: str, days: int) -> dict[str, dict[str, int]]:
    """What a customer's runs brought on the last so many days, today (UTC) included: the SUMS of each day,
    the oldest first. Reads a document for each, and one more."""
    today = server_time(cloud.db)
    names = [day_of(today - timedelta(days=back)) for back in reversed(range(days))]
    documents = [cloud.db.document(path(customer, name)) for name in names]
    found = {each.id: fields_of(each) for each in cloud.db.get_all(documents) if each.exists}
    return {name: {each: max(0, found.get(name, {}).get(each, 0)) for each in SUMS} for name in names}
