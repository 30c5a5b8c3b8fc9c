"""The first page of the console."""

import flask

from shared.console.page import Page
from shared.console.visit import Visit


def _show(visit: Visit) -> flask.Response:
    return visit.page("overview.html")


PAGES = [Page("GET", "", _show)]
