"""The tick of every minute: have what is due begun, and resume what is stalled."""

import functions_framework
from cloudevents.http.event import CloudEvent

from shared import events, minute


@functions_framework.cloud_event
def tick(event: CloudEvent) -> None:
    """Do what is due by the tick's publish time."""
    events.answer(event, minute.tick)
