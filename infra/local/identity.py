"""Who is calling: service accounts, their tokens, the metadata server, the IAM credentials API."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import http.client
import json
import re
import secrets
import threading
from collections.abc import Awaitable, Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from infra.local import private
from infra.local.clock import machine_time
from infra.local.traffic import Fault, Traffic

LIFETIME_SECONDS = 3600
"""How long an access token lives; more needs a change of an organisation's policy.

https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/generateAccessToken
"""

METADATA_HEADERS = {"Metadata-Flavor": "Google", "Server": "Metadata Server for VM"}
"""Asked for in each request and sent with each answer.

https://cloud.google.com/compute/docs/metadata/querying-metadata
"""

SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]

PERMISSION = "iam.serviceAccounts.getAccessToken"

SIGN_PERMISSION = "iam.serviceAccounts.signBlob"

KEY_BITS = 2048
"""The keys of service accounts that Google manages. https://cloud.google.com/iam/docs/service-account-creds"""

T = TypeVar("T")

_TOKEN_START = "ya29.local"  # noqa: S105 (Google's own tokens begin so)
UNIVERSE = "localhost"
"""The universe that the metadata server says this is. In a universe that is not Google's own, google-auth
asks no Google host for an account's allowed locations, as it does there beside each token.
https://cloud.google.com/docs/authentication/universe-domain (google-auth, credentials.py)"""

_PROJECT = re.compile(r"@([^.]+)\.iam\.gserviceaccount\.com$")
_LIFETIME = re.compile(r"(\d+)(\.\d+)?s$")

_MISSING = (
    "Request is missing required authentication credential. Expected OAuth 2 access token, login cookie or "
    "other valid authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project."
)
_INVALID = (
    "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other "
    "valid authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project."
)


class InvalidToken(Exception):
    """The request brought credentials that are malformed, forged, expired or a disabled account's: 401."""


@dataclass
class _State:
    key: str = field(default_factory=lambda: secrets.token_hex(32))
    accounts: dict[str, bool] = field(default_factory=dict)
    """Email -> whether it is disabled."""
    creators: dict[str, list[str]] = field(default_factory=dict)
    """Target -> who has roles/iam.serviceAccountTokenCreator on it."""
    signing_keys: dict[str, str] = field(default_factory=dict)
    """Email -> its private key as PEM, made when it first signs."""


