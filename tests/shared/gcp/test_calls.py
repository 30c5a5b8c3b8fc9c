"""Calls to a real server on 127.0.0.1: what is sent, what comes back, and which connection is used again."""

import asyncio
import gc
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from shared.gcp.calls import AT_ONCE_BYTES, Answer, Broken, Connections
from tests.certificates import certificate

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

Script = Callable[["Server", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Work = Callable[[Connections], Awaitable[Any]]


class Server:
    """Says to each connection what its script says, or the same answer to each request; keeps these."""

    def __init__(self, script: Script | bytes) -> None:
        self.script = script
        self.requests: list[bytes] = []
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            if callable(self.script):
                await self.script(self, reader, writer)
                return
            while True:
                self.requests.append(await request(reader))
                writer.write(self.script)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client hung up: what it makes of it is what the test looks at
        finally:
            writer.close()


async def request(reader: asyncio.StreamReader) -> bytes:
    """The next request with its body."""
    head = await reader.readuntil(b"\r\n\r\n")
    told = [line[16:] for line in head.split(b"\r\n") if line.startswith(b"Content-Length: ")]
    return head + await reader.readexactly(int(told[0]) if told else 0)


def calling(
    script: Script | bytes,
    work: Work,
    *,
    most: int = 2,
    seconds: float = 5,
    host: str = "127.0.0.1",
    tls: ssl.SSLContext | None = None,
) -> tuple[Any, Server]:
    """What `work` returns, and the server that it called."""
    server = Server(script)

    async def run() -> Any:
        async with await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls) as listening:
            port = listening.sockets[0].getsockname()[1]
            connections = Connections(f"http{'s' if tls else ''}://{host}:{port}", most, seconds)
            try:
                return await work(connections)
            finally:
                await connections.close()

    return asyncio.run(run()), server


async def get(connections: Connections) -> Answer:
    return await connections.request("GET", "/a%20b?c=d", {"Authorization": "Bearer x"})


def test_a_request_is_sent_as_it_is_told() -> None:
    answer, server = calling(OK, get)
    assert answer == (200, b"ok")
    [(line, host, *rest)] = [each.split(b"\r\n") for each in server.requests]
    assert (line, host[:16]) == (b"GET /a%20b?c=d HTTP/1.1", b"Host: 127.0.0.1:")
    assert rest == [b"Authorization: Bearer x", b"", b""]


@pytest.mark.parametrize("size", [0, 1, AT_ONCE_BYTES, AT_ONCE_BYTES + 1, 20_000_000])
def test_a_body_is_sent_whole(size: int) -> None:
    body = (b"0123456789" * (size // 10 + 1))[:size]

    async def post(connections: Connections) -> Answer:
        return await connections.request("POST", "/", {}, body)

    answer, server = calling(OK, post)
    assert answer == (200, b"ok")
    [sent] = server.requests
    assert f"Content-Length: {size}".encode() in sent
    assert sent.partition(b"\r\n\r\n")[2] == body


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone", (404, b"none")),
        (b"HTTP/1.1 204 No Content\r\n\r\n", (204, b"")),
        (CHUNKED + b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", (200, b"abc")),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", (200, b"a")),
    ],
)
def test_answers_of_every_form_are_read_and_their_connection_is_kept(
    answer: bytes, shown: tuple[int, bytes]
) -> None:
    async def thrice(connections: Connections) -> list[Answer]:
        return [await get(connections) for _ in range(3)]

    answers, server = calling(answer, thrice)
    assert answers == [shown] * 3
    assert server.connections == 1


def test_an_answer_that_comes_byte_by_byte_is_read() -> None:
    async def slowly(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        for byte in OK:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)

    answer, _ = calling(slowly, get)
    assert answer == (200, b"ok")


def test_no_more_connections_are_made_than_allowed() -> None:
    waiting = 0
    most = 0

    async def counted(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal waiting, most
        while True:
            server.requests.append(await request(reader))
            waiting += 1
            most = max(most, waiting)
            for _ in range(20):
                await asyncio.sleep(0)
            waiting -= 1
            writer.write(OK)

    async def many(connections: Connections) -> list[Answer]:
        return await asyncio.gather(*(get(connections) for _ in range(50)))

    answers, server = calling(counted, many, most=3)
    assert answers == [(200, b"ok")] * 50
    assert (len(server.requests), server.connections, most) == (50, 3, 3)


@pytest.mark.parametrize(
    ("says", "why"),
    [
        (b"", "the server ended the connection"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "the server ended the connection"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no HTTP: HttpParserError"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "no HTTP: HttpParserError"),
    ],
)
def test_an_answer_that_breaks_off_or_is_none_is_told_and_the_next_call_works(says: bytes, why: str) -> None:
    async def once(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(OK if server.connections > 1 else says)
        await writer.drain()

    async def twice(connections: Connections) -> Answer:
        with pytest.raises(Broken, match=f"^({why})$"):
            await get(connections)
        return await get(connections)

    answer, server = calling(once, twice)
    assert answer == (200, b"ok")
    assert server.connections == 2


@pytest.mark.parametrize("said", [b"", b"Connection: close\r\n"])
def test_a_connection_that_the_server_ends_is_not_used_again(said: bytes) -> None:
    over = asyncio.Event()

    async def one(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(OK.replace(b"Content", said + b"Content"))
        await (reader.read() if said else over.wait())

    async def twice(connections: Connections) -> list[Answer]:
        first = await get(connections)
        over.set()
        for _ in range(20):
            await asyncio.sleep(0)  # until its end is seen
        return [first, await get(connections)]

    answers, server = calling(one, twice)
    assert answers == [(200, b"ok")] * 2
    assert server.connections == 2


def test_a_refusal_before_a_large_body_is_sent_is_its_answer() -> None:
    refused = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"

    async def early(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if server.connections > 1:
            await request(reader)
            writer.write(OK)
            return
        await reader.readuntil(b"\r\n\r\n")
        writer.write(refused)
        await writer.drain()
        await reader.read()

    async def post(connections: Connections) -> list[Answer]:
        large = await connections.request("POST", "/", {}, bytes(50_000_000))
        return [large, await get(connections)]

    answers, server = calling(early, post)
    assert answers == [(413, b""), (200, b"ok")]
    assert server.connections == 2, "half a request was followed by another one"


def test_a_large_body_that_breaks_off_is_told() -> None:
    async def gone(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    async def post(connections: Connections) -> None:
        with pytest.raises(Broken):
            await connections.request("POST", "/", {}, bytes(50_000_000))

    calling(gone, post)


def test_a_large_body_that_takes_too_long_is_given_up_without_a_word(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def silent(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.Event().wait()

    async def post(connections: Connections) -> None:
        with pytest.raises(TimeoutError):
            await connections.request("POST", "/", {}, bytes(50_000_000))

    calling(silent, post, seconds=0.2)
    gc.collect()
    assert "never retrieved" not in caplog.text


def test_what_takes_too_long_is_given_up_and_the_next_call_works() -> None:
    async def silent(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        if server.connections > 1:
            writer.write(OK)
        else:
            await reader.read()

    async def twice(connections: Connections) -> Answer:
        with pytest.raises(TimeoutError):
            await get(connections)
        return await get(connections)

    answer, server = calling(silent, twice, seconds=0.2, most=1)
    assert answer == (200, b"ok")
    assert server.connections == 2


def test_a_server_that_is_not_there_is_told() -> None:
    async def nobody() -> None:
        async with await asyncio.start_server(lambda _, __: None, "127.0.0.1", 0) as listening:
            port = listening.sockets[0].getsockname()[1]
        await get(Connections(f"http://127.0.0.1:{port}", 1, 5))

    with pytest.raises(Broken, match=r"^no connection: ConnectionRefusedError$"):
        asyncio.run(nobody())


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "127.0.0.1:80", "http://"])
def test_what_is_no_url_of_a_server_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="is no URL of a server"):
        Connections(url, 1, 5)


def test_https_checks_the_name_of_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = certificate("localhost", tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    answer, _ = calling(OK, get, host="localhost", tls=context)
    assert answer == (200, b"ok")
    with pytest.raises(Broken, match=r"^no connection: SSLCertVerificationError$"):
        calling(OK, get, host="127.0.0.1", tls=context)
