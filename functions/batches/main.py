"""HTTP `/v0.2`: batches, upload URLs, work orders."""

import flask
import functions_framework

from shared import logs
from shared.batches.api import ROUTES


@functions_framework.http
def batches(request: flask.Request) -> flask.Response:
    """Answer one request."""
    logs.configure()
    return ROUTES.answer(request)
