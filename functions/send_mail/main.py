"""Sends one mail to one recipient."""

import functions_framework
from cloudevents.http.event import CloudEvent

from shared import events
from shared.outbox.sending import KIND


@functions_framework.cloud_event
def send_mail(event: CloudEvent) -> None:
    """Send the mail, once."""
    events.answer_work(event, KIND)
