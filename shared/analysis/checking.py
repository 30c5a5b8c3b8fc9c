"""The checks on photographs that are new: read from our bucket, looked at, some of them at a time."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from google.api_core.exceptions import NotFound

from shared.accounts.customers import Site
from shared.analysis import decoding
from shared.gcp.clients import Cloud
from shared.gcp.objects import Stored
from shared.workorders import images, stored
from shared.workorders.images import LINE_BYTES, Image
from shared.workorders.record import DataConformity
from shared.workorders.stored import DONE, DUE, StoredWorkOrder

READ_AT_ONCE = 4
"""How many photographs are in memory at once as they came."""

DUPLICATE = DataConformity("duplicate", "DUPLICATE", "warning")
"""Of a photograph whose bytes the work order has already under another name."""

MISSING = DataConformity("readable", "MISSING", "error")
"""Of a photograph that is no longer in our bucket as it was imported."""


@dataclass(frozen=True)
class Checked:
    """What the checks found of the images after those that were checked before, in their order.

    upto  the lines of all images that are checked now
    """

    found: dict[str, tuple[DataConformity, ...]]
    upto: bytes

    def put_into(self, site: Site, held: StoredWorkOrder) -> StoredWorkOrder:
        """A work order with these. One whose images are others, since it was deleted and made anew, stays as
        it is; a site without an analyser asks for no more than this."""
        if not held.images.startswith(self.upto):
            return held
        after = stored.with_checks(site, held, self.found, len(self.upto) // LINE_BYTES)
        if after.analysis == DUE and not after.unchecked and not site.analysis_url:
            after = replace(after, analysis=DONE, failure="")
        return after


def check(
    cloud: Cloud,
    site: Site,
    held: StoredWorkOrder,
    in_time: Callable[[], bool],
    alive: Callable[[], None] = lambda: None,
) -> Checked:
    """Check the images that are not, one after the other until it is no longer `in_time`; `alive` is called
    after each, and what it raises passes.

    Google's errors pass, where an image cannot be read now.
    """
    again = images.originals(list(images.decode(held.images)))
    wanted = True

    def one(image: Image) -> tuple[DataConformity, ...] | None:
        if not (wanted and in_time()):
            return None
        found = _looked_at(cloud, site, image, in_time)
        return (*found, DUPLICATE) if found is not None and image.id in again else found

    by_input = {}
    with ThreadPoolExecutor(READ_AT_ONCE) as pool:
        try:
            for image, found in zip(held.unchecked, pool.map(one, held.unchecked), strict=True):
                if found is None:
                    break
                by_input[image.id] = found
                alive()
        finally:
            wanted = False  # where something was raised, the others need not be looked at
    return Checked(by_input, held.images[: (held.checked + len(by_input)) * LINE_BYTES])


def _looked_at(
    cloud: Cloud, site: Site, image: Image, in_time: Callable[[], bool]
) -> tuple[DataConformity, ...] | None:
    name = images.object_name(site.customer, site.id, image)
    stored = Stored(cloud.settings.images_bucket, name, image.generation, image.size, image.crc32c)
    try:
        content = cloud.objects.read(stored) if image.size else b""
    except NotFound:
        # Where all of the bucket is gone, this raises: that is no photograph's fault.
        cloud.objects.stat(stored.bucket, stored.name)
        return (MISSING,)
    return decoding.check(content, in_time)
