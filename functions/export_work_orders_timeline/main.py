"""Writes and delivers a run of work_orders_timeline."""

import functions_framework
from cloudevents.http.event import CloudEvent

from shared import events
from shared.exports.steps import KIND


@functions_framework.cloud_event
def export_work_orders_timeline(event: CloudEvent) -> None:
    """Do one piece of a run."""
    events.answer_work(event, KIND)
