"""Does one piece of an import or export job."""

import functions_framework
from cloudevents.http.event import CloudEvent

from shared import events
from shared.jobs.steps import KIND


@functions_framework.cloud_event
def run_job(event: CloudEvent) -> None:
    """Do a piece of a job: plan it, import records, read or write a part of an export, finish it."""
    events.answer_work(event, KIND)
