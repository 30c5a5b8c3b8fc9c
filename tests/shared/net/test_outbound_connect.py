"""A connection to an address that a customer gave, judged as a call is."""

import ipaddress
import socket
from collections.abc import Iterator
from threading import Event

import pytest

from shared.clock import elapsed_since, stopwatch
from shared.net import outbound
from shared.net.outbound import Blocked, Failed, Network, Resolver

LOOPBACK: list[Network] = [ipaddress.IPv4Network("127.0.0.0/8")]


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def connect(
    host: str,
    port: int,
    *,
    allowed: list[Network] = LOOPBACK,
    seconds: float = 5,
    resolve: Resolver = outbound.system_resolver,
) -> socket.socket:
    return outbound.connect(host, port, allowed=allowed, seconds=seconds, low_ports={22}, resolve=resolve)


def test_a_connection_carries_what_either_says_and_waits_for_it(listener: socket.socket) -> None:
    with connect("127.0.0.1", listener.getsockname()[1]) as ours:
        theirs, _ = listener.accept()
        with theirs:
            theirs.sendall(b"SSH-2.0-")
            assert ours.recv(100) == b"SSH-2.0-"
        assert ours.gettimeout() is None


def test_an_address_inside_is_refused_unless_it_is_allowed(listener: socket.socket) -> None:
    with pytest.raises(Blocked, match=r"^127\.0\.0\.1 may not be called: .* not on the public internet"):
        connect("127.0.0.1", listener.getsockname()[1], allowed=[])
    listener.settimeout(0.05)
    with pytest.raises(TimeoutError):
        listener.accept()


def test_every_address_of_a_name_is_judged_and_it_is_asked_for_once(listener: socket.socket) -> None:
    asked: list[tuple[str, int]] = []

    def rebinding(host: str, port: int) -> list[str]:
        asked.append((host, port))
        return ["127.0.0.1"] if len(asked) == 1 else ["127.0.0.1", "10.0.0.1"]

    port = listener.getsockname()[1]
    connect("sftp.example.", port, resolve=rebinding).close()
    assert asked == [("sftp.example.", port)]
    with pytest.raises(Blocked, match=r"^sftp\.example may not be called: its address is not on "):
        connect("sftp.example.", port, resolve=rebinding)


def test_the_next_address_is_tried_when_one_takes_no_connection(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    with connect("two.example", port, resolve=lambda *_: ["127.0.0.9", "127.0.0.1"]) as sock:
        assert sock.getpeername() == ("127.0.0.1", port)


@pytest.mark.parametrize("port", [25, 80, 443, 1023])
def test_a_low_port_is_refused_before_the_name_is_asked_for(port: int) -> None:
    def never(host: str, port: int) -> list[str]:
        raise AssertionError("asked")

    with pytest.raises(Blocked, match=rf"^sftp\.example may not be called at port {port}: use 22 or one"):
        connect("sftp.example", port, resolve=never)


def unresolvable(host: str, port: int) -> list[str]:
    raise socket.gaierror(-2, "Name or service not known")


def test_what_may_pass_is_told_with_the_host(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    listener.close()
    with pytest.raises(Failed, match=rf"^127\.0\.0\.1 failed: .*Connection refused\. .* at port {port}\.$"):
        connect("127.0.0.1", port)
    with pytest.raises(Failed, match=r"^sftp\.example failed: its name could not be resolved"):
        connect("sftp.example", 22, resolve=unresolvable)


def test_seconds_bound_resolving() -> None:
    over = Event()

    def stuck(host: str, port: int) -> list[str]:
        over.wait(10)
        return ["127.0.0.1"]

    start = stopwatch()
    with pytest.raises(Failed, match=r"^sftp\.example took longer than 0\.2 seconds"):
        connect("sftp.example", 22, seconds=0.2, resolve=stuck)
    assert elapsed_since(start) < 3
    over.set()
