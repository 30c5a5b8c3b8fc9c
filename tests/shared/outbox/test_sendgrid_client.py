"""SendGrid's client against servers that answer as SendGrid never should, or not at all."""

import json
import logging
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from threading import Thread

import pytest

from shared.outbox import sendgrid
from shared.outbox.letters import Letter
from shared.outbox.sendgrid import LOST, MAX_ANSWER_BYTES, UNREACHED, Account, SendGridAnswer

LETTER = Letter("A subject", "text with the-secret-token", "<p>html with the-secret-token</p>")
KEY = "SG.the-secret-key"
BOUNCED = "An earlier mail to this address came back: "


@dataclass
class Server:
    """Answers each connection with the next of `answers`, as it is, and then closes it."""

    listening: socket.socket
    answers: list[bytes] = field(default_factory=list)
    asked: list[bytes] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.listening.getsockname()[1])

    @property
    def account(self) -> Account:
        return Account(KEY, f"http://127.0.0.1:{self.port}", "waybill@waybill.example")

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            with connection:
                self.asked.append(_request(connection))
                connection.sendall(self.answers.pop(0))


def _request(connection: socket.socket) -> bytes:
    """A request, whole."""
    got = b""
    while b"\r\n\r\n" not in got:
        got += connection.recv(65_536)
    head, _, body = got.partition(b"\r\n\r\n")
    lines = head.lower().splitlines()
    lengths = [line.split(b":")[1] for line in lines if line.startswith(b"content-length")]
    while len(body) < int((lengths or [b"0"])[0]):
        body += connection.recv(65_536)
    return head + b"\r\n\r\n" + body


@pytest.fixture
def server() -> Iterator[Server]:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        served = Server(listening)
        thread = Thread(target=served.serve, daemon=True)
        thread.start()
        yield served
        listening.shutdown(socket.SHUT_RDWR)
    thread.join()


def answer(status: int, body: bytes = b"", *headers: str, length: int | None = None) -> bytes:
    told = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join([*told, "", ""]).encode() + body


def says(*messages: str) -> bytes:
    return json.dumps(
        {"errors": [{"message": each, "field": None, "help": None} for each in messages]}
    ).encode()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (answer(202, b"", "X-Message-Id: abc"), SendGridAnswer(202, id="abc")),
        (answer(202, b"broken off", "X-Message-Id: abc", length=99), SendGridAnswer(202, id="abc")),
        (
            answer(202, b"", "X-Message-Id: a\x07b" + "c" * 400),
            SendGridAnswer(202, id="a b" + "c" * 296 + "…"),
        ),
        (answer(400, says("one", "two\r\nlines")), SendGridAnswer(400, "one; two lines")),
        (answer(400, says("x" * 5_000)), SendGridAnswer(400, "x" * 299 + "…")),
        (answer(400, b"<html>"), SendGridAnswer(400)),
        (answer(400, b'["errors"]'), SendGridAnswer(400)),
        (answer(400, b'{"errors": ["x", {"message": 7}]}'), SendGridAnswer(400, "7")),
        (answer(400, b"x" * (2 * MAX_ANSWER_BYTES)), SendGridAnswer(400)),
        (
            answer(429, says("slowly"), "X-RateLimit-Reset: 1392815263"),
            SendGridAnswer(429, "slowly", reset=1392815263),
        ),
        (answer(429, b"", "X-RateLimit-Reset: soon"), SendGridAnswer(429)),
        (answer(500), SendGridAnswer(500)),
        (b"", SendGridAnswer(LOST, "RemoteDisconnected")),
        (b"SSH-2.0-x\r\n", SendGridAnswer(LOST, "BadStatusLine")),
        (b"HTTP/1.1 202 X\r\nX-Message-Id: ab", SendGridAnswer(202, id="ab")),
    ],
    ids=range(15),
)
def test_each_answer_is_a_value(server: Server, given: bytes, expected: SendGridAnswer) -> None:
    server.answers.append(given)
    assert sendgrid.send(server.account, "ann@acme.example", LETTER) == expected
    [asked] = server.asked
    assert asked.startswith(b"POST /v3/mail/send HTTP/1.1\r\n")
    assert b"Authorization: Bearer " + KEY.encode() in asked


