"""The console over HTTP: its pages, who may see them, and what every answer has.

A page is one method of one path below `/console`. Whoever is not signed in is led to sign in, and back. A
form counts only with the proof that it is of a page of ours, and from our own origin. Scripts, styles and
pictures come from us alone, and none stands inside a page.
"""

import contextlib
import math
import uuid
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import flask
from werkzeug.exceptions import HTTPException

from shared import logs
from shared.accounts.callers import Call
from shared.console import assets, forms, sessions
from shared.console.forms import Form
from shared.console.page import Page
from shared.console.pages import (
    batches,
    datasets,
    exports,
    jobs,
    keys,
    overview,
    runs,
    signing_in,
    work_orders,
)
from shared.console.visit import Visit
from shared.errors import Forbidden, TooMany
from shared.gcp.clients import connect
from shared.http.paths import paths
from shared.http.routes import REQUEST_ID, count, failure
from shared.http.sent import of_the_unknown

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src {connect}; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""What a page may do. https://www.w3.org/TR/CSP3/#framework-directive-source-list"""

HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
"""Headers of every answer that has none of its own of that name."""


class Site:
    """The pages of the console. ValueError names one that is declared twice."""

    def __init__(self, pages: Sequence[Page]) -> None:
        self.pages = (*pages, Page("GET", "/assets/<digest>/<name>", _asset, public=True))
        self._by_name = {str(page): page for page in self.pages}
        if len(self._by_name) < len(self.pages):
            raise ValueError("two pages have one method and one path: leave one out")
        self._map = paths((page.method, sessions.PATH + page.path, str(page)) for page in self.pages)

    def answer(self, request: flask.Request) -> flask.Response:
        """Answer one request; whatever fails is a page, too."""
        visit = Visit(connect(), request, uuid.uuid4().hex, None, sessions.visitor_of(request) or "")
        with logs.bound(request=visit.request_id):
            try:
                answer = self._answer(visit)
            except Exception as error:
                answer = self._failed(visit, error)
        sources = " ".join(("'self'", *visit.connect))
        answer.headers.setdefault("Content-Security-Policy", POLICY.format(connect=sources))
        for name, value in HEADERS.items():
            answer.headers.setdefault(name, value)
        answer.headers[REQUEST_ID] = visit.request_id
        return answer

    def _answer(self, visit: Visit) -> flask.Response:
        name, values = self._map.bind("").match(visit.request.path, method=visit.request.method)
        page = self._by_name[name]
        if page.handler is _asset:
            return _asset(visit, **values)
        visit.session = sessions.find(visit.cloud, visit.request)
        new_visitor = visit.session is None and not visit.visitor
        if new_visitor:
            visit.visitor = sessions.new_visitor()
        answer = self._seen(visit, page, dict(values))
        if new_visitor:
            sessions.set_cookie(visit.cloud.settings, answer, sessions.VISITOR, visit.visitor)
        return answer

    def _seen(self, visit: Visit, page: Page, values: dict[str, Any]) -> flask.Response:
        sends = page.method == "POST"
        if sends:
            _check_origin(visit)
        if visit.session is None and not page.public:
            return signing_in.needed(visit, _form(visit, page) if sends and not page.files else None)
        with logs.bound(**_ids(visit, {} if page.public else values)):
            if visit.session is not None:
                count(visit.caller.customer, Call(visit.cloud, visit.caller))
            if sends:
                visit.form = _form(visit, page)
                _check_csrf(visit)
            return page.handler(visit, **values)

    def _failed(self, visit: Visit, error: Exception) -> flask.Response:
        found = failure(visit.request, visit.request_id, error, self._name(visit.request))
        answer = visit.page("error.html", status=found.status, title=found.title, failure=found)
        if isinstance(error, TooMany) and error.seconds is not None:
            answer.headers["Retry-After"] = str(math.ceil(error.seconds))
        return answer

    def _name(self, request: flask.Request) -> str:
        """The page that a request is for, without what its path names."""
        try:
            return str(self._map.bind("").match(request.path, method=request.method)[0])
        except HTTPException:
            return "no page"


def _asset(visit: Visit, digest: str, name: str) -> flask.Response:
    answer = assets.answer(name)
    if answer is None:
        flask.abort(404)
    return answer


def _form(visit: Visit, page: Page) -> Form:
    """What a form sends. That of whoever is not signed in is read as that of any caller who is not known."""
    unknown = visit.session is None
    with of_the_unknown(visit.request) if unknown else contextlib.nullcontext():
        return forms.begun(visit.request) if page.files else forms.read(visit.request)


def _ids(visit: Visit, values: dict[str, Any]) -> dict[str, str]:
    """What the log lines of a visit name. What the path of a public page names can be a secret."""
    if visit.session is None:
        return {}
    return {"customer": visit.caller.customer, **{name: str(value) for name, value in values.items()}}


def _check_origin(visit: Visit) -> None:
    """Forbidden where a form comes from another site's page. Browsers say where it comes from with every
    form: https://fetch.spec.whatwg.org/#origin-header"""
    origin = visit.request.headers.get("Origin")
    if visit.request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none") or (
        origin is not None and urlsplit(origin).netloc not in _hosts(visit)
    ):
        raise Forbidden(
            "this form was sent by a page of another site, and nothing was done: open the page of the "
            "console, and send the form there"
        )


def _hosts(visit: Visit) -> tuple[str, str]:
    """Where the console answers: by its settings, and where this browser reached it."""
    return urlsplit(visit.cloud.settings.url).netloc, visit.request.host


def _check_csrf(visit: Visit) -> None:
    """Forbidden where a form does not carry what this session, or this browser, was shown."""
    of = visit.session or visit.visitor
    if not sessions.csrf_is_right(visit.cloud.settings, of, visit.form.csrf):
        raise Forbidden(
            "this form is of another session, and nothing was done: go back, load the page anew, and send "
            "the form again"
        )


SITE = Site(
    [
        *overview.PAGES,
        *exports.PAGES,
        *runs.PAGES,
        *batches.PAGES,
        *work_orders.PAGES,
        *jobs.PAGES,
        *datasets.PAGES,
        *keys.PAGES,
        *signing_in.PAGES,
    ]
)
"""The console."""
