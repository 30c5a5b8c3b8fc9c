"""A surface under functions-framework and its server, as it is deployed: what they do beyond the handler."""

import http.client
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from infra.bundle import Function, Instances, Trigger
from infra.local.processes import FunctionProcesses, Instance
from shared.clock import elapsed_since, stopwatch
from shared.http.bodies import BODY_BYTES
from shared.http.sent import BLOCK_SECONDS, DROPPED_BLOCK_SECONDS, UNKNOWN_AT_ONCE, UNKNOWN_SECONDS
from tests.memory import peak
from tests.shared.http.toy import BOAT, MAX_BYTES

MAIN = """
import flask

from shared.http import door
from shared.http.routes import PUBLIC, Body, Route, Routes
from tests.shared.http.toy import NewBoat, Yard, surface, toy as declared


def _hire(_, body):
    return {"hired": len(body)}


def _moor(_, parts):
    return {"moored": [part.name for part in parts]}


def _log_in(_, body):
    return {"logged_in": 1}


YARD = Yard()
MORE = [
    Route(method="POST", path=f"/toy/{name}", handler=handler, summary=name, scope="boats", body=body,
          answer=dict[str, int])
    for name, handler, body in (
        ("hire", _hire, Body(NewBoat, form=True, given="object")),
        ("moor", _moor, Body(NewBoat, form=True, given="parts")),
    )
]
def _log(_):
    return flask.Response(b"x" * 64_000_000)


door.ANSWER_SECONDS = 2  # so that the test of it is quick
LOG = Route(method="GET", path="/toy/log", handler=_log, summary="Log", scope=PUBLIC, answer=dict[str, int])
LOGIN = Route(method="POST", path="/toy/login", handler=_log_in, summary="Log in", scope=PUBLIC,
              answer=dict[str, int], body=Body(NewBoat, form=True, given="object"))
ROUTES = Routes(surface(), [*declared(YARD).routes[:-1], *MORE, LOG, LOGIN])


@door.http
def toy(request):
    return ROUTES.answer(request)
"""

TEN_MEGABYTES = 10_000_000

THREADS = 8

TOKEN = "0123456789abcdef0123456789abcdef_the-secret-of-a-link"


@pytest.fixture(scope="module")
def toy_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Instance, Path]]:
    """The function's process, and where its output goes."""
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
        concurrency=THREADS,
        instances=Instances(most=1, because="a test has one"),
        account="account",
        public=True,
    )
    processes = FunctionProcesses({"toy": toy}, env=lambda _: {}, logs=root / "logs", root=root)
    try:
        with processes.use("toy") as instance:
            yield instance, root / "logs" / "toy.log"
    finally:
        processes.stop()


@pytest.fixture(scope="module")
def port(toy_process: tuple[Instance, Path]) -> int:
    """Where the function listens."""
    return toy_process[0].port


@pytest.fixture
def log(toy_process: tuple[Instance, Path]) -> Callable[[], str]:
    """What the function has written so far."""
    return toy_process[1].read_text


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
    # Whoever sends all of it before they read still got the answer; the next request has another connection.
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


# --- whoever sends a byte and waits