def test_what_was_never_opened_was_never_sent() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    account = Account(KEY, f"http://127.0.0.1:{port}", "waybill@waybill.example")
    refused = SendGridAnswer(UNREACHED, "ConnectionRefusedError")
    assert sendgrid.send(account, "ann@acme.example", LETTER) == refused
    assert sendgrid.suppression(account, "ann@acme.example") == refused


def test_a_handshake_that_fails_has_sent_nothing() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:

        def refuse() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = Thread(target=refuse, daemon=True)
        thread.start()
        account = Account(KEY, f"https://127.0.0.1:{listening.getsockname()[1]}", "waybill@waybill.example")
        assert sendgrid.send(account, "ann@acme.example", LETTER).status == UNREACHED
        thread.join()


def test_what_does_not_answer_in_time_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sendgrid, "CALL_SECONDS", 0.2)
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:  # its backlog takes the connection
        account = Account(KEY, f"http://127.0.0.1:{listening.getsockname()[1]}", "waybill@waybill.example")
        assert sendgrid.send(account, "ann@acme.example", LETTER) == SendGridAnswer(LOST, "TimeoutError")


def test_no_redirect_is_followed_and_no_proxy_asked(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as elsewhere:
        elsewhere.setblocking(False)
        place = f"http://127.0.0.1:{elsewhere.getsockname()[1]}"
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(name, place)
        for status in (301, 302, 303, 307, 308):
            server.answers.append(answer(status, b"", f"Location: {place}/"))
            assert sendgrid.send(server.account, "ann@acme.example", LETTER) == SendGridAnswer(status)
        with pytest.raises(BlockingIOError):
            elsewhere.accept()


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([answer(200, b"[]"), answer(200, b"{}")], None),
        ([answer(200, b'[{"reason": "550 no"}]')], f"{BOUNCED}550 no"),
        (
            [answer(200, b'[{"reason": null}]')],
            f"{BOUNCED}no reason was given",
        ),
        ([answer(200, b"[7]")], f"{BOUNCED}no reason was given"),
        (
            [answer(200, b"[]"), answer(200, b'{"recipient_email": "a@b.c"}')],
            "This address has unsubscribed from all mail.",
        ),
        ([answer(200, b'[{"reas', length=99)], SendGridAnswer(LOST, "its answer broke off")),
        ([answer(200, b"{}")], SendGridAnswer(200)),
        ([answer(404, says("not found"))], SendGridAnswer(404, "not found")),
        ([answer(200, b"[]"), answer(500)], SendGridAnswer(500)),
        ([b""], SendGridAnswer(LOST, "RemoteDisconnected")),
    ],
    ids=range(10),
)
def test_a_question_about_an_address(server: Server, answers: list[bytes], expected: object) -> None:
    server.answers += answers
    address = "o'neil+x/../y?z#%@acme.example"
    assert sendgrid.suppression(server.account, address) == expected
    lines = [each.partition(b"\r\n")[0].decode() for each in server.asked]
    quoted = "o%27neil%2Bx%2F..%2Fy%3Fz%23%25@acme.example"
    assert (
        lines
        == [
            f"GET /v3/suppression/bounces/{quoted} HTTP/1.1",
            f"GET /v3/asm/suppressions/global/{quoted} HTTP/1.1",
        ][: len(lines)]
    )


def test_neither_key_nor_letter_is_logged_or_shown(
    server: Server, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    for given in (answer(202), answer(400, says("no")), b""):
        server.answers.append(given)
        sendgrid.send(server.account, "ann@acme.example", LETTER)
    server.answers += [answer(200, b"[]"), answer(200, b"{}")]
    sendgrid.suppression(server.account, "ann@acme.example")
    shown = caplog.text + "".join(capsys.readouterr()) + repr(server.account)
    assert KEY not in shown
    assert "secret-token" not in shown
