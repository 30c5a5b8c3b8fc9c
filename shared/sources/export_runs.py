"""export-runs: the audit, one row for each run that ended in the window.

A run (`exports/<export>/runs/<run>`) that ends gets its audit event and the timestamp `finished`. A failed
run that is retried loses the event until it ends again. So each window shows how the run had ended by then.
"""

from collections.abc import Iterator
from typing import Any

from google.cloud.firestore_v1 import FieldFilter
from google.cloud.firestore_v1.base_query import BaseQuery

from shared.formats.base import Column
from shared.gcp.clients import Cloud
from shared.sources.base import Selection
from shared.sources.stamped import Document, Stamped

COLUMNS = (
    Column("scheduleFrequency", "code"),
    Column("sftpDetailsKey", "code"),
    Column("operations", "json"),
    Column("recipients", "json"),
    Column("description", "code"),
    Column("from", "code"),
    Column("dataSource", "code"),
    Column("user", "code"),
    Column("timestamp", "moment"),
    Column("run_id", "code"),
    Column("export_id", "code"),
    Column("window", "json"),
    Column("status", "code"),
    Column("rows", "integer"),
    Column("file_count", "integer"),
    Column("images", "integer"),
    Column("images_missing", "integer"),
    Column("images_conflicting", "integer"),
    Column("images_not_delivered", "json"),
    Column("mails_sent", "integer"),
    Column("mails_not_sent", "json"),
    Column("bytes", "integer"),
    Column("duration_ms", "integer"),
    Column("destination", "text"),
    Column("files", "json"),
    Column("manifest", "text"),
    Column("error", "text"),
    Column("next_action", "text"),
)
"""The keys of an audit event, in the order of docs/contracts/audit-event.md."""

FILE_KEYS = ("name", "site_id", "rows", "bytes", "crc32c")
"""The keys of each of an event's files, as the manifest has them."""


def _query(cloud: Cloud, selection: Selection, site: str) -> BaseQuery:
    return (
        cloud.db.collection_group("runs")
        .where(filter=FieldFilter("customer", "==", selection.customer))
        .select(["audit", "config.site_ids", "finished"])
    )


def _rows(selection: Selection, run: Document) -> Iterator[dict[str, Any]]:
    event = run.fields.get("audit")
    # A run may have more sites than a query can filter by.
    if event is not None and not set(selection.sites).isdisjoint(run.fields["config"]["site_ids"]):
        window = event["window"]
        files = [{key: file[key] for key in FILE_KEYS} for file in event.get("files", ())]
        yield {**event, "window": {"start": window["start"], "end": window["end"]}, "files": files}


SOURCE = Stamped(
    name="export-runs",
    description="The audit: every run, of exports of these sites, that ended in the window, one row each.",
    columns=COLUMNS,
    stamp="finished",
    query=_query,
    rows=_rows,
    per_customer=True,
)
