"""Signed URLs, V4: the XML API's GET and HEAD of an object, for whoever has the URL.

https://cloud.google.com/storage/docs/access-control/signed-urls
https://cloud.google.com/storage/docs/authentication/canonical-requests
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from urllib.parse import quote, unquote
from xml.sax.saxutils import escape

from infra.local.storage.api import READING, JsonApi
from infra.local.storage.errors import StorageError, no_bucket, unimplemented
from infra.local.storage.requests import Answer, Operation, Query, check_headers, split_target

LONGEST = timedelta(days=7)
"""How long a URL is good at most. https://cloud.google.com/storage/quotas#requests"""

SKEW = timedelta(minutes=15)
"""How far the signer's clock may be ahead. https://cloud.google.com/storage/docs/xml-api/reference-headers#date"""

ALGORITHM = "GOOG4-RSA-SHA256"

Verify = Callable[[str, bytes, bytes], bool]
"""Whether the account of this email signed these bytes: email, signed bytes, signature."""

_SIGNED = ("Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature")
_ASKED = {"generation", "response-content-disposition"}
_CREDENTIAL = re.compile(r"([^/]+)/(([0-9]{8})/[a-z0-9-]+/storage/goog4_request)")

_CODES = {
    400: "InvalidArgument",
    401: "AccessDenied",
    403: "AccessDenied",
    404: "NoSuchKey",
    416: "InvalidRange",
    429: "SlowDown",
    500: "InternalError",
    501: "NotImplemented",
    503: "ServiceUnavailable",
}
_MESSAGES = {
    "AccessDenied": "Access denied.",
    "ExpiredToken": "The provided token has expired.",
    "InvalidArgument": "Invalid argument.",
    "InvalidRange": "The requested range cannot be satisfied.",
    "NoSuchBucket": "The specified bucket does not exist.",
    "NoSuchKey": "The specified key does not exist.",
    "NotImplemented": "A header or query you provided requested a function that is not implemented.",
    # Not a slip: production's words for it, seen in what people publish of its answers.
    "SignatureDoesNotMatch": "Access denied.",
}


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came: `target` undecoded, header names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]


def operation(api: JsonApi, verify: Verify, request: Request, now: datetime) -> tuple[str, Operation]:
    """The account that signed the URL, and the call that it makes. `now` is the machine's time.

    StorageError, to be told in XML, for a URL that is not signed, not yet or no longer good, or whose
    signature is not the account's over exactly this request.
    """
    (bucket, *name), query = split_target(request.target, "/")
    if request.method not in ("GET", "HEAD") or not any(name):
        raise unimplemented(f"{request.method} of the XML API" if any(name) else "the XML API on buckets")
    own = [name for name in request.headers if name.startswith("x-goog-meta-")]
    check_headers(request.headers, *READING, "x-goog-content-sha256", *own)
    asked = dict(_pairs(query))
    missing = [f"X-Goog-{each}" for each in _SIGNED if f"X-Goog-{each}" not in asked]
    if missing:
        raise unimplemented(f"the XML API without {missing[0]}")
    email = _check(verify, request, asked, now)
    rest = {key: value for key, value in asked.items() if key.removeprefix("X-Goog-") not in _SIGNED}
    unknown = rest.keys() - _ASKED
    if unknown:
        raise unimplemented(f"parameter {min(unknown)}")
    key = "/".join(name)
    run = partial(_read, api, bucket, key, rest, request.headers)
    return email, Operation("storage.signed_urls.get", f"{bucket}/{key}", run)


def failure(error: StorageError) -> Answer:
    """The answer that tells an error as the XML API does.

    https://cloud.google.com/storage/docs/xml-api/reference-status
    """
    code = error.reason if error.reason in _MESSAGES else _CODES.get(error.status, "InternalError")
    told = (
        f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code>"
        f"<Message>{_MESSAGES.get(code, code)}</Message><Details>{escape(error.message)}</Details></Error>"
    )
    return Answer(error.status, told.encode(), "application/xml; charset=UTF-8")


def _read(
    api: JsonApi, bucket: str, name: str, asked: Mapping[str, str], headers: Mapping[str, str], principal: str
) -> Answer:
    if not api.has_bucket(bucket):
        raise StorageError(404, no_bucket().message, reason="NoSuchBucket")
    generation = f"generation={quote(asked['generation'])}" if "generation" in asked else ""
    query = Query(generation, known={"generation"})
    answer = api.media(bucket, name, query, headers, principal)
    if "response-content-disposition" not in asked:
        return answer
    disposition = {"Content-Disposition": asked["response-content-disposition"]}
    return replace(answer, headers={**answer.headers, **disposition})


def _check(verify: Verify, request: Request, asked: Mapping[str, str], now: datetime) -> str:
    """The account whose signature is good for this request now."""
    credential = _CREDENTIAL.fullmatch(asked["X-Goog-Credential"])
    if asked["X-Goog-Algorithm"] != ALGORITHM or credential is None:
        raise StorageError(400, f"Not {ALGORITHM}, or no credential for it.")
    email, scope, day = credential.groups()
    date = asked["X-Goog-Date"]
    try:
        begins = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        lives = timedelta(seconds=int(asked["X-Goog-Expires"]))
    except (ValueError, OverflowError):
        raise StorageError(400, "X-Goog-Date or X-Goog-Expires makes no sense.") from None
    if not timedelta() < lives <= LONGEST:
        raise StorageError(400, f"X-Goog-Expires must be 1 to {int(LONGEST.total_seconds())} seconds.")
    if not date.startswith(day):
        raise StorageError(400, "X-Goog-Date is of another day than the credential.")
    if begins > now + SKEW:
        raise StorageError(403, f"The request is not valid before {begins:%Y-%m-%dT%H:%M:%SZ}.")
    if now >= begins + lives:
        message = f"Request signature expired at: {begins + lives:%Y-%m-%dT%H:%M:%S+00:00}"
        raise StorageError(400, message, reason="ExpiredToken")
    canonical = hashlib.sha256(_canonical(request, asked["X-Goog-SignedHeaders"]).encode()).hexdigest()
    signed = "\n".join([ALGORITHM, date, scope, canonical])
    try:
        signature = bytes.fromhex(asked["X-Goog-Signature"])
    except ValueError:
        signature = b""
    if not verify(email, signed.encode(), signature):
        raise StorageError(
            403,
            "The request signature we calculated does not match the signature you provided. Check your "
            "Google secret key and signing method.",
            reason="SignatureDoesNotMatch",
        )
    return email


def _canonical(request: Request, signed_headers: str) -> str:
    """What was signed of the request; a header that is not there counts as an empty one."""
    path, _, query = request.target.partition("?")
    parameters = sorted(
        f"{quote(key, safe='~')}={quote(value, safe='~')}"
        for key, value in _pairs(query)
        if key != "X-Goog-Signature"
    )
    headers = [f"{name}:{request.headers.get(name, '').strip()}\n" for name in signed_headers.split(";")]
    payload = request.headers.get("x-goog-content-sha256", "UNSIGNED-PAYLOAD")
    return "\n".join([request.method, path, "&".join(parameters), "".join(headers), signed_headers, payload])


def _pairs(query: str) -> list[tuple[str, str]]:
    """The parameters of a query; a plus sign is a plus sign."""
    pairs = [each.partition("=") for each in query.split("&") if each]
    try:
        return [(unquote(key, errors="strict"), unquote(value, errors="strict")) for key, _, value in pairs]
    except UnicodeDecodeError:
        raise StorageError(400, "The query is no valid UTF-8.") from None
