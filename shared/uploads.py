"""What came to be in the uploads bucket: the archive of a batch, or the file of a job."""

from shared.batches import steps as batches
from shared.gcp.clients import Cloud
from shared.gcp.messages import ObjectFinalised
from shared.jobs import receiving
from shared.jobs.steps import FUNCTION


def came(cloud: Cloud, event: ObjectFinalised) -> None:
    """Have the batch or the jobs go on that wait for an object."""
    if not receiving.upload_came(cloud, FUNCTION, event):
        batches.archive_came(cloud, event)
