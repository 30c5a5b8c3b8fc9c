"""Imports one slice of an archive."""

import functions_framework
from cloudevents.http.event import CloudEvent

from shared import events
from shared.batches.steps import KIND


@functions_framework.cloud_event
def ingest_work_orders(event: CloudEvent) -> None:
    """Do a piece of a batch: import a slice, finish the batch, or receive and plan what no event told of."""
    events.answer_work(event, KIND)
