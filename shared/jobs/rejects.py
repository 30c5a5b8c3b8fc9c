"""The records that an import rejected: `jobs/<job>/rejects/<number>`, written in the transaction that counts
them, each with the reason and as it came in."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from shared.gcp.clients import Cloud
from shared.gcp.documents import fields_of
from shared.jobs.job import Job

MAX_INLINE = 64 * 1024
"""How many bytes a record may have that is stored in the document; a larger one is stored as an object."""

DOCUMENT_RECORDS = 10
"""How many records one document holds: it may have 1 MiB. https://cloud.google.com/firestore/quotas#limits"""

NUMBER_DIGITS = 12
"""So that documents are in the order of their records."""

MAX_REASON = 500
"""How many characters of a reason are stored."""


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


def _document(cloud: Cloud, job: Job, reject: Reject) -> dict[str, Any]:
    name = None
    if len(reject.raw) > MAX_INLINE:
        name = staged(job, f"rejects/{hashlib.sha256(reject.raw).hexdigest()}")
        cloud.objects.create(cloud.settings.staging_bucket, name, reject.raw, "application/octet-stream")
    return {
        "number": reject.number,
        "line": reject.line,
        "raw": b"" if name else reject.raw,
        "object": name,
        "reason": reject.reason,
    }
