"""A batch's way from its start to its end. Each step can be done twice, or by two at once, and is done once.

1. make      the batch and the URL that its archive is uploaded to (`service.create`)
2. receive   the archive is there: it is pinned as it stands (`receive`)
3. plan      the archive's directory, cut into slices of whole work orders (`planning`)
4. take in   slice by slice: photographs, then work orders, errors as they come (`importing`)
5. finish    when every slice is there (`finishing`)

`ingest_batch` is told of an archive, `ingest_work_orders` of a batch to be taken on from wherever it is, or
of one of its slices. Whatever ends a step tells the next by a message; what got stuck `sweep` takes up.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from google.cloud import firestore

from shared import logs
from shared.batches import batch as batches
from shared.batches import finishing, importing, planning
from shared.batches.batch import FUNCTION, PROCESSING, UNDER_WAY, UPLOADED, WAITING_FOR_UPLOAD, Batch
from shared.batches.problems import BadArchive, problem
from shared.errors import GiveUp
from shared.gcp import leases
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, fields_of
from shared.gcp.messages import Message, ObjectFinalised
from shared.gcp.silence import SWEEPS_MOST, change, silent

LOOK_AFTER = timedelta(hours=1)
"""How often it is looked whether a batch's archive is there that nobody told of."""

_ARCHIVE = re.compile(r"([^/]+)/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.zip")


def archive_came(cloud: Cloud, event: ObjectFinalised) -> None:
    """What `ingest_batch` does with an object that came to be in the uploads bucket.

    Whose it is says its name alone, which we gave: never what its uploader wrote to it. What is not where a
    batch waits for it is left alone.
    """
    name = _ARCHIVE.fullmatch(event.name)
    batch = batches.get(cloud, name[2]) if name else None
    if name is None or batch is None or batch.customer != name[1]:
        logs.warning("an object that no batch waits for was left alone", object=event.name)
        return
    with _told(cloud, batch):
        advance(cloud, batch)


def take_on(cloud: Cloud, message: Message) -> None:
    """What `ingest_work_orders` does with a message: take a slice in, or the batch on."""
    batch = batches.get(cloud, message["batch"])
    if batch is None:
        return
    slice_id = message.get("slice")
    with _told(cloud, batch):
        if slice_id is None:
            advance(cloud, batch)
        elif batch.status == PROCESSING:
            try:
                importing.take_in(cloud, batch, slice_id)
            except importing.TimeUp:
                cloud.messages.publish(FUNCTION, {**batch.message, "slice": slice_id})
                return
            finishing.finish_if_done(cloud, batch)


def advance(cloud: Cloud, batch: Batch) -> None:
    """Take a batch on from wherever it is. Slices that no attempt is alive at are told of again."""
    if batch.status == WAITING_FOR_UPLOAD:
        batch = receive(cloud, batch)
    if batch.status == UPLOADED:
        batch = planning.plan(cloud, batch)
    if batch.status == PROCESSING:
        waiting = leases.waiting(batch.slices_in(cloud))
        cloud.messages.publish(FUNCTION, *({**batch.message, "slice": each} for each in waiting))
        finishing.finish_if_done(cloud, batch)


def receive(cloud: Cloud, batch: Batch) -> Batch:
    """Pin the archive as it stands: from then on exactly that generation is read. Nothing where there is
    none."""
    name = batches.archive_name(batch.customer, batch.id)
    stored = cloud.objects.stat(cloud.settings.uploads_bucket, name)
    if stored is None:
        return batch

    def decide(current: Batch) -> dict[str, Any] | None:
        if current.status != WAITING_FOR_UPLOAD:
            return None
        return {
            "status": UPLOADED,
            "archive": asdict(stored),
            "upload_url": firestore.DELETE_FIELD,
            "uploaded": firestore.SERVER_TIMESTAMP,
        }

    batch = batches.move(cloud, batch, decide)
    logs.info("archive received", bytes=stored.size)
    return batch


def sweep(cloud: Cloud, at: datetime) -> None:
    """Have every batch taken up that is silent at `at`, look for archives that nobody told of, and end what
    was never uploaded. What fails here is logged and stops nothing else."""
    waiting = silent(cloud, "batches", "status", [WAITING_FOR_UPLOAD], "swept", at, LOOK_AFTER)
    for found, take_up in (
        (silent(cloud, "batches", "status", UNDER_WAY, "swept", at), _take_up),
        (waiting, partial(_look_for_upload, at=at)),
    ):
        for snapshot in found:
            batch = batches.from_snapshot(snapshot)
            with logs.bound(batch=batch.id, customer=batch.customer):
                try:
                    take_up(cloud, batch, snapshot)
                except Exception as failure:
                    logs.error("a silent batch could not be taken up", exception=failure)


def _take_up(cloud: Cloud, batch: Batch, snapshot: Snapshot) -> None:
    sweeps = fields_of(snapshot).get("sweeps", 0)
    if sweeps >= SWEEPS_MOST:
        finishing.fail(cloud, batch, problem("INTERNAL"))
        return
    taken_up = {"swept": firestore.SERVER_TIMESTAMP, "sweeps": firestore.Increment(1)}
    if change(cloud, snapshot, taken_up):
        cloud.messages.publish(FUNCTION, batch.message)
        logs.warning("a silent batch is taken up", status=batch.status)


def _look_for_upload(cloud: Cloud, batch: Batch, snapshot: Snapshot, at: datetime) -> None:
    # The event of an upload may be lost; an archive that is there is right, whoever told of it.
    batch = receive(cloud, batch)
    if batch.status == UPLOADED:
        cloud.messages.publish(FUNCTION, batch.message)
        logs.warning("an archive that nobody told of is taken up")
    elif batch.expires > at:
        change(cloud, snapshot, {"swept": firestore.SERVER_TIMESTAMP})
    else:
        finishing.expire(cloud, batch)


@contextmanager
def _told(cloud: Cloud, batch: Batch) -> Iterator[None]:
    with logs.bound(batch=batch.id, customer=batch.customer):
        try:
            yield
        except BadArchive as bad:
            finishing.fail(cloud, batches.get(cloud, batch.id) or batch, problem(bad.code, detail=bad.detail))
        except GiveUp as error:
            logs.error("given up", error=str(error), next_action=error.next_action)
            finishing.fail(cloud, batches.get(cloud, batch.id) or batch, problem("INTERNAL"))
