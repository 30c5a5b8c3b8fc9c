"""Removes objects that are not needed any more."""

import functions_framework
from cloudevents.http.event import CloudEvent

from shared import events
from shared.removals import KIND


@functions_framework.cloud_event
def remove_objects(event: CloudEvent) -> None:
    """Remove the images of a deleted work order, or an archive that was taken in, once that is due."""
    events.answer_work(event, KIND)
