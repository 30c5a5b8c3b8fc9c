"""Checks the new photographs of a work order, and asks the site's own analyser."""

import functions_framework
from cloudevents.http.event import CloudEvent

from shared import events
from shared.analysis import steps


@functions_framework.cloud_event
def analyse_work_order(event: CloudEvent) -> None:
    """Take the analysis of the work order on, where one is due."""
    events.answer(event, steps.analyse)
