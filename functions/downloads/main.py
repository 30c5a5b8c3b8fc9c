"""HTTP `/v1/downloads`: what links in mails lead to."""

import flask

from shared import logs
from shared.exports.api import DOWNLOADS as ROUTES
from shared.http import door


@door.http
def downloads(request: flask.Request) -> flask.Response:
    """Answer one request."""
    logs.configure()
    return ROUTES.answer(request)
