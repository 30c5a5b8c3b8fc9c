"""deletions: the work orders that were deleted in the window, one row each."""

from collections.abc import Iterator
from typing import Any

from google.cloud.firestore_v1 import FieldFilter
from google.cloud.firestore_v1.base_query import BaseQuery

from shared.formats.base import Column
from shared.gcp.clients import Cloud
from shared.sources.base import Selection
from shared.sources.stamped import Document, Stamped
from shared.workorders.envelope import SHARDS


def _query(cloud: Cloud, selection: Selection, site: str) -> BaseQuery:
    return (
        cloud.db.collection("work_orders")
        .where(filter=FieldFilter("site_id", "==", site))
        .where(filter=FieldFilter("deleted", "==", True))
        .where(filter=FieldFilter("shard", "in", list(range(SHARDS))))
        .select(["site_id", "name", "update_date"])
    )


def _rows(selection: Selection, tombstone: Document) -> Iterator[dict[str, Any]]:
    yield {
        "id": tombstone.path.rpartition("/")[2],
        "name": tombstone.fields.get("name"),
        "site_id": tombstone.fields["site_id"],
        "delete_date": tombstone.updated,
    }


SOURCE = Stamped(
    name="deletions",
    description="The work orders that were deleted in the window and stayed so until its end, one row each.",
    columns=(
        Column("id", "code"),
        Column("name", "text"),
        Column("site_id", "code"),
        Column("delete_date", "moment"),
    ),
    stamp="update_date",
    query=_query,
    rows=_rows,
)
