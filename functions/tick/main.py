"""The tick of every minute: start what is due; take up what got stuck."""

import functions_framework
from cloudevents.http.event import CloudEvent

from shared import events
from shared.exports import steps


@functions_framework.cloud_event
def tick(event: CloudEvent) -> None:
    """Start what is due by the tick's publish time."""
    events.answer(event, steps.tick)
