"""Has what waits for an upload go on: reads the directory of an archive, or resumes the job of a file."""

import functions_framework
from cloudevents.http.event import CloudEvent

from shared import events, uploads


@functions_framework.cloud_event
def ingest_batch(event: CloudEvent) -> None:
    """Receive the object that came to be in the uploads bucket."""
    events.answer_object(event, uploads.came)
