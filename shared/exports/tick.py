"""The tick, every minute: start what is due by the tick's publish time, never by a clock of ours."""

from datetime import datetime

from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter

from shared import logs
from shared.exports import names, pausing
from shared.exports.export import ACTIVE, from_snapshot, next_fields
from shared.exports.runs import PENDING, SCHEDULE, Run
from shared.exports.steps import KIND, document
from shared.gcp.clients import Cloud
from shared.gcp.documents import fields_of, read_time, transact
from shared.work import stages

DUE_MOST = 500
"""How many exports, and how many waiting runs, one tick looks at; the next takes the rest."""

WINDOWS_MOST = 10
"""How many windows of one export that is behind one tick begins; the next takes the rest."""


def tick(cloud: Cloud, at: datetime) -> None:
    """Begin every scheduled window that is due at `at`, after those of its export that failed before, then
    start what waits and has a free slot.

    A tick delivered twice, or two at once, begins nothing twice. An export that fails here is logged and
    stops no other; the next tick, a minute later, tries it again.
    """
    customers: dict[str, None] = {}  # in order of due time
    for export, due in _due(cloud, at):
        with logs.bound(export=export):
            try:
                pausing.try_again(cloud, cloud.db.document(f"exports/{export}"), due)
                for _ in range(WINDOWS_MOST):
                    begun = begin_window(cloud, export, at)
                    if begun is None:
                        break
                    customers[begun.customer] = None
            except Exception as failure:
                logs.error("a window that is due could not begin", exception=failure)
    for customer in customers | dict.fromkeys(_waiting(cloud)):
        with logs.bound(customer=customer):
            try:
                stages.start_pending(cloud, KIND, customer)
            except Exception as failure:
                logs.error("waiting runs could not be started", exception=failure)


def begin_window(cloud: Cloud, export: str, at: datetime) -> Run | None:
    """Begin the export's next scheduled window if it is due at `at`: the only way in which one begins.

    One transaction checks `next_start`, creates the run, pinned to the newest version of the config, and
    moves `next_start` to the window's end. None where nothing is due.
    """
    reference = cloud.db.document(f"exports/{export}")

    def begin(transaction: firestore.Transaction) -> Run | None:
        snapshot = reference.get(transaction=transaction)
        if not snapshot.exists:
            return None
        found = from_snapshot(snapshot)
        if found.state != ACTIVE or found.next_due is None or found.next_due > at:
            return None
        schedule = found.schedule
        window = schedule.window_from(found.next_start)
        if window is None:
            raise ValueError(f"the export {export} is active and has no window after {found.next_start}")
        run = Run(
            id=names.scheduled_run(export, window),
            export=export,
            customer=found.customer,
            account=found.account,
            version=found.version,
            config=found.config,
            window=window,
            due=found.next_due,
            origin=SCHEDULE,
            user=found.user,
            state=PENDING,
        )
        transaction.create(cloud.db.document(run.path), document(run, read_time(snapshot)))
        transaction.update(reference, next_fields(schedule, window.end))
        return run

    return transact(cloud.db, begin)


def _due(cloud: Cloud, at: datetime) -> list[tuple[str, datetime]]:
    query = (
        cloud.db.collection("exports")
        .where(filter=FieldFilter("state", "==", ACTIVE))
        .where(filter=FieldFilter("next_due", "<=", at))
        .order_by("next_due")
        .limit(DUE_MOST)
        .select(["next_due"])
    )
    return [(snapshot.id, fields_of(snapshot)["next_due"]) for snapshot in query.stream()]


def _waiting(cloud: Cloud) -> list[str]:
    query = (
        cloud.db.collection_group("runs")
        .where(filter=FieldFilter("state", "==", PENDING))
        .order_by("due")
        .limit(DUE_MOST)
        .select(["customer"])
    )
    return [snapshot.get("customer") for snapshot in query.stream()]
