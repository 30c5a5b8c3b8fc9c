"""Copies one slice of a run's images into the customer's bucket."""

import functions_framework
from cloudevents.http.event import CloudEvent

from shared import events
from shared.exports.steps import KIND


@functions_framework.cloud_event
def copy_images(event: CloudEvent) -> None:
    """Copy the slice."""
    events.answer_work(event, KIND)