class Identity:
    """The accounts there are, and what proves to be one of them. Safe to share between threads.

    `file` keeps accounts, grants and the key that signs tokens across restarts; None keeps them in memory.
    """

    def __init__(self, *, traffic: Traffic, file: Path | None) -> None:
        self._traffic = traffic
        self._file = file
        self._lock = threading.Lock()
        self._together = 0
        self._verified: dict[str, tuple[str, float]] = {}
        kept = json.loads((private.read(file) if file is not None else None) or "{}")
        self._state = _State(**kept)
        self._signing_keys = {
            email: _private_key(pem.encode()) for email, pem in self._state.signing_keys.items()
        }
        with self._lock:
            self._save()

    def reset(self) -> None:
        """Forget every account and grant. Keys stay: making one takes long, and no answer tells it from a new
        one."""
        with self._lock:
            self._state.accounts.clear()
            self._state.creators.clear()
            self._verified.clear()
            self._save()

    def kept(self) -> Callable[[], None]:
        """What takes it back to the accounts and grants of now."""
        with self._lock:
            accounts, creators = deepcopy((self._state.accounts, self._state.creators))

        def restore() -> None:
            with self._lock:
                self._state.accounts, self._state.creators = deepcopy((accounts, creators))
                self._verified.clear()
                self._save()

        return restore

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Write the file once for all that is changed inside, at the end."""
        with self._lock:
            self._together += 1
        try:
            yield
        finally:
            with self._lock:
                self._together -= 1
                self._save()

    def create_account(self, email: str) -> None:
        """Make a service account. One that exists stays as it is."""
        with self._lock:
            self._state.accounts.setdefault(email, False)
            self._save()

    def disable_account(self, email: str, disabled: bool = True) -> None:
        """Disable an account, or enable it again. An unknown one raises ValueError.

        While it is disabled its tokens are refused, it cannot be impersonated, and the metadata server gives
        it no token: https://cloud.google.com/iam/docs/service-accounts-disable-enable
        """
        with self._lock:
            self._known(email)
            self._state.accounts[email] = disabled
            self._save()

    def allow_impersonation(self, caller: str, target: str) -> None:
        """Grant `caller` roles/iam.serviceAccountTokenCreator on the account `target`, which may be itself.

        With it come tokens of the target's, and signatures in its name.
        """
        with self._lock:
            self._known(target)
            creators = self._state.creators.setdefault(target, [])
            if caller not in creators:
                creators.append(caller)
            self._save()

    def forbid_impersonation(self, caller: str, target: str) -> None:
        """Take back what `allow_impersonation` gave. Tokens already made stay good, as in production."""
        with self._lock:
            creators = self._state.creators.get(target, [])
            if caller in creators:
                creators.remove(caller)
            self._save()

    def mint(self, email: str, lifetime_seconds: int = LIFETIME_SECONDS) -> str:
        """Make a bearer token of an account. An unknown account raises ValueError.

        The token tells its account and its expiry by the machine's clock, since clients hold that against
        their own, and is signed with a key kept in the file: it survives a restart.
        """
        with self._lock:
            self._known(email)
        expiry = int(machine_time().timestamp()) + lifetime_seconds
        claims = json.dumps([email, expiry, secrets.token_hex(4)]).encode()
        said = base64.urlsafe_b64encode(claims).decode().rstrip("=")
        return f"{_TOKEN_START}.{said}.{self._sign(said)}"

    def principal(self, authorization_header: str | None) -> str:
        """Tell whose request it is: an account's email, or an empty string for an anonymous one.

        Raises InvalidToken where the header is there and does not hold.
        """
        if authorization_header is None:
            return ""
        scheme, _, token = authorization_header.partition(" ")
        if scheme.lower() != "bearer":
            raise InvalidToken
        found = self._verified.get(token)
        if found is None:
            found = self._verified[token] = self._verify(token)
            if len(self._verified) > 10_000:
                self._verified.clear()
        email, expiry = found
        if expiry <= machine_time().timestamp() or self._state.accounts.get(email, True):
            raise InvalidToken
        return email

    def is_active(self, email: str) -> bool:
        """Whether there is such an account and it is not disabled."""
        return not self._state.accounts.get(email, True)

    def sign(self, email: str, content: bytes) -> tuple[str, bytes]:
        """The id of an account's key, and its signature of `content`: RSASSA-PKCS1-v1_5 with SHA-256."""
        with self._lock:
            if email not in self._signing_keys:
                made = rsa.generate_private_key(public_exponent=65_537, key_size=KEY_BITS)
                pem = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
                self._signing_keys[email] = made
                self._state.signing_keys[email] = pem.decode()
                self._save()
        key = self._signing_keys[email]
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return hashlib.sha256(public).hexdigest()[:40], key.sign(content, PKCS1v15(), SHA256())

    def has_signed(self, email: str, content: bytes, signature: bytes) -> bool:
        """Whether `signature` is this account's of `content`."""
        if email not in self._signing_keys:
            return False
        try:
            self._signing_keys[email].public_key().verify(signature, content, PKCS1v15(), SHA256())
        except InvalidSignature:
            return False
        return True

    def routes(self) -> list[web.RouteDef]:
        """The metadata server of each account under /as/<email>, and the IAM credentials API."""
        return [
            web.get("/as/{email}", self._ping),
            web.get("/as/{email}/", self._ping),
            web.route("*", "/as/{email}/computeMetadata/v1/{path:.*}", self._metadata),
            web.post(
                "/v1/projects/-/serviceAccounts/{email}:generateAccessToken",
                partial(self._credentials, "generateAccessToken", self._impersonate),
            ),
            web.post(
                "/v1/projects/-/serviceAccounts/{email}:signBlob",
                partial(self._credentials, "signBlob", self._sign_blob),
            ),
        ]

    def _verify(self, token: str) -> tuple[str, float]:
        start, _, rest = token.rpartition(".")
        prefix, _, said = start.rpartition(".")
        if prefix != _TOKEN_START or not hmac.compare_digest(self._sign(said).encode(), rest.encode()):
            raise InvalidToken
        email, expiry, _ = json.loads(base64.urlsafe_b64decode(said + "=" * (-len(said) % 4)))
        return email, expiry

    def _sign(self, said: str) -> str:
        return hmac.new(bytes.fromhex(self._state.key), said.encode(), hashlib.sha256).hexdigest()

    def _known(self, email: str) -> None:
        if email not in self._state.accounts:
            raise ValueError(f"there is no account {email}")

    def _save(self) -> None:
        if self._file is None or self._together:
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        private.write(self._file, json.dumps(vars(self._state)))

    async def _ping(self, request: web.Request) -> web.StreamResponse:
        if request.match_info["email"] not in self._state.accounts:
            return web.Response(status=404, headers=METADATA_HEADERS)
        return web.Response(text="computeMetadata/\n", headers=METADATA_HEADERS)

    async def _metadata(self, request: web.Request) -> web.StreamResponse:
        if request.method != "GET":
            return _metadata_text("Not implemented here.", 501)
        if request.headers.get("Metadata-Flavor") != "Google":
            return _metadata_text("Missing Metadata-Flavor:Google header.", 403)
        email = request.match_info["email"]
        path = request.match_info["path"]
        if email not in self._state.accounts:
            return _metadata_text(f"There is no account {email} here.", 404)
        service_account = re.fullmatch(
            r"instance/service-accounts/(?:default|" + re.escape(email) + r")/(\w*)", path
        )
        if service_account is None:
            project = _PROJECT.search(email)
            texts = {
                "project/project-id": project[1] if project else "local",
                "universe/universe-domain": UNIVERSE,
                "instance/service-accounts/": f"default/\n{email}/\n",
            }
            return _metadata_text(texts[path]) if path in texts else _metadata_text("Not found.", 404)
        match service_account[1]:
            case "" if request.query.get("recursive", "").lower() == "true":
                answer = {"aliases": ["default"], "email": email, "scopes": SCOPES}
                return web.json_response(answer, headers=METADATA_HEADERS)
            case "":
                return _metadata_text("aliases\nemail\nscopes\ntoken\n")
            case "email":
                return _metadata_text(email)
            case "aliases":
                return _metadata_text("default\n")
            case "scopes":
                return _metadata_text("\n".join(SCOPES) + "\n")
            case "token":
                fault = self._traffic.enter("metadata.token", email, email)

                async def token() -> web.Response:
                    return self._metadata_token(email)

                return await respond(request, fault, token, partial(_send, request), _metadata_fault)
            case _:
                return _metadata_text("Not implemented here.", 501)

    def _metadata_token(self, email: str) -> web.Response:
        if self._state.accounts[email]:
            return _metadata_text("Unable to generate access token; the service account is disabled.", 403)
        answer = {
            "access_token": self.mint(email),
            "expires_in": LIFETIME_SECONDS - 1,
            "token_type": "Bearer",
        }
        return web.json_response(answer, headers=METADATA_HEADERS)

    async def _credentials(
        self, call: str, act: Callable[[str, str, bytes], web.Response], request: web.Request
    ) -> web.StreamResponse:
        target = request.match_info["email"]
        refusal = ""
        caller = ""
        try:
            caller = self.principal(request.headers.get("Authorization"))
            refusal = "" if caller else _MISSING
        except InvalidToken:
            refusal = _INVALID
        body = await request.read()
        fault = self._traffic.enter(f"iamcredentials.{call}", target, caller)

        async def answer() -> web.Response:
            if refusal:
                return _iam_error(401, refusal)
            return act(caller, target, body)

        return await respond(request, fault, answer, partial(_send, request), _iam_fault)

    def _impersonate(self, caller: str, target: str, body: bytes) -> web.Response:
        try:
            asked = json.loads(body or b"{}")
            seconds = _LIFETIME.match(asked.get("lifetime") or f"{LIFETIME_SECONDS}s")
        except (ValueError, TypeError, AttributeError):
            return _iam_error(400, "Invalid JSON payload received.", invalid=True)
        refused = self._refused(caller, target, PERMISSION, asked)
        if refused is not None:
            return refused
        if not asked.get("scope"):
            return _iam_error(400, "Request contains an invalid argument: scope must be given.", True)
        if seconds is None or not 0 < int(seconds[1]) <= LIFETIME_SECONDS:
            return _iam_error(400, f"The lifetime must be between 1s and {LIFETIME_SECONDS}s.", True)
        expiry = machine_time() + timedelta(seconds=int(seconds[1]))
        return web.json_response(
            {
                "accessToken": self.mint(target, int(seconds[1])),
                "expireTime": datetime.fromtimestamp(int(expiry.timestamp()), UTC).strftime(
                    "%Y-%m-%dT%H:%M:%SZ"
                ),
            }
        )

    def _sign_blob(self, caller: str, target: str, body: bytes) -> web.Response:
        """https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/signBlob"""
        try:
            asked = json.loads(body or b"{}")
            payload = base64.b64decode(asked.get("payload", ""), validate=True)
        except (ValueError, TypeError, AttributeError):
            return _iam_error(400, "Invalid JSON payload received.", invalid=True)
        refused = self._refused(caller, target, SIGN_PERMISSION, asked)
        if refused is not None:
            return refused
        if not payload:
            return _iam_error(400, "Request contains an invalid argument: payload must be given.", True)
        key, signature = self.sign(target, payload)
        return web.json_response({"keyId": key, "signedBlob": base64.b64encode(signature).decode()})

    def _refused(self, caller: str, target: str, permission: str, asked: Any) -> web.Response | None:
        """The answer to who may not act as the target; None to who may."""
        self._traffic.need(permission, target, caller)
        if target not in self._state.accounts:
            return _iam_error(404, f"Not found; Gaia id not found for email {target}")
        if caller not in self._state.creators.get(target, []):
            message = f"Permission '{permission}' denied on resource (or it may not exist)."
            return _iam_error(403, message, permission=permission)
        if self._state.accounts[target]:
            return _iam_error(400, "Precondition check failed.")
        if asked.get("delegates"):
            return _iam_error(501, "Delegates are not implemented here.")
        return None


