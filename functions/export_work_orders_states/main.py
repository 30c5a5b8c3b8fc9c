"""Writes and delivers a run of work_orders_states."""

import functions_framework
from cloudevents.http.event import CloudEvent

from shared import logs
from shared.exports import steps
from shared.gcp import messages
from shared.gcp.clients import connect


@functions_framework.cloud_event
def export_work_orders_states(event: CloudEvent) -> None:
    """Take a run on, or write one of its parts."""
    logs.configure()
    steps.export(connect(), messages.parse(event))
