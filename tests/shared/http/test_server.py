"""A surface under functions-framework and its server, as it is deployed: what they do beyond the handler."""

import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest

from infra.bundle import Function, Instances, Trigger
from infra.local.processes import FunctionProcesses
from shared.http.bodies import BODY_BYTES
from tests.shared.http.toy import BOAT, MAX_BYTES

MAIN = """
from dataclasses import replace

import functions_framework

from shared.http.routes import Body, Route, Routes
from tests.shared.http.toy import NewBoat, Yard, surface, toy as declared


def _hire(_, body):
    return {"hired": len(body)}


def _moor(_, parts):
    return {"moored": [part.name for part in parts]}


YARD = Yard()
MORE = [
    Route(method="POST", path=f"/toy/{name}", handler=handler, summary=name, scope="boats", body=body,
          answer=dict[str, int])
    for name, handler, body in (
        ("hire", _hire, Body(NewBoat, form=True, given="object")),
        ("moor", _moor, Body(NewBoat, form=True, given="parts")),
    )
]
ROUTES = Routes(surface(), [*declared(YARD).routes[:-1], *MORE])


@functions_framework.http
def toy(request):
    return ROUTES.answer(request)
"""

TEN_MEGABYTES = 10_000_000


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Where the function listens."""
    root = tmp_path_factory.mktemp("server")
    main = root / "functions" / "toy" / "main.py"
    main.parent.mkdir(parents=True)
    main.write_text(MAIN)
    toy = Function(
        name="toy",
        does="",
        trigger=Trigger(http=("/toy",)),
        timeout=60,
        memory="512Mi",
        concurrency=4,
        instances=Instances(most=1, because="a test has one"),
        account="account",
        public=True,
    )
    processes = FunctionProcesses({"toy": toy}, env=lambda _: {}, logs=root / "logs", root=root)
    try:
        with processes.use("toy") as instance:
            yield instance.port
    finally:
        processes.stop()


@pytest.fixture
def server(port: int) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    yield connection
    connection.close()


def ask(
    server: http.client.HTTPConnection, method: str, path: str, body: Any = None, **headers: str
) -> tuple[int, str, Any]:
    """The answer's status, content type and body; an iterator is sent in chunks, without a length."""
    chunked = body is not None and not isinstance(body, bytes)
    named = {"Authorization": "boats", **{name.replace("_", "-"): value for name, value in headers.items()}}
    sent = {name: value for name, value in named.items() if value}
    server.request(method, path, body, sent, encode_chunked=chunked)
    answer = server.getresponse()
    content = answer.read()
    kind = answer.headers.get("Content-Type", "")
    return answer.status, kind, json.loads(content) if content and "json" in kind else content


def chunks(size: int) -> Iterator[bytes]:
    yield from (b" " * 65_536 for _ in range(size // 65_536))
    yield b" " * (size % 65_536)


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize(
    ("method", "path", "limit", "status"),
    [
        ("POST", "/toy/boats", MAX_BYTES, 400),
        ("PATCH", BOAT, BODY_BYTES, 400),
        ("POST", "/toy/hire", BODY_BYTES, 413),
        ("POST", "/toy/moor", BODY_BYTES, 413),
    ],
)
@pytest.mark.parametrize("more", [1, 5_000_000])
def test_a_body_over_the_limit_is_refused_in_the_form_of_the_surface(
    server: http.client.HTTPConnection,
    chunked: bool,
    method: str,
    path: str,
    limit: int,
    status: int,
    more: int,
) -> None:
    size = limit + more
    body = chunks(size) if chunked else b" " * size
    kind = "application/x-www-form-urlencoded"
    found, content_type, answer = ask(server, method, path, body, Content_Type=kind)
    assert (found, content_type) == (status, "application/problem+json"), answer
    assert f"body is larger than {limit} bytes" in answer["detail"].replace(":", "")
    # The body was read to its end: the connection goes on with the next request.
    assert ask(server, "GET", BOAT)[0] == 200


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize(
    ("method", "path", "key", "status"),
    [
        ("POST", "/toy/boats", "", 401),
        ("POST", "/toy/boats", "ships", 403),
        ("POST", "/toy/nothing", "boats", 404),
        ("PUT", "/toy/boats", "boats", 405),
        ("GET", BOAT, "boats", 200),
        ("DELETE", BOAT, "boats", 204),
        ("GET", "/toy/openapi.json", "", 200),
    ],
)
def test_a_body_that_nobody_reads_changes_no_answer(
    server: http.client.HTTPConnection, chunked: bool, method: str, path: str, key: str, status: int
) -> None:
    body = chunks(TEN_MEGABYTES) if chunked else b" " * TEN_MEGABYTES
    found, content_type, answer = ask(server, method, path, body, Authorization=key)
    assert (found, "json" in content_type) == (status, True), answer
    assert ask(server, "GET", BOAT)[0] == 200


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_body_up_to_the_limit_is_read_also_twice(server: http.client.HTTPConnection, chunked: bool) -> None:
    boat = json.dumps({"name": "Anna"}).encode()
    body = boat + b" " * (MAX_BYTES - len(boat))
    found = ask(server, "POST", "/toy/boats", iter([body]) if chunked else body, Idempotency_Key="k")
    assert (found[0], found[2]["name"]) == (201, "Anna")
    assert ask(server, "PATCH", BOAT, chunks(BODY_BYTES) if chunked else b" " * BODY_BYTES)[0] == 200


def test_a_path_is_never_redirected(server: http.client.HTTPConnection) -> None:
    boat = json.dumps({"name": "Anna"}).encode()
    for path in ("/toy/boats", "/toy/boats/", "//toy/boats", "//toy//boats//", "/harbours/kiel//toy/boats"):
        assert ask(server, "POST", path, boat)[0] == 201, path
