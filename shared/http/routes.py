"""Declared routes: what an HTTP function answers, who may call it, and which form everything has.

A surface is a family of paths that share who may call and how errors look. A route is one method of one path.
`Routes` answers requests by them, and serves an OpenAPI document that is made of them.

A path is answered with and without a trailing slash, also where slashes are doubled, and nothing is ever
redirected.
"""

import contextlib
import math
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import flask
import orjson
from google.api_core.exceptions import Aborted
from pydantic import BaseModel
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from shared import audit_trail, logs
from shared.audit_trail import Actor
from shared.cutting import cut
from shared.errors import (
    SENTENCE_LONGEST,
    Conflict,
    FieldProblem,
    Invalid,
    Refused,
    Retry,
    TooMany,
    Unauthenticated,
)
from shared.gcp.documents import contention
from shared.gcp.outages import expired
from shared.http import forms, matching
from shared.http.bodies import BODY_BYTES, json_object, no_such, read
from shared.http.errors import ErrorForm, Failure
from shared.http.idempotency import repeatable, repeating
from shared.http.matching import IfMatch
from shared.http.paths import paths, single_slashes
from shared.http.rates import REQUESTS_A_SECOND, Rate, Rates
from shared.http.sent import of_the_unknown

PUBLIC = "public"
"""The scope of a route that anybody may call, without a key."""

REQUEST_ID = "X-Request-Id"
"""The header of every answer that finds the request in the log. Clients of `/v2` show it with an error. It is
ours: two requests never share one, whatever their sender says."""

CUSTOMERS_KEPT = 10_000
"""Of how many customers an instance counts the requests: about 2 MB."""

REQUESTS = Rates(CUSTOMERS_KEPT)
"""The requests of each customer, counted by this instance."""

UNDECLARED: Any = object()
"""The answer of a route that declares none."""

_TRACES = {
    "traceparent": re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"),
    "X-Cloud-Trace-Context": re.compile(r"(?!0{32})([0-9a-f]{32})(?:/[0-9]{1,20})?(?:;o=[0-9])?"),
}
# The headers that name a trace, and the form that each must have. A trace is the caller's word. An id of
# zeros alone is none, nor is there a version ff.
# https://www.w3.org/TR/trace-context/#traceparent-header https://cloud.google.com/trace/docs/trace-context

PARAMETER = re.compile(r"<(?:([^<>:]+):)?([^<>:]+)>")
"""What a path leaves open: a converter, if any, and a name.
https://werkzeug.palletsprojects.com/en/stable/routing/#rule-format"""


def template(path: str) -> str:
    """A route's path as OpenAPI writes it: `/v1/exports/{export}`."""
    return PARAMETER.sub(r"{\2}", path)


