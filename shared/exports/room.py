"""How many exports a customer has, and how many runs wait, held against the customer's limits.

A run that a person asks for is refused where there is no room. A window that is due then is not: it waits,
and the tick of each minute looks again. That is not stored: it follows from the count.
"""

from typing import Any

from google.cloud.firestore_v1 import FieldFilter

from shared.accounts import limits
from shared.accounts.limits import BACKFILLS, EXPORTS, WAITING_RUNS
from shared.exports.export import ACTIVE, LISTED, Export
from shared.exports.runs import BY_HAND
from shared.exports.steps import KIND
from shared.gcp.clients import Cloud
from shared.work import overview


def exports(cloud: Cloud, customer: str) -> Any:
    """The query of a customer's exports that have not ended and are not deleted."""
    query = cloud.db.collection("exports").where(filter=FieldFilter("customer", "==", customer))
    return query.where(filter=FieldFilter("state", "in", list(LISTED)))


def waiting_runs(cloud: Cloud, customer: str) -> Any:
    """The query of a customer's runs that have not ended."""
    return overview.open_of(cloud, KIND, customer)


def backfills(cloud: Cloud, customer: str) -> Any:
    """The query of a customer's runs by hand that have not ended."""
    return waiting_runs(cloud, customer).where(filter=FieldFilter("origin", "==", BY_HAND))


def check_export(cloud: Cloud, customer: str) -> None:
    """Conflict where a customer may have no further export."""
    EXPORTS.check(limits.value(cloud.db, customer, EXPORTS), exports(cloud, customer))


def check_run(cloud: Cloud, customer: str) -> None:
    """TooMany where no further run of a customer may wait."""
    WAITING_RUNS.check(limits.value(cloud.db, customer, WAITING_RUNS), waiting_runs(cloud, customer))


def check_backfill(cloud: Cloud, customer: str) -> None:
    """TooMany where no further run by hand of a customer may wait."""
    check_run(cloud, customer)
    BACKFILLS.check(limits.value(cloud.db, customer, BACKFILLS), backfills(cloud, customer))


def runs_left(cloud: Cloud, customer: str) -> int:
    """How many more runs of a customer may wait; 0 where none."""
    most = limits.value(cloud.db, customer, WAITING_RUNS)
    return max(0, most - limits.in_use(waiting_runs(cloud, customer), most))


def full(cloud: Cloud, customer: str) -> str | None:
    """What is said where no further run of a customer may wait, else None."""
    most = limits.value(cloud.db, customer, WAITING_RUNS)
    used = limits.in_use(waiting_runs(cloud, customer), most)
    return WAITING_RUNS.sentence(most, used) if used >= most else None


def held(cloud: Cloud, export: Export) -> str | None:
    """Why a window of an export that is due has not begun, where that is its customer's limit."""
    due = export.state == ACTIVE and export.next_due is not None and export.next_due <= export.seen
    return full(cloud, export.customer) if due else None
