"""SendGrid over HTTP: requests in, answers and faults out. See infra/local/README.md."""

import hmac
import http.client
import json
import secrets
import threading
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web

from infra.local.clock import SuiteClock
from infra.local.identity import respond
from infra.local.sendgrid import checks
from infra.local.sendgrid.outbox import Outbox
from infra.local.traffic import Fault, Traffic

BEGINNING = "/sendgrid"
"""What stands before the paths of the API, which has a host of its own in production."""

MAIL_BYTES = 30_000_000
"""The most that a request to send mail holds.
https://www.twilio.com/docs/sendgrid/api-reference/mail-send#limitations"""

RATE_LIMIT = 600
"""What a 429 says is the number of requests allowed.
https://www.twilio.com/docs/sendgrid/api-reference/how-to-use-the-sendgrid-v3-api/rate-limits"""

RATE_SECONDS = 60
"""How long after a 429 it says that requests are allowed again."""

BOUNCES = "bounces"
UNSUBSCRIBES = "unsubscribes"
LISTS = (BOUNCES, UNSUBSCRIBES)
"""The lists of addresses that get no mail."""

ERRORS_PAGE = "https://www.twilio.com/docs/sendgrid/api-reference/mail-send/errors"

_NOT_THE_KEY = "The provided authorization grant is invalid, expired, or revoked"


class SendGridService:
    """Accepts mail and keeps the lists of suppressed addresses. Safe to share between threads.

    key     what a caller must know; nobody may call where it is empty
    outbox  the folder where accepted mail ends
    file    keeps the lists across restarts and kills
    """

    def __init__(self, *, clock: SuiteClock, traffic: Traffic, key: str, outbox: Path, file: Path) -> None:
        self._clock = clock
        self._traffic = traffic
        self._key = key
        self._file = file
        self._lock = threading.Lock()
        self._outbox = Outbox(outbox)
        self._lists: dict[str, dict[str, int]] = {each: {} for each in LISTS}
        if file.exists():
            self._lists |= json.loads(file.read_text())

    def reset(self) -> None:
        """Forget every mail and every suppressed address."""
        with self._lock:
            self._outbox.empty()
            self._lists = {each: {} for each in LISTS}
            self._file.unlink(missing_ok=True)

    def kept(self) -> Callable[[], None]:
        """What takes it back to the mails and the suppressed addresses of now."""
        with self._lock:
            mails, lists = self._outbox.files(), deepcopy(self._lists)

        def restore() -> None:
            with self._lock:
                self._outbox.hold(mails)
                self._lists = deepcopy(lists)
                self._save()

        return restore

    @property
    def sent(self) -> list[dict[str, Any]]:
        """The requests to send mail that were accepted, oldest first, as long as they are in the outbox."""
        with self._lock:
            return self._outbox.sent()

    def bounce(self, address: str) -> None:
        """Put an address on the list of those whose mail came back."""
        self.suppress(address, BOUNCES)

    def unsubscribe(self, address: str) -> None:
        """Put an address on the list of those who want no mail from us."""
        self.suppress(address, UNSUBSCRIBES)

    def suppress(self, address: str, name: str) -> None:
        """Put an address on one of LISTS; KeyError for another. One that is on it stays as it is."""
        with self._lock:
            self._lists[name].setdefault(address.lower(), int(self._clock.now().timestamp()))
            self._save()

    def forgive(self, address: str, *names: str) -> None:
        """Take an address off these of LISTS, off all of them where none is named. KeyError for another."""
        with self._lock:
            for name in names or LISTS:
                self._lists[name].pop(address.lower(), None)
            self._save()

    def routes(self) -> list[web.RouteDef]:
        """The paths of the API under BEGINNING; whatever is not built answers so."""
        bounce = partial(self._look_up, BOUNCES, _bounced)
        unsubscribe = partial(self._look_up, UNSUBSCRIBES, _unsubscribed)
        return [
            web.post(f"{BEGINNING}/v3/mail/send", self._mail),
            web.get(f"{BEGINNING}/v3/suppression/bounces/{{email}}", bounce, allow_head=False),
            web.get(f"{BEGINNING}/v3/asm/suppressions/global/{{email}}", unsubscribe, allow_head=False),
            web.route("*", BEGINNING + r"/{rest:[\s\S]*}", _unimplemented),
        ]

    async def _mail(self, request: web.Request) -> web.StreamResponse:
        body = await _body(request)
        sent = _object(body)
        fault = self._traffic.enter("sendgrid.mail.send", _recipients(sent))

        async def act() -> web.Response:
            refused = self._refused(request)
            if refused is not None:
                return refused
            if body is None:
                return _error(413, f"The request holds more than {MAIL_BYTES} bytes.")
            if request.content_type != "application/json":
                return _error(415, "Content-Type should be application/json.")
            return self._accept(sent)

        return await respond(request, fault, act, partial(_send, request), self._failure)

    async def _look_up(
        self, name: str, answer: Callable[[str, int | None], Any], request: web.Request
    ) -> web.StreamResponse:
        address = request.match_info["email"].lower()
        fault = self._traffic.enter(f"sendgrid.{name}.get", address)

        async def act() -> web.Response:
            refused = self._refused(request)
            if refused is not None:
                return refused
            with self._lock:
                since = self._lists[name].get(address)
            return web.json_response(answer(address, since))

        return await respond(request, fault, act, partial(_send, request), self._failure)

    def _accept(self, sent: dict[str, Any] | None) -> web.Response:
        if sent is None:
            return _error(400, "Bad Request")
        unknown = checks.not_built(sent)
        if unknown:
            return _error(501, f"{', '.join(unknown)}: unimplemented in infra/local/sendgrid.")
        found = checks.wrong(sent)
        if found:
            return _errors(400, [_told(each.message, each.field, ERRORS_PAGE) for each in found])
        # As long as one of SendGrid's own.
        message_id = secrets.token_hex(11)
        with self._lock:
            self._outbox.keep(sent, message_id, self._clock.now(), self._suppressed)
        return web.Response(status=202, headers={"X-Message-Id": message_id})

    def _suppressed(self, address: str) -> bool:
        return any(address.lower() in each for each in self._lists.values())

    def _refused(self, request: web.Request) -> web.Response | None:
        brought = request.headers.get("Authorization", "").encode(errors="replace")
        if self._key and hmac.compare_digest(brought, f"Bearer {self._key}".encode()):
            return None
        return _error(401, _NOT_THE_KEY)

    def _failure(self, fault: Fault) -> web.Response:
        if fault.status != 429:
            return _error(fault.status, http.client.responses.get(fault.status, "Unknown"))
        answer = _error(429, "too many requests")
        answer.headers["X-RateLimit-Limit"] = str(RATE_LIMIT)
        answer.headers["X-RateLimit-Remaining"] = "0"
        answer.headers["X-RateLimit-Reset"] = str(int(self._clock.now().timestamp()) + RATE_SECONDS)
        return answer

    def _save(self) -> None:
        new = self._file.with_name(self._file.name + ".new")
        new.write_text(json.dumps(self._lists))
        new.replace(self._file)


