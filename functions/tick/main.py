"""The tick of every minute: start what is due; take up what got stuck."""

import functions_framework
from cloudevents.http.event import CloudEvent

from shared import events, minute


@functions_framework.cloud_event
def tick(event: CloudEvent) -> None:
    """Start what is due by the tick's publish time."""
    events.answer(event, minute.tick)
