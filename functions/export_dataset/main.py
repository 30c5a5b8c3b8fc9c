"""Does one piece of a dataset's task."""

import functions_framework
from cloudevents.http.event import CloudEvent

from shared import events
from shared.datasets.steps import KIND


@functions_framework.cloud_event
def export_dataset(event: CloudEvent) -> None:
    """Do a piece of a task: read a part of a version, select and write samples, finish an export."""
    events.answer_work(event, KIND)
