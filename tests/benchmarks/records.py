"""Exporting records: from Firestore to a data file in Storage with its checksum, by the step `write`."""

import csv
import io
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import grpc
import orjson
import pyarrow.csv
import pyarrow.parquet
from google.cloud import firestore, storage
from google.cloud.firestore_v1 import FieldFilter

from shared.exports import config, runs, writing
from shared.exports.runs import Run
from shared.formats.csv import unguarded
from shared.gcp.clients import Cloud
from shared.gcp.documents import server_time
from shared.sources.work_orders import COLUMNS
from shared.window import Window
from shared.work.attempts import Attempt
from shared.work.pieces import OPEN, Piece
from shared.workorders import scan
from shared.workorders.envelope import SHARDS, pack, shard_of
from shared.workorders.record import encode, iso, timeline_line
from tests.benchmarks.measure import Comparison, Done, Figure, Ground, Side, compare, digest, shown
from tests.benchmarks.samples import SITE, work_order

ARROW: Any = pyarrow
"""It has no types."""

NESTED = "benchmarks/nested/work_orders"
"""The same work orders as nested documents; the index of their collection group serves both."""

WRITES_A_BATCH = 200
"""Pairs of documents in one commit, which may hold 10 MiB."""

RECORDS, QUICK_RECORDS = 2000, 30
REPETITIONS, QUICK_REPETITIONS = 4, 1

CLIENT_LIMIT, FLOOR_LIMIT, STATES_LIMIT = 0.12, 1.3, 0.16

CUSTOMER = "records"


@dataclass(frozen=True)
class Written:
    """A file in Storage."""

    bucket: str
    name: str


def bench(ground: Ground) -> Iterator[Figure]:
    """The same work orders, exported in each way and in each format."""
    cloud = ground.cloud
    records = QUICK_RECORDS if ground.quick else RECORDS
    times = QUICK_REPETITIONS if ground.quick else REPETITIONS
    begun = server_time(cloud.db)
    _fill(cloud.db, records)
    now = server_time(cloud.db)
    window = Window(begun, now)
    theirs = _Client(cloud, window)

    def ours(**asked: str) -> Callable[[int], Written]:
        run = run_of(window, now, **asked)
        return lambda repetition: write(cloud, run, repetition)

    def done_of(lines: Callable[[bytes], list[bytes]]) -> Callable[[Side[Written], int, Written], Done]:
        return lambda side, repetition, written: digest(lines(_content(cloud, written)))

    timeline = compare(
        "exporting records",
        "records",
        times,
        [
            Side("ours: the step write (scan, splice, checksum, upload)", ours()),
            Side("client: nested document, to_dict(), json.dumps", theirs.nested),
            Side("client: bytes field, to_dict(), timeline_line", theirs.bytes),
        ],
        done_of(_of_json_lines),
    )
    yield shown(timeline).figure("export_cpu_vs_client", 1, "cpu", CLIENT_LIMIT)
    own = cloud.db._firestore_api.transport.grpc_channel
    with grpc.insecure_channel(os.environ["FIRESTORE_EMULATOR_HOST"]) as plain:
        over_the_floor: list[Side[Written | int]] = [
            Side("ours: the step write", ours()),
            Side("gRPC's stream, its bytes thrown away", theirs.thrown_away(plain)),
            Side(
                "the same over the channel of ours",
                theirs.thrown_away(own),
            ),
        ]
        floor = shown(
            compare(
                "exporting records, over the bare stream",
                "records",
                times,
                over_the_floor,
                lambda side, _, result: Done(_number(cloud, result), 0, ""),
            )
        )
    yield floor.figure("export_cpu_vs_floor", 1, "cpu", FLOOR_LIMIT)
    yield floor.figure("export_cpu_vs_floor, same channel", 2, "cpu", FLOOR_LIMIT)

    def against(
        what: str, client: Side[Written], lines: Callable[[bytes], list[bytes]], **asked: str
    ) -> Comparison:
        sides = [Side("ours: the step write", ours(**asked)), client]
        return shown(compare(f"exporting {what}", "records", times, sides, done_of(lines)))

    nested = Side("client: nested document, to_dict(), json.dumps", theirs.states)
    states = against("the states of records", nested, _of_json_lines, export_type="work-orders-states")
    yield states.figure("states_cpu_vs_client", 1, "cpu", STATES_LIMIT)
    arrow_csv = Side("client: to_dict(), pyarrow.csv", theirs.csv)
    sheet = against("records as CSV", arrow_csv, _of_csv, file_format="csv")
    yield sheet.figure("csv_cpu_vs_pyarrow", 1, "cpu", None)
    arrow_parquet = Side("client: to_dict(), pyarrow.parquet", theirs.parquet)
    columns = against("records as Parquet", arrow_parquet, _of_parquet, file_format="parquet")
    yield columns.figure("parquet_cpu_vs_pyarrow", 1, "cpu", None)


