"""The use cases of `/v0.2/batches`: make a batch, look at it, cancel it."""

import contextlib
import uuid
from typing import Annotated, Any

from google.cloud.firestore_v1 import FieldFilter
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from shared import logs
from shared.accounts import limits, stored
from shared.accounts.customers import Site, get_customer
from shared.accounts.keys import Caller
from shared.batches import batch as batches
from shared.batches import code_pages
from shared.batches.batch import Batch
from shared.batches.receiving import LOOK_AFTER
from shared.batches.steps import KIND
from shared.errors import Conflict, Invalid, NotFound
from shared.gcp.clients import Cloud
from shared.http.bodies import Address
from shared.http.idempotency import Repeatable
from shared.outbox import outside
from shared.work import control, overview

MAX_NOTIFY = 50
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
    code_page: Annotated[str, AfterValidator(code_pages.canonical)] | None = Field(
        default=None,
        description="The code page of the names in the archive that it does not say to be UTF-8, as `cp850`; "
        "without one, the site's, where such names are not UTF-8.",
    )
    notify: tuple[Address, ...] = Field(
        default=(),
        max_length=MAX_NOTIFY,
        description="Who is mailed when the batch ends; without any, those whom the customer has named.",
    )
    origin: str | None = Field(
        default=None,
        max_length=255,
        description="The origin of the page that will upload the archive from a browser: Waybill's own. "
        "Without one, no page can use the upload URL.",
    )


def create(cloud: Cloud, caller: Caller, site: Site, asked: NewBatch, once: Repeatable) -> Batch:
    """Make a batch of a site and the URL that its archive is to be uploaded to; or find the one that the same
    request has made.

    Invalid where the size is more than the customer may upload, and for the origin of another site than
    ours; TooMany where it has too many batches, or too many bytes are stored; Conflict where another request
    had its key. The URL takes one object of our name and never another; with a `size` exactly one of that
    many bytes.
    """
    id = str(uuid.UUID(hex=once.id(cloud, f"batches of {site.id}", 32), version=4))
    if once.key is not None and (made := batches.get(cloud, id)) is not None:
        once.must_be(made.asked, id)
        return made
    if asked.origin is not None and asked.origin != cloud.settings.origin:
        ours = cloud.settings.origin or "none: WAYBILL_URL is not set"
        raise Invalid.field("origin", f"is not that of Waybill's own pages, which is {ours}")
    customer = get_customer(cloud.db, caller.customer)
    most = customer.limit(limits.BATCH_BYTES)
    if asked.size is not None and asked.size > most:
        raise Invalid.field("size", f"is more than the {most} bytes that an archive of yours may have")
    limits.OPEN_BATCHES.check(customer.limit(limits.OPEN_BATCHES), open_batches(cloud, customer.id))
    limits.QUEUED_BATCHES.check(customer.limit(limits.QUEUED_BATCHES), queued_batches(cloud, customer.id))
    stored.check(cloud, customer.id, asked.size)
    outside.name(cloud, customer, asked.notify)
    name = batches.archive_name(caller.customer, id)
    url = cloud.objects.start_upload(
        cloud.settings.uploads_bucket, name, CONTENT_TYPE, asked.size, asked.origin
    )
    stored.expect(cloud, name, asked.size, batches.SESSION_LIFE)
    document = {
        "site_id": site.id,
        "user": caller.key,
        "filename": asked.filename,
        "declared": asked.size,
        "code_page": asked.code_page,
        "notify": list(asked.notify or customer.notify),
        "origin": asked.origin,
        "asked": once.asked,
        "searchable": True,
        "upload_url": url,
    }
    reference = cloud.db.document(batches.path(id))
    control.create(cloud, KIND, reference, caller.customer, document, after=LOOK_AFTER)
    with logs.bound(batch=id, customer=caller.customer):
        logs.info("batch made", site=site.id)
    made = get(cloud, caller, id)
    if once.key is not None:  # another with this key may have been quicker
        once.must_be(made.asked, id)
    return made


def open_batches(cloud: Cloud, customer: str) -> Any:
    """The query of a customer's batches that have not ended."""
    return overview.open_of(cloud, KIND, customer)


def queued_batches(cloud: Cloud, customer: str) -> Any:
    """The query of a customer's batches whose archive has come, and that have not ended."""
    query = cloud.db.collection("batches").where(filter=FieldFilter("customer", "==", customer))
    return query.where(filter=FieldFilter("state", "in", list(batches.UNDER_WAY)))


def get(cloud: Cloud, caller: Caller, id: str) -> Batch:
    """The caller's batch of that id; NotFound where there is none, or it is another customer's."""
    batch = batches.get(cloud, id)
    if batch is None or batch.customer != caller.customer:
        raise NotFound(f"there is no batch {id}")
    return batch


def cancel(cloud: Cloud, batch: Batch) -> None:
    """Cancel what of a batch has not been processed; what was imported stays. One that has ended stays as it
    is."""
    if batch.upload_url is not None:
        cloud.objects.cancel_upload(batch.upload_url)
        stored.withdrawn(cloud, batches.archive_name(batch.customer, batch.id))
    with contextlib.suppress(Conflict):
        control.cancel(cloud, KIND, cloud.db.document(batch.path))
