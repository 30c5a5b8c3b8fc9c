"""Signed requests: with `SDK-HMAC-SHA256` a caller proves to have a key's secret without sending it.

The signature is an HMAC-SHA256 of the request: its method, path, query, body, date, and the headers that it
names. So a request that was changed on its way is refused, and one that was recorded is soon too old.

https://support.huaweicloud.com/intl/en-us/devg-apisign/api-sign-algorithm-003.html
HMAC: https://www.rfc-editor.org/rfc/rfc2104
"""

import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, quote_from_bytes, unquote_to_bytes

from shared.errors import Unauthenticated

ALGORITHM = "SDK-HMAC-SHA256"
"""The one algorithm that is verified."""

MAX_SKEW = timedelta(minutes=15)
"""How far the date of a request may be from this machine's time, in both directions; the cloud that this way
of signing comes from has the same."""

DATE = "x-sdk-date"
"""The header with the date, as `20261128T210141Z`."""

CONTENT_HASH = "x-sdk-content-sha256"
"""The header that says how the body is signed."""

UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
"""What that header says where the body is not signed: clients send it with what is no JSON."""

REQUIRED = ("host", DATE)
"""The headers that must be signed. Without the host a request could be sent to another server, without the
date it would be good for ever."""

SHOWN = 64
"""How many characters of what was sent an error shows."""

_DATE_FORMAT = "%Y%m%dT%H%M%SZ"

_DATE = re.compile(r"[0-9]{8}T[0-9]{6}Z")

_ALGORITHM = re.compile(r"(?:SDK|V11)-[A-Z0-9-]+")
# The vendor's clients also sign with SDK-HMAC-SM3, SDK-ECDSA-P256-SHA256, SDK-SM2-SM3 and V11-HMAC-SHA256.

_BLANK = " \t"
# What stands around a header's value. https://www.rfc-editor.org/rfc/rfc9110#section-5.5

_PARTS = re.compile(
    r"Access=(?P<access>[^,\s]+),\s*SignedHeaders=(?P<headers>[a-z0-9-]+(?:;[a-z0-9-]+)*),"
    r"\s*Signature=(?P<signature>[0-9a-f]{64})"
)


@dataclass(frozen=True)
class Claim:
    """What the header `Authorization` says: the access key, the names of the signed headers in their order,
    in lower case, and the signature in hex digits."""

    access_key: str
    signed: tuple[str, ...]
    signature: str


@dataclass(frozen=True)
class SentRequest:
    """A request as it arrived.

    path     without percent-encoding
    query    as it was sent, without the question mark
    headers  by their names in lower case; each character of a value is one byte (Latin-1), as WSGI has it
             https://peps.python.org/pep-3333/#unicode-issues
    body     all of it
    """

    method: str
    path: str
    query: bytes
    headers: Mapping[str, str]
    body: bytes


def claim_of(authorization: str) -> Claim | None:
    """What the header `Authorization` says; None where it is no signature at all.

    Unauthenticated where it is signed with another algorithm, cannot be read, or leaves out a header that
    must be signed.
    """
    algorithm, _, parts = authorization.partition(" ")
    if not _ALGORITHM.fullmatch(algorithm):
        return None
    if algorithm != ALGORITHM:
        raise Unauthenticated(f"signatures with {algorithm[:SHOWN]} are not supported: sign with {ALGORITHM}")
    said = _PARTS.fullmatch(parts.strip())
    if said is None:
        raise Unauthenticated(
            f"the header Authorization cannot be read: it must be `{ALGORITHM} Access=<access key>, "
            "SignedHeaders=<names in lower case with ; between>, Signature=<64 hex digits>`"
        )
    signed = tuple(said["headers"].split(";"))
    for name in REQUIRED:
        if name not in signed:
            raise Unauthenticated(f"the header {name} must be signed: add it to SignedHeaders")
    if len(set(signed)) < len(signed):
        raise Unauthenticated("SignedHeaders names a header twice: name each once")
    return Claim(said["access"], signed, said["signature"])


