"""HTTP `/ls`: access tokens, import and export jobs."""

import flask

from shared import logs
from shared.http import door
from shared.jobs.api import ROUTES


@door.http
def jobs(request: flask.Request) -> flask.Response:
    """Answer one request."""
    logs.configure()
    return ROUTES.answer(request)
