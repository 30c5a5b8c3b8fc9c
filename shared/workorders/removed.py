"""Until when the images of a deleted work order are kept, and where it is written down that they go.

`shared/removals.py` removes them. A work order can be made anew before that, with the very same images.
"""

from collections.abc import Sequence
from datetime import timedelta

from shared.errors import Retry
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, read_time
from shared.workorders import images

IMAGES_KEPT = timedelta(days=7)
"""How long after its deletion a work order's images are kept: as long as Firestore can be read back, so that
every run whose window shows the work order finds them."""

GRACE = timedelta(hours=1)
"""How much later they are removed: whoever makes the work order anew saw, before IMAGES_KEPT had passed,
that they are there, and commits within an attempt, which is shorter.
https://cloud.google.com/functions/quotas#time_limits"""

COLLECTION = "removals"
"""One document for each customer: the work whose pieces are what is removed of them."""

STAGE = "remove"

PLAN = "customer"
"""The one plan of a customer's removals: whatever is due belongs to it."""


def work_path(customer: str) -> str:
    """The document of a customer's removals."""
    return f"{COLLECTION}/{customer}"


def piece_path(customer: str, name: str) -> str:
    """The piece of what is removed together."""
    return f"{work_path(customer)}/pieces/{PLAN}.{name}"


def check_before(cloud: Cloud, customer: str, ids: Sequence[str]) -> None:
    """To be called before images of work orders are stored, by the work orders' ids. Retry while images that
    one of them had before it was deleted are being removed, or will be soon: what is to be stored can be one
    of those, found there, and gone before the work order says that it is its own."""
    paths = [piece_path(customer, id) for id in ids]
    for snapshot in cloud.db.get_all([cloud.db.document(path) for path in paths], ["due"]):
        if snapshot.exists and snapshot.get("due") - read_time(snapshot) <= GRACE:
            raise Retry("the images that a work order had before it was deleted are being removed")


def check_images(cloud: Cloud, customer: str, site: str, tombstone: Snapshot, wanted: bytes) -> None:
    """See that the images of a work order that is made anew will stay. Retry while those that it had are
    being removed, or where some that were there a moment ago are gone: the next attempt stores them again.

    Not Busy: this lasts for up to GRACE, and an attempt that ends as Busy counts as one without a result.
    """
    if read_time(tombstone) - tombstone.update_time < IMAGES_KEPT:
        return
    if cloud.db.document(piece_path(customer, tombstone.id)).get([]).exists:
        raise Retry("the images that the work order had before it was deleted are being removed")
    for image in images.decode(wanted):
        name = images.name_of(customer, site, image.id, image.file_extension)
        if cloud.objects.stat(cloud.settings.images_bucket, name) is None:
            raise Retry("an image of the work order was removed a moment ago, with what it was before")
