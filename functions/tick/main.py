"""The tick of every minute: start what is due."""

import functions_framework
from cloudevents.http.event import CloudEvent

from shared import logs
from shared.exports.tick import tick as start_what_is_due
from shared.gcp import messages
from shared.gcp.clients import connect


@functions_framework.cloud_event
def tick(event: CloudEvent) -> None:
    """Start what is due by the tick's publish time."""
    logs.configure()
    start_what_is_due(connect(), messages.parse(event).published)
