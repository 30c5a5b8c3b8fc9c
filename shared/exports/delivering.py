"""Step four of a run: pin what is delivered, and deliver its data files.

From the change to DELIVERING on, exactly the objects of the written parts are delivered, whatever is retried:
a part that is done never changes, and what a run is made of is counted in the same transaction.
"""

from collections.abc import Iterator
from dataclasses import asdict
from itertools import groupby

from google.api_core.exceptions import AlreadyExists
from google.cloud import firestore

from shared import logs
from shared.delivery.cloud_storage.bucket import CustomerBucket
from shared.exports import names, runs
from shared.exports.manifest import File
from shared.exports.runs import DELIVERING, RUNNING, Run, Totals, WrittenPart
from shared.exports.writing import EXTENSION, LINES_TYPE
from shared.gcp.clients import Cloud
from shared.gcp.documents import fields_of, transact
from shared.gcp.leases import ALIVE
from shared.gcp.objects import COMPOSE_MOST, Stored
from shared.workorders.images import LINE_BYTES


def bucket_of(cloud: Cloud, run: Run) -> CustomerBucket:
    """The bucket that a run delivers to, as the customer's account."""
    uri = run.config.connector_config.uri
    return CustomerBucket(cloud.as_customer(run.account), run.account, uri.bucket)


def pin(cloud: Cloud, run: Run) -> Run:
    """Move a run whose parts are all written to DELIVERING, with the totals of what that delivers."""
    parts = list(runs.written_parts(cloud, run))
    slices = sum(len(slices_of(cloud, part)) for part in parts)
    totals = Totals(
        files=len({part.site for part in parts if part.lines}),
        rows=sum(part.rows for part in parts),
        bytes=sum(part.lines.size for part in parts if part.lines),
        images=sum(part.images.size // LINE_BYTES for part in parts if part.images),
        slices=slices,
    )
    reference = cloud.db.document(run.path)

    def move(transaction: firestore.Transaction) -> None:
        if reference.get(transaction=transaction).get("state") == RUNNING:
            pinned = {
                "state": DELIVERING,
                "totals": asdict(totals),
                "delivering": firestore.SERVER_TIMESTAMP,
                **ALIVE,
            }
            transaction.update(reference, pinned)

    transact(cloud.db, move)
    return runs.from_snapshot(reference.get())


def slices_of(cloud: Cloud, part: WrittenPart) -> list[str]:
    """The ids of the slices that a part's images are copied in; the n-th of `<part>-<n>` takes the n-th
    `settings.slice_images` lines of the part's list."""
    if part.images is None:
        return []
    count = -(-part.images.size // (cloud.settings.slice_images * LINE_BYTES))
    return [f"{part.id}-{number}" for number in range(count)]


def deliver_files(cloud: Cloud, run: Run) -> None:
    """Deliver the data file of each site that has one, and write down each that is there.

    CustomerMustAct where the customer's bucket refuses.
    """
    bucket = bucket_of(cloud, run)
    delivered = {each.id for each in cloud.db.collection(f"{run.path}/files").select([]).stream()}
    for site, parts in groupby(runs.written_parts(cloud, run), key=lambda part: part.site):
        written = [part for part in parts if part.lines]
        if not written or site in delivered:
            continue
        staged = _joined(cloud, run, site, [part.lines for part in written if part.lines])
        file = File(
            name=_file_name(run, site),
            site_id=site,
            rows=sum(part.rows for part in written),
            bytes=staged.size,
            crc32c=staged.crc32c,
        )
        bucket.deliver(staged, file.name)
        try:
            cloud.db.document(f"{run.path}/files/{site}").create(asdict(file))
        except AlreadyExists:
            continue  # another attempt delivered the very same
        logs.info("file delivered", site=site, rows=file.rows, bytes=file.bytes)


def delivered_files(cloud: Cloud, run: Run) -> Iterator[File]:
    """The data files that are there, in the order of their sites."""
    for snapshot in cloud.db.collection(f"{run.path}/files").order_by("__name__").stream():
        yield File(**fields_of(snapshot))


def _file_name(run: Run, site: str) -> str:
    config = run.config
    prefix = config.connector_config.uri.prefix
    return names.data_file(prefix, site, config.export_type, run.window, config.zone, run.id, EXTENSION)


def _joined(cloud: Cloud, run: Run, site: str, sources: list[Stored]) -> Stored:
    """One staged object of all these, in order: 32 at a time, then those, until one is left."""
    bucket = cloud.settings.staging_bucket
    level = 0
    while len(sources) > 1:
        groups = [sources[i : i + COMPOSE_MOST] for i in range(0, len(sources), COMPOSE_MOST)]
        sources = [
            cloud.objects.compose(
                bucket,
                names.staged(run.customer, run.export, run.id, f"{site}.{level}-{number}.{EXTENSION}"),
                group,
                LINES_TYPE,
            )
            for number, group in enumerate(groups)
        ]
        level += 1
    return sources[0]