# --- ours


def run_of(window: Window, now: datetime, **asked: str) -> Run:
    """A run that is planned."""
    body = {
        "name": "Benchmark",
        "site_ids": [SITE],
        "interval": "once",
        "connector_type": "cloud_storage",
        "connector_config": {"storage_uri": "gs://records-bi"},
        **asked,
    }
    return Run(
        id="_".join(asked.values()) or "plain",
        export="benchmark",
        customer=CUSTOMER,
        account="",
        version=1,
        config=config.parse(body),
        window=window,
        due=now,
        origin=runs.BY_HAND,
        user="benchmark",
        state=runs.WRITE,
        read_time=now,
    )


def write(cloud: Cloud, run: Run, repetition: int) -> Written:
    """Do the step `write` for all of a run, which is one part; gives its lines."""
    lines = write_part(cloud, run, repetition)["lines"]
    return Written(lines["bucket"], lines["name"])


def write_part(cloud: Cloud, run: Run, repetition: int) -> dict[str, Any]:
    """The same, with all that is known of the part then."""
    first, before = scan.stamps_of(run.window)
    piece = Piece(
        path=f"{run.path}/pieces/{repetition:06}",
        customer=CUSTOMER,
        function="",
        stage=runs.WRITE,
        plan="",
        name=f"{repetition:06}",
        status=OPEN,
        attempts=1,
        tries=1,
        holder="benchmark",
        heartbeat=run.due,
        waits_for=None,
        since=None,
        retry_at=None,
        fields={"site": SITE, "first": first, "before": before, "after": None},
    )
    attempt = Attempt(cloud, cloud.new_id(), piece, cloud.db.document(run.path).get(field_paths=["state"]))
    done = writing.write(cloud, run, attempt)
    assert not done.rest, "the part was cut"
    return dict(done.fields)


# --- Google's client


