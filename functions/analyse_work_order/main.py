"""Checks the new photographs of a work order, and asks the site's own analyser."""

import functions_framework
from cloudevents.http.event import CloudEvent

from shared import events
from shared.analysis.steps import KIND


@functions_framework.cloud_event
def analyse_work_order(event: CloudEvent) -> None:
    """Analyse the work order, where that is due."""
    events.answer_work(event, KIND)
