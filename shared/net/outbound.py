"""The one way out to an address that a customer gave: an analyser's URL, an image's URL, an SFTP server.

Such an address may lead inwards: to the metadata server, which hands out our tokens, or to whatever else
stands beside us. So the name is resolved once, every address that comes is judged, and the connection goes to
one that was judged; asking a second time could bring another (DNS rebinding). Redirects are not followed,
proxies, cookies and netrc not looked at, the answer is bounded in bytes and the whole call in seconds.
`call` speaks HTTP; `connect` gives the connection alone, to who speaks something else.
https://cheatsheetseries.owasp.org/cheatsheets/Server_Side_Request_Forgery_Prevention_Cheat_Sheet.html
"""

import io
import socket
import ssl
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache
from http.client import HTTPConnection, HTTPException, HTTPResponse
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from threading import Thread
from typing import TYPE_CHECKING, cast

from urllib3.exceptions import LocationParseError
from urllib3.util import Url, parse_url

from shared.clock import elapsed_since, stopwatch
from shared.errors import WaybillError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address
Resolver = Callable[[str, int], Sequence[str]]

URL_LONGEST = 2_048
"""Characters of a URL; longer ones do not pass through many servers."""

MAX_HEAD_BYTES = 64 * 1024
"""Bytes of an answer's status line and headers; common servers send at most 16 KiB."""

FRAMING = 2
"""How many times `bytes_most` may cross the wire: between chunks stand their sizes, which are not content."""

READ_BYTES = 64 * 1024
"""How much of an answer is read at once."""

PORTS_BELOW_1024 = frozenset({80, 443})
"""Other low ports belong to mail, databases and shells, which a made-up HTTP request could make do things."""

INWARD_IPV4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
"""What is not the public internet. https://www.iana.org/assignments/iana-ipv4-special-registry
Written out, since `ipaddress.is_global` says different things in different versions of Python."""

PUBLIC_IPV6 = IPv6Network("2000::/3")
"""All that was ever given out. https://www.iana.org/assignments/ipv6-address-space"""

INWARD_IPV6 = tuple(
    IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
)
"""What of it is not public: protocols' own, Teredo and 6to4 among them, which embed IPv4 addresses; examples.
https://www.iana.org/assignments/iana-ipv6-special-registry"""

NAT64 = IPv6Network("64:ff9b::/96")
"""Addresses that stand for the IPv4 address in their last 32 bits. https://www.rfc-editor.org/rfc/rfc6052"""


UNIQUE_LOCAL = IPv6Network("fc00::/7")
"""The private addresses of IPv6. https://www.rfc-editor.org/rfc/rfc4193"""

NEVER = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",
            "169.254.0.0/16",
            "224.0.0.0/4",
            "240.0.0.0/4",
            "::/128",
            "fe80::/10",
            "ff00::/8",
            "fd20:ce::254/128",
            "fd00:ec2::254/128",
        ),
    )
)
"""What is called for nobody, whatever is allowed: metadata servers, link-local addresses, and what is no
host's. https://www.rfc-editor.org/rfc/rfc3927
https://cloud.google.com/compute/docs/metadata/overview"""


class Blocked(WaybillError):
    """The address may not be called. Nothing was sent; calling again cannot help."""


class Failed(WaybillError):
    """The address could not be reached, took too long, or answered too much or not as HTTP."""


class TooMuch(Failed):
    """It answered more than is taken, which calling again does not help."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, a redirect as it is. The names of `headers` are in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes


def system_resolver(host: str, port: int) -> list[str]:
    """Every address of a name, as the system has it; socket.gaierror or UnicodeError where it has none."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def call(
    method: str,
    url: str,
    *,
    allowed: Sequence[Network],
    seconds: float,
    bytes_most: int,
    headers: Mapping[str, str] = {},
    body: bytes | None = None,
    resolve: Resolver = system_resolver,
) -> Answer:
    """Call an address that a customer gave.

    allowed     networks that may be called although they are not public
    seconds     what everything together may take, from resolving the name to the answer's last byte
    bytes_most  the most bytes of the answer's content

    Raises Blocked, Failed or TooMuch, each with a sentence that names the host and never the path or the
    query, which may hold a secret.
    """
    target = _target(url)
    deadline = _Deadline(_host(target), seconds)
    # With its final dot: that keeps the system from trying the name inside our own domains.
    name = (target.host or "").strip("[]")
    try:
        with _connected(name, _port(target), allowed, resolve, deadline) as plain:
            sock = _secured(plain, deadline) if target.scheme == "https" else plain
            with sock:
                return _exchange(method, target, headers, body, _Wire(sock, deadline), bytes_most)
    except TimeoutError:
        raise deadline.passed() from None
    except ssl.SSLCertVerificationError as error:
        reason = f"its certificate was not accepted: {error.verify_message}"
    except OSError as error:
        reason = f"it could not be reached: {error.strerror or type(error).__name__}"
    except (HTTPException, ValueError) as error:
        # These can hold a line of the answer, and that can repeat the URL: only their kind is told.
        reason = f"it did not answer as HTTP asks ({type(error).__name__})"
    raise Failed(f"{deadline.host} failed: {reason}. See that the server is up and answers this URL.")


