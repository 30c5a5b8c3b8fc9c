"""Real servers on 127.0.0.1: what may be called, what comes back, and what is not waited for."""

import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest

from shared.clock import elapsed_since, stopwatch
from shared.net import outbound
from shared.net.outbound import Answer, Blocked, Failed, Network, Resolver, TooMuch, call
from tests.certificates import certificate

LOOPBACK: list[Network] = [ipaddress.IPv4Network("127.0.0.0/8")]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SECRET = "s3cr3t"

Script = Callable[[socket.socket, Event], None]


class Server:
    """Takes connections on 127.0.0.1 and speaks to each what its script says; keeps the requests."""

    def __init__(self, script: Script | bytes, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[bytes] = []
        self.over = Event()
        self._script = script
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            if self.over.is_set():
                sock.close()
                return
            try:
                self._speak(sock)
            except OSError:
                pass  # the client hung up: what it makes of it is what the test looks at
            finally:
                sock.close()

    def _speak(self, plain: socket.socket) -> None:
        plain.settimeout(10)
        sock = self._tls.wrap_socket(plain, server_side=True) if self._tls else plain
        with sock:
            if callable(self._script):
                self._script(sock, self.over)
                return
            self.requests.append(read_request(sock))
            sock.sendall(self._script)

    def close(self) -> None:
        self.over.set()
        with socket.create_connection(("127.0.0.1", self.port)):
            pass  # wakes it from accepting
        self._thread.join(timeout=10)
        self._listener.close()


@contextmanager
def serving(script: Script | bytes, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    server = Server(script, tls)
    try:
        yield server
    finally:
        server.close()


def read_request(sock: socket.socket) -> bytes:
    """The request with its body."""
    request = b""
    while b"\r\n\r\n" not in request:
        request += sock.recv(65536)
    head, _, body = request.partition(b"\r\n\r\n")
    length = next(
        (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0
    )
    while len(body) < length:
        body += sock.recv(65536)
    return head + b"\r\n\r\n" + body


def get(
    url: str,
    *,
    allowed: Sequence[Network] = LOOPBACK,
    seconds: float = 5,
    bytes_most: int = 1_000,
    resolve: Resolver = outbound.system_resolver,
) -> Answer:
    return call("GET", url, allowed=allowed, seconds=seconds, bytes_most=bytes_most, resolve=resolve)


def answers(*addresses: str) -> Resolver:
    return lambda host, port: addresses


def test_a_call_sends_what_it_is_given_and_gives_what_comes() -> None:
    with serving(b"HTTP/1.1 201 Made\r\nX-Thing: a b\r\nContent-Length: 3\r\n\r\n\x00\xffz") as server:
        answer = call(
            "POST",
            f"http://127.0.0.1:{server.port}/a b/ü?q={SECRET}#part",
            allowed=LOOPBACK,
            seconds=5,
            bytes_most=3,
            headers={"X-Waybill-Signature": "t=1"},
            body=b"\x00body",
        )
    assert answer == Answer(201, {"x-thing": "a b", "content-length": "3"}, b"\x00\xffz")
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert body == b"\x00body"
    assert sorted(head.decode().split("\r\n")) == sorted(
        [
            f"POST /a%20b/%C3%BC?q={SECRET} HTTP/1.1",
            f"Host: 127.0.0.1:{server.port}",
            "Accept-Encoding: identity",
            "Connection: close",
            "Content-Length: 5",
            "User-Agent: Waybill",
            "X-Waybill-Signature: t=1",
        ]
    )


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("raw", "status", "content"),
    [
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", 200, b"until the end"),
        (CHUNKED + b"2\r\nab\r\n3;x=y\r\ncde\r\n0\r\nTrailer: x\r\n\r\n", 200, b"abcde"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, 200, b"ok"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 1\r\nConnection: close\r\n\r\n!", 503, b"!"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: Identity\r\nContent-Length: 0\r\n\r\n", 200, b""),
    ],
)
def test_answers_of_every_form(raw: bytes, status: int, content: bytes) -> None:
    with serving(raw) as server:
        answer = get(f"http://127.0.0.1:{server.port}")
    assert (answer.status, answer.content) == (status, content)


def test_a_redirect_is_answered_as_it_is() -> None:
    with serving(OK) as inner:
        there = f"http://127.0.0.1:{inner.port}/"
        with serving(
            f"HTTP/1.1 302 Found\r\nLocation: {there}\r\nContent-Length: 0\r\n\r\n".encode()
        ) as server:
            answer = get(f"http://127.0.0.1:{server.port}/")
    assert (answer.status, answer.headers["location"], inner.requests) == (302, there, [])


PUBLIC = [
    "8.8.8.8",
    "93.184.216.34",
    "2606:4700::1111",
    "2a00:1450:4001::1",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
]
INWARD = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::8.8.8.8",
    "100::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:db8::1",
    "2002:7f00:1::1",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd20:ce::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Where connections went; none is made."""
    made: list[tuple[str, int]] = []

    def refuse(address: tuple[str, int], timeout: float) -> socket.socket:
        made.append(address)
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(socket, "create_connection", refuse)
    return made


@pytest.mark.parametrize("address", INWARD)
def test_addresses_inside_are_refused_before_anything_is_sent(
    address: str, connections: list[tuple[str, int]]
) -> None:
    with pytest.raises(
        Blocked, match=r"^shop\.example may not be called: its address .* operator allow"
    ) as error:
        get(f"http://shop.example/?{SECRET}", resolve=answers("8.8.8.8", address), allowed=[])
    assert SECRET not in str(error.value)
    assert connections == []


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_called_without_being_resolved_again(
    address: str, connections: list[tuple[str, int]]
) -> None:
    with pytest.raises(Failed):
        get("https://shop.example/", resolve=answers(address), allowed=[])
    assert [(ipaddress.ip_address(host), port) for host, port in connections] == [
        (ipaddress.ip_address(address), 443)
    ]


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("10.1.2.3", "10.1.0.0/16"),
        ("::ffff:10.1.2.3", "10.1.0.0/16"),
        ("64:ff9b::10.1.2.3", "10.1.0.0/16"),
        ("fd00::1", "fd00::/8"),
        ("::ffff:10.1.2.3", "::ffff:0:0/96"),
    ],
)
def test_an_allowed_network_is_called(address: str, network: str, connections: list[tuple[str, int]]) -> None:
    with pytest.raises(Failed):
        call(
            "GET",
            "http://x.example",
            allowed=[ipaddress.ip_network(network)],
            seconds=5,
            bytes_most=1,
            resolve=answers(address),
        )
    assert len(connections) == 1
    with pytest.raises(Blocked):
        get(
            "http://x.example",
            resolve=answers("10.1.2.3", "10.2.2.3"),
            allowed=[ipaddress.ip_network("10.1.0.0/16")],
        )


@pytest.mark.parametrize(
    "host",
    [
        "2130706433",
        "0x7f.1",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "0",
        "127%2e0.0.1",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "localhost",
        "LOCALHOST",
        "169.254.169.254",
    ],
)
def test_every_spelling_of_an_inner_address_is_refused(host: str) -> None:
    with serving(OK) as server, pytest.raises(Blocked):
        get(f"http://{host}:{server.port}/", allowed=[])
    assert server.requests == []


def test_a_final_dot_does_not_hide_an_inner_name() -> None:
    asked: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    with pytest.raises(Blocked, match=r"^localhost may not be called"):
        get("http://localhost./", resolve=resolve, allowed=[])
    assert asked == ["localhost."]


def test_a_name_is_resolved_once_and_what_was_judged_is_called() -> None:
    asked: list[tuple[str, int]] = []

    def rebinding(host: str, port: int) -> list[str]:
        asked.append((host, port))
        return ["127.0.0.1"] if len(asked) == 1 else ["127.0.0.2"]

    with serving(OK) as server:
        url = f"http://rebinding.example.:{server.port}/"
        allowed = [ipaddress.IPv4Network("127.0.0.1/32")]
        assert get(url, resolve=rebinding, allowed=allowed).content == b"ok"
        assert asked == [("rebinding.example.", server.port)]
        with pytest.raises(Blocked):
            get(url, resolve=rebinding, allowed=allowed)
    assert b"\r\nHost: rebinding.example:%d\r\n" % server.port in server.requests[0]


def test_the_next_address_is_tried_when_one_takes_no_connection() -> None:
    with serving(OK) as server:
        url = f"http://two.example:{server.port}/"
        assert get(url, resolve=answers("127.0.0.9", "127.0.0.1")).content == b"ok"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "like https://host/path"),
        ("shop.example/x", "like https://host/path"),
        ("//shop.example/x", "like https://host/path"),
        ("ftp://shop.example/", "like https://host/path"),
        ("file:///etc/passwd", "like https://host/path"),
        ("gopher://shop.example:80/", "like https://host/path"),
        ("http:///x", "like https://host/path"),
        ("http://./", "like https://host/path"),
        ("http://[::1/", "like https://host/path"),
        ("http://a b.example/", "like https://host/path"),
        ("http://a\x00.example/", "like https://host/path"),
        ("http://１２７.0.0.1/", "like https://host/path"),
        ("http://127。0。0。1/", "like https://host/path"),
        ("http://shop.example:65536/", "like https://host/path"),
        (f"http://shop.example/{'x' * 2_048}", "at most 2048 characters"),
        (f"http://user:{SECRET}@shop.example/", "^The URL of shop.example may not hold a user"),
        (f"http://{SECRET}@127.0.0.1/", "^The URL of 127.0.0.1 may not hold a user"),
        ("http://8.8.8.8:80@127.0.0.1/", "^The URL of 127.0.0.1 may not hold a user"),
        ("http://shop.example:0/", "port 0: use 80, 443 or one from 1024"),
        ("http://shop.example:22/", "port 22"),
        ("https://shop.example:1023/", "port 1023"),
    ],
)
def test_urls_that_are_not_taken(url: str, says: str, connections: list[tuple[str, int]]) -> None:
    with pytest.raises(Blocked, match=says) as error:
        get(url, resolve=answers("8.8.8.8"), allowed=[])
    assert SECRET not in str(error.value)
    assert connections == []


@pytest.mark.parametrize(
    "authority", ["127.0.0.1:{port}\\@8.8.8.8", "127.0.0.1:{port}#@8.8.8.8", "127.0.0.1:{port}?@8.8.8.8"]
)
def test_one_reader_of_urls_says_who_is_judged_and_who_is_called(authority: str) -> None:
    with serving(OK) as server:
        url = "http://" + authority.format(port=server.port)
        assert get(url).content == b"ok"
        with pytest.raises(Blocked, match=r"^127\.0\.0\.1 may not be called"):
            get(url, allowed=[])


def test_a_url_cannot_add_lines_to_the_request() -> None:
    with serving(OK) as server:
        get(f"http://127.0.0.1:{server.port}/a\r\nX-Evil: 1\r\n?q=\r\nX-Evil: 2")
    assert b"\nX-Evil" not in server.requests[0]


def test_an_international_name_is_resolved_in_its_ascii_form() -> None:
    asked: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    with serving(OK) as server:
        get(f"http://BÜCHER.example:{server.port}/", resolve=resolve)
    assert asked == ["xn--bcher-kva.example"]
    assert b"\r\nHost: xn--bcher-kva.example:" in server.requests[0]


def unresolvable(host: str, port: int) -> list[str]:
    raise socket.gaierror(-2, "Name or service not known")


@pytest.mark.parametrize("resolve", [unresolvable, answers()])
def test_a_name_that_does_not_resolve(resolve: Resolver) -> None:
    with pytest.raises(Failed, match=r"^shop\.example failed: its name could not be resolved"):
        get(f"http://shop.example/?{SECRET}", resolve=resolve)


def test_a_name_that_no_system_can_look_up() -> None:
    with pytest.raises(Failed, match="its name could not be resolved"):
        get("http://a..example/")


def test_a_closed_port() -> None:
    with serving(OK) as server:
        port = server.port
    with pytest.raises(Failed, match=r"^127\.0\.0\.1 failed: it could not be reached: Connection refused"):
        get(f"http://127.0.0.1:{port}/?{SECRET}")


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "could not be reached: RemoteDisconnected"),
        (f"garbage /?{SECRET}\r\n\r\n".encode(), "did not answer as HTTP"),
        (b"\x16\x03\x01\x02\x00", "did not answer as HTTP"),
        (b"HTTP/1.1 abc OK\r\n\r\n", "did not answer as HTTP"),
        (b"HTTP/2 200\r\n\r\n", "did not answer as HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nearly", "did not answer as HTTP"),
        (CHUNKED + b"5\r\nab", "did not answer as HTTP"),
        (CHUNKED + b"2\r\nab\r\n", "did not answer as HTTP"),
        (CHUNKED + b"-7\r\nab\r\n", "did not answer as HTTP"),
        (CHUNKED + b"zz\r\nab\r\n", "did not answer as HTTP"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx",
            "did not answer as HTTP",
        ),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "did not answer as HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 101 + b"\r\n", "did not answer as HTTP"),
    ],
)
def test_answers_that_are_none(raw: bytes, says: str) -> None:
    with serving(raw) as server, pytest.raises(Failed, match=says) as error:
        get(f"http://127.0.0.1:{server.port}/?{SECRET}")
    assert SECRET not in str(error.value)
    assert error.value.__cause__ is None
    assert error.value.__context__ is None


MUCH = 50_000_000


class Endless:
    """Sends the same again and again, up to 50 MB, and counts what it could send."""

    def __init__(self, head: bytes, more: bytes) -> None:
        self._head = head
        self._more = more
        self.sent = 0

    def __call__(self, sock: socket.socket, over: Event) -> None:
        self.sent = 0
        read_request(sock)
        sock.sendall(self._head)
        while self.sent < MUCH:
            sock.sendall(self._more)
            self.sent += len(self._more)


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(
            Endless(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % MUCH, b"x" * 65536), id="told"
        ),
        pytest.param(Endless(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536), id="untold"),
        pytest.param(Endless(CHUNKED, b"10000\r\n" + b"x" * 65536 + b"\r\n"), id="chunked"),
        pytest.param(Endless(CHUNKED + b"ffffffffffff\r\n", b"x" * 65536), id="one huge chunk"),
        pytest.param(Endless(CHUNKED + b"-1\r\n", b"x" * 65536), id="a chunk of -1 byte"),
        pytest.param(
            Endless(CHUNKED, b"1;" + b"e" * 60_000 + b"\r\nx\r\n"), id="chunks of little but framing"
        ),
        pytest.param(Endless(CHUNKED + b"0\r\n", b"Trailer: x\r\n" * 999), id="trailers"),
        pytest.param(Endless(b"HTTP/1.1 200 ", b"x" * 65536), id="status line"),
        pytest.param(Endless(b"HTTP/1.1 200 OK\r\n", (b"X: " + b"x" * 60_000 + b"\r\n")), id="headers"),
        pytest.param(Endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 999), id="continue"),
    ],
)
def test_an_answer_without_end_is_given_up_by_its_bytes(script: Endless) -> None:
    with (
        serving(script) as server,
        pytest.raises(Failed, match=r"answered more than is taken|as HTTP asks") as error,
    ):
        get(f"http://127.0.0.1:{server.port}/?{SECRET}", seconds=60, bytes_most=100_000)
    assert SECRET not in str(error.value)
    assert script.sent < MUCH / 2


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", b"HTTP/1.0 200 OK\r\nX: %d\r\n\r\n"]
)
def test_the_most_bytes_are_taken_and_one_more_is_not(head: bytes) -> None:
    with serving(head % 1_000 + b"x" * 1_000) as server:
        assert get(f"http://127.0.0.1:{server.port}/").content == b"x" * 1_000
    with serving(head % 1_001 + b"x" * 1_001) as server, pytest.raises(TooMuch, match="answered more"):
        get(f"http://127.0.0.1:{server.port}/")


def dripping(head: bytes, drop: bytes) -> Script:
    """A byte each 20 milliseconds: no single read ever waits long."""

    def script(sock: socket.socket, over: Event) -> None:
        read_request(sock)
        sock.sendall(head)
        while not over.wait(0.02):
            sock.sendall(drop)

    return script


def silent(sock: socket.socket, over: Event) -> None:
    over.wait(10)


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(silent, id="silent"),
        pytest.param(dripping(b"", b"H"), id="status line"),
        pytest.param(dripping(b"HTTP/1.1 200 OK\r\n", b"X"), id="headers"),
        pytest.param(dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n", b"x"), id="content"),
        pytest.param(dripping(CHUNKED, b"1\r\nx\r\n"), id="chunks"),
        pytest.param(dripping(CHUNKED, b"0"), id="chunk size"),
    ],
)
def test_seconds_bound_a_server_that_drips(script: Script) -> None:
    start = stopwatch()
    with (
        serving(script) as server,
        pytest.raises(Failed, match=r"^127\.0\.0\.1 took longer than 0\.3 seconds"),
    ):
        get(f"http://127.0.0.1:{server.port}/?{SECRET}", seconds=0.3)
    assert 0.25 < elapsed_since(start) < 3


def test_seconds_bound_a_server_that_does_not_read() -> None:
    start = stopwatch()
    with serving(silent) as server, pytest.raises(Failed, match=r"took longer than 0\.3 seconds"):
        call(
            "POST",
            f"http://127.0.0.1:{server.port}/",
            allowed=LOOPBACK,
            seconds=0.3,
            bytes_most=1,
            body=bytes(50_000_000),
        )
    assert elapsed_since(start) < 3


def test_seconds_bound_a_handshake_that_never_comes() -> None:
    with serving(silent) as server, pytest.raises(Failed, match=r"took longer than 0\.3 seconds"):
        get(f"https://127.0.0.1:{server.port}/", seconds=0.3)


def test_seconds_bound_resolving() -> None:
    over = Event()

    def stuck(host: str, port: int) -> list[str]:
        over.wait(10)
        return ["127.0.0.1"]

    start = stopwatch()
    with pytest.raises(Failed, match=r"took longer than 0\.3 seconds"):
        get("http://shop.example/", seconds=0.3, resolve=stuck)
    assert elapsed_since(start) < 3
    over.set()


def test_the_environment_is_not_looked_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with serving(OK) as proxy, serving(OK) as server:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        netrc = tmp_path / ".netrc"
        netrc.write_text(f"default login me password {SECRET}")
        netrc.chmod(0o600)
        monkeypatch.setenv("NETRC", str(netrc))
        monkeypatch.setenv("HOME", str(tmp_path))
        get(f"http://127.0.0.1:{server.port}/")
    assert proxy.requests == []
    assert b"Authorization" not in server.requests[0]


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ssl.SSLContext]:
    """A server's side of TLS for shop.example; the system trusts its certificate."""
    file = certificate("shop.example", tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    outbound._trust.cache_clear()
    yield context
    outbound._trust.cache_clear()


def test_https_checks_the_name_although_it_connects_to_an_address(tls: ssl.SSLContext) -> None:
    with serving(OK, tls) as server:
        resolve = answers("127.0.0.1")
        assert get(f"https://shop.example:{server.port}/", resolve=resolve).content == b"ok"
        assert get(f"https://shop.example.:{server.port}/", resolve=resolve).content == b"ok"
        for other in ("other.example", "127.0.0.1"):
            with pytest.raises(Failed, match=f"^{other} failed: its certificate was not accepted: "):
                get(f"https://{other}:{server.port}/?{SECRET}", resolve=resolve)
        assert len(server.requests) == 2


def test_a_certificate_that_nobody_trusts(tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    outbound._trust.cache_clear()
    with serving(OK, tls) as server, pytest.raises(Failed, match="not accepted: self-signed certificate"):
        get(f"https://shop.example:{server.port}/", resolve=answers("127.0.0.1"))
    assert server.requests == []


def test_https_to_a_server_that_speaks_http() -> None:
    def plain(sock: socket.socket, over: Event) -> None:
        sock.recv(65536)
        sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with serving(plain) as server, pytest.raises(Failed, match="could not be reached"):
        get(f"https://127.0.0.1:{server.port}/")
