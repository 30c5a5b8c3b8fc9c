"""What an operator asks of batches, across all customers: which are under way, and which have failed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from google.cloud.firestore_v1 import FieldFilter

from shared.batches import batch as batches
from shared.batches.batch import UNDER_WAY, Batch, Progress
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, fields_of
from shared.work.kinds import FAILED

MAX_LISTED = 200
"""How many of each kind are listed: what a person can read."""


@dataclass(frozen=True)
class BatchNow:
    """A batch as it stands. `heartbeat` is when it last showed life, `waits_for` what it waits for, if it
    does."""

    batch: Batch
    heartbeat: datetime
    waits_for: str | None
    progress: Progress


def under_way(cloud: Cloud) -> Sequence[BatchNow]:
    """The batches whose archive is there and that have not ended, the longest without a heartbeat first."""
    query = cloud.db.collection_group("batches").where(filter=FieldFilter("state", "in", list(UNDER_WAY)))
    return [_now(cloud, each) for each in query.order_by("heartbeat").limit(MAX_LISTED).stream()]


def failed(cloud: Cloud, since: datetime) -> Sequence[BatchNow]:
    """The batches that have failed since then, the first to fail first."""
    query = (
        cloud.db.collection_group("batches")
        .where(filter=FieldFilter("state", "==", FAILED))
        .where(filter=FieldFilter("finished", ">=", since))
    )
    return [_now(cloud, each) for each in query.order_by("finished").limit(MAX_LISTED).stream()]


def _now(cloud: Cloud, snapshot: Snapshot) -> BatchNow:
    batch, fields = batches.from_snapshot(snapshot), fields_of(snapshot)
    return BatchNow(batch, fields["heartbeat"], fields["waits_for"], batches.progress(cloud, batch))
