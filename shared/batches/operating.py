"""What an operator asks of batches, across all customers: which are under way, and which have failed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from google.cloud.firestore_v1 import FieldFilter

from shared.batches import batch as batches
from shared.batches.batch import FAILED, UNDER_WAY, Batch, Progress
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, fields_of

LISTED_MOST = 200
"""How many of each kind are listed: what a person can read."""


@dataclass(frozen=True)
class BatchNow:
    """A batch as it stands. `beat` is when it last showed life."""

    batch: Batch
    beat: datetime
    progress: Progress


def under_way(cloud: Cloud) -> Sequence[BatchNow]:
    """The batches whose archive is there and that have not ended, the longest silent first."""
    query = cloud.db.collection_group("batches").where(filter=FieldFilter("status", "in", list(UNDER_WAY)))
    return [_now(cloud, each) for each in query.order_by("swept").limit(LISTED_MOST).stream()]


def failed(cloud: Cloud, since: datetime) -> Sequence[BatchNow]:
    """The batches that have failed since then, the first to fail first."""
    query = (
        cloud.db.collection_group("batches")
        .where(filter=FieldFilter("status", "==", FAILED))
        .where(filter=FieldFilter("swept", ">=", since))
    )
    return [_now(cloud, each) for each in query.order_by("swept").limit(LISTED_MOST).stream()]


def _now(cloud: Cloud, snapshot: Snapshot) -> BatchNow:
    batch = batches.from_snapshot(snapshot)
    return BatchNow(batch, fields_of(snapshot)["beat"], batches.progress(cloud, batch))
