"""What the tick does about exports, every minute: it finds those that are due by its publish time, never by a
clock of ours, and publishes them. `beginning` begins their windows, side by side. It also publishes exports
whose failed windows are to be retried.
"""

from collections import Counter, defaultdict
from datetime import datetime
from itertools import zip_longest

from google.cloud.firestore_v1 import FieldFilter

from shared.clock import elapsed_since, stopwatch
from shared.exports import beginning, retrying
from shared.exports.export import ACTIVE, BEGIN_FUNCTION
from shared.exports.runs import PENDING
from shared.gcp.clients import Cloud
from shared.gcp.documents import fields_of
from shared.work import turns

MAX_DUE = 20_000
"""How many due exports one tick publishes, and some of each customer where more are due (`turns.due`); the
next takes the rest."""

MAX_RETRIES = 500
"""Of how many exports one tick has failed windows retried, likewise."""

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
    for each in turns.due(cloud, due, "next_due", at, MAX_DUE, "exports_due"):
        by_customer[fields_of(each).get("customer", "")].append(each.id)
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
    for each in found:
        customer = each.get("customer")
        taken[customer] += 1
        if taken[customer] <= retrying.MAX_AT_ONCE:
            messages.append(retrying.message(each.id, customer))
    cloud.messages.publish(BEGIN_FUNCTION, *messages)


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
    for customer in dict.fromkeys(each.get("customer") for each in found):
        if elapsed_since(began) >= PENDING_SECONDS:
            return
        beginning.start_pending(cloud, customer)
