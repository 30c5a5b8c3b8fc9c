"""What the tick does about exports, every minute: it finds those that are due by its publish time, never by a
clock of ours, and publishes them. `beginning` begins their windows, side by side. It also publishes exports
whose failed windows are to be retried, and those whose deletion is to be completed.
"""

from collections import Counter, defaultdict
from datetime import datetime
from itertools import zip_longest

from google.cloud.firestore_v1 import FieldFilter

from shared.clock import elapsed_since, stopwatch
from shared.exports import beginning, deleting, retrying
from shared.exports.export import ACTIVE, BEGIN_FUNCTION
from shared.exports.runs import PENDING
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, fields_of
from shared.gcp.unreadable import readable
from shared.work import turns

MAX_DUE = 20_000
"""How many due exports one tick publishes, and some of each customer where more are due (`turns.due`); the
next takes the rest."""

MAX_RETRIES = 500
"""Of how many exports one tick has failed windows retried, likewise."""

MAX_DELETIONS = 500
"""Of how many exports one tick has the deletion completed; the next takes the rest."""

MAX_PENDING = 500
"""At how many pending runs one tick looks for customers with free slots, likewise."""

PENDING_SECONDS = 20
"""For how long one tick starts pending runs; the next starts the rest."""


def publish_due(cloud: Cloud, at: datetime) -> None:
    """Publish every export of which a window is due at `at`, to have its windows begun.

    A tick delivered twice, or two at once, publish the same; each window begins once.
    """
    due = (
        cloud.db.collection("exports")
        .where(filter=FieldFilter("state", "==", ACTIVE))
        .select(["next_due", "customer"])
    )
    by_customer: dict[str, list[str]] = defaultdict(list)  # in order of due time
    found = turns.due(cloud, due, "next_due", at, MAX_DUE, "exports_due")
    for export, customer in readable(cloud.db, found, _owned):
        by_customer[customer].append(export)
    messages = [beginning.bodies(customer, exports, at) for customer, exports in by_customer.items()]
    # Each customer's first message comes before anyone's second.
    rounds = list(zip_longest(*messages))
    cloud.messages.publish(BEGIN_FUNCTION, *(each for round in rounds for each in round if each is not None))
    if len(rounds) > 1:
        beginning.note_published(cloud, at)


def publish_retries(cloud: Cloud, at: datetime) -> None:
    """Publish the exports of which failed windows are still to be retried, of each customer those that were
    asked for first: their message was lost, or there are more than one message retries."""
    asked = cloud.db.collection("exports").select(["retry_asked", "customer"])
    found = turns.due(cloud, asked, "retry_asked", at, MAX_RETRIES, "retries")
    taken: Counter[str] = Counter()
    messages = []
    for export, customer in readable(cloud.db, found, _owned):
        taken[customer] += 1
        if taken[customer] <= retrying.MAX_AT_ONCE:
            messages.append(retrying.message(export, customer))
    cloud.messages.publish(BEGIN_FUNCTION, *messages)


def publish_deletions(cloud: Cloud, _: datetime) -> None:
    """Publish every export whose deletion is not complete: its message was lost, or there is more to do than
    one message does."""
    query = cloud.db.collection("exports").where(filter=FieldFilter("deleting", "==", True))
    found = readable(cloud.db, query.limit(MAX_DELETIONS).select(["customer"]).stream(), _owned)
    cloud.messages.publish(BEGIN_FUNCTION, *(deleting.message(*each) for each in found))


def start_pending(cloud: Cloud, at: datetime) -> None:
    """Start pending runs of customers who have a free slot.

    That is done where a window begins and where a run ends, too. This starts what was left when one of those
    died, or when a run that holds a slot stalled.
    """
    began = stopwatch()
    pending = (
        cloud.db.collection_group("runs")
        .where(filter=FieldFilter("state", "==", PENDING))
        .select(["due", "customer"])
    )
    found = turns.due(cloud, pending, "due", at, MAX_PENDING, "runs_pending")
    for customer in dict.fromkeys(each for _, each in readable(cloud.db, found, _owned)):
        if elapsed_since(began) >= PENDING_SECONDS:
            return
        beginning.start_pending(cloud, customer)


def _owned(snapshot: Snapshot) -> tuple[str, str]:
    """The id of an export or a run, and whose it is."""
    return snapshot.id, str(fields_of(snapshot)["customer"])