def one_byte(
    port: int, path: str, *, key: str = "", method: str = "POST", length: str = "32000000", more: str = ""
) -> socket.socket:
    """A connection whose request has a body of which one byte comes."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    named = f"Authorization: {key}\r\n" if key else ""
    kind = "Content-Type: application/x-www-form-urlencoded\r\n"
    head = f"{method} {path} HTTP/1.1\r\nHost: toy\r\n{named}{kind}Content-Length: {length}\r\n{more}\r\n"
    connection.sendall(f"{head}{{".encode())
    return connection


def answered(connection: socket.socket) -> bytes:
    """All that comes until the server has no more to say."""
    return b"".join(iter(lambda: connection.recv(65_536), b""))


REFUSED = {
    "no key": ("POST", "/toy/hire", "", b"401"),
    "another scope": ("POST", "/toy/moor", "ships", b"403"),
    "no such path": ("POST", "/toy/nothing", "boats", b"404"),
    "a path of the framework": ("POST", "/robots.txt", "", b"404"),
    "no such method": ("PUT", "/toy/boats", "boats", b"405"),
    "a length over the limit": ("POST", "/toy/hire", "boats", b"413"),
    "a GET with a body": ("GET", BOAT, "boats", b"200"),
    "a HEAD with a body": ("HEAD", BOAT, "boats", b"200"),
    "a link with a body": ("GET", "/toy/flags/zz", "", b"200"),
    "a login over its limit": ("POST", "/toy/login", "", b"413"),
}


@pytest.mark.slow
def test_sockets_of_one_byte_stop_nobody_and_their_answers_do_not_wait_for_the_rest(port: int) -> None:
    for what, (method, path, key, status) in REFUSED.items():
        with ExitStack() as opened:
            began = stopwatch()
            waiting = [
                opened.enter_context(one_byte(port, path, method=method, key=key)) for _ in range(2 * THREADS)
            ]
            answers = [answered(each).split(b"\r\n", 1) for each in waiting]
            seconds = elapsed_since(began)
        assert {first for first, _ in answers} == {answers[0][0]}, what
        assert answers[0][0].split()[1] == status, (what, answers[0])
        assert all(b"Connection: close" in rest for _, rest in answers), what
        # Some connections are kept for their senders to read; they hold up nothing for longer than this.
        assert seconds < BLOCK_SECONDS + DROPPED_BLOCK_SECONDS, what


@pytest.mark.slow
def test_a_known_caller_who_sends_one_byte_is_told_so_in_time(
    port: int, server: http.client.HTTPConnection, log: Callable[[], str]
) -> None:
    with one_byte(port, "/toy/hire", key="boats", length="100") as connection:
        began = stopwatch()
        assert ask(server, "GET", BOAT)[0] == 200
        assert elapsed_since(began) < BLOCK_SECONDS
        answer = answered(connection)
        assert BLOCK_SECONDS - 1 < elapsed_since(began) < BLOCK_SECONDS + 3
    assert answer.startswith(b"HTTP/1.1 408 "), answer
    assert b"does not arrive: send it again, without a pause" in answer
    assert "Traceback" not in log()


@pytest.mark.slow
def test_logins_of_one_byte_leave_half_of_the_threads_to_who_is_known(
    port: int, server: http.client.HTTPConnection
) -> None:
    with ExitStack() as opened:
        began = stopwatch()
        waiting = [
            opened.enter_context(one_byte(port, "/toy/login", length="100")) for _ in range(2 * THREADS)
        ]
        assert ask(server, "GET", BOAT)[0] == 200
        assert elapsed_since(began) < BLOCK_SECONDS, "the bodies of logins kept others waiting"
        statuses = [answered(each).split(maxsplit=2)[1] for each in waiting]
    assert statuses.count(b"503") >= 2 * THREADS - 2 * UNKNOWN_AT_ONCE
    assert set(statuses) == {b"408", b"503"}
    server.close()  # it was idle for so long that the other end has closed it, too
    assert ask(server, "POST", "/toy/login", b"", Authorization="")[0] == 200


@pytest.mark.slow
def test_logins_of_one_byte_keep_nobody_from_logging_in(
    port: int, server: http.client.HTTPConnection
) -> None:
    via = "X-Forwarded-For: 198.51.100.1,203.0.113.7,192.0.2.1\r\n"
    with ExitStack() as opened:
        waiting = [
            opened.enter_context(one_byte(port, "/toy/login", length="100", more=via))
            for _ in range(UNKNOWN_AT_ONCE)
        ]
        began, statuses = stopwatch(), [503]
        while statuses[-1] == 503 and elapsed_since(began) < BLOCK_SECONDS / 2:
            statuses.append(ask(server, "POST", "/toy/login", b"", Authorization="")[0])
        assert statuses[-1] == 200
        assert elapsed_since(began) < UNKNOWN_SECONDS + 1
        first = answered(waiting[0])
    assert first.startswith(b"HTTP/1.1 408 "), first


@pytest.mark.slow
def test_whoever_does_not_take_an_answer_stops_nobody(
    port: int, server: http.client.HTTPConnection, log: Callable[[], str]
) -> None:
    with ExitStack() as opened:
        began = stopwatch()
        for _ in range(2 * THREADS):
            connection = opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
            connection.sendall(f"GET /toy/log?t={TOKEN} HTTP/1.1\r\nHost: toy\r\n\r\n".encode())
        assert ask(server, "GET", BOAT)[0] == 200
        # Two rounds of all threads, of two seconds each, and no wait in the server's main thread.
        assert elapsed_since(began) < 15
    assert TOKEN not in log()


BROKEN = {
    "a chunk without a size": b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
    "a chunk that goes on": b"Transfer-Encoding: chunked\r\n\r\n1\r\n{}{}{}\r\n",
    "a trailer that is none": b"Transfer-Encoding: chunked\r\n\r\n0\r\nx\r\n\r\n",
    "a length below zero": b"Content-Length: -1\r\n\r\n",
    "a length in words": b"Content-Length: ten\r\n\r\n{}",
    "two lengths": b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
    "a length and chunks": b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n{}",
    "another coding": b"Transfer-Encoding: gzip\r\n\r\n{}",
    "a body that ends early": b"Content-Length: 100\r\n\r\n{",
    "an expectation": b"Expect: 100-continue\r\nContent-Length: 100\r\n\r\n",
    "another expectation": b"Expect: tea\r\nContent-Length: 100\r\n\r\n",
    "another host": b"Host: two\r\n\r\n",
    "a trace that is none": b"X-Cloud-Trace-Context: \xff;;/o=\r\ntraceparent: 00-zz\r\n\r\n",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", [f"/toy/flags/{TOKEN}", f"/toy/flags/zz?token={TOKEN}", f"/toy/hire/{TOKEN}"]
)
def test_no_token_of_a_link_reaches_the_log_whatever_is_wrong_with_the_request(
    port: int, server: http.client.HTTPConnection, log: Callable[[], str], path: str
) -> None:
    before = len(log())
    for what, rest in BROKEN.items():
        for host in (b"toy", b"t oy[", b"\xff"):
            for method in (b"GET", b"POST"):
                with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
                    line = b"%s %s HTTP/1.1\r\nHost: %s\r\n" % (method, path.encode(), host)
                    connection.sendall(line + rest)
                    connection.shutdown(socket.SHUT_WR)
                    answer = answered(connection)
                assert answer.startswith(b"HTTP/1.1 "), (what, answer)
                assert TOKEN not in log()[before:], (what, host, method, log()[before:])
    assert ask(server, "GET", BOAT)[0] == 200


@pytest.mark.parametrize("rest", [BROKEN["a chunk without a size"], BROKEN["a chunk that goes on"]])
def test_a_body_whose_chunks_are_broken_is_refused_in_the_form_of_the_surface(port: int, rest: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(b"POST /toy/boats HTTP/1.1\r\nHost: toy\r\nAuthorization: boats\r\n" + rest)
        answer = answered(connection)
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert b"ends too early, or its chunks are broken" in answer


@pytest.mark.slow
def test_bodies_without_a_key_take_no_memory(port: int, toy_process: tuple[Instance, Path]) -> None:
    before = peak(toy_process[0].pid)
    body = b"x" * (32 * 1024 * 1024)
    with ExitStack() as opened:
        connections = []
        for _ in range(2 * THREADS):
            connection = opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
            head = f"POST /toy/hire HTTP/1.1\r\nHost: toy\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode())
            connections.append(connection)
        for connection in connections:
            connection.settimeout(10)
            with suppress(OSError):  # it is closed before all is sent
                connection.sendall(body[:-1])
        after = peak(toy_process[0].pid)
    assert after - before < 32, f"{before} MiB before, {after} MiB with {2 * THREADS} bodies of 32 MiB"
