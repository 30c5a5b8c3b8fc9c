"""Begins the windows that are due of some exports."""

import functions_framework
from cloudevents.http.event import CloudEvent

from shared import events
from shared.exports import beginning


@functions_framework.cloud_event
def begin_exports(event: CloudEvent) -> None:
    """Begin the windows of the exports that the message names."""
    events.answer(event, beginning.begin)
