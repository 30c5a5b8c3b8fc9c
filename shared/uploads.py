"""What came to be in the uploads bucket: the archive of a batch, or the file of a job."""

from shared.accounts import stored
from shared.batches import steps as batches
from shared.gcp.clients import Cloud
from shared.gcp.messages import ObjectFinalised
from shared.jobs import receiving
from shared.jobs.steps import FUNCTION


def came(cloud: Cloud, event: ObjectFinalised) -> None:
    """Count an object among what its customer stores; have the batch or the jobs go on that wait for it."""
    stored.came(cloud, event.name)
    if not receiving.upload_came(cloud, FUNCTION, event):
        batches.archive_came(cloud, event)
