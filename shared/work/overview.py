"""What operators look at, across all customers: which works wait for something outside."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from google.cloud.firestore_v1 import FieldFilter

from shared.gcp.clients import Cloud
from shared.gcp.documents import fields_of
from shared.work.kinds import Kind

_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Waiting:
    """A work that waits: its id, whose it is, what for, and since when by Firestore's time."""

    id: str
    customer: str
    waits_for: str
    since: datetime


def waiting(cloud: Cloud, kind: Kind[Any], most: int) -> Sequence[Waiting]:
    """The open works of a kind that wait for something outside, the longest first, at most so many."""
    query = (
        cloud.db.collection_group(kind.collection)
        .where(filter=FieldFilter("open", "==", True))
        .where(filter=FieldFilter("since", ">", _EARLIEST))
        .order_by("since")
        .limit(most)
    )
    found = [(each.id, fields_of(each)) for each in query.stream()]
    return [Waiting(id, each["customer"], each["waits_for"], each["since"]) for id, each in found]