class _Client:
    """What a good engineer would write with Google's clients."""

    def __init__(self, cloud: Cloud, window: Window) -> None:
        self._db = cloud.db
        self._read_time = window.end
        self._first, self._before = scan.stamps_of(window)
        self._bucket = cloud.objects._client.bucket(cloud.settings.staging_bucket)

    def _query(self, collection: str) -> Any:
        return (
            self._db.collection(collection)
            .where(filter=FieldFilter("site_id", "==", SITE))
            .where(filter=FieldFilter("shard", "in", list(range(SHARDS))))
            .where(filter=FieldFilter("update_date", ">=", self._first))
            .where(filter=FieldFilter("update_date", "<", self._before))
            .order_by("update_date")
            .order_by("__name__")
        )

    def nested(self, repetition: int) -> Written:
        with self._file(f"nested/{repetition}") as file:
            for record in self._records():
                file.write(_line(record))
        return Written(self._bucket.name, file._blob.name)

    def states(self, repetition: int) -> Written:
        with self._file(f"states/{repetition}") as file:
            for record in self._records():
                for item in record["work_items"]:
                    item["input"] = item["input"][-1:]
                file.write(_line(record))
        return Written(self._bucket.name, file._blob.name)

    def bytes(self, repetition: int) -> Written:
        with self._file(f"bytes/{repetition}") as file:
            for snapshot in self._query("work_orders").stream(read_time=self._read_time):
                record = snapshot.to_dict()["record"]
                file.write(timeline_line(record, _iso(snapshot.create_time), _iso(snapshot.update_time)))
        return Written(self._bucket.name, file._blob.name)

    def csv(self, repetition: int) -> Written:
        with self._file(f"csv/{repetition}") as file:
            # Ours gets its header when its parts are joined.
            options = ARROW.csv.WriteOptions(include_header=False)
            ARROW.csv.write_csv(self._table(moments=ARROW.string()), file, options)
        return Written(self._bucket.name, file._blob.name)

    def parquet(self, repetition: int) -> Written:
        with self._file(f"parquet/{repetition}") as file:
            table = self._table(moments=ARROW.timestamp("us", tz="UTC"))
            ARROW.parquet.write_table(table, file, compression="zstd")
        return Written(self._bucket.name, file._blob.name)

    def thrown_away(self, channel: grpc.Channel) -> Callable[[int], int]:
        """Read the answers of the query that ours sends, without a look at them: returns how many came."""
        query = self._query("work_orders").select(scan._FIELDS)
        request = firestore.types.RunQueryRequest(parent=f"{self._db._database_string}/documents")._pb
        request.structured_query.CopyFrom(query._to_protobuf()._pb)
        request.read_time.FromDatetime(self._read_time)
        run_query: Any = channel.unary_stream(
            "/google.firestore.v1.Firestore/RunQuery",
            request_serializer=type(request).SerializeToString,
            response_deserializer=None,
        )
        metadata = (*self._db._rpc_metadata, ("authorization", "Bearer owner"))
        return lambda _: sum(1 for _ in run_query(request, metadata=metadata))

    def _records(self) -> Iterator[dict[str, Any]]:
        for snapshot in self._query(NESTED).stream(read_time=self._read_time):
            fields = snapshot.to_dict()
            fields |= {"create_date": _iso(snapshot.create_time), "update_date": _iso(snapshot.update_time)}
            yield {column.name: fields[column.name] for column in COLUMNS}

    def _table(self, moments: Any) -> Any:
        types = {"json": ARROW.string(), "number": ARROW.float64(), "moment": moments}
        rows = []
        for record in self._records():
            if moments != ARROW.string():
                record |= {
                    name: datetime.fromisoformat(record[name]) for name in ("create_date", "update_date")
                }
            nested = {
                name: json.dumps(record[name], ensure_ascii=False) for name in ("metadata", "work_items")
            }
            rows.append({**record, **nested})
        fields = [(column.name, types.get(column.type, ARROW.string())) for column in COLUMNS]
        return ARROW.Table.from_pylist(rows, schema=ARROW.schema(fields))

    def _file(self, name: str) -> Any:
        return storage.Blob(f"{CUSTOMER}/client/{name}", self._bucket).open("wb", ignore_flush=True)


def _line(record: dict[str, Any]) -> bytes:
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _iso(at: datetime) -> str:
    return iso(at.replace(tzinfo=UTC))


# --- what was written


def _content(cloud: Cloud, written: Written) -> bytes:
    return cloud.objects.read_whole(written.bucket, written.name)


def _number(cloud: Cloud, result: Written | int) -> int:
    return result if isinstance(result, int) else _content(cloud, result).count(b"\n")


def _of_json_lines(content: bytes) -> list[bytes]:
    return [_sorted(orjson.loads(line)) for line in content.splitlines()]


def _of_csv(content: bytes) -> list[bytes]:
    names = [column.name for column in COLUMNS]
    rows = csv.DictReader(io.StringIO(content.decode(), newline=""), names)
    return [_row({name: unguarded(cell) for name, cell in row.items()}) for row in rows]


def _of_parquet(content: bytes) -> list[bytes]:
    return [_row(row) for row in ARROW.parquet.read_table(io.BytesIO(content)).to_pylist()]


def _row(row: dict[str, Any]) -> bytes:
    row["progress_score"] = float(row["progress_score"])
    return _sorted(row | {name: orjson.loads(row[name]) for name in ("metadata", "work_items")})


def _sorted(record: Any) -> bytes:
    """A record as JSON. A Firestore map keeps no order, so the nested documents' records have none."""
    return orjson.dumps(record, option=orjson.OPT_SORT_KEYS)


# --- the work orders


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
