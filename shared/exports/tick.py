"""What the tick does about exports, every minute: it finds those that are due by its publish time, never by a
clock of ours, and publishes them. `beginning` begins their windows, side by side. It also publishes exports
whose failed windows are to be retried.
"""

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from google.cloud.firestore_v1 import FieldFilter

from shared.clock import elapsed_since, stopwatch
from shared.exports import beginning, retrying
from shared.exports.beginning import MAX_EXPORTS
from shared.exports.export import ACTIVE, BEGIN_FUNCTION
from shared.exports.runs import PENDING
from shared.gcp.clients import Cloud
from shared.gcp.documents import PAGE_DOCUMENTS, fields_of

MAX_DUE = 20_000
"""How many due exports one tick publishes; the next takes the rest."""

MAX_RETRIES = 500
"""Of how many exports one tick has failed windows retried; the next takes the rest."""

MAX_PENDING = 500
"""At how many pending runs, the longest due first, one tick looks for customers with free slots."""

PENDING_SECONDS = 20
"""For how long one tick starts pending runs; the next starts the rest."""


def publish_due(cloud: Cloud, at: datetime) -> None:
    """Publish every export of which a window is due at `at`, to have its windows begun.

    A tick delivered twice, or two at once, publish the same; each window begins once.
    """
    by_customer: dict[str, list[str]] = defaultdict(list)  # in order of due time
    for export, customer in _due(cloud, at):
        by_customer[customer].append(export)
    messages = (
        beginning.body(customer, exports[start : start + MAX_EXPORTS], at)
        for customer, exports in by_customer.items()
        for start in range(0, len(exports), MAX_EXPORTS)
    )
    cloud.messages.publish(BEGIN_FUNCTION, *messages)


def publish_retries(cloud: Cloud, at: datetime) -> None:
    """Publish every export of which failed windows are still to be retried, the longest asked for first: its
    message was lost, or there are more than one message retries."""
    query = (
        cloud.db.collection("exports")
        .where(filter=FieldFilter("retry_asked", "<=", at))
        .order_by("retry_asked")
        .limit(MAX_RETRIES)
        .select(["customer"])
    )
    messages = (retrying.message(each.id, each.get("customer")) for each in query.stream())
    cloud.messages.publish(BEGIN_FUNCTION, *messages)


def start_pending(cloud: Cloud, at: datetime) -> None:
    """Start pending runs of customers who have a free slot.

    That is done where a window begins and where a run ends, too. This starts what was left when one of those
    died, or when a run that holds a slot stalled.
    """
    began = stopwatch()
    for customer in dict.fromkeys(_pending(cloud)):
        if elapsed_since(began) >= PENDING_SECONDS:
            return
        beginning.start_pending(cloud, customer)


def _due(cloud: Cloud, at: datetime) -> Iterator[tuple[str, str]]:
    """The exports that are due at `at`, in order of due time, and whose they are."""
    query: Any = (
        cloud.db.collection("exports")
        .where(filter=FieldFilter("state", "==", ACTIVE))
        .where(filter=FieldFilter("next_due", "<=", at))
        .order_by("next_due")
        .limit(PAGE_DOCUMENTS)
        .select(["next_due", "customer"])
    )
    page = list(query.stream())
    for _ in range(0, MAX_DUE, PAGE_DOCUMENTS):
        for snapshot in page:
            yield snapshot.id, fields_of(snapshot).get("customer", "")
        if len(page) < PAGE_DOCUMENTS:
            return
        page = list(query.start_after(page[-1]).stream())


def _pending(cloud: Cloud) -> list[str]:
    query = (
        cloud.db.collection_group("runs")
        .where(filter=FieldFilter("state", "==", PENDING))
        .order_by("due")
        .limit(MAX_PENDING)
        .select(["customer"])
    )
    return [snapshot.get("customer") for snapshot in query.stream()]
