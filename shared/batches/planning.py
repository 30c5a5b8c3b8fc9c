"""Planning a batch: read the archive's directory, group its files into work orders, cut those into slices.

The listing is one object in staging: the lines of every file (see `archive`), work order by work order. A
slice is a range of its bytes.
"""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from google.cloud import firestore

from shared import logs
from shared.accounts.customers import customer_and_site
from shared.accounts.limits import BATCH_BYTES, BATCH_FILES
from shared.batches import archive, errors_file, finishing, folders
from shared.batches.archive import Limits, Names
from shared.batches.batch import IMPORT, Batch, Progress
from shared.batches.errors_file import PLAN_SLICE
from shared.batches.problems import BadArchive, problem
from shared.gcp.clients import Cloud
from shared.work.attempts import Attempt
from shared.work.kinds import FAILED, Done

UNPACKED_TIMES = 4
"""How many times a customer's limit on an archive's size its files may have unpacked: photographs hardly
shrink, so more is a bomb."""

MAX_SLICE_ORDERS = 200
"""The most work orders of a slice: others wait for a few of a customer's slices before it is their turn."""

FIRST_SLICE = 1
"""The number of the first slice."""

LISTING_TYPE = "application/octet-stream"


def plan(cloud: Cloud, batch: Batch, attempt: Attempt) -> Done:
    """Plan a batch that is UPLOADED. One whose archive cannot be read ends as FAILED, and says why."""
    try:
        return _plan(cloud, batch, attempt)
    except BadArchive as bad:
        found = problem(bad.code, detail=bad.detail)
    logs.info("the archive cannot be imported", code=found.code, error=found.message)
    totals = Progress(**errors_file.counted([found]))
    return Done(
        documents=errors_file.documents(batch, PLAN_SLICE, 0, [found]),
        end=finishing.ended(FAILED, totals, found),
    )


def _plan(cloud: Cloud, batch: Batch, attempt: Attempt) -> Done:
    stored = batch.archive
    if stored is None:
        raise ValueError(f"the batch {batch.id} is {batch.state} and has no archive")
    customer, site = customer_and_site(cloud.db, batch.customer, batch.site)
    most = customer.limit(BATCH_BYTES)
    if stored.size > most:
        detail = f"It has {stored.size:,} bytes; {most:,} are allowed."
        raise BadArchive("UPLOAD_TOO_LARGE", detail)
    limits = Limits(customer.limit(BATCH_FILES), most * UNPACKED_TIMES)

    def read(start: int, end: int) -> bytes:
        attempt.heartbeat()
        return cloud.objects.read(stored, start, end)

    code_page = batch.code_page or (site.code_page if site else "") or ""
    names = Names(code_page, certain=batch.code_page is not None)
    found = folders.plan(archive.directory(read, stored.size, limits, names), code_page)
    slices = _Slices()
    # The attempt is in the name: the transaction that ends the piece decides whose plan counts.
    name = f"{batch.customer}/batches/{batch.id}/listing-{cloud.new_id()[:12]}"
    lines = slices.cut(
        folders.slices(
            found.folders,
            files=cloud.settings.slice_files,
            packed_bytes=cloud.settings.slice_bytes,
            folders_most=MAX_SLICE_ORDERS,
        ),
        attempt,
    )
    listing = cloud.objects.create_stream(cloud.settings.staging_bucket, name, lines, LISTING_TYPE)
    logs.info("batch planned", slices=len(slices.planned), work_orders=slices.work_orders)
    numbered = enumerate(slices.planned, FIRST_SLICE)
    return Done(
        plans={IMPORT: ((f"{number:06}", fields) for number, fields in numbered)},
        documents=errors_file.documents(batch, PLAN_SLICE, 0, found.problems),
        work={
            "listing": asdict(listing),
            "work_orders": slices.work_orders + found.failed,
            "problems": {**errors_file.counted(found.problems), "work_orders_failed": found.failed},
            "planned": firestore.SERVER_TIMESTAMP,
        },
    )


class _Slices:
    """Passes a listing's bytes through, and remembers where each slice begins and ends."""

    def __init__(self) -> None:
        self.planned: list[dict[str, Any]] = []
        self.work_orders = 0

    def cut(self, slices: Iterator[list[folders.Folder]], attempt: Attempt) -> Iterator[bytes]:
        at = 0
        for together in slices:
            attempt.heartbeat()
            lines = b"".join(folder.lines for folder in together)
            self.planned.append({"start": at, "end": at + len(lines), "position": 0})
            self.work_orders += len(together)
            at += len(lines)
            yield lines
