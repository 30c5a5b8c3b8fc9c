"""Receiving the file of an import: whoever finds it there pins it as it stands. The event of its upload says
at once that it is there; an event can be lost, so it is also looked for now and then."""

import re
from dataclasses import asdict
from datetime import timedelta

from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter

from shared import logs
from shared.accounts import limits
from shared.accounts import stored as counted
from shared.gcp.clients import Cloud
from shared.gcp.documents import read_time, server_time
from shared.gcp.messages import ObjectFinalised
from shared.jobs import job as jobs
from shared.jobs.job import EXPORT, REJECTED, UPLOAD_LIFE, Job, ending_of
from shared.work import pieces, stages
from shared.work.attempts import Attempt
from shared.work.kinds import Done, Later

STAGE = "receive"

LOOK_AFTER = timedelta(hours=1)
"""How often a file is looked for of which no event came."""

MAX_WAITING = 100
"""How many jobs may wait for one upload."""

_NAME = re.compile(r"([^/]+)/jobs/([0-9a-f]{32})")


def upload_came(cloud: Cloud, function: str, event: ObjectFinalised) -> bool:
    """Have the jobs go on that wait for an upload; False where the object is no job's. Only the object's name
    counts, which we chose."""
    name = _NAME.fullmatch(event.name)
    if name is None:
        return False
    waiting = cloud.db.collection("jobs").where(filter=FieldFilter("upload", "==", name[2]))
    for snapshot in waiting.select(["customer", "stage"]).limit(MAX_WAITING).stream():
        fields = snapshot.to_dict() or {}
        waits = fields.get("customer") == name[1] and fields.get("stage") == STAGE
        if waits and not stages.make_ready(cloud, snapshot.reference, STAGE):
            cloud.messages.publish(function, pieces.message(snapshot.reference.path, STAGE))
    stages.publish_ready(cloud, name[1], function, server_time(cloud.db))
    return True


def receive(cloud: Cloud, job: Job, attempt: Attempt) -> Done | Later:
    """Pin the file: from then on exactly that generation is read. While there is none, look again later. One
    that is larger than the customer may upload is not read: its size may not have been said before."""
    if job.does == EXPORT:
        return Done()
    if job.file is not None:
        counted.keep(cloud, job.file, read_time(attempt.work))
        return Done()
    if job.upload is None:
        raise ValueError(f"the job {job.id} is an import and has no upload")
    stored = cloud.objects.stat(cloud.settings.uploads_bucket, jobs.upload_name(job.customer, job.upload))
    if stored is not None:
        logs.info("file received", bytes=stored.size)
        counted.keep(cloud, stored, read_time(attempt.work))
        most = limits.value(cloud.db, job.customer, limits.BATCH_BYTES)
        if stored.size > most:
            limit = f"the limit {limits.BATCH_BYTES.name} is {most:,}"
            reason = f"The file has {stored.size:,} bytes, and {limit}: split it, or {limits.ASK}."
            return Done(next="finish", work=ending_of(REJECTED, reason))
        # Until now it waited for its customer, and did not run.
        return Done(work={"file": asdict(stored), "started": firestore.SERVER_TIMESTAMP})
    if read_time(attempt.work) < job.created + UPLOAD_LIFE:
        return Later(after=LOOK_AFTER)
    reason = "No file was uploaded within seven days: ask for another upload URL, and import again."
    return Done(next="finish", work=ending_of(REJECTED, reason))
