"""Step five of a run: copy one slice of its images, a range of the lines of one part's list."""

from dataclasses import asdict

from google.api_core.exceptions import AlreadyExists

from shared import logs
from shared.delivery.cloud_storage.copying import Copy, copy_images
from shared.exports import names, runs
from shared.exports.delivering import bucket_of, slices_of
from shared.exports.manifest import LostImage
from shared.exports.runs import DELIVERING, Run
from shared.gcp.clients import Cloud
from shared.workorders import images
from shared.workorders.images import LINE_BYTES, Image

FUNCTION = "copy_images"


def publish_slices(cloud: Cloud, run: Run) -> None:
    """Have every slice copied that has not left its document yet."""
    done = {each.id for each in cloud.db.collection(f"{run.path}/slices").select([]).stream()}
    waiting = [
        {**run.message, "part": part.id, "slice": slice}
        for part in runs.written_parts(cloud, run)
        for slice in slices_of(cloud, part)
        if slice not in done
    ]
    cloud.messages.publish(FUNCTION, *waiting)


def copy_slice(cloud: Cloud, run: Run, part_id: str, slice: str) -> None:
    """Copy the images of a slice and leave its document, once.

    CustomerMustAct where the customer's bucket refuses. What a first attempt found stands: the manifest is
    made of it.
    """
    document = cloud.db.document(f"{run.path}/slices/{slice}")
    if run.state != DELIVERING or document.get().exists:
        return
    part = runs.written_part_of(cloud, run, part_id)
    if part.images is None:
        return
    bytes_a_slice = cloud.settings.slice_images * LINE_BYTES
    start = int(slice.rpartition("-")[2]) * bytes_a_slice
    lines = cloud.objects.read(part.images, start, min(start + bytes_a_slice, part.images.size))
    prefix = run.config.connector_config.uri.prefix
    listed = list(images.decode(lines))
    outcome = copy_images(
        bucket_of(cloud, run),
        (
            Copy(
                source_name=images.object_name(run.customer, part.site, image),
                generation=image.generation,
                size=image.size,
                crc32c=image.crc32c,
                name=names.image(prefix, part.site, image.file_name),
            )
            for image in listed
        ),
        source_bucket=cloud.settings.images_bucket,
        storage_url=cloud.settings.storage_url,
    )
    by_name = {names.image(prefix, part.site, image.file_name): image for image in listed}

    def lost(copies: list[Copy]) -> list[dict[str, str]]:
        # In the order of the list, whatever order the answers came in: the manifest has it so.
        gone = {copy.name for copy in copies}
        return [asdict(_lost(part.site, image)) for name, image in by_name.items() if name in gone]

    try:
        document.create(
            {
                "copied": outcome.copied,
                "present": outcome.present,
                "missing": lost(outcome.missing),
                "conflicts": lost(outcome.conflicts),
            }
        )
    except AlreadyExists:
        return  # another attempt was quicker
    logs.info(
        "images copied",
        slice=slice,
        copied=outcome.copied,
        present=outcome.present,
        missing=len(outcome.missing),
        conflicts=len(outcome.conflicts),
    )


def _lost(site: str, image: Image) -> LostImage:
    return LostImage(site, image.id, image.file_extension)
