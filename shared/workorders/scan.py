"""Finding and reading the work orders of a window, straight from their bytes.

A work order is in a window (start, end] exactly when the version visible at `end` was committed in it. It is
found by its stamp, which can be older than its commit by up to the margin, and chosen by its `update_time`,
which is the commit's own.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from google.cloud.firestore_v1 import FieldFilter
from google.cloud.firestore_v1.base_query import BaseQuery
from google.protobuf.timestamp_pb2 import Timestamp

from shared import logs
from shared.gcp.clients import Cloud
from shared.gcp.documents import EPOCH, IdRange, Scan, count, moment, timestamp, within
from shared.window import Window
from shared.workorders.envelope import SHARDS, Oversized, read_labels, unpack
from shared.workorders.store import MARGIN

STAMP_STEP = timedelta(milliseconds=1)
"""Server timestamps are in milliseconds: no stamp lies between two steps."""

_STANDING = ["deleted", "encoding", "record", "images", "labels"]
_FIELDS = ["update_date", "deleted", "encoding", "record", "images"]


class Found(NamedTuple):
    """A work order as a window holds it. `created` and `updated` are the document's own, as records carry
    them; of a deleted one `record` is empty."""

    id: str
    stamp: datetime
    deleted: bool
    record: bytes
    images: bytes
    created: str
    updated: str


def stamps_of(window: Window) -> tuple[datetime, datetime]:
    """The stamps [first, before) between which everything committed in a window was stamped."""
    return window.start - MARGIN, window.end + STAMP_STEP


def split(
    cloud: Cloud, site: str, first: datetime, before: datetime, read_time: datetime
) -> list[tuple[datetime, datetime]]:
    """Cut the stamps [first, before) into pieces as `bisect`, at most `settings.part_records` work orders of
    the site in each."""
    return bisect(
        lambda first, before: count(_query(cloud, site, first, before), read_time),
        first,
        before,
        cloud.settings.part_records,
    )


def bisect(
    count_between: Callable[[datetime, datetime], int], first: datetime, before: datetime, most: int
) -> list[tuple[datetime, datetime]]:
    """Cut the stamps [first, before) in halves until no piece holds more than `most`, by what is counted
    between two stamps; what holds nothing is left out. One millisecond is never cut."""
    found = count_between(first, before)
    if not found:
        return []
    steps = (before - first) // STAMP_STEP
    if found <= most or steps <= 1:
        return [(first, before)]
    middle = first + steps // 2 * STAMP_STEP
    return bisect(count_between, first, middle, most) + bisect(count_between, middle, before, most)


def read(
    cloud: Cloud,
    site: str,
    first: datetime,
    before: datetime,
    after: str | None,
    window: Window,
    read_time: datetime,
) -> Iterator[Found]:
    """The work orders of a site whose stamp is in [first, before) and whose version at `read_time` was
    committed in the window, in the order of stamp and id; of those stamped `first` only what comes after the
    id `after`, unless that is None. Errors as `Scan.documents`."""
    query = _query(cloud, site, first, before).select(_FIELDS)
    behind = None if after is None else (first, f"work_orders/{after}")
    for document in committed(cloud, query, "update_date", behind, window, read_time):
        fields = document.fields
        record = _record(cloud, document)
        if record is None:
            continue
        yield Found(
            id=document.name.rpartition("/")[2],
            stamp=moment(fields["update_date"].timestamp_value),
            deleted=fields["deleted"].boolean_value,
            record=record,
            images=fields["images"].bytes_value,
            created=_iso(document.create_time),
            updated=_iso(document.update_time),
        )


class Standing(NamedTuple):
    """A work order as it stood at some time, with the lines of its images, and what an analysis says beyond
    its record. `created` is the document's own, as records carry it."""

    id: str
    record: bytes
    images: bytes
    labels: Mapping[str, Any]
    created: str


def number_of(cloud: Cloud, site: str, read_time: datetime) -> int:
    """How many work orders a site has, deleted ones included."""
    return count(_of_site(cloud, site), read_time)


def standing(cloud: Cloud, site: str, part: IdRange, read_time: datetime) -> Iterator[Standing]:
    """The work orders of a site with an id in that range, as they stood at `read_time`, by their ids. Errors
    as `Scan.documents`."""
    query = within(cloud.db, _of_site(cloud, site), "work_orders", part).select(_STANDING)
    for document in Scan(cloud.db).documents(query._to_protobuf()._pb, None, read_time):
        fields = document.fields
        record = None if fields["deleted"].boolean_value else _record(cloud, document)
        if record is not None:
            yield Standing(
                id=document.name.rpartition("/")[2],
                record=record,
                images=fields["images"].bytes_value,
                labels=read_labels(fields["labels"].bytes_value),
                created=_iso(document.create_time),
            )


def _record(cloud: Cloud, document: Any) -> bytes | None:
    """Its record; None where it is larger than one may be: then it alone is left out, and operators are
    told."""
    fields = document.fields
    try:
        return unpack(
            fields["encoding"].string_value,
            fields["record"].bytes_value,
            lambda name: cloud.objects.read_whole(cloud.settings.records_bucket, name),
        )
    except Oversized as too_large:
        id = document.name.rpartition("/")[2]
        logs.error("a work order is left out", work_order=id, reason=str(too_large))
        return None


def committed(
    cloud: Cloud,
    query: BaseQuery,
    stamp: str,
    behind: tuple[datetime, str] | None,
    window: Window,
    read_time: datetime,
) -> Iterator[Any]:
    """The raw documents of a query whose version at `read_time` was committed in the window, in the order of
    the field `stamp`, which it must select, and their paths; only those behind that stamp and path, unless
    that is None. Errors as `Scan.documents`."""
    query = query.order_by(stamp).order_by("__name__")
    if behind is not None:
        query = query.start_after({stamp: behind[0], "__name__": cloud.db.document(behind[1])})
    # The client has no public way to the query as it is sent, and building it here would be its code again.
    raw = query._to_protobuf()._pb
    start, end = _microseconds(timestamp(window.start)), _microseconds(timestamp(window.end))
    for document in Scan(cloud.db).documents(raw, stamp, read_time):
        if start < _microseconds(document.update_time) <= end:
            yield document


def _microseconds(at: Timestamp) -> int:
    return int(at.seconds) * 1_000_000 + at.nanos // 1000


def _iso(at: Timestamp) -> str:
    """As `record.iso`, of a moment as protobuf has it: no datetime is made of it."""
    return f"{_second(at.seconds)}.{at.nanos // 1000:06}Z"


@lru_cache(maxsize=1024)
def _second(seconds: int) -> str:
    """A second of a record's date, which the records of a part have many of in common."""
    return (EPOCH + timedelta(seconds=seconds)).isoformat()[:19]


def _query(cloud: Cloud, site: str, first: datetime, before: datetime) -> BaseQuery:
    return (
        _of_site(cloud, site)
        .where(filter=FieldFilter("shard", "in", list(range(SHARDS))))
        .where(filter=FieldFilter("update_date", ">=", first))
        .where(filter=FieldFilter("update_date", "<", before))
    )


def _of_site(cloud: Cloud, site: str) -> BaseQuery:
    return cloud.db.collection("work_orders").where(filter=FieldFilter("site_id", "==", site))
