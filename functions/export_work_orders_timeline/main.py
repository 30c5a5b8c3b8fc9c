"""Writes and delivers a run of work_orders_timeline."""

import functions_framework
from cloudevents.http.event import CloudEvent

from shared import events
from shared.exports import steps


@functions_framework.cloud_event
def export_work_orders_timeline(event: CloudEvent) -> None:
    """Take a run on, or write one of its parts."""
    events.answer(event, steps.export)
