"""Routing a request to a use case, and answering what comes of it.

A path is answered with and without a trailing slash, and nothing is ever redirected.
"""

import contextlib
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import flask
import orjson
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.routing import Map, Rule

from shared import logs
from shared.errors import Invalid, Refused, Retry

BODY_BYTES = 1024 * 1024
"""The largest JSON body taken; Cloud Run takes 32 MB."""

Answer = tuple[Any, int]
Handler = Callable[..., Answer]


class Routes:
    """The paths of one HTTP function. A handler gets the request and what the path names, and answers a JSON
    value, or a response of its own, or None for nothing, and a status."""

    def __init__(self, routes: Mapping[tuple[str, str], Handler]) -> None:
        self._handlers = {f"{method} {path}": handler for (method, path), handler in routes.items()}
        self._map = Map(
            [Rule(path, methods=[method], endpoint=f"{method} {path}") for method, path in routes],
            strict_slashes=False,
            merge_slashes=False,
            redirect_defaults=False,
        )

    def answer(self, request: flask.Request) -> flask.Response:
        """Find the handler and answer as it does, or with problem details (RFC 9457)."""
        request_id = request.headers.get("X-Cloud-Trace-Context", "").partition("/")[0] or uuid.uuid4().hex
        with logs.bound(request=request_id):
            try:
                return self._answer(request)
            except Refused as refused:
                return _problem(request_id, refused.status, refused.title, str(refused), _fields(refused))
            except Retry as passing:
                logs.warning("a request is to be sent again", reason=str(passing))
                return _problem(request_id, 503, "Not possible now", f"{passing}: try again", {})
            except HTTPException as refused:
                return _problem(
                    request_id, refused.code or 500, refused.name, _sentence(refused, request), {}
                )
            except Exception as failure:
                logs.error("a request failed", exception=failure, route=self._route(request))
                sentence = f"Something failed on our side: try again, and if it stays, quote {request_id}."
                return _problem(request_id, 500, "Internal error", sentence, {})

    def _route(self, request: flask.Request) -> str:
        """The route of a request, for the log: its path can hold a secret."""
        with contextlib.suppress(HTTPException):
            return str(self._map.bind("").match(request.path, method=request.method)[0])
        return request.method

    def _answer(self, request: flask.Request) -> flask.Response:
        endpoint, values = self._map.bind("").match(request.path, method=request.method)
        value, status = self._handlers[endpoint](request, **values)
        if value is None:
            return flask.Response(status=status)
        if isinstance(value, flask.Response):
            value.status_code = status
            return value
        return flask.Response(orjson.dumps(value), status, content_type="application/json")


def json_object(request: flask.Request, bytes_most: int = BODY_BYTES) -> dict[str, Any]:
    """The request's body, a JSON object; nothing at all is an empty one. Invalid where it is otherwise."""
    request.max_content_length = bytes_most
    try:
        body = request.get_data()
    except RequestEntityTooLarge as error:
        raise Invalid.field("body", f"is larger than {bytes_most} bytes") from error
    if not body.strip():
        return {}
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Invalid.field("body", f"is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise Invalid.field("body", "must be a JSON object")
    return value


def html(text: str) -> flask.Response:
    """A page, for a person."""
    return flask.Response(text, content_type="text/html; charset=utf-8")


def redirect(url: str) -> flask.Response:
    """The way to another address, for this time; the handler's status is to be 302."""
    return flask.Response(headers={"Location": url})


def _fields(refused: Refused) -> dict[str, Any]:
    if not isinstance(refused, Invalid):
        return {}
    return {"errors": [{"field": p.field, "message": p.message} for p in refused.problems]}


def _sentence(refused: HTTPException, request: flask.Request) -> str:
    if refused.code == 404:
        return f"there is nothing at {request.path}"
    if refused.code == 405:
        return f"{request.path} does not answer {request.method}"
    return refused.description or refused.name


def _problem(
    request_id: str, status: int, title: str, detail: str, more: Mapping[str, Any]
) -> flask.Response:
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    body |= {"request_id": request_id, **more}
    return flask.Response(orjson.dumps(body), status, content_type="application/problem+json")
