"""Reads the directory of an archive that was uploaded, and plans how it is imported."""

import functions_framework
from cloudevents.http.event import CloudEvent

from shared import events
from shared.batches import steps


@functions_framework.cloud_event
def ingest_batch(event: CloudEvent) -> None:
    """Receive the archive that came to be in the uploads bucket, and plan its batch."""
    events.answer_object(event, steps.archive_came)
