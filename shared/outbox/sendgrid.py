"""SendGrid, by its own client: two lists of addresses that get no mail, and one message to one recipient.

What comes of a call is a value, never an exception: whether it was sent at all decides whether it may be sent
again. SendGrid has no idempotency keys.
https://www.twilio.com/docs/sendgrid/api-reference/mail-send/mail-send
"""

import http.client
import io
import json
import logging
import re
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from email.message import Message as Headers
from functools import cache
from typing import IO, Any
from urllib.parse import quote

from python_http_client.client import Client
from sendgrid.sendgrid import SendGridAPIClient

from shared.outbox.letters import Letter
from shared.outbox.rendering import one_line

CALL_SECONDS = 20.0
"""How long each step of a call may take: opening the connection, sending, each read of the answer."""

ANSWER_BYTES = 64 * 1024
"""How much of an answer is read; SendGrid's errors have a few hundred bytes."""

SAYS_LONGEST = 300
"""Characters that are kept of what SendGrid says."""

SENDER = "Waybill"
"""The name beside the address that mail comes from."""

UNREACHED, LOST = 0, -1
"""In the place of a status: no connection was opened, so that nothing was sent; and it was sent, but how it
was answered is not known."""


@dataclass(frozen=True)
class Account:
    """Through whose account mail goes: its key, SendGrid's address, and the address that mail comes from."""

    key: str = field(repr=False)
    url: str
    sender: str


@dataclass(frozen=True)
class Answer:
    """What came of a call.

    status  of HTTP, or UNREACHED or LOST
    says    SendGrid's own words, or what went wrong: one line, at most SAYS_LONGEST characters
    id      what SendGrid calls the message that it took
    reset   when it may be called again, in seconds since 1970; only of a call too many
            https://www.twilio.com/docs/sendgrid/api-reference/how-to-use-the-sendgrid-v3-api/rate-limits
    """

    status: int
    says: str = ""
    id: str = ""
    reset: int | None = None


def send(account: Account, to: str, letter: Letter) -> Answer:
    """Send a letter to one address. 202 says that SendGrid has taken it.

    Nothing follows what its reader does: SendGrid would put links of its own in the place of ours, which are
    secret. https://www.twilio.com/docs/sendgrid/api-reference/mail-send/mail-send#request-body
    """
    message = {
        "personalizations": [{"to": [{"email": to}]}],
        "from": {"email": account.sender, "name": SENDER},
        "subject": letter.subject,
        "content": [
            {"type": "text/plain", "value": letter.text},
            {"type": "text/html", "value": letter.html},
        ],
        "tracking_settings": {
            "click_tracking": {"enable": False, "enable_text": False},
            "open_tracking": {"enable": False},
            "ganalytics": {"enable": False},
        },
    }
    # Not the client's helpers to build it: they take addresses apart, and refuse what looks like a key.
    answer, _ = _call(lambda: _client(account).send(message))
    return answer


def suppression(account: Account, address: str) -> str | Answer | None:
    """Why SendGrid would not deliver to an address, in a sentence; None where it would. An Answer where that
    could not be learned.

    https://www.twilio.com/docs/sendgrid/api-reference/bounces-api/retrieve-a-bounce
    https://www.twilio.com/docs/sendgrid/api-reference/suppressions-global-suppressions/retrieve-a-global-suppression
    """
    client = _client(account).client
    name = quote(address, safe="@")
    answer, bounced = _call(lambda: client.suppression.bounces._(name).get())
    if not isinstance(bounced, list):
        return answer
    for entry in bounced:
        why = one_line(str(entry.get("reason") or ""), SAYS_LONGEST) if isinstance(entry, dict) else ""
        return f"An earlier mail to this address came back: {why or 'no reason was given'}"
    answer, unsubscribed = _call(lambda: client.asm.suppressions._("global")._(name).get())
    if not isinstance(unsubscribed, dict):
        return answer
    return "This address has unsubscribed from all mail." if unsubscribed.get("recipient_email") else None


