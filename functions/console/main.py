"""HTTP `/console`: the web page."""

import flask

from shared import logs
from shared.console.site import SITE
from shared.http import door


@door.http
def console(request: flask.Request) -> flask.Response:
    """Answer one request."""
    logs.configure()
    return SITE.answer(request)
