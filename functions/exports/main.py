"""HTTP `/v1`: export configs, runs and histories."""

import flask

from shared import logs
from shared.exports.api import ROUTES
from shared.http import door


@door.http
def exports(request: flask.Request) -> flask.Response:
    """Answer one request."""
    logs.configure()
    return ROUTES.answer(request)
