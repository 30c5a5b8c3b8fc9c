"""Takes one slice of an archive in."""

import functions_framework
from cloudevents.http.event import CloudEvent

from shared import events
from shared.batches import steps


@functions_framework.cloud_event
def ingest_work_orders(event: CloudEvent) -> None:
    """Take the slice in, and finish the batch if it was the last; or take a batch on."""
    events.answer(event, steps.take_on)