def connect(
    host: str,
    port: int,
    *,
    allowed: Sequence[Network],
    seconds: float,
    low_ports: Collection[int],
    resolve: Resolver = system_resolver,
) -> socket.socket:
    """A connection to a host that a customer gave, without a timeout set; the caller closes it.

    allowed    networks that may be called although they are not public
    seconds    what everything together may take, from resolving the name to the connection's end
    low_ports  the ports below 1024 that may be called: those that the caller's protocol is spoken at

    Raises Blocked or Failed, each with a sentence that names the host.
    """
    _hold_port(host, port, low_ports)
    deadline = _Deadline(host.rstrip("."), seconds)
    try:
        sock = _connected(host, port, allowed, resolve, deadline)
    except TimeoutError:
        raise deadline.passed() from None
    except OSError as error:
        raise Failed(
            f"{deadline.host} failed: it could not be reached: {error.strerror or type(error).__name__}. "
            f"See that the server is up and takes connections at port {port}."
        ) from error
    sock.settimeout(None)
    return sock


def _target(url: str) -> Url:
    """The URL in its parts. The host that is judged, connected to and named is this parser's, no other's."""
    try:
        target = parse_url(url) if len(url) <= URL_LONGEST else Url()
    except LocationParseError:
        target = Url()
    host = _host(target)
    if target.scheme not in ("http", "https") or not host:
        raise Blocked(f"The URL must be like https://host/path, with at most {URL_LONGEST} characters.")
    if target.auth is not None:
        raise Blocked(f"The URL of {host} may not hold a user or password: remove what stands before the @.")
    _hold_port(host, _port(target), PORTS_BELOW_1024)
    return target


def _hold_port(host: str, port: int, low_ports: Collection[int]) -> None:
    """Blocked where the port is below 1024 and none of these."""
    if port < 1024 and port not in low_ports:
        use = ", ".join(map(str, sorted(low_ports)))
        raise Blocked(f"{host} may not be called at port {port}: use {use} or one from 1024.")


def _host(target: Url) -> str:
    """The host as certificates have it: without brackets and final dot."""
    return (target.host or "").strip("[]").rstrip(".")


def _port(target: Url) -> int:
    return target.port if target.port is not None else {"http": 80, "https": 443}[target.scheme or ""]


class _Deadline:
    """What is left of a call's seconds."""

    def __init__(self, host: str, seconds: float) -> None:
        self.host = host
        self._seconds = seconds
        self._start = stopwatch()

    def left(self) -> float:
        """Seconds above 0; TimeoutError when they are over."""
        left = self._seconds - elapsed_since(self._start)
        if left <= 0:
            raise TimeoutError
        return left

    def passed(self) -> Failed:
        return Failed(f"{self.host} took longer than {self._seconds:g} seconds. Make it answer sooner.")


def _resolved(name: str, port: int, resolve: Resolver, deadline: _Deadline) -> list[Address]:
    """The addresses of the name. Resolving cannot be interrupted: a thread is left to it when time is up."""
    found: Future[Sequence[str]] = Future()

    def look() -> None:
        try:
            found.set_result(resolve(name, port))
        except Exception as error:
            found.set_exception(error)

    Thread(target=look, daemon=True).start()
    try:
        addresses = [ip_address(address) for address in found.result(timeout=deadline.left())]
    except (socket.gaierror, ValueError):
        addresses = []
    if not addresses:
        raise Failed(f"{deadline.host} failed: its name could not be resolved. See that it is right.")
    return addresses


def _judge(host: str, address: Address, allowed: Sequence[Network]) -> None:
    """Blocked where the address is neither public nor allowed."""
    meant = _embedded(address)
    either = (address, meant)
    if _public(meant):
        return
    if not _in(either, NEVER) and _in(either, allowed):
        return
    # Of a name it is not told where it leads: that would tell an outsider what our own resolver knows.
    shown = f"address {address}" if host == str(address) else "address"
    raise Blocked(
        f"{host} may not be called: its {shown} is not on the public internet. "
        "Give a host that is, or have an operator allow that network."
    )


