"""Copies one slice of a run's images into the customer's bucket."""

import functions_framework
from cloudevents.http.event import CloudEvent

from shared import logs
from shared.exports import steps
from shared.gcp import messages
from shared.gcp.clients import connect


@functions_framework.cloud_event
def copy_images(event: CloudEvent) -> None:
    """Copy the slice, and finish the run if it was the last."""
    logs.configure()
    steps.copy(connect(), messages.parse(event))
