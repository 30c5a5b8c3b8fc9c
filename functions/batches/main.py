"""HTTP `/v0.2`: batches, upload URLs, work orders."""

import flask

from shared import logs
from shared.batches.api import ROUTES
from shared.http import door


@door.http
def batches(request: flask.Request) -> flask.Response:
    """Answer one request."""
    logs.configure()
    return ROUTES.answer(request)