def _call(ask: Any) -> tuple[Answer, Any]:
    """What came of a call, and the JSON of a 200; None where it came to anything else."""
    try:
        response = ask()
    except _NotOpened as error:
        return Answer(UNREACHED, _kind(error.reason)), None
    except (OSError, http.client.HTTPException) as error:
        # Only its kind: what an error says can repeat what was sent.
        return Answer(LOST, _kind(getattr(error, "reason", error))), None
    status, content = response.status_code, _json(response.body)
    answer = Answer(
        status=status,
        says=_says(content) if status != http.client.ACCEPTED else "",
        id=one_line(response.headers.get("X-Message-Id") or "", SAYS_LONGEST),
        reset=_number(response.headers.get("X-RateLimit-Reset")),
    )
    if status != http.client.OK:
        return answer, None
    return (answer, content) if content is not None else (Answer(LOST, "its answer broke off"), None)


def _kind(error: object) -> str:
    return type(error).__name__


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _says(content: Any) -> str:
    """The messages of an error: `{"errors": [{"message", "field", "help"}]}`.
    https://www.twilio.com/docs/sendgrid/api-reference/how-to-use-the-sendgrid-v3-api/responses"""
    errors = content.get("errors") if isinstance(content, dict) else None
    messages = [each["message"] for each in errors or () if isinstance(each, dict) and "message" in each]
    return one_line("; ".join(map(str, messages)), SAYS_LONGEST)


def _number(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch("[0-9]{1,12}", text) else None


def _client(account: Account) -> Any:
    # It logs headers and letters, the key and the link among them, where a program logs everything.
    logging.getLogger("python_http_client.client").setLevel(logging.WARNING)
    client: Any = SendGridAPIClient(account.key, host=account.url)  # type: ignore[no-untyped-call]
    client.client = _Client(  # type: ignore[no-untyped-call]
        host=account.url, request_headers=client._default_headers, version=3
    )
    return client


class _Client(Client):
    """The client, but that it calls through `_opener`, and takes an error's answer as it takes any."""

    def _build_client(self, name: str | None = None) -> "_Client":
        path = [*self._url_path, name] if name else self._url_path
        return _Client(  # type: ignore[no-untyped-call]
            self.host, self.request_headers, self._version, path
        )

    def _make_request(
        self, opener: Any, request: urllib.request.Request, timeout: float | None = None
    ) -> "_Response":
        try:
            response = _opener().open(request, timeout=CALL_SECONDS)
        except urllib.error.HTTPError as refused:
            response = refused
        with response:
            return _Response(response)


class _Response:
    """An answer, read as far as it is taken; what breaks off behind the status leaves the status."""

    def __init__(self, response: Any) -> None:
        self._status: int = response.getcode()
        self._headers: Headers = response.info()
        content = io.BytesIO()
        try:
            while (left := ANSWER_BYTES - content.tell()) and (more := response.read1(left)):
                content.write(more)
        except (OSError, http.client.HTTPException):
            pass
        self._content = content.getvalue()

    def getcode(self) -> int:
        return self._status

    def info(self) -> Headers:
        return self._headers

    def read(self) -> bytes:
        return self._content


class _NotOpened(Exception):
    """The connection was not opened: of the request nothing was sent. No OSError, which urllib would wrap."""

    def __init__(self, reason: BaseException) -> None:
        super().__init__()
        self.reason = reason


class _Plain(http.client.HTTPConnection):
    def connect(self) -> None:
        try:
            super().connect()
        except OSError as error:
            raise _NotOpened(error) from error


class _Secure(http.client.HTTPSConnection):
    def connect(self) -> None:
        try:
            super().connect()
        except OSError as error:  # a handshake that fails, too
            raise _NotOpened(error) from error


class _OverPlain(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Plain, req)


class _OverSecure(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Secure, req, context=_trust())


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> None:
        """Nothing: it would take the key to wherever it is told."""


@cache
def _opener() -> urllib.request.OpenerDirector:
    # No proxies, whatever the environment names.
    proxies = urllib.request.ProxyHandler({})
    return urllib.request.build_opener(proxies, _OverPlain, _OverSecure, _NoRedirect)


@cache
def _trust() -> ssl.SSLContext:
    return ssl.create_default_context()
