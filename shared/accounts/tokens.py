"""Access tokens: what a program gets for its key, to call with in the place of the key for some time.

A token is signed and stored nowhere: `wbt.<version>.<payload>.<signature>`. The payload names the key, when
the token expires, the user and the community; the signature is an HMAC-SHA256 of all before it, with a key
derived from that version of WAYBILL_ACCESS_KEYS. The newest version signs, and every version that is held
verifies. What a token may do is read from its key each time, so that it dies with its key.

HMAC: https://www.rfc-editor.org/rfc/rfc2104. Deriving keys: https://www.rfc-editor.org/rfc/rfc5869.
"""

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import orjson

from shared.accounts import secrets
from shared.accounts.keys import Caller, caller_of, identify, note_use, presented
from shared.errors import Invalid, Retry, Unauthenticated
from shared.gcp.clients import Cloud
from shared.gcp.documents import read_time

MAX_NAME = 128
"""How many characters the name of a user or a community may have."""

MAX_TOKEN = 2048
"""How many characters of a token are looked at: two names of four bytes a character, and the rest of it."""

LOGIN_BYTES = 16 * 1024
"""How large a request for a token may be: it is read before anybody is known."""

PURPOSE = b"waybill: access tokens"
"""Bound into the derived key, so that nothing else that is made of the same version is that key."""

_PREFIX = "wbt."

_TOKEN = re.compile(r"(wbt\.([0-9]{1,9})\.([A-Za-z0-9_-]+))\.([A-Za-z0-9_-]{43})")

_ASSIGNED = re.compile(r"(?:^| )([A-Za-z][A-Za-z0-9_]*)=")


@dataclass(frozen=True, kw_only=True)
class TokenCaller(Caller):
    """Who is calling. With a token: the user and the community that it was asked for with; with the key
    itself: the id of the key, and its customer."""

    username: str
    community: str


@dataclass(frozen=True)
class Issued:
    """A new token, whose it is, and from when until when it is good, by Firestore, in whole seconds."""

    token: str = field(repr=False)
    caller: Caller
    issued: datetime
    expires: datetime


def issue(
    cloud: Cloud, key: str, *, needs: str, life: timedelta, username: str, community: str | None = None
) -> Issued:
    """A new token of a key, good for `life`, by Firestore's time. Without a community it has the customer's.

    Unauthenticated where the key is not good, Forbidden where it lacks the scope that it `needs`, Invalid
    where the username is missing, or that or the community is too long or has characters that cannot be
    printed.
    """
    caller, at = identify(cloud.db, key)
    caller.needs(needs)
    issued = at.replace(microsecond=0)
    expires = issued + life
    payload = [
        caller.key,
        int(expires.timestamp()),
        _name("username", username),
        _name("scope", community or caller.customer),
    ]
    version = cloud.settings.access_keys.newest()
    signed = f"{_PREFIX}{version}.{_text(orjson.dumps(payload))}"
    token = f"{signed}.{_signature(cloud.settings.access_keys.versions[version], signed)}"
    return Issued(token, caller, issued, expires)


def authenticate(cloud: Cloud, authorization: str, auth_token: str = "") -> TokenCaller:
    """Who is calling, from the headers `Authorization: Bearer …` (or `Token …`), or `X-Auth-Token: …`, with a
    token or with a key.

    Unauthenticated where there is neither, or it is not good (any more). Retry where a token's version is
    newer than all that are held: this instance was started before that version was added.
    """
    carried = presented(authorization, auth_token)
    if not carried.startswith(_PREFIX):
        caller, _ = identify(cloud.db, carried)
        return by_key(caller)
    id, expires, username, community = _verified(cloud, carried)
    snapshot = cloud.db.document(f"api_keys/{id}").get()
    owner = caller_of(snapshot)
    if owner is None:
        raise Unauthenticated("the key of the access token is revoked: get a token with another key")
    if read_time(snapshot) >= datetime.fromtimestamp(expires, UTC):
        raise Unauthenticated("the access token has expired: get a new one")
    note_use(cloud.db, snapshot)
    return _caller(owner, username=username, community=community)


def by_key(caller: Caller) -> TokenCaller:
    """Who calls with a key itself."""
    return _caller(caller, username=caller.key, community=caller.customer)


def community_of(scope: str) -> str | None:
    """The community that a scope names, as `community=NAME` or as its first word; None where it names none.

    A scope has words and assignments with spaces between them, and the value of an assignment may hold
    spaces itself: `NAME deviceId=Bob's phone hardwareName=x y`. So a value goes on up to the next
    assignment. A community is one word, since it is a part of tables' names.
    """
    before, *rest = _ASSIGNED.split(scope)
    assigned = dict(zip(map(str.lower, rest[::2]), rest[1::2], strict=True))
    words = assigned.get("community", before).split()
    return words[0] if words else None


def _verified(cloud: Cloud, token: str) -> tuple[str, int, str, str]:
    """What a token says: key, expiry in seconds since 1970, user, community."""
    refused = Unauthenticated("the access token is not valid: get a new one")
    parts = _TOKEN.fullmatch(token) if len(token) <= MAX_TOKEN else None
    if parts is None:
        raise refused
    signed, version, payload, signature = parts[1], int(parts[2]), parts[3], parts[4]
    held = cloud.settings.access_keys.versions
    if held and version > max(held):
        raise Retry(
            f"the access token is signed with version {version} of WAYBILL_ACCESS_KEYS, but the newest "
            f"version here is {max(held)}"
        )
    if version not in held or not hmac.compare_digest(signature, _signature(held[version], signed)):
        raise refused
    id, expires, username, community = orjson.loads(_bytes(payload))
    return id, expires, username, community


def _signature(key: bytes, signed: str) -> str:
    return _text(hmac.digest(secrets.derived(key, PURPOSE), signed.encode(), hashlib.sha256))


def _caller(caller: Caller, *, username: str, community: str) -> TokenCaller:
    return TokenCaller(
        customer=caller.customer,
        key=caller.key,
        scopes=caller.scopes,
        site=caller.site,
        username=username,
        community=community,
    )


def _name(field: str, name: str) -> str:
    if not name:
        raise Invalid.field(field, "is needed")
    if len(name) > MAX_NAME or not name.isprintable():
        raise Invalid.field(field, f"a name must be at most {MAX_NAME} printable characters")
    return name


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
