"""Step five of a run: copy its images slice by slice, a slice being a range of lines of one part's list."""

from dataclasses import asdict

from shared import logs
from shared.clock import elapsed_since, stopwatch
from shared.delivery.base import Copy, CopyResult
from shared.exports import names
from shared.exports.delivering import TimeUp, destination
from shared.exports.manifest import LostImage
from shared.exports.runs import Run
from shared.gcp.clients import Cloud
from shared.gcp.objects import Stored
from shared.work.attempts import Attempt
from shared.work.kinds import Done, Later
from shared.workorders import images
from shared.workorders.images import Image

FUNCTION = "copy_images"


def copy(cloud: Cloud, run: Run, attempt: Attempt) -> Done | Later:
    """Copy the images of a slice, and write down what came of it. CustomerMustAct where the customer's bucket
    refuses. What the first attempt found stands: the manifest is made of it."""
    fields = attempt.fields
    listed = list(images.decode(cloud.objects.read(Stored(**fields["list"]), fields["start"], fields["end"])))
    try:
        result = _copy(cloud, run, fields["site"], listed, attempt)
    except TimeUp:
        return Later()
    lost = {
        "missing": _lost(run, fields["site"], listed, result.missing),
        "conflicts": _lost(run, fields["site"], listed, result.conflicts),
    }
    counted = {name: len(found) for name, found in lost.items()}
    logs.info(
        "images copied", slice=attempt.piece.name, copied=result.copied, present=result.present, **counted
    )
    return Done({"copied": result.copied, "present": result.present, **lost})


def _copy(cloud: Cloud, run: Run, site: str, listed: list[Image], attempt: Attempt) -> CopyResult:
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
        if over and so_far.copied:
            raise TimeUp  # the next attempt finds what is copied, and copies the rest
        attempt.heartbeat()

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
