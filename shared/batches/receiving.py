"""Receiving a batch's archive: whoever finds it there pins it as it stands. The event of its upload says at
once that it is there; an event can be lost, so it is also looked for now and then."""

import re
from dataclasses import asdict
from datetime import timedelta

from google.cloud import firestore

from shared import logs
from shared.accounts import stored as counted
from shared.batches import batch as batches
from shared.batches.batch import EXPIRED, Batch
from shared.gcp.clients import Cloud
from shared.gcp.documents import read_time
from shared.gcp.messages import ObjectFinalised
from shared.work.attempts import Attempt
from shared.work.kinds import Done, End, Later

STAGE = "receive"

LOOK_AFTER = timedelta(hours=1)
"""How often an archive is looked for of which no event came."""

_ARCHIVE = re.compile(r"([^/]+)/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.zip")


def batch_of(cloud: Cloud, event: ObjectFinalised) -> Batch | None:
    """The batch that an object in the uploads bucket is the archive of; None where there is none.

    Only the object's name counts, which we chose: never what its uploader wrote to it.
    """
    name = _ARCHIVE.fullmatch(event.name)
    batch = batches.get(cloud, name[2]) if name else None
    if name is None or batch is None or batch.customer != name[1]:
        logs.warning("an object that no batch waits for was left alone", object=event.name)
        return None
    return batch


def receive(cloud: Cloud, batch: Batch, attempt: Attempt) -> Done | Later:
    """Pin the archive: from then on exactly that generation is read. While there is none, look again later;
    end the batch as EXPIRED once none can come."""
    name = batches.archive_name(batch.customer, batch.id)
    stored = cloud.objects.stat(cloud.settings.uploads_bucket, name)
    if stored is not None:
        logs.info("archive received", bytes=stored.size)
        counted.keep(cloud, stored, read_time(attempt.work))
        return Done(
            work={
                "archive": asdict(stored),
                "upload_url": firestore.DELETE_FIELD,
                "uploaded": firestore.SERVER_TIMESTAMP,
            }
        )
    if read_time(attempt.work) < batch.expires:
        return Later(after=LOOK_AFTER)
    logs.info("batch expired")
    return Done(end=End(EXPIRED))
