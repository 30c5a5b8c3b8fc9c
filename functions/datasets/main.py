"""HTTP `/v2`: datasets and their export tasks; `/` and `/v3`: the login for their clients."""

import flask

from shared import logs
from shared.datasets.api import ROUTES as DATASETS
from shared.datasets.login import ROUTES as LOGIN
from shared.http import door
from shared.http.routes import serving

ROUTES = (DATASETS, LOGIN)


@door.http
def datasets(request: flask.Request) -> flask.Response:
    """Answer one request."""
    logs.configure()
    return serving(ROUTES, request.path).answer(request)
