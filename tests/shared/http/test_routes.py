"""Declared routes: who may call, what a handler is given, and how each outcome is answered."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import flask
import pytest

from shared import logs
from shared.errors import Conflict, FieldProblem, Invalid
from shared.http import openapi
from shared.http import routes as declared
from shared.http.errors import CODED, DETAIL, IDENTITY, OAUTH, PROBLEM_DETAILS, ErrorForm
from shared.http.rates import BURST_SECONDS, REQUESTS_A_SECOND, Rates
from shared.http.routes import PUBLIC, Body, Route, Routes, serving
from tests.shared.http.toy import BOAT, FAILURES, MAX_BYTES, Boat, Colours, NewBoat, Yard, call, surface, toy


@pytest.fixture
def yard() -> Yard:
    return Yard()


@pytest.fixture
def routes(yard: Yard) -> Routes:
    return toy(yard)


# --- what is declared


def whole() -> Route:
    def get(_: Any) -> Any: ...

    return Route(method="GET", path="/toy/x", handler=get, summary="Get x", scope="boats", answer=Boat)


UNFINISHED = {
    "scope": (Route(**{**vars(whole()), "scope": ""}), "has no scope"),
    "answer": (
        Route(method="GET", path="/toy/x", handler=print, summary="Get x", scope="boats"),
        "has no answer",
    ),
    "summary": (replace(whole(), summary=""), "has no summary"),
    "prefix": (replace(whole(), path="/v9/x"), "does not begin with /toy"),
}


@pytest.mark.parametrize(("route", "problem"), UNFINISHED.values(), ids=UNFINISHED)
def test_a_route_that_is_not_fully_declared_does_not_start(route: Route, problem: str) -> None:
    with pytest.raises(ValueError, match=f"^GET {route.path} {problem}"):
        Routes(surface(), [whole(), route] if route.path != "/toy/x" else [route])


def test_a_route_that_is_declared_twice_does_not_start() -> None:
    with pytest.raises(ValueError, match=r"^GET /toy/x is declared twice"):
        Routes(surface(), [whole(), replace(whole(), scope=PUBLIC)])


def test_a_fully_declared_route_starts() -> None:
    route = whole()
    assert Routes(surface(), [route]).find("GET", "/toy/x") == route


# --- what a handler is given


def test_a_handler_is_given_what_its_route_declares(routes: Routes, yard: Yard) -> None:
    body = {"name": "Anna", "length": 7}
    answer = call(routes, "POST", "/toy/boats", body, **{"Idempotency-Key": "k"})
    assert (answer.status_code, answer.get_json()) == (201, yard.answer)
    [((caller,), given)] = yard.calls
    assert caller == "boats at None"
    assert set(given) == {"body", "once"}
    assert given["body"] == NewBoat(name="Anna", length=7)
    assert given["once"].key == "k"


@pytest.mark.parametrize(("query", "colour"), [("", None), ("?colour=red&more=x&colour=green", "red")])
def test_query_parameters_are_read_into_their_model(
    routes: Routes, yard: Yard, query: str, colour: str | None
) -> None:
    assert call(routes, "GET", f"/toy/boats{query}").status_code == 200
    assert yard.calls == [(("boats at None",), {"query": Colours(colour=colour)})]


def test_a_strict_surface_refuses_other_query_parameters_where_a_key_is_needed(yard: Yard) -> None:
    strict = Routes(surface(strict=True), toy(yard).routes[:-1])
    for path in ("/toy/boats?colour=red&more=x", f"{BOAT}?colour=red"):
        assert call(strict, "GET", path).status_code == 400
        assert "400" in strict.document["paths"]["/toy/boats/{boat}"]["get"]["responses"]
    assert yard.calls == []
    assert call(strict, "GET", "/toy/flags/se?utm_source=mail", key=None).status_code == 200


def test_a_path_parameter_has_its_type_and_a_merge_patch_is_given_as_sent(routes: Routes, yard: Yard) -> None:
    assert call(routes, "PATCH", BOAT, {"length": None, "new": 1}).status_code == 200
    [(_, given)] = yard.calls
    assert given == {"boat": UUID(BOAT.rpartition("/")[2]), "body": {"length": None, "new": 1}}


def test_what_stands_before_the_prefix_is_for_who_and_not_for_the_handler(routes: Routes, yard: Yard) -> None:
    assert call(routes, "GET", f"/harbours/kiel{BOAT}").status_code == 200
    assert yard.calls == [(("boats at kiel",), {"boat": UUID(BOAT.rpartition("/")[2])})]


@pytest.mark.parametrize(
    "path",
    [
        *("/toy/boats", "/toy/boats/", "/harbours/kiel/toy/boats/"),
        *("//toy/boats", "///toy/boats", "/toy//boats", "/toy/boats//", "//harbours/kiel//toy//boats"),
    ],
)
def test_a_path_is_answered_with_and_without_a_slash(routes: Routes, path: str) -> None:
    assert call(routes, "GET", path).status_code == 200


def test_a_path_with_doubled_slashes_is_another_path_to_nobody(routes: Routes, yard: Yard) -> None:
    boat = BOAT.replace("/boats", "//boats")
    assert call(routes, "PUT", boat).headers["Allow"] == "DELETE, GET, HEAD, PATCH"
    asked = [
        call(routes, "POST", path, {"name": "Anna"}, **{"Idempotency-Key": "k"}).status_code
        for path in ("/toy/boats", "//toy//boats/")
    ]
    assert asked == [201, 201]
    [(_, first), (_, second)] = yard.calls
    assert first["once"] == second["once"]


@pytest.mark.parametrize("path", ["/toy/boats/x", "/toyboats", "/harbours/toy/boats", "/harbours//toy/boats"])
def test_no_path_is_redirected(routes: Routes, path: str) -> None:
    assert call(routes, "GET", path).status_code == 404


# --- who may call


@pytest.mark.parametrize(("key", "status"), [(None, 401), ("ships", 403)])
@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_a_handler_is_not_called_for_who_may_not(
    routes: Routes, yard: Yard, method: str, key: str | None, status: int
) -> None:
    answer = call(routes, method, BOAT, b"{" if method == "PATCH" else None, key=key)
    assert answer.status_code == status
    assert yard.calls == []
    assert answer.headers.get("WWW-Authenticate") == ('Toy realm="toy"' if status == 401 else None)


def test_a_public_route_is_given_the_request_and_needs_no_key(routes: Routes, yard: Yard) -> None:
    yard.answer = flask.Response(b"png", content_type="image/png")
    answer = call(routes, "GET", "/toy/flags/se", key=None)
    assert (answer.status_code, answer.get_data()) == (200, b"png")
    [((request,), given)] = yard.calls
    assert (request.path, given) == ("/toy/flags/se", {"flag": "se"})


# --- what is answered


def test_nothing_is_answered_with_the_declared_status_and_no_content(routes: Routes, yard: Yard) -> None:
    yard.answer = None
    answer = call(routes, "DELETE", BOAT)
    assert (answer.status_code, answer.get_data()) == (204, b"")


def test_declared_headers_are_sent_with_the_answer() -> None:
    def get(_: Any) -> tuple[Any, dict[str, str]]:
        return {"id": "1", "name": "Anna"}, {"X-Berth": "7"}

    headed = Routes(surface(), [replace(whole(), handler=get, headers={"X-Berth": "Where it lies."})])
    answer = call(headed, "GET", "/toy/x")
    assert (answer.get_json(), answer.headers["X-Berth"]) == ({"id": "1", "name": "Anna"}, "7")
    described = headed.document["paths"]["/toy/x"]["get"]["responses"]
    assert described["200"]["headers"]["X-Berth"]["description"] == "Where it lies."
    assert "headers" not in described["401"]


OURS = re.compile("[0-9a-f]{32}")

TRACE = "105445aa7843bc8bf206b12000100000"

OF_A_CALLER: list[tuple[dict[str, str], str | None]] = [
    ({}, None),
    ({"X-Cloud-Trace-Context": f"{TRACE}/1;o=1"}, TRACE),
    ({"X-Cloud-Trace-Context": TRACE}, TRACE),
    ({"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}, TRACE),
    ({"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "X-Cloud-Trace-Context": f"{'1' * 32}/1"}, TRACE),
    ({"traceparent": "no trace", "X-Cloud-Trace-Context": TRACE}, TRACE),
    ({"X-Request-Id": TRACE}, None),
    ({"X-Cloud-Trace-Context": "105445aa7843bc8bf206b120001000/1;o=1"}, None),
    ({"X-Cloud-Trace-Context": "trace-7"}, None),
    ({"X-Cloud-Trace-Context": f"{TRACE}\u2028"}, None),
    ({"X-Cloud-Trace-Context": f'{TRACE}", "severity": "EMERGENCY'}, None),
    ({"X-Cloud-Trace-Context": "x" * 8000}, None),
    ({"X-Cloud-Trace-Context": TRACE.upper()}, None),
    ({"X-Cloud-Trace-Context": "0" * 32}, None),
    ({"traceparent": f"00-{'0' * 32}-00f067aa0ba902b7-01"}, None),
    ({"traceparent": f"00-{TRACE}-00f067aa0ba902b7"}, None),
    ({"traceparent": f"00-{TRACE.upper()}-00f067aa0ba902b7-01"}, None),
    ({"traceparent": f"00-{TRACE}0-00f067aa0ba902b7-01"}, None),
    ({"traceparent": f"00-{TRACE}-{'0' * 16}-01"}, None),
    ({"traceparent": f"ff-{TRACE}-00f067aa0ba902b7-01"}, None),
    ({"X-Cloud-Trace-Context": f"{TRACE}0"}, None),
    ({"X-Cloud-Trace-Context": f"{TRACE}/a-span"}, None),
    ({"X-Cloud-Trace-Context": f"{TRACE}/{'1' * 21}"}, None),
]


@pytest.mark.parametrize(("headers", "trace"), OF_A_CALLER)
def test_the_id_of_a_request_is_ours_and_a_trace_must_have_its_form(
    routes: Routes,
    yard: Yard,
    capsys: pytest.CaptureFixture[str],
    headers: dict[str, str],
    trace: str | None,
) -> None:
    logs.configure()
    yard.error = RuntimeError()
    ids = [
        call(routes, "GET", path, **headers).headers["X-Request-Id"] for path in ("/toy/boats", "/toy/ships")
    ]
    assert all(OURS.fullmatch(each) for each in ids)
    assert len({*ids, trace}) == 3, "an id is nobody else's"
    line = json.loads(capsys.readouterr().out)
    assert (line["request"], line.get("trace")) == (ids[0], trace)


@pytest.mark.parametrize(
    ("path", "prefix"),
    [
        ("/toy", "/toy"),
        ("//toy/x", "/toy"),
        ("//toy//box/x", "/toy/box"),
        ("/toy/x", "/toy"),
        ("/toys", ""),
        ("/", ""),
        ("/toy/box/x", "/toy/box"),
    ],
)
def test_of_several_surfaces_the_longest_prefix_of_whole_segments_answers(path: str, prefix: str) -> None:
    several = [Routes(surface(prefix=each), []) for each in ("", "/toy", "/toy/box")]
    assert serving(several, path).surface.prefix == prefix


def test_head_is_answered_as_get(routes: Routes, yard: Yard) -> None:
    assert call(routes, "HEAD", BOAT).status_code == 200
    assert len(yard.calls) == 1


@pytest.mark.parametrize(
    ("sent", "field", "message"),
    [
        (b"{", "body", "is not JSON"),
        (b"[]", "body", "must be a JSON object"),
        (b" " * (MAX_BYTES + 1), "body", f"is larger than {MAX_BYTES} bytes"),
        ({}, "name", "is needed"),
        ({"name": "Anna", "length": "long"}, "length", "input should be a valid number"),
        ({"name": "Anna", "mast": 1}, "mast", "there is no such field"),
    ],
)
def test_a_wrong_body_is_refused_naming_the_field(
    routes: Routes, yard: Yard, sent: Any, field: str, message: str
) -> None:
    answer = call(routes, "POST", "/toy/boats", sent)
    assert answer.status_code == 400
    [problem] = answer.get_json()["errors"]
    assert (problem["field"], problem["message"][: len(message)]) == (field, message)
    assert yard.calls == []


def test_a_route_has_its_own_limit_for_its_body(routes: Routes) -> None:
    assert call(routes, "PATCH", BOAT, b" " * (MAX_BYTES + 1)).status_code == 200


@pytest.mark.parametrize(
    ("path", "headers", "field", "message"),
    [
        ("/toy/boats?colour=blue", {}, "colour", "must be red or green; got 'blue'"),
        ("/toy/boats", {"Idempotency-Key": "x" * 256}, "Idempotency-Key", "must be 1 to 255"),
    ],
)
def test_a_wrong_parameter_is_refused_by_its_name(
    routes: Routes, path: str, headers: dict[str, str], field: str, message: str
) -> None:
    method, body = ("POST", {"name": "Anna"}) if headers else ("GET", None)
    answer = call(routes, method, path, body, **headers)
    assert answer.status_code == 400
    [problem] = answer.get_json()["errors"]
    assert (problem["field"], problem["message"][: len(message)]) == (field, message)


PROBLEM_KEYS = {"type", "title", "status", "detail", "request_id"}
DETAIL_KEYS = {"detail", "request_id"}


@pytest.mark.parametrize(("form", "keys"), [(PROBLEM_DETAILS, PROBLEM_KEYS), (DETAIL, DETAIL_KEYS)])
@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 429, 500, 503])
def test_every_error_has_the_form_of_its_surface(
    yard: Yard, form: ErrorForm, keys: set[str], status: int
) -> None:
    routes = toy(yard, form)
    yard.error = FAILURES.get(status)
    requests: dict[int, tuple[str, str, Any, str | None]] = {
        400: ("POST", "/toy/boats", {}, "boats"),
        401: ("GET", BOAT, None, None),
        403: ("GET", BOAT, None, "ships"),
        404: ("GET", "/toy/ships", None, "boats"),
        405: ("PUT", BOAT, None, "boats"),
    }
    method, path, body, key = requests.get(status, ("DELETE", BOAT, None, "boats"))
    answer = call(routes, method, path, body, key=key, **{"X-Cloud-Trace-Context": "trace-7/1;o=1"})
    request_id = answer.headers["X-Request-Id"]
    assert (answer.status_code, answer.content_type) == (status, form.content_type)
    said = answer.get_json()
    assert set(said) - {"errors"} == keys
    assert ("errors" in said) == (status == 400)
    assert said["request_id"] == request_id
    assert OURS.fullmatch(request_id)
    assert answer.headers.get("Retry-After") == ("2" if status == 429 else None)
    assert said["detail"]
    assert said.get("status", status) == status
    assert "secret" not in str(said)


def test_more_requests_of_one_customer_than_an_instance_answers_wait(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(declared, "REQUESTS", Rates(10, lambda: now[0]))

    def who(request: flask.Request, _: str) -> Any:
        return SimpleNamespace(caller=SimpleNamespace(customer=request.headers["Authorization"]))

    routes = Routes(surface(who=who), [replace(whole(), handler=yard.build)])
    at_once = int(REQUESTS_A_SECOND * BURST_SECONDS)
    answers = [call(routes, "GET", "/toy/x", key="acme") for _ in range(at_once + 1)]
    assert [each.status_code for each in answers] == [200] * at_once + [429]
    assert answers[-1].headers["Retry-After"] == "1"
    sentence = (
        "the limit requests_a_second is 50, and more requests came from your keys: send the next one after"
    )
    assert answers[-1].get_json()["detail"].startswith(f"{sentence} 1 s, or ask")
    assert len(yard.calls) == at_once, "nothing was done for it"
    assert call(routes, "GET", "/toy/x", key="globex").status_code == 200
    assert call(routes, "GET", "/toy/openapi.json").status_code == 200
    now[0] += 1
    assert call(routes, "GET", "/toy/x", key="acme").status_code == 200


def test_a_method_that_a_path_does_not_have_is_told_which_it_has(routes: Routes) -> None:
    assert call(routes, "PUT", BOAT).headers["Allow"] == "DELETE, GET, HEAD, PATCH"
    assert call(routes, "PUT", "/toy/boats/").headers["Allow"] == "GET, HEAD, POST"


def test_the_log_of_a_failure_names_the_route_and_not_the_path(
    routes: Routes, yard: Yard, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure()
    yard.error = FAILURES[500]
    call(routes, "GET", "/toy/flags/zz")
    logged = capsys.readouterr().out
    assert json.loads(logged)["route"] == "GET /toy/flags/<string(length=2):flag>"
    assert "/toy/flags/zz" not in logged


def test_a_body_that_the_use_case_checks_is_given_as_sent(yard: Yard) -> None:
    def create(_: str, body: dict[str, Any]) -> Any:
        return yard.build(body=body)

    route = Route(
        method="POST",
        path="/toy/x",
        handler=create,
        summary="Make x",
        scope="boats",
        body=Body(NewBoat, given="object"),
        answer=Boat,
    )
    assert call(Routes(surface(), [route]), "POST", "/toy/x", {"mast": 1}).status_code == 200
    assert yard.calls == [((), {"body": {"mast": 1}})]


def test_a_document_is_made_again_where_python_could_not_parse_beside_another_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    routes = Routes(surface(), [whole()])
    make, tried = openapi.document, []

    def document(*declared: Any) -> dict[str, Any]:
        tried.append(declared)
        if len(tried) == 1:
            raise SystemError("AST constructor recursion depth mismatch")
        return make(*declared)

    monkeypatch.setattr(openapi, "document", document)
    assert routes.document["openapi"].startswith("3.1")
    assert len(tried) == 2


# --- how long an error may be


@pytest.mark.parametrize(
    ("form", "names"),
    [
        (PROBLEM_DETAILS, True),
        (DETAIL, True),
        (OAUTH, False),
        (CODED, False),
        (IDENTITY, False),
    ],
    ids=["problem", "detail", "oauth", "coded", "identity"],
)
@pytest.mark.parametrize("wrong", [20, 21, 9_000])
def test_an_error_of_every_form_names_twenty_fields_and_counts_the_rest(
    form: ErrorForm, names: bool, wrong: int, yard: Yard
) -> None:
    long = "x" * 10_000
    yard.error = Invalid([FieldProblem(f"field {n}", "is wrong") for n in range(wrong)])
    answer = call(toy(yard, form), "POST", "/toy/boats", b'{"name": "Anna"}')
    text = answer.get_data(as_text=True)
    body = json.loads(text)
    assert text.count("is wrong") >= 20
    assert ("field 19" in text, "field 20" in text) == (True, False)
    assert (f"and {wrong - 20:,} more" in text) == (wrong > 20)
    if names:
        assert len(body["errors"]) == 20
        assert body.get("more_errors", 0) == wrong - 20
    yard.error = Invalid([FieldProblem(long, long) for n in range(wrong)])
    assert len(call(toy(yard, form), "POST", "/toy/boats", b'{"name": "Anna"}').get_data()) < 40_000
    yard.error = Conflict(long, "1")
    assert len(call(toy(yard, form), "POST", "/toy/boats", b'{"name": "Anna"}').get_data()) < 10_000


def test_a_query_of_many_unknown_parameters_is_answered_shortly(yard: Yard) -> None:
    strict = Routes(replace(toy(yard).surface, strict=True), toy(yard).routes[:-1])
    query = "&".join(f"{'x' * 60}{n}=1" for n in range(500))
    answer = call(strict, "GET", f"/toy/boats?{query}")
    assert (answer.status_code, len(answer.get_data()) < 10_000) == (400, True)


@pytest.mark.slow
def test_a_body_of_wrong_fields_costs_little_more_than_it_is_long() -> None:
    script = """
import resource
from pydantic import BaseModel, ConfigDict
from shared.errors import Invalid
from shared.http.bodies import exact_object, read
class Model(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
body = b'{"name": "Anna",' + b",".join(b'"%x":1' % n for n in range(100_000)) + b"}"
before = resource.getrusage(resource.RUSAGE_SELF)
try:
    read(Model, exact_object(body))
except Invalid as wrong:
    after = resource.getrusage(resource.RUSAGE_SELF)
    print(len(str(wrong)), after.ru_maxrss - before.ru_maxrss, after.ru_utime - before.ru_utime)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    said, memory, seconds = done.stdout.split()
    assert int(said) < 4_000
    assert int(memory) < 160 * 1024, "KiB"
    assert float(seconds) < 5
