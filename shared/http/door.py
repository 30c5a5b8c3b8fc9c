"""What stands in front of the handler of each HTTP function: `@door.http` in its `main.py`.

functions-framework reads all that is left of a body before each answer, into memory and without a deadline,
also of whoever has no key, and where that fails Flask logs the path, which can hold the token of a link.
Behind this door it finds an empty body: `shared/http/sent.py` alone has the one that was sent.
https://github.com/GoogleCloudPlatform/functions-framework-python/blob/v3.10.2/src/functions_framework/__init__.py
"""

import io
import sys
from collections.abc import Callable, Iterable
from typing import Any

import flask
import functions_framework
from werkzeug.wsgi import ClosingIterator

from shared.http.sent import body_of

Handler = Callable[[flask.Request], flask.Response]
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

ANSWER_SECONDS = 60.0
"""Within how many seconds a block of an answer must be taken, or the connection is closed."""


class Door:
    """Around the application that functions-framework makes: hands it a request without its body, and closes
    the connection after the answer where something of the body was not read."""

    def __init__(self, application: Application) -> None:
        self._application = application

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request. https://peps.python.org/pep-3333/"""
        body = body_of(environ)
        environ |= {"wsgi.input": io.BytesIO(), "wsgi.input_terminated": True}
        connection = environ.get("gunicorn.socket")
        closing = []

        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            if not body.ended:
                _close(start_response)
                closing.append(True)
            if connection is not None:
                connection.settimeout(ANSWER_SECONDS)
            return start_response(status, headers, *more)

        def after() -> None:
            # Also where the answer was not taken: gunicorn would wait for its reader in the main thread.
            if closing or sys.exc_info()[0] is not None:
                body.drop()

        return ClosingIterator(self._application(environ, start), after)


def _close(start_response: Callable[..., Any]) -> None:
    """Have gunicorn say `Connection: close`, and do so: of an application it heeds no such header."""
    response = getattr(start_response, "__self__", None)
    if response is not None and hasattr(response, "force_close"):
        response.force_close()


def http(handler: Handler) -> Handler:
    """Declare the handler of an HTTP function, with a door in front of its application.

    functions-framework loads a function's module inside the context of the application that it makes for it;
    whoever imports the module otherwise gets the handler alone.
    """
    if flask.has_app_context():
        application: Any = flask.current_app
        application.wsgi_app = Door(application.wsgi_app)
    functions_framework.http(handler)
    return handler
