"""The check of every answer against the OpenAPI document finds what is wrong."""

from typing import Any

import flask
import orjson
import pytest

from shared.exports import answers
from shared.http.routes import PUBLIC, Route, Routes
from tests import contract
from tests.contract import ContractBroken
from tests.shared.http.toy import BOAT, Yard, surface, toy
from tests.world import World

JSON = {"Content-Type": "application/json"}
ERROR = {"type": "about:blank", "title": "No", "status": 404, "detail": "No.", "request_id": "1"}


def check(
    status: int, body: Any, headers: dict[str, str] = JSON, path: str = BOAT, method: str = "GET"
) -> None:
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    contract.check(toy(Yard()), method, path, status, headers, content)


PROBLEM = {"Content-Type": "application/problem+json"}

BROKEN: dict[str, tuple[Any, ...]] = {
    "a status that is not declared": (418, {"id": "1", "name": "Anna"}),
    "a field that is missing": (200, {"id": "1"}),
    "a field that is not declared": (200, {"id": "1", "name": "Anna", "mast": 1}),
    "a field of another type": (200, {"id": "1", "name": 1}),
    "a date in another form": (200, {"id": "1", "name": "Anna", "built": "2026-11-22 09:17"}),
    "another content type": (200, b"<p>", {"Content-Type": "text/html"}),
    "no content": (200, b""),
    "content where there is none": (204, {}, JSON, BOAT, "DELETE"),
    "an error in another form": (404, {"detail": "No."}, PROBLEM),
    "a 401 without its challenge": (401, {**ERROR, "status": 401}, PROBLEM),
    "a 405 without the methods": (405, {**ERROR, "status": 405}, PROBLEM, "/toy/boats", "PUT"),
    "an answer of no route": (200, {}, JSON, "/toy/ships"),
    "an error of no route in another form": (404, {"detail": "No."}, PROBLEM, "/toy/ships"),
}


@pytest.mark.parametrize("answered", BROKEN.values(), ids=BROKEN)
def test_a_wrong_answer_is_found(answered: tuple[Any, ...]) -> None:
    with pytest.raises(ContractBroken):
        check(*answered)


@pytest.mark.parametrize(
    "answered",
    [
        (200, {"id": "1", "name": "Anna"}),
        (200, {"id": "1", "name": "Anna", "built": "2026-11-22T09:17:00.110425Z"}),
        (200, b"", JSON, BOAT, "HEAD"),
        (204, b"", {}, BOAT, "DELETE"),
        (404, ERROR, PROBLEM),
        (404, ERROR, PROBLEM, "/toy/ships"),
        (401, {**ERROR, "status": 401}, {**PROBLEM, "WWW-Authenticate": "Toy"}),
        (405, {**ERROR, "status": 405}, {**PROBLEM, "Allow": "GET"}, "/toy/boats", "PUT"),
        (200, b"png", {"Content-Type": "image/png"}, "/toy/flags/se"),
        (302, b"", {}, "/toy/flags/se"),
    ],
)
def test_a_right_answer_passes(answered: tuple[Any, ...]) -> None:
    check(*answered)


def test_an_answer_without_a_declared_header_is_found() -> None:
    route = Route(
        method="GET",
        path="/toy/x",
        handler=print,
        summary="Get x",
        scope=PUBLIC,
        answer=None,
        headers={"X-Berth": "Where it lies."},
    )
    routes = Routes(surface(), [route])
    contract.check(routes, "GET", "/toy/x", 200, {"X-Berth": "7"}, b"")
    with pytest.raises(ContractBroken, match="X-Berth"):
        contract.check(routes, "GET", "/toy/x", 200, {}, b"")


def test_the_world_checks_every_answer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    right = answers.options()
    assert world.request("GET", "/v1/options").body == right
    monkeypatch.setattr(answers, "options", lambda: {**right, "colours": []})
    with pytest.raises(ContractBroken, match="'colours' was unexpected"):
        world.request("GET", "/v1/options")


def test_the_world_checks_every_status(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "options", lambda: flask.Response(status=202))
    with pytest.raises(ContractBroken, match="answered 202"):
        world.request("GET", "/v1/options")
