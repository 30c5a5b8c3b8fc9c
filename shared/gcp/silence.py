"""What got stuck: what dies between a commit and a publish, or while it works, shows no life from then on.

Looked for by a time that every step and every attempt sets by Firestore's clock (`leases`).
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from google.api_core.exceptions import FailedPrecondition, NotFound
from google.cloud.firestore_v1 import FieldFilter

from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot

SILENCE = timedelta(minutes=15)
"""How long something may show no life before it is taken up."""

SWEPT_MOST = 500
"""How many of each kind one tick takes up; the next takes the rest."""

SWEEPS_MOST = 10
"""How often a run or a batch is taken up before it is failed."""


def silent(
    cloud: Cloud,
    group: str,
    field: str,
    values: Sequence[Any],
    since: str,
    at: datetime,
    silence: timedelta = SILENCE,
) -> list[Snapshot]:
    """The documents of a collection group whose `field` has one of the values, and whose time `since` lies
    `silence` or more before `at`; the longest silent first."""
    query = (
        cloud.db.collection_group(group)
        .where(filter=FieldFilter(field, "in", list(values)))
        .where(filter=FieldFilter(since, "<=", at - silence))
        .order_by(since)
        .limit(SWEPT_MOST)
    )
    return list(query.stream())


def change(cloud: Cloud, snapshot: Snapshot, fields: dict[str, Any]) -> bool:
    """Write these unless the document has changed since it was read, or is gone: then it needs nobody."""
    option = cloud.db.write_option(last_update_time=snapshot.update_time)
    try:
        snapshot.reference.update(fields, option=option)
    except (FailedPrecondition, NotFound):
        return False
    return True
