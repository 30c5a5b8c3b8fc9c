"""HTTP `/v1/downloads`: what links in mails lead to."""

import flask
import functions_framework

from shared import logs
from shared.exports.api import DOWNLOADS as ROUTES


@functions_framework.http
def downloads(request: flask.Request) -> flask.Response:
    """Answer one request."""
    logs.configure()
    return ROUTES.answer(request)
