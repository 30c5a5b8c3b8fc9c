"""Writes and delivers a run of any source that has no function of its own."""

import functions_framework
from cloudevents.http.event import CloudEvent

from shared import events
from shared.exports import steps


@functions_framework.cloud_event
def export_source(event: CloudEvent) -> None:
    """Take a run on, or write one of its parts."""
    events.answer(event, steps.export)
