"""HTTP `/ls`: access tokens, import and export jobs."""

import flask
import functions_framework

from shared import logs
from shared.jobs.api import ROUTES


@functions_framework.http
def jobs(request: flask.Request) -> flask.Response:
    """Answer one request."""
    logs.configure()
    return ROUTES.answer(request)
