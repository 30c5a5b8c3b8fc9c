"""batch-errors: the errors and warnings of batches that were found in the window, one row each.

A document `batches/<batch>/errors/<id>` holds some lines of the batch's errors file. It never changes.
"""

from collections.abc import Iterator
from typing import Any

import orjson
from google.cloud.firestore_v1 import FieldFilter
from google.cloud.firestore_v1.base_query import BaseQuery

from shared.formats.base import Column
from shared.gcp.clients import Cloud
from shared.sources.base import Selection
from shared.sources.stamped import Document, Stamped

LINE = (
    Column("work_order", "text"),
    Column("file", "text"),
    Column("code", "code"),
    Column("level", "code"),
    Column("message", "text"),
)
"""The fields of a line of a batch's errors file."""


def _query(cloud: Cloud, selection: Selection, site: str) -> BaseQuery:
    return (
        cloud.db.collection_group("errors")
        .where(filter=FieldFilter("customer", "==", selection.customer))
        .where(filter=FieldFilter("site_id", "==", site))
    )


def _rows(selection: Selection, found: Document) -> Iterator[dict[str, Any]]:
    batch = found.path.split("/")[1]
    about = {"batch_id": batch, "site_id": found.fields["site_id"], "found_date": found.updated}
    for line in found.fields["lines"].splitlines():
        yield about | orjson.loads(line)


SOURCE = Stamped(
    name="batch-errors",
    description="What was found wrong with batches in the window, one row an error or warning.",
    columns=(
        Column("batch_id", "code"),
        Column("site_id", "code"),
        *LINE,
        Column("found_date", "moment"),
    ),
    stamp="created",
    query=_query,
    rows=_rows,
)
