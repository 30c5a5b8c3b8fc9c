"""Planning a batch: read the archive's directory, group its files into work orders, cut those into slices.

The plan is one object in staging: the lines of every file (see `archive`), work order by work order. A slice
is a range of its bytes.
"""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from google.cloud import firestore

from shared import logs
from shared.accounts.customers import get_customer
from shared.batches import archive, errors_file, folders
from shared.batches import batch as batches
from shared.batches.archive import Limits
from shared.batches.batch import PROCESSING, UPLOADED, Batch, Progress
from shared.batches.problems import BadArchive
from shared.gcp import leases
from shared.gcp.clients import Cloud

UNPACKED_TIMES = 4
"""How many times a customer's limit on an archive's size its files may have unpacked: photographs hardly
shrink, so more is a bomb."""

SLICE_ORDERS = 500
"""The most work orders of a slice."""

SLICES_MOST = 10_000
"""How many slices a plan may have: they are saved in one transaction, whose request may hold 10 MiB.
https://cloud.google.com/firestore/quotas#writes_and_transactions"""

PLAN_SLICE, FIRST_SLICE = "000000", 1
"""What the plan's own errors are kept under, before those of the slices; and the first of those."""

PLAN_TYPE = "application/octet-stream"


def plan(cloud: Cloud, batch: Batch) -> Batch:
    """Plan a batch that is UPLOADED, and move it on to PROCESSING; the first plan stands.

    BadArchive where the archive cannot be taken in.
    """
    stored = batch.archive
    if stored is None:
        raise ValueError(f"the batch {batch.id} is {batch.status} and has no archive")
    customer = get_customer(cloud.db, batch.customer)
    if stored.size > customer.batch_bytes:
        detail = f"It has {stored.size:,} bytes; {customer.batch_bytes:,} are allowed."
        raise BadArchive("UPLOAD_TOO_LARGE", detail)
    limits = Limits(customer.batch_files, customer.batch_bytes * UNPACKED_TIMES)
    lines = archive.directory(lambda start, end: cloud.objects.read(stored, start, end), stored.size, limits)
    found = folders.plan(lines)
    slices = _Slices()
    # The attempt is in the name: the transaction below decides whose plan counts.
    name = f"{batch.customer}/batches/{batch.id}/plan-{cloud.new_id()[:12]}"
    pieces = slices.cut(
        folders.slices(
            found.folders,
            files=cloud.settings.slice_files,
            packed_bytes=cloud.settings.slice_bytes,
            folders_most=SLICE_ORDERS,
        )
    )
    written = cloud.objects.create_stream(cloud.settings.staging_bucket, name, pieces, PLAN_TYPE)
    problems = Progress(**errors_file.counted(found.problems))
    more: dict[str, dict[str, Any]] = errors_file.documents(batch, PLAN_SLICE, 0, found.problems)
    for number, fields in enumerate(slices.documents, FIRST_SLICE):
        path = batch.slices_in(cloud).document(f"{number:06}").path
        more[path] = {**fields, **asdict(Progress()), **leases.new_work()}

    def decide(current: Batch) -> dict[str, Any] | None:
        if current.status != UPLOADED:
            return None
        return {
            "status": PROCESSING,
            "plan": asdict(written),
            "slices": len(slices.documents),
            "work_orders": slices.work_orders,
            "problems": asdict(problems),
            "planned": firestore.SERVER_TIMESTAMP,
        }

    batch = batches.move(cloud, batch, decide, more)
    logs.info("batch planned", slices=batch.slices, work_orders=batch.work_orders)
    return batch


class _Slices:
    """Passes a plan's bytes through, and remembers where each slice begins and ends."""

    def __init__(self) -> None:
        self.documents: list[dict[str, Any]] = []
        self.work_orders = 0

    def cut(self, slices: Iterator[list[folders.Folder]]) -> Iterator[bytes]:
        at = 0
        for together in slices:
            if len(self.documents) == SLICES_MOST:
                raise BadArchive("ARCHIVE_TOO_MANY_FILES", "It holds too many work orders for one batch.")
            lines = b"".join(folder.lines for folder in together)
            self.documents.append({"start": at, "end": at + len(lines), "position": 0})
            self.work_orders += len(together)
            at += len(lines)
            yield lines