def _in(addresses: Sequence[Address], networks: Sequence[Network]) -> bool:
    return any(address in network for address in addresses for network in networks)


def never_public(network: Network) -> bool:
    """Whether a network is private throughout, and holds nothing that is called for nobody."""
    if any(network.overlaps(each) for each in NEVER if each.version == network.version):
        return False
    if isinstance(network, IPv4Network):
        return any(network.subnet_of(each) for each in INWARD_IPV4)
    return network.subnet_of(UNIQUE_LOCAL) or network == IPv6Network("::1/128")


def _embedded(address: Address) -> Address:
    """The IPv4 address that the system or a translator connects to in place of this one, or itself."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped:
            return address.ipv4_mapped
        if address in NAT64:
            return IPv4Address(address.packed[-4:])
    return address


def _public(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return not any(address in network for network in INWARD_IPV4)
    return address in PUBLIC_IPV6 and not any(address in network for network in INWARD_IPV6)


@cache
def _trust() -> ssl.SSLContext:
    """The system's certificates; reading them takes some milliseconds."""
    return ssl.create_default_context()


def _connected(
    name: str, port: int, allowed: Sequence[Network], resolve: Resolver, deadline: _Deadline
) -> socket.socket:
    """A connection to the first address of the name that takes one, each having its share of the time.

    Blocked where any address may not be called; Failed where there is none.
    """
    addresses = _resolved(name, port, resolve, deadline)
    for address in addresses:
        _judge(deadline.host, address, allowed)
    for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
        try:
            # An address in figures is not resolved again.
            sock = socket.create_connection((str(address), port), deadline.left() / left)
            break
        except OSError:
            if left == 1:
                raise
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _secured(plain: socket.socket, deadline: _Deadline) -> ssl.SSLSocket:
    """The connection with TLS; `plain` is then no more."""
    sock = _trust().wrap_socket(plain, server_hostname=deadline.host, do_handshake_on_connect=False)
    try:
        sock.settimeout(deadline.left())
        sock.do_handshake()
    except BaseException:
        sock.close()
        raise
    return sock


class _Wire(io.RawIOBase):
    """What http.client needs of a socket, bounded: a read or write gets what is left of the call's time."""

    def __init__(self, sock: socket.socket, deadline: _Deadline) -> None:
        self._sock = sock
        self._deadline = deadline
        self.bytes_left = MAX_HEAD_BYTES

    def sendall(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            self._sock.settimeout(self._deadline.left())
            view = view[self._sock.send(view) :]

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def close(self) -> None:
        """Nothing: http.client closes it and reads on. The socket is closed by who opened it."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer)[: self.bytes_left]
        if not view:
            raise self.too_much()
        self._sock.settimeout(self._deadline.left())
        read = self._sock.recv_into(view)
        self.bytes_left -= read
        return read

    def too_much(self) -> TooMuch:
        return TooMuch(f"{self._deadline.host} answered more than is taken. Make it answer less.")


def _exchange(
    method: str,
    target: Url,
    headers: Mapping[str, str],
    body: bytes | None,
    wire: _Wire,
    bytes_most: int,
) -> Answer:
    """Send the request and read the answer."""
    connection = HTTPConnection("")
    connection.sock = cast(socket.socket, wire)
    host = target._replace(host=(target.host or "").rstrip(".")).netloc or ""
    ours = {"Host": host, "Accept-Encoding": "identity", "Connection": "close"}
    connection.request(method, target.request_uri, body, {"User-Agent": "Waybill", **headers, **ours})
    response = connection.getresponse()
    wire.bytes_left += FRAMING * bytes_most
    for header, plain in (("Content-Encoding", "identity"), ("Transfer-Encoding", "chunked")):
        if response.getheader(header, plain).lower() != plain:
            raise HTTPException("an encoded answer, though none was asked for")
    content = _content(response, wire, bytes_most)
    return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, content)


def _content(response: HTTPResponse, wire: _Wire, bytes_most: int) -> bytes:
    """The answer's content: never more is read than may be taken, whatever its headers say."""
    content = bytearray()
    while more := response.read(min(READ_BYTES, bytes_most + 1 - len(content))):
        content += more
        if len(content) > bytes_most:
            raise wire.too_much()
    if response.length:
        raise HTTPException("the answer ended early")
    return bytes(content)
