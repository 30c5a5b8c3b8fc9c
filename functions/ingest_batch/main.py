"""Reads the directory of an archive that was uploaded, and plans how it is taken in."""

import functions_framework
from cloudevents.http.event import CloudEvent

from shared import events
from shared.batches import steps


@functions_framework.cloud_event
def ingest_batch(event: CloudEvent) -> None:
    """Take on the batch whose archive came to be in the uploads bucket."""
    events.answer_object(event, steps.archive_came)
