"""The records that an import rejected: `jobs/<job>/rejects/<number>`, written in the transaction that counts
them, each with the reason and as it came in."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from shared.errors import Invalid
from shared.gcp.clients import Cloud
from shared.gcp.documents import fields_of
from shared.http.paging import PAGE_BYTES, Page
from shared.jobs.job import Job

MAX_INLINE = 64 * 1024
"""How many bytes a record may have that is stored in the document; a larger one is stored as an object."""

DOCUMENT_RECORDS = 10
"""How many records one document holds: it may have 1 MiB. https://cloud.google.com/firestore/quotas#limits"""

NUMBER_DIGITS = 12
"""So that documents are in the order of their records."""

MAX_REASON = 500
"""How many characters of a reason are stored."""

SHOWN_BYTES = 2_000
"""How many bytes of a record a page of rejects shows. Of a record that is stored as an object its document
has as many, so that no object is read for a page."""

_TOKEN = re.compile(r"([0-9]{12})-([0-9]{1,2})")
# The document in which a page begins, and how many of its records the pages before have shown.


class Reject(NamedTuple):
    """A record that was rejected: its number, the line it began on, its bytes, and why, in at most
    MAX_REASON characters."""

    number: int
    line: int
    raw: bytes
    reason: str


def staged(job: Job, file: str) -> str:
    """What a file of a job is called in the staging bucket."""
    return f"{job.customer}/jobs/{job.id}/{file}"


def documents(cloud: Cloud, job: Job, rejected: Sequence[Reject]) -> dict[str, dict[str, Any]]:
    """The documents of some rejects, by their paths. Large records are stored first, as objects named by
    what they hold."""
    made = {}
    for start in range(0, len(rejected), DOCUMENT_RECORDS):
        some = rejected[start : start + DOCUMENT_RECORDS]
        path = f"{job.path}/rejects/{some[0].number:0{NUMBER_DIGITS}}"
        made[path] = {"records": [_document(cloud, job, each) for each in some]}
    return made


def read(cloud: Cloud, job: Job) -> Iterator[Reject]:
    """The rejects of a job, in the order of its file."""
    for snapshot in cloud.db.collection(f"{job.path}/rejects").order_by("__name__").stream():
        for each in fields_of(snapshot)["records"]:
            raw = each["raw"]
            if each["object"]:
                raw = cloud.objects.read_whole(cloud.settings.staging_bucket, each["object"])
            yield Reject(each["number"], each["line"], raw, each["reason"])


class Shown(NamedTuple):
    """A reject as a page shows it: of its record at most SHOWN_BYTES, as text, and whether there is more."""

    number: int
    line: int
    reason: str
    text: str
    more: bool


def page(cloud: Cloud, job: Job, asked: Page) -> tuple[list[Shown], str | None]:
    """One page of the rejects of a job, in the order of its file, and the next page's token. Invalid where
    the page's token is none of ours."""
    collection = cloud.db.collection(f"{job.path}/rejects")
    query, passed = collection.order_by("__name__"), 0
    if asked.page_token:
        found = _TOKEN.fullmatch(asked.page_token)
        if found is None:
            raise Invalid.field("page_token", "is none of ours: begin again without it")
        query, passed = query.start_at({"__name__": collection.document(found[1])}), int(found[2])
    some: list[Shown] = []
    room = PAGE_BYTES
    # One document may be read for its last record alone, and one to see whether there is more.
    for snapshot in query.limit(asked.page_size // DOCUMENT_RECORDS + 2).stream():
        records = fields_of(snapshot)["records"]
        room -= sum(len(each["raw"]) for each in records)
        for at, each in enumerate(records[passed:], start=passed):
            if len(some) == asked.page_size or (some and room < 0):
                return some, f"{snapshot.id}-{at}"
            some.append(_shown(each))
        passed = 0
    return some, None


def _shown(record: dict[str, Any]) -> Shown:
    raw: bytes = record["raw"]
    more = len(raw) > SHOWN_BYTES or bool(record["object"])
    text = raw[:SHOWN_BYTES].decode("utf-8", "ignore" if more else "replace")
    return Shown(record["number"], record["line"], record["reason"], text, more)


def _document(cloud: Cloud, job: Job, reject: Reject) -> dict[str, Any]:
    name = None
    if len(reject.raw) > MAX_INLINE:
        name = staged(job, f"rejects/{hashlib.sha256(reject.raw).hexdigest()}")
        cloud.objects.create(cloud.settings.staging_bucket, name, reject.raw, "application/octet-stream")
    return {
        "number": reject.number,
        "line": reject.line,
        "raw": reject.raw[:SHOWN_BYTES] if name else reject.raw,
        "object": name,
        "reason": reject.reason,
    }
