"""What goes through the slow network arrives whole, in order, and later."""

import socket
import threading

import pytest

from shared.clock import elapsed_since, stopwatch
from tests.benchmarks.delaying import delayed


def _echo(listening: socket.socket) -> None:
    connection, _ = listening.accept()
    with connection:
        while content := connection.recv(65_536):
            connection.sendall(content)


@pytest.mark.slow
def test_each_request_comes_later_and_what_is_sent_stays_in_order() -> None:
    sent = bytes(range(256)) * 4_000
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_echo, args=(listening,), daemon=True).start()
        with delayed("127.0.0.1", listening.getsockname()[1], seconds=0.2) as there:
            host, _, port = there.partition(":")
            with socket.create_connection((host, int(port)), timeout=30) as connection:
                took = []
                for content in (b"one", sent):
                    begun = stopwatch()
                    threading.Thread(target=connection.sendall, args=(content,)).start()
                    back = b""
                    while len(back) < len(content):
                        back += connection.recv(65_536)
                    took.append(elapsed_since(begun))
                    assert back == content
    assert all(seconds >= 0.2 for seconds in took), took