async def respond(
    request: web.Request,
    fault: Fault | None,
    act: Callable[[], Awaitable[T]],
    send: Callable[[T, bool], Awaitable[web.StreamResponse]],
    error: Callable[[Fault], T],
) -> web.StreamResponse:
    """Answer a request with what `act` comes to, suffering the fault that was asked for.

    `send` writes an answer, whole or (True) torn in the middle; `error` makes the answer of an error fault.
    A delay comes after the call took effect: a client that gave up waiting finds it done.
    """
    action = fault.action if fault else ""
    if fault is not None and action == "error":
        return await send(error(fault), False)
    answer = None if action == "reset_before" else await act()
    if answer is None or action == "reset_after":
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=503)
    if fault is not None and action == "delay":
        await asyncio.sleep(fault.seconds)
    return await send(answer, action == "truncate")


async def _send(request: web.Request, answer: web.Response, torn: bool) -> web.StreamResponse:
    if not torn:
        return answer
    whole = answer.body if isinstance(answer.body, bytes) else b""
    half = web.StreamResponse(status=answer.status, headers=answer.headers)
    half.content_length = len(whole)
    await half.prepare(request)
    await half.write(whole[: len(whole) // 2])
    if request.transport is not None:
        request.transport.close()
    return half


def _private_key(pem: bytes) -> rsa.RSAPrivateKey:
    key = load_pem_private_key(pem, None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


def _metadata_text(text: str, status: int = 200) -> web.Response:
    return web.Response(
        text=text,
        status=status,
        headers=METADATA_HEADERS,
        content_type="application/text" if status == 200 else "text/html",
    )


def _phrase(status: int) -> str:
    return http.client.responses.get(status, "Unknown")


def _metadata_fault(fault: Fault) -> web.Response:
    return _metadata_text(_phrase(fault.status), fault.status)


def _iam_fault(fault: Fault) -> web.Response:
    return _iam_error(fault.status, _phrase(fault.status))


_STATUS_NAMES = {
    400: "FAILED_PRECONDITION",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def _iam_error(status: int, message: str, invalid: bool = False, permission: str = "") -> web.Response:
    """Google's error body: https://cloud.google.com/apis/design/errors#http_mapping."""
    name = "INVALID_ARGUMENT" if invalid else _STATUS_NAMES.get(status, "UNKNOWN")
    error: dict[str, Any] = {"code": status, "message": message, "status": name}
    if permission:
        error["details"] = [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "IAM_PERMISSION_DENIED",
                "domain": "iam.googleapis.com",
                "metadata": {"permission": permission},
            }
        ]
    return web.json_response({"error": error}, status=status)