def _bounced(address: str, since: int | None) -> Any:
    if since is None:
        return []
    reason = "550 5.1.1 The mailbox does not exist"
    return [{"created": since, "email": address, "reason": reason, "status": "5.1.1"}]


def _unsubscribed(address: str, since: int | None) -> Any:
    return {} if since is None else {"recipient_email": address}


def _object(body: bytes | None) -> dict[str, Any] | None:
    """The JSON object that a body is; None where it is none, or is no text that can be written as UTF-8."""
    try:
        value = json.loads(body or b"")
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _recipients(sent: dict[str, Any] | None) -> str:
    """To whom a request is, for the journal and for faults that strike one recipient's mail."""
    given = sent.get("personalizations") if sent is not None else None
    each = [one for one in given if isinstance(one, dict)] if isinstance(given, list) else []
    return " ".join(address for one in each for address in checks.addresses(one, "to"))


async def _body(request: web.Request) -> bytes | None:
    """The request's body; None where it is larger than any that is accepted, which is not read to its end."""
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > MAIL_BYTES:
            return None
    return bytes(body)


async def _send(request: web.Request, answer: web.Response, torn: bool) -> web.StreamResponse:
    whole = answer.body if isinstance(answer.body, bytes) else b""
    if not torn or not whole:
        return answer
    half = web.StreamResponse(status=answer.status, headers=answer.headers)
    half.content_length = len(whole)
    await half.prepare(request)
    await half.write(whole[: len(whole) // 2])
    if request.transport is not None:
        request.transport.close()
    return half


async def _unimplemented(request: web.Request) -> web.Response:
    return _error(501, f"{request.method} {request.path}: unimplemented in infra/local/sendgrid.")


def _error(status: int, message: str) -> web.Response:
    return _errors(status, [_told(message, None, None)])


def _errors(status: int, told: list[dict[str, str | None]]) -> web.Response:
    return web.json_response({"errors": told}, status=status)


def _told(message: str, field: str | None, more: str | None) -> dict[str, str | None]:
    return {"message": message, "field": field, "help": more}
