"""The use cases of `/v0.2/batches`: make a batch, look at it, cancel it."""

import contextlib
import uuid
from datetime import timedelta
from typing import Any

from google.api_core.exceptions import AlreadyExists
from pydantic import BaseModel, ConfigDict, Field

from shared import logs
from shared.accounts.customers import Site, get_customer
from shared.accounts.keys import Caller
from shared.batches import batch as batches
from shared.batches.batch import CANCELLED, ENDED, WAITING_FOR_UPLOAD, Batch
from shared.errors import Invalid, NotFound
from shared.gcp.clients import Cloud
from shared.gcp.documents import server_time
from shared.http.bodies import Address

SESSION_LIFE = timedelta(days=7)
"""How long an upload URL works.
https://cloud.google.com/storage/docs/resumable-uploads#session-uris"""

NOTIFY_MOST = 50
"""How many addresses a batch may tell."""

CONTENT_TYPE = "application/zip"


class NewBatch(BaseModel):
    """What a batch is made of. Nothing is needed."""

    model_config = ConfigDict(extra="forbid")

    filename: str | None = Field(
        default=None, max_length=255, description="The name of the archive; it is only shown."
    )
    size: int | None = Field(
        default=None, gt=0, description="How many bytes the archive has; then it must have exactly those."
    )
    notify: tuple[Address, ...] = Field(
        default=(),
        max_length=NOTIFY_MOST,
        description="Who is mailed when the batch ends; without any, those whom the customer has named.",
    )


def create(cloud: Cloud, caller: Caller, site: Site, asked: NewBatch) -> Batch:
    """Make a batch of a site and the URL that its archive is to be uploaded to.

    Invalid where the size is more than the customer may upload. The URL takes one object of our name and
    never another; with a `size` exactly one of that many bytes.
    """
    customer = get_customer(cloud.db, caller.customer)
    most = customer.batch_bytes
    if asked.size is not None and asked.size > most:
        raise Invalid.field("size", f"is more than the {most} bytes that an archive of yours may have")
    id = str(uuid.UUID(hex=cloud.new_id(), version=4))
    url = cloud.objects.start_upload(
        cloud.settings.uploads_bucket,
        batches.archive_name(caller.customer, id),
        CONTENT_TYPE,
        asked.size,
    )
    now = server_time(cloud.db)
    batch = Batch(
        id=id,
        customer=caller.customer,
        site=site.id,
        user=caller.key,
        status=WAITING_FOR_UPLOAD,
        created=now,
        expires=now + SESSION_LIFE,
        filename=asked.filename,
        declared=asked.size,
        notify=asked.notify or customer.notify,
        upload_url=url,
    )
    with contextlib.suppress(AlreadyExists):  # the id is new: it is our own write, whose answer was lost
        cloud.db.document(batch.path).create(batches.new_batch(batch))
    with logs.bound(batch=id, customer=caller.customer):
        logs.info("batch made", site=site.id)
    return batch


def get(cloud: Cloud, caller: Caller, id: str) -> Batch:
    """The caller's batch of that id; NotFound where there is none, or it is another customer's."""
    batch = batches.get(cloud, id)
    if batch is None or batch.customer != caller.customer:
        raise NotFound(f"there is no batch {id}")
    return batch


def cancel(cloud: Cloud, batch: Batch) -> Batch:
    """Cancel what of a batch has not been processed; what was taken in stays. One that has ended stays as it
    is."""
    if batch.upload_url is not None:
        cloud.objects.cancel_upload(batch.upload_url)

    def decide(current: Batch) -> dict[str, Any] | None:
        if current.status in ENDED:
            return None
        return batches.ended(CANCELLED)

    return batches.move(cloud, batch, decide)