@dataclass(frozen=True)
class Surface:
    """A family of paths.

    prefix       what all of its paths begin with, such as `/v1`
    title        what it is called
    version      its version, without a v
    description  what a caller should know before everything else, in Markdown
    who          who is calling, given the request and the scope that the route needs; it raises
                 Unauthenticated and Forbidden. `request.view_args` has what the path names
    keys         the ways to send a key, by name: each is a Security Scheme Object of OpenAPI
    challenge    the `WWW-Authenticate` of a 401, which HTTP requires
                 https://www.rfc-editor.org/rfc/rfc9110#section-15.5.2
    errors       how errors look
    bases        what may stand before the prefix; what they leave open is for `who`, not for handlers
    query        the query parameters that `who` reads
    known        what its handlers are given of a caller who is known already, given the clients, the caller,
                 and what the path and the query name, as `who` makes it; None where only `who` can
    strict       whether a query parameter that no route has is refused, where a key is needed. Not on paths
                 whose clients are programs of others: those may send what we do not know. Nor on those that
                 a person opens, since mail programs add parameters to links
    refusals     the statuses with which `who` may refuse a request besides 401 and 403
    headers      the headers that every answer has
    """

    prefix: str
    title: str
    version: str
    description: str
    who: Callable[[flask.Request, str], Any]
    keys: Mapping[str, Mapping[str, Any]]
    challenge: str
    errors: ErrorForm
    bases: tuple[str, ...] = ("",)
    query: type[BaseModel] | None = None
    known: Callable[[Any, Any, Mapping[str, Any]], Any] | None = None
    strict: bool = False
    refusals: tuple[int, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Body:
    """What a request has as its body: a JSON object, or a form.

    model      what it must be
    max_bytes  how large it may be
    given      what the handler is given: the `model`; the `object` as it was sent, which the use case checks
               against the model (a form as text by name); a JSON object as a `merge_patch` of the model,
               which the use case applies (https://www.rfc-editor.org/rfc/rfc7396); or the `parts` of a form
               one after the other while they arrive, which the use case checks, too
    form       whether it is a form, `application/x-www-form-urlencoded` or `multipart/form-data`
    hint       what to do, where something else was sent that is often sent there by mistake
    """

    model: type[BaseModel]
    max_bytes: int = BODY_BYTES
    given: Literal["model", "object", "merge_patch", "parts"] = "model"
    form: bool = False
    hint: str = ""


@dataclass(frozen=True)
class Media:
    """An answer that is not JSON: its content types, and what it is."""

    types: tuple[str, ...]
    description: str


@dataclass(frozen=True, kw_only=True)
class Route:
    """One method of one path.

    handler     is called with who is calling (with the request, where the route is PUBLIC), what the path
                names, and `query`, `body` (or `parts`), `once` and `if_match` where the route declares them.
                It returns the answer: a JSON value, None for no content, or a response of its own. Where the
                route declares `headers`, it returns a pair: a JSON value, and the headers' values by name
    summary     what it does, in a few words
    scope       what the caller's key must be good for, or PUBLIC
    answer      the form of the answer: any type that pydantic knows, a Media, or None for no content
    status      the status of the answer
    body        the body of the request
    query       the query parameters
    strict      whether other query parameters are refused though the surface is not strict
    repeatable  whether an `Idempotency-Key` is honoured; the handler is then given `once`. The fields of a
                form are not compared with those that were sent before under the key: what was made stands
    conditional whether an `If-Match` is honoured; the handler is then given `if_match`
    refusals    the statuses with which it may refuse a request, beyond those that its declaration implies
    answers     other answers by their status, in the forms that `answer` may have
    headers     the headers of its answer besides those of the surface: their names, and what each is
    """

    method: str
    path: str
    handler: Callable[..., Any]
    summary: str = ""
    scope: str = ""
    answer: Any = UNDECLARED
    status: int = 200
    body: Body | None = None
    query: type[BaseModel] | None = None
    strict: bool = False
    repeatable: bool = False
    conditional: bool = False
    refusals: tuple[int, ...] = ()
    answers: Mapping[int, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True)
class Asked:
    """A call of an API, as a program would send it: made in this process instead.

    path   without its query, as it stands in a URL
    body   a JSON object, or the fields of a form
    parts  in place of a body, the parts of a form that has files
    once   the `Idempotency-Key`; None for none
    if_match  the `If-Match`, such as `"3"` with its quotation marks; None for none
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    parts: Iterator[forms.Part] | None = None
    once: str | None = None
    if_match: str | None = None


class Routes:
    """The routes of one HTTP function. ValueError names a route that is not fully declared."""

    def __init__(self, surface: Surface, routes: Sequence[Route]) -> None:
        described = Route(
            method="GET",
            path=f"{surface.prefix}/openapi.json",
            handler=self._openapi,
            summary="Describe this API",
            scope=PUBLIC,
            answer=dict[str, Any],
        )
        self.surface = surface
        self.routes = (*routes, described)
        self._by_name = {str(route): route for route in self.routes}
        for route in self.routes:
            _check(surface, route)
            if self._by_name[str(route)] is not route:
                raise ValueError(f"{route} is declared twice: leave one out")
        self._map = paths(
            (route.method, base + route.path, str(route)) for route in self.routes for base in surface.bases
        )

    @cached_property
    def document(self) -> dict[str, Any]:
        """The OpenAPI document of these routes."""
        from shared.http import openapi  # not at every cold start: it is rarely asked for

        try:
            return openapi.document(self.surface, self.routes)
        except SystemError:
            # pydantic parses source for docstrings. In Python 3.11 that can fail while another thread parses,
            # for example to write a trace. https://github.com/python/cpython/issues/106905
            return openapi.document(self.surface, self.routes)

    def find(self, method: str, path: str) -> Route | None:
        """The route that answers this method of this path, or None."""
        with contextlib.suppress(HTTPException):
            return self._matched(method, path)[0]
        return None

    def answer(self, request: flask.Request) -> flask.Response:
        """Have the route's handler answer, or say what went wrong in the surface's form."""
        request_id = uuid.uuid4().hex
        with logs.bound(request=request_id, trace=_trace(request)):
            try:
                answer = self._answer(request, request_id)
            except Exception as error:
                answer = self._failed(request, request_id, error)
        answer.headers.update(self.surface.headers)
        answer.headers[REQUEST_ID] = request_id
        return answer

    def perform(self, cloud: Any, caller: Any, asked: Asked, request_id: str) -> Any:
        """What the route's handler answers to a caller who is known already: for whoever calls the API in
        this process, under the request of that id. All that a request meets is met here, too, but for who
        is calling and how often.

        Raises what the handler does; Forbidden where the caller lacks the route's scope; HTTPException where
        there is no such route; ValueError where it is PUBLIC.
        """
        route, values = self._matched(asked.method, asked.path)
        if route.scope == PUBLIC or self.surface.known is None:
            raise ValueError(f"{route} is for those who are not known: call what its handler calls")
        caller.needs(route.scope)
        call = self.surface.known(cloud, caller, {**asked.query, **values})
        if is_strict(self.surface, route):
            _check_query(self.surface, route, [(name, [value]) for name, value in asked.query.items()])
        value = _done(route, call, _given(route, values), request_id, lambda: dict(_asked(route, asked)))
        return value[0] if route.headers else value

    def _matched(self, method: str, path: str) -> tuple[Route, dict[str, Any]]:
        there = self._map.bind("")
        # As it was sent, and else as a client meant it whose endpoint ended in a slash.
        sent = path if there.test(path, method) else single_slashes(path)
        name, values = there.match(sent, method=method)
        return self._by_name[name], dict(values)

    def _answer(self, request: flask.Request, request_id: str) -> flask.Response:
        route, values = self._matched(request.method, request.path)
        return self._handled(route, values, request, request_id)

    def _handled(
        self, route: Route, values: dict[str, Any], request: flask.Request, request_id: str
    ) -> flask.Response:
        request.view_args = values
        caller = request if route.scope == PUBLIC else self.surface.who(request, route.scope)
        if (customer := _customer(route, caller)) is not None:
            count(customer, caller)
        given = _given(route, values)
        if is_strict(self.surface, route):
            _check_query(self.surface, route, list(request.args.lists()))

        def sent() -> dict[str, Any]:
            unknown = route.scope == PUBLIC and route.body is not None
            with of_the_unknown(request) if unknown else contextlib.nullcontext():
                return dict(_sent(route, request))

        value = _done(route, caller, given, request_id, sent)
        if value is None:
            return flask.Response(status=route.status)
        if isinstance(value, flask.Response):
            return value
        value, headers = value if route.headers else (value, {})
        return flask.Response(orjson.dumps(value), route.status, headers, content_type="application/json")

    def _failed(self, request: flask.Request, request_id: str, error: Exception) -> flask.Response:
        found = failure(request, request_id, error, str(self.find(request.method, request.path)))
        form = self.surface.errors
        body = orjson.dumps(form.render(found))
        answer = flask.Response(body, found.status, content_type=form.content_type)
        if isinstance(error, Unauthenticated):
            answer.headers["WWW-Authenticate"] = self.surface.challenge
        if isinstance(error, MethodNotAllowed):
            answer.headers["Allow"] = ", ".join(sorted(error.valid_methods or ()))
        if isinstance(error, TooMany) and error.seconds is not None:
            answer.headers["Retry-After"] = str(math.ceil(error.seconds))
        return answer

    def _openapi(self, _: flask.Request) -> dict[str, Any]:
        return self.document


def failure(request: flask.Request, request_id: str, error: Exception, where: str) -> Failure:
    """How a request failed, and what to do. What was not foreseen is logged; `where` it failed is its route,
    not its path, which can hold a secret."""
    if isinstance(error, Refused):
        problems, more = (error.problems, error.more) if isinstance(error, Invalid) else ((), 0)
        existing = error.existing_id if isinstance(error, Conflict) else None
        sentence = cut(str(error), SENTENCE_LONGEST)
        return Failure(error.status, error.title, sentence, request_id, problems, error.code, existing, more)
    if isinstance(error, Retry):
        logs.warning("a request is to be sent again", about=error, reason=str(error))
        sentence = cut(str(error), SENTENCE_LONGEST)
        return Failure(503, "Not possible now", f"{sentence}: try again", request_id)
    if isinstance(error, Aborted) or expired(error):  # a single write that met a transaction, or a late one
        return failure(request, request_id, contention(), where)
    if isinstance(error, HTTPException):
        sentence = cut(_sentence(error, request), SENTENCE_LONGEST)
        return Failure(error.code or 500, error.name, sentence, request_id)
    logs.error("a request failed", exception=error, route=where)
    sentence = f"Something failed on our side. Try again; if it fails again, quote {request_id}."
    return Failure(500, "Internal error", sentence, request_id)


def _trace(request: flask.Request) -> str | None:
    """The trace that a request belongs to, 32 hex digits, or None where it names none in the right form."""
    for name, form in _TRACES.items():
        found = form.fullmatch(request.headers.get(name, ""))
        if found is not None:
            return found[1]
    return None


def serving(several: Sequence[Routes], path: str) -> Routes:
    """Of a function's routes on several surfaces, those whose prefix is the longest of this path. One surface
    must have an empty prefix, which every path has."""
    path = f"{single_slashes(path)}/"
    having = [routes for routes in several if path.startswith(f"{routes.surface.prefix}/")]
    return max(having, key=lambda routes: len(routes.surface.prefix))


def is_strict(surface: Surface, route: Route) -> bool:
    """Whether a route refuses query parameters that it does not have."""
    return route.strict or (surface.strict and route.scope != PUBLIC)


def _check_query(surface: Surface, route: Route, given: Sequence[tuple[str, Sequence[str]]]) -> None:
    """Invalid naming each query parameter that there is not, or that is given twice."""
    names = [
        name for model in (route.query, surface.query) if model is not None for name in model.model_fields
    ]
    there = f"; there are {', '.join(f'`{name}`' for name in names)}" if names else "; this call has none"
    problems = []
    for name, values in given:
        if name not in names:
            sentence = no_such("query parameter", name, names)
            problems.append(FieldProblem(name, sentence if "`" in sentence else sentence + there))
        elif len(values) > 1:
            problems.append(FieldProblem(name, f"is given {len(values)} times: give it once"))
    if problems:
        raise Invalid(problems)


def _check(surface: Surface, route: Route) -> None:
    problem = None
    if not route.path.startswith(f"{surface.prefix}/"):
        problem = f"does not begin with {surface.prefix}: move it to its own surface"
    elif not route.scope:
        problem = "has no scope: name the scope that a key needs, or PUBLIC"
    elif route.answer is UNDECLARED:
        problem = "has no answer: name its model, or None for no content"
    elif not route.summary:
        problem = "has no summary: say in a few words what it does"
    elif route.body is not None and route.body.given == ("merge_patch" if route.body.form else "parts"):
        problem = f"cannot be given {route.body.given!r}: a form has parts, and a JSON object can be a patch"
    elif route.body is not None and route.body.given == "parts" and route.scope == PUBLIC:
        problem = "is given parts and is PUBLIC: what anybody may send is read whole, within its limit"
    if problem:
        raise ValueError(f"{route} {problem}")


def _ids(route: Route, caller: Any, given: Mapping[str, Any]) -> dict[str, str | None]:
    """What the log lines of a request name: its caller's customer, and what its path does. The path of a
    public route is left out: it can hold a secret."""
    if route.scope == PUBLIC:
        return {}
    return {"customer": _customer(route, caller), **{name: str(value) for name, value in given.items()}}


def _customer(route: Route, caller: Any) -> str | None:
    """Whose request it is; None where nobody needs to be known."""
    return caller.caller.customer if route.scope != PUBLIC and hasattr(caller, "caller") else None


def _actor(route: Route, caller: Any, request_id: str) -> Actor | None:
    """Who acts by a request that may change something of a customer; None where none can."""
    if route.method == "GET" or _customer(route, caller) is None:
        return None
    return Actor(caller.caller.key, f"{route.method} {template(route.path)}", request_id)


def _names(body: Any) -> list[str]:
    """The names of the fields that a body has."""
    return sorted(body.model_fields_set if isinstance(body, BaseModel) else body or ())


def count(customer: str, caller: Any) -> None:
    """Count a request of a customer. TooMany where they come more often than this instance answers them. A
    caller that knows its customer's limits has `requests_a_second`."""
    most = caller.requests_a_second() if hasattr(caller, "requests_a_second") else REQUESTS_A_SECOND
    seconds = REQUESTS.take(customer, Rate.of(max(1, most)))
    if seconds:
        raise TooMany(
            f"the limit requests_a_second is {most:,}, and more requests came from your keys: send the next "
            f"one after {math.ceil(seconds)} s, or ask the operators of Waybill for a higher limit",
            seconds,
        )


def _given(route: Route, values: Mapping[str, Any]) -> dict[str, Any]:
    """What the route's own path names, by the names that its handler has for it."""
    return {name: values[name] for _, name in PARAMETER.findall(route.path)}


def _done(
    route: Route,
    caller: Any,
    given: Mapping[str, Any],
    request_id: str,
    take: Callable[[], Mapping[str, Any]],
) -> Any:
    """What the handler returns. `take` gives what was sent: who acts, and for whom, is known by then."""
    actor = _actor(route, caller, request_id)
    with logs.bound(**_ids(route, caller, given)), audit_trail.acting(actor):
        sent = take()
        audit_trail.sent(_names(sent.get("body")))
        return route.handler(caller, **given, **sent)


def _asked(route: Route, asked: Asked) -> Iterator[tuple[str, Any]]:
    """As `_sent`, of a call that is made in this process."""
    if route.query is not None:
        yield "query", read(route.query, dict(asked.query))
    body = dict(asked.body or {})
    if route.body is not None:
        if route.body.given == "parts":
            yield "parts", asked.parts or iter(())
        else:
            yield "body", read(route.body.model, body) if route.body.given == "model" else body
    if route.repeatable:
        is_object = route.body is not None and not route.body.form
        content = orjson.dumps(body, option=orjson.OPT_SORT_KEYS) if is_object else b""
        yield "once", repeating(asked.once, asked.path, content)
    if route.conditional:
        yield "if_match", IfMatch(asked.if_match)


def _sent(route: Route, request: flask.Request) -> Iterator[tuple[str, Any]]:
    """What the route declares of the request, by the names that its handler has for it."""
    if route.query is not None:
        yield "query", read(route.query, request.args.to_dict())
    if route.body is not None:
        yield _body(route.body, request)
    if route.repeatable:
        most = BODY_BYTES if route.body is None else None if route.body.form else route.body.max_bytes
        yield "once", repeatable(request, most)
    if route.conditional:
        yield "if_match", IfMatch(request.headers.get(matching.HEADER))


def _body(body: Body, request: flask.Request) -> tuple[str, Any]:
    if body.given == "parts":
        return "parts", forms.parts(request, body.max_bytes)
    take = forms.fields if body.form else json_object
    try:
        sent: dict[str, Any] = {**take(request, body.max_bytes)}
    except Invalid as wrong:
        [problem] = wrong.problems
        if body.hint and problem.field == "body":
            raise Invalid.field("body", f"{problem.message}. {body.hint}") from wrong
        raise
    return "body", read(body.model, sent) if body.given == "model" else sent


def _sentence(refused: HTTPException, request: flask.Request) -> str:
    if refused.code == 404:
        return f"there is nothing at {request.path}"
    if refused.code == 405:
        return f"{request.path} does not answer {request.method}"
    return refused.description or refused.name
