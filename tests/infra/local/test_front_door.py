"""The front door, before a stand-in for the functions' processes that answers as the tests need it."""

import asyncio
import gzip
import http.client
import json
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web

from infra.bundle import Bundle, Function, Instances, Trigger
from infra.local.front_door import REQUEST_BYTES, front_door
from infra.local.http_server import HttpServer
from infra.local.processes import FunctionProcesses, StartFailed


def function(name: str, *paths: str, timeout: int = 60) -> Function:
    return Function(
        name=name,
        does="",
        trigger=Trigger(http=paths),
        timeout=timeout,
        memory="512Mi",
        concurrency=4,
        instances=Instances(most=1, because="a test has one"),
        account="account",
        public=True,
    )


class Backend:
    """What stands in for the functions: one server for all, which tells what it was asked."""

    def __init__(self) -> None:
        self.first_chunk = threading.Event()
        self.go_on = threading.Event()
        self.in_use = 0
        self.given_back = threading.Condition()
        app = web.Application(client_max_size=0)
        app.router.add_route("*", "/v1/stream", self._stream)
        app.router.add_route("*", "/v1/break", self._break)
        app.router.add_route("*", "/slow/{path:.*}", self._wait)
        app.router.add_route("*", "/v1/moved", self._moved)
        app.router.add_route("*", "/v1/sink", self._sink)
        app.router.add_route("*", "/{path:.*}", self._echo)
        self._server = HttpServer(app)
        self.port = self._server.start()

    def acquire(self, name: str) -> Any:
        if name == "broken":
            raise StartFailed("broken does not start")
        self.in_use += 1
        return SimpleNamespace(port=9 if name == "gone" else self.port)

    def release(self, _: Any) -> None:
        with self.given_back:
            self.in_use -= 1
            self.given_back.notify_all()

    def stop(self) -> None:
        self.go_on.set()
        self._server.stop()

    async def _echo(self, request: web.Request) -> web.Response:
        told = {
            "method": request.method,
            "raw_path": request.raw_path,
            "headers": list(request.headers.items()),
            "body": (await request.read()).decode("latin-1"),
        }
        headers = {
            "X-Answer": "yes",
            "Content-Encoding": "gzip",
            "Keep-Alive": "timeout=5",
            "Set-Cookie": "a=1",
        }
        return web.Response(status=418, reason="Teapot", text=json.dumps(told), headers=headers)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        async for chunk in request.content.iter_any():
            self.first_chunk.set()
            await response.write(chunk.upper())
        await asyncio.to_thread(self.go_on.wait, 10)
        await response.write(b"!")
        return response

    async def _break(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport is not None
        request.transport.abort()
        return response

    async def _wait(self, request: web.Request) -> web.StreamResponse:
        await asyncio.to_thread(self.go_on.wait, 10)
        return web.Response()

    async def _moved(self, request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound("/v1/elsewhere")

    async def _sink(self, request: web.Request) -> web.StreamResponse:
        size = 0
        async for chunk in request.content.iter_any():
            size += len(chunk)
        return web.Response(text=str(size))


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    backend = Backend()
    yield backend
    backend.stop()


@pytest.fixture(scope="module")
def door(backend: Backend) -> Iterator[int]:
    functions = [
        function("exports", "/v1"),
        function("gone", "/v1/gone"),
        function("broken", "/broken"),
        function("slow", "/slow", timeout=1),
    ]
    bundle = Bundle(
        functions={f.name: f for f in functions},
        buckets={},
        accounts={},
        roles={},
        customer_folders={},
        customer_grant=(),
    )
    server = HttpServer(front_door(bundle, cast(FunctionProcesses, backend)))
    yield server.start()
    server.stop()


def ask(
    door: int, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", door, timeout=10)
    try:
        connection.request(method, path, body, headers or {}, encode_chunked=not isinstance(body, bytes))
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_passes_everything_on_and_back(door: int, method: str) -> None:
    sent = {"X-One": "1", "Cookie": "a=b", "Authorization": "Bearer wb_1_s", "Host": "waybill.example"}
    answer, body = ask(door, method, "/v1/exports", b"some body", sent)
    told = json.loads(body)
    assert (told["method"], told["body"]) == (method, "some body")
    assert {(name, value) for name, value in told["headers"] if name in sent} == set(sent.items())
    assert (answer.status, answer.reason, answer.headers["X-Answer"]) == (418, "Teapot", "yes")
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.headers["Set-Cookie"] == "a=1"


@pytest.mark.parametrize(
    "path",
    [
        "/v1/a%2Fb%20c?q=%zz&r=a+b",
        "/v1/../v1/./x",
        "/v1//double",
        "//v1/x?y=//z",
        "/v1/%E2%82%AC?x=%E2%82%AC&&y",
        "/v1",
    ],
)
def test_leaves_path_and_query_as_they_were_sent(door: int, path: str) -> None:
    _, body = ask(door, "GET", path)
    assert json.loads(body)["raw_path"] == path


def test_says_who_asked_and_drops_what_is_about_the_connection(door: int) -> None:
    sent = {
        "Connection": "close, X-Private",
        "X-Private": "1",
        "TE": "trailers",
        "Proxy-Authorization": "Basic x",
        "X-Forwarded-For": "203.0.113.7",
        "X-Forwarded-Proto": "https",
        "Host": "waybill.example:8085",
    }
    answer, body = ask(door, "GET", "/v1/x", headers=sent)
    told = dict(json.loads(body)["headers"])
    assert told["X-Forwarded-For"] == "203.0.113.7,127.0.0.1,127.0.0.1"
    assert told["X-Forwarded-Proto"] == "https"
    assert told["X-Forwarded-Host"] == "waybill.example:8085"
    assert not {"X-Private", "TE", "Proxy-Authorization"} & set(told)
    assert answer.headers["Keep-Alive"] is None
    _, body = ask(door, "GET", "/v1/x")
    told = dict(json.loads(body)["headers"])
    assert (told["X-Forwarded-For"], told["X-Forwarded-Proto"]) == ("127.0.0.1,127.0.0.1", "http")
    assert not {"User-Agent", "Accept", "Content-Type"} & set(told), "nobody sent these"


def test_a_head_request_keeps_the_length(door: int) -> None:
    answer, body = ask(door, "HEAD", "/v1/x")
    assert body == b""
    assert int(answer.headers["Content-Length"]) > 0


def test_follows_no_redirect(door: int) -> None:
    answer, _ = ask(door, "GET", "/v1/moved")
    assert (answer.status, answer.headers["Location"]) == (302, "/v1/elsewhere")


def test_streams_both_ways(door: int, backend: Backend) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", door, timeout=10)
    connection.putrequest("POST", "/v1/stream")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    connection.send(b"5\r\nfirst\r\n")
    # The function has the first part before the last is sent, and we have its answer before it ends.
    assert backend.first_chunk.wait(10)
    connection.send(b"4\r\nlast\r\n0\r\n\r\n")
    answer = connection.getresponse()
    assert answer.read(9) == b"FIRSTLAST"
    backend.go_on.set()
    assert answer.read() == b"!"
    backend.go_on.clear()
    connection.close()


@pytest.mark.parametrize("path", ["/", "/v2/exports", "/v10", "/V1"])
def test_404_where_no_function_serves_a_path(door: int, path: str) -> None:
    answer, body = ask(door, "GET", path)
    assert (answer.status, json.loads(body)["error"]["code"]) == (404, 404)
    assert answer.headers["Content-Type"].startswith("application/json")


@pytest.mark.parametrize("path", ["/v1/gone", "/broken"])
def test_502_where_a_function_cannot_be_reached(door: int, path: str) -> None:
    answer, body = ask(door, "GET", path)
    assert (answer.status, json.loads(body)["error"]["code"]) == (502, 502)


@pytest.mark.slow
def test_504_where_a_function_takes_too_long(door: int, backend: Backend) -> None:
    backend.go_on.clear()
    answer, body = ask(door, "GET", "/slow/x")
    assert (answer.status, json.loads(body)["error"]["code"]) == (504, 504)
    backend.go_on.set()


def test_an_answer_that_breaks_off_is_not_made_to_look_whole(door: int) -> None:
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        ask(door, "GET", "/v1/break")


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "nonsense"])
def test_a_body_with_an_encoding_arrives_as_it_was_sent(door: int, encoding: str, chunked: bool) -> None:
    """The function gets header and body as in the cloud, whether the body is what its header says or not."""
    packed = gzip.compress(b"a body " * 1000)
    body = [packed[:10], packed[10:]] if chunked else packed
    headers = {"Content-Encoding": encoding, **({"Transfer-Encoding": "chunked"} if chunked else {})}
    answer, told = ask(door, "POST", "/v1/x", body, headers)
    assert answer.status == 418
    seen = json.loads(told)
    assert seen["body"].encode("latin-1") == packed
    assert ["Content-Encoding", encoding] in seen["headers"]


@pytest.mark.parametrize("chunked", [False, True])
def test_413_for_a_body_that_production_refuses(door: int, chunked: bool) -> None:
    size = REQUEST_BYTES
    _, body = ask(door, "POST", "/v1/sink", b"x" * size)
    assert body == str(size).encode()
    too_large = iter([b"x" * (size // 2)] * 2 + [b"x"]) if chunked else b"x" * (size + 1)
    headers = {"Transfer-Encoding": "chunked"} if chunked else {}
    answer, body = ask(door, "POST", "/v1/sink", too_large, headers)
    assert (answer.status, json.loads(body)["error"]["code"]) == (413, 413)


def test_gives_every_instance_back(door: int, backend: Backend) -> None:
    for path in ("/v1/x", "/v1/gone", "/broken", "/nope", "/v1/break"):
        try:
            ask(door, "GET", path)
        except (http.client.HTTPException, ConnectionError):
            continue
    with backend.given_back:
        assert backend.given_back.wait_for(lambda: backend.in_use == 0, timeout=10)
