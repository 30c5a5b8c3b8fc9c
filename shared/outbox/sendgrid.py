"""SendGrid: two lists of addresses that get no mail, and one message to one recipient.

What comes of a call is a value, never an exception: whether it was sent at all decides whether it may be sent
again. SendGrid has no idempotency keys, and its own client cannot tell this: so these are plain HTTP calls.
https://www.twilio.com/docs/sendgrid/api-reference/mail-send/mail-send
"""

import contextlib
import json
import re
import ssl
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import quote, urlsplit

from shared.outbox.letters import Letter
from shared.outbox.rendering import one_line

CALL_SECONDS = 20.0
"""How long each step of a call may take: opening the connection, sending, each read of the answer."""

MAX_ANSWER_BYTES = 64 * 1024
"""How much of an answer's content is read; SendGrid's errors have a few hundred bytes."""

MAX_SAYS = 300
"""How many characters are kept of what SendGrid says."""

SENDER = "Waybill"
"""The name beside the address that mail comes from."""

UNREACHED, LOST = 0, -1
"""In place of a status. UNREACHED: no connection was opened, so nothing was sent. LOST: it may have been
sent, and there is no answer."""


@dataclass(frozen=True)
class Account:
    """An account with SendGrid: its key, the URL of SendGrid's API, and the sender's address."""

    key: str = field(repr=False)
    url: str
    sender: str


@dataclass(frozen=True)
class SendGridAnswer:
    """What came of a call.

    status  of HTTP, or UNREACHED or LOST
    says    SendGrid's own words, or what went wrong: one line, at most MAX_SAYS characters
    id      what SendGrid calls the message that it took
    reset   when it may be called again, in seconds since 1970; only of a call too many
            https://www.twilio.com/docs/sendgrid/api-reference/how-to-use-the-sendgrid-v3-api/rate-limits
    """

    status: int
    says: str = ""
    id: str = ""
    reset: int | None = None


def send(account: Account, to: str, letter: Letter) -> SendGridAnswer:
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
    answer, _ = call(account, "POST", "/v3/mail/send", message)
    return answer


def suppression(account: Account, address: str) -> str | SendGridAnswer | None:
    """Why SendGrid would not deliver to an address, in a sentence; None where it would. Its answer where that
    could not be learned.

    https://www.twilio.com/docs/sendgrid/api-reference/bounces-api/retrieve-a-bounce
    https://www.twilio.com/docs/sendgrid/api-reference/suppressions-global-suppressions/retrieve-a-global-suppression
    """
    name = quote(address, safe="@")
    answer, bounced = call(account, "GET", f"/v3/suppression/bounces/{name}")
    if not isinstance(bounced, list):
        return answer
    for entry in bounced:
        why = one_line(str(entry.get("reason") or ""), MAX_SAYS) if isinstance(entry, dict) else ""
        return f"An earlier mail to this address came back: {why or 'no reason was given'}"
    answer, unsubscribed = call(account, "GET", f"/v3/asm/suppressions/global/{name}")
    if not isinstance(unsubscribed, dict):
        return answer
    return "This address has unsubscribed from all mail." if unsubscribed.get("recipient_email") else None


def call(account: Account, method: str, path: str, content: Any = None) -> tuple[SendGridAnswer, Any]:
    """What came of a call, and the JSON of a 200; None where it came to anything else.

    No proxy is used and no redirect followed: the key goes to SendGrid alone.
    """
    url = urlsplit(account.url)
    host = url.hostname or ""
    connection = (
        HTTPSConnection(host, url.port, timeout=CALL_SECONDS, context=_trust())
        if url.scheme == "https"
        else HTTPConnection(host, url.port, timeout=CALL_SECONDS)
    )
    headers = {"Authorization": f"Bearer {account.key}", "Accept": "application/json"}
    if content is not None:
        headers["Content-Type"] = "application/json"
    body = json.dumps(content).encode() if content is not None else None
    with closing(connection):
        try:
            connection.connect()
        except OSError as error:  # a handshake that fails, too
            return SendGridAnswer(UNREACHED, _kind(error)), None
        try:
            connection.request(method, f"{url.path}{path}", body, headers)
            return _answer(connection.getresponse())
        except (OSError, HTTPException) as error:
            return SendGridAnswer(LOST, _kind(error)), None


def _answer(response: HTTPResponse) -> tuple[SendGridAnswer, Any]:
    status, content = response.status, _json(_content(response))
    answer = SendGridAnswer(
        status=status,
        says=_says(content) if status != HTTPStatus.ACCEPTED else "",
        id=one_line(response.headers.get("X-Message-Id") or "", MAX_SAYS),
        reset=_number(response.headers.get("X-RateLimit-Reset")),
    )
    if status != HTTPStatus.OK:
        return answer, None
    return (answer, content) if content is not None else (SendGridAnswer(LOST, "its answer broke off"), None)


def _content(response: HTTPResponse) -> bytes:
    """At most MAX_ANSWER_BYTES of an answer's content. Where it breaks off, the status is known all the
    same."""
    content = bytearray()
    with contextlib.suppress(OSError, HTTPException):
        while (left := MAX_ANSWER_BYTES - len(content)) and (more := response.read1(left)):
            content += more
    return bytes(content)


def _kind(error: Exception) -> str:
    # Only its kind: what an error says can repeat what was sent.
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
    return one_line("; ".join(map(str, messages)), MAX_SAYS)


def _number(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch("[0-9]{1,12}", text) else None


@cache
def _trust() -> ssl.SSLContext:
    return ssl.create_default_context()
