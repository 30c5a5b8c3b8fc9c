"""HTTP `/v1`: export configs, runs and histories."""

import flask
import functions_framework

from shared import logs
from shared.exports.api import ROUTES


@functions_framework.http
def exports(request: flask.Request) -> flask.Response:
    """Answer one request."""
    logs.configure()
    return ROUTES.answer(request)
