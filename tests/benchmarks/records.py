"""Reading records: from Firestore to the lines of a data file."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter

from shared.gcp.clients import Cloud
from shared.gcp.documents import server_time
from shared.sources.base import Item, Part, Selection
from shared.sources.work_orders import COLUMNS
from shared.sources.work_orders_timeline import SOURCE
from shared.window import Window
from shared.workorders import scan
from shared.workorders.envelope import SHARDS, pack, shard_of
from shared.workorders.record import encode, iso, timeline_line
from tests.benchmarks.measure import Comparison, Done, Side, compare, digest
from tests.benchmarks.samples import SITE, work_order

NESTED = "benchmarks/nested/work_orders"
"""The same work orders as nested documents; the index of their collection group serves both."""

WRITES_A_BATCH = 200
"""Pairs of documents in one commit, which may hold 10 MiB."""


def benchmark(cloud: Cloud, *, records: int, repetitions: int) -> Comparison:
    """Write the lines of that many work orders, three ways."""
    begun = server_time(cloud.db)
    _fill(cloud.db, records)
    now = server_time(cloud.db)
    window = Window(begun, now)
    first, before = scan.stamps_of(window)

    def query(collection: str) -> Any:
        return (
            cloud.db.collection(collection)
            .where(filter=FieldFilter("site_id", "==", SITE))
            .where(filter=FieldFilter("shard", "in", list(range(SHARDS))))
            .where(filter=FieldFilter("update_date", ">=", first))
            .where(filter=FieldFilter("update_date", "<", before))
            .order_by("update_date")
            .order_by("__name__")
        )

    def ours(_: int) -> list[bytes]:
        items = SOURCE.items(cloud, Selection("acme", (SITE,), window, now), Part(SITE, first, before))
        return [item.lines for item in items if isinstance(item, Item)]

    def client_nested(_: int) -> list[bytes]:
        return list(_nested_lines(query(NESTED).stream(read_time=now)))

    def client_bytes(_: int) -> list[bytes]:
        return list(_bytes_lines(query("work_orders").stream(read_time=now)))

    def done(side: Side[list[bytes]], _: int, lines: list[bytes]) -> Done:
        # A Firestore map keeps no order: the nested documents' lines are the same but for that.
        return digest([orjson.dumps(orjson.loads(line), option=orjson.OPT_SORT_KEYS) for line in lines])

    return compare(
        "reading records",
        "lines",
        repetitions,
        [
            Side("ours: the timeline's items (scan.read, timeline_line)", ours),
            Side("client: nested document, to_dict(), json.dumps", client_nested),
            Side("client: bytes field, to_dict(), timeline_line", client_bytes),
        ],
        done,
    )


def _fill(db: firestore.Client, records: int) -> None:
    for start in range(0, records, WRITES_A_BATCH):
        # Both in one commit, so that both carry the same dates.
        batch = db.batch()
        for number in range(start, min(start + WRITES_A_BATCH, records)):
            made = work_order(number)
            record = encode(made)
            packed = pack(record, "acme", 0)
            found_by = {
                "customer": "acme",
                "site_id": SITE,
                "name": made.name,
                "shard": shard_of(made.id),
                "schema": 1,
                "deleted": False,
                "update_date": firestore.SERVER_TIMESTAMP,
            }
            kept = {"encoding": packed.encoding, "record": packed.record, "images": b""}
            batch.create(db.document(f"work_orders/{made.id}"), {**found_by, **kept})
            batch.create(db.document(f"{NESTED}/{made.id}"), {**found_by, **orjson.loads(record)})
        batch.commit()


def _nested_lines(snapshots: Iterator[Any]) -> Iterator[bytes]:
    for snapshot in snapshots:
        fields = snapshot.to_dict()
        fields |= {"create_date": _iso(snapshot.create_time), "update_date": _iso(snapshot.update_time)}
        line = {column.name: fields[column.name] for column in COLUMNS}
        yield json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _bytes_lines(snapshots: Iterator[Any]) -> Iterator[bytes]:
    for snapshot in snapshots:
        fields = snapshot.to_dict()
        yield timeline_line(fields["record"], _iso(snapshot.create_time), _iso(snapshot.update_time))


def _iso(at: datetime) -> str:
    return iso(at.replace(tzinfo=UTC))
