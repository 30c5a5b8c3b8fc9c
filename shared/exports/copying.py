"""Step five of a run: copy its images slice by slice, a slice being a range of lines of one part's list."""

from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice

from google.api_core.exceptions import AlreadyExists

from shared import logs
from shared.clock import elapsed_since, stopwatch
from shared.delivery.base import Copy, CopyResult
from shared.exports import names, runs
from shared.exports.delivering import destination, slices_of
from shared.exports.manifest import LostImage
from shared.exports.runs import DELIVERING, Run, WrittenPart
from shared.gcp import leases
from shared.gcp.clients import Cloud
from shared.gcp.documents import fields_of
from shared.gcp.leases import Done, GotOn, Lease
from shared.workorders import images
from shared.workorders.images import LINE_BYTES, Image

FUNCTION = "copy_images"

SLICES_A_COMMIT = 400
"""How many slices' documents are made at once. A request may hold 10 MiB."""


def make_slices(cloud: Cloud, run: Run) -> None:
    """Make the document of every slice that has none yet. Doing it twice is doing it once."""
    collection = cloud.db.collection(f"{run.path}/slices")
    there = {each.id for each in collection.select([]).stream()}
    missing = ((id, part) for part, id in _slices(cloud, run) if id not in there)
    while some := list(islice(missing, SLICES_A_COMMIT)):
        batch = cloud.db.batch()
        for id, part in some:
            batch.create(collection.document(id), {"part": part.id, **leases.new_work()})
        try:
            batch.commit()
        except AlreadyExists:
            return make_slices(cloud, run)  # another attempt makes them, too: see what is missing now
    return None


def tell_slices(cloud: Cloud, run: Run) -> None:
    """Have every slice copied that nobody is at."""
    waiting = cloud.db.collection(f"{run.path}/slices").where(filter=leases.untaken())
    messages = [{**run.message, "slice": each.id} for each in waiting.select([]).stream()]
    cloud.messages.publish(FUNCTION, *messages)


def copy_slice(cloud: Cloud, run: Run, id: str) -> None:
    """Copy the images of a slice and write down what came of it, once.

    CustomerMustAct where the customer's bucket refuses; other errors as `leases.do`. What the first attempt
    found stands: the manifest is made of it.
    """
    if run.state != DELIVERING:
        return
    reference = cloud.db.document(f"{run.path}/slices/{id}")

    def work(lease: Lease) -> Done:
        part = runs.written_part_of(cloud, run, fields_of(reference.get())["part"])
        listed = _listed(cloud, part, int(id.rpartition("-")[2]))
        outcome = _copy(cloud, run, part.site, listed, lease)
        return Done(
            {
                "copied": outcome.copied,
                "present": outcome.present,
                "missing": _lost(run, part.site, listed, outcome.missing),
                "conflicts": _lost(run, part.site, listed, outcome.conflicts),
            }
        )

    done = leases.do(cloud, run.path, reference, work)
    if done is not None:
        counted = {
            name: found if isinstance(found, int) else len(found) for name, found in done.fields.items()
        }
        logs.info("images copied", slice=id, **counted)


def _slices(cloud: Cloud, run: Run) -> Iterator[tuple[WrittenPart, str]]:
    for part in runs.written_parts(cloud, run):
        for id in slices_of(cloud, part):
            yield part, id


def _listed(cloud: Cloud, part: WrittenPart, number: int) -> list[Image]:
    if part.images is None:
        raise ValueError(f"the part {part.id} has no images")
    size = cloud.settings.slice_images * LINE_BYTES
    start = number * size
    return list(images.decode(cloud.objects.read(part.images, start, min(start + size, part.images.size))))


def _copy(cloud: Cloud, run: Run, site: str, listed: list[Image], lease: Lease) -> CopyResult:
    copies = (
        Copy(
            source_name=images.object_name(run.customer, site, image),
            generation=image.generation,
            size=image.size,
            crc32c=image.crc32c,
            name=names.image(site, image.file_name),
        )
        for image in listed
    )
    began = stopwatch()

    def report(so_far: CopyResult) -> None:
        over = elapsed_since(began) >= cloud.settings.attempt_seconds
        if over and so_far.copied and run.config.connector.slow:
            raise GotOn("the attempt's time is over; the next finds what is copied, and copies the rest")
        lease.beat_if_due()

    with destination(cloud, run) as there:
        return there.copy_images(copies, report)


def _lost(run: Run, site: str, listed: list[Image], copies: list[Copy]) -> list[dict[str, str]]:
    # In the order of the list, whatever order the answers came in: the manifest has it so.
    gone = {copy.source_name for copy in copies}
    return [
        asdict(LostImage(site, image.id, image.file_extension))
        for image in listed
        if images.object_name(run.customer, site, image) in gone
    ]
