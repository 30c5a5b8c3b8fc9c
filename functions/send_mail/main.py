"""Sends one mail to one recipient."""

import functions_framework
from cloudevents.http.event import CloudEvent

from shared import events
from shared.outbox import sending


@functions_framework.cloud_event
def send_mail(event: CloudEvent) -> None:
    """Send the mail that the message names, once."""
    events.answer(event, sending.send)