def check_date(headers: Mapping[str, str], now: datetime) -> None:
    """Unauthenticated where a request has no date that can be read, or one too far from `now`, UTC."""
    said = headers.get(DATE, "").strip()
    try:
        if not _DATE.fullmatch(said):
            raise ValueError(said)
        date = datetime.strptime(said, _DATE_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        raise Unauthenticated(
            f"the header X-Sdk-Date must be a moment in UTC, as 20261128T210141Z; got {said[:SHOWN]!r}"
        ) from None
    if abs(date - now) > MAX_SKEW:
        raise Unauthenticated(
            f"the request is dated {said}, and it is {now.astimezone(UTC).strftime(_DATE_FORMAT)} here: a "
            f"request must arrive within {MAX_SKEW // timedelta(minutes=1)} minutes of its date. Check the "
            "clock of the client, and sign each request anew"
        )


def verify(claim: Claim, request: SentRequest, secret: str) -> None:
    """Unauthenticated where the signature is not that of this request with this secret."""
    for name in claim.signed:
        if name not in request.headers:
            raise Unauthenticated(
                f"the header {name} is signed, and the request arrived without it: check whether a proxy "
                "removes it"
            )
    canonical = list(_canonical(claim, request))
    # All are compared, so that the time it takes says nothing of which was right.
    right = [hmac.compare_digest(_signature(each, request, secret), claim.signature) for each in canonical]
    if not any(right):
        raise Unauthenticated(
            "the signature is not that of the request as it arrived. It was computed for "
            f"{request.method.upper()} {_path(request.path)}, the Host {_shown(request.headers['host'])}, "
            f"the signed headers {';'.join(claim.signed)}, and a canonical request whose SHA-256 is "
            f"{_sha256(canonical[0])}. Check the secret key, and whether a proxy changes the Host or "
            "another part of the request"
        )


def _signature(canonical: bytes, request: SentRequest, secret: str) -> str:
    date = request.headers[DATE].strip()
    text = f"{ALGORITHM}\n{date}\n{_sha256(canonical)}"
    return hmac.digest(secret.encode(), text.encode("latin-1"), "sha256").hex()


def _canonical(claim: Claim, request: SentRequest) -> Iterator[bytes]:
    """The texts that clients may have signed for one request, the likeliest first: see `_queries` and
    `_payloads`."""
    lines = [f"{name}:{request.headers[name].strip(_BLANK)}\n" for name in claim.signed]
    for query in _queries(request.query):
        for payload in _payloads(request):
            parts = (
                request.method.upper(),
                _path(request.path),
                query,
                "".join(lines),
                ";".join(claim.signed),
                payload,
            )
            yield "\n".join(parts).encode("latin-1")


def _path(path: str) -> str:
    # The vendor's clients decode a path before they split it, so that to them `%2F` is a slash, too.
    encoded = quote(path, safe="/~")
    return encoded if encoded.endswith("/") else f"{encoded}/"


def _queries(query: bytes) -> list[str]:
    """The query, sorted by names and then values before they are encoded; and with the values of one name in
    the order in which they were sent, since the vendor's clients sort numbers as numbers."""
    pairs = []
    for each in query.split(b"&"):
        if each:
            name, _, value = each.replace(b"+", b" ").partition(b"=")
            pairs.append((unquote_to_bytes(name), unquote_to_bytes(value)))
    orders = (sorted(pairs), sorted(pairs, key=lambda pair: pair[0]))
    return list(
        dict.fromkeys(
            "&".join(f"{_encoded(name)}={_encoded(value)}" for name, value in each) for each in orders
        )
    )


def _payloads(request: SentRequest) -> list[str]:
    """What may stand for the body: its hash; or that it is not signed, where the request says so. Of an empty
    body the vendor's clients sign the hash all the same."""
    hashed = _sha256(request.body)
    if request.headers.get(CONTENT_HASH) != UNSIGNED_PAYLOAD:
        return [hashed]
    return [UNSIGNED_PAYLOAD] if request.body else [hashed, UNSIGNED_PAYLOAD]


def _encoded(text: bytes) -> str:
    return quote_from_bytes(text, safe="~")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _shown(value: str) -> str:
    return value.encode("latin-1").decode(errors="replace")[:SHOWN]
