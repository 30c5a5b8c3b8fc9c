"""Keys: `wb_<id>_<secret>`, kept as a hash, good on every surface within their scopes."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from google.cloud import firestore

from shared.errors import Forbidden, Unauthenticated

SCOPES = ("exports", "batches", "jobs", "datasets")
"""What a key can be good for; `exports` is the DATAEXPORTER group of seed 3."""

_KEY = re.compile(r"wb_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True)
class Caller:
    """Who is calling: a customer, through one of its keys. `site` is the key's own, if it has one."""

    customer: str
    key: str
    scopes: frozenset[str]
    site: str | None = None

    def needs(self, scope: str) -> None:
        """Forbidden unless the key has the scope."""
        if scope not in self.scopes:
            raise Forbidden(f"the key {self.key} lacks the scope {scope!r}: use one that has it")


def create_key(db: firestore.Client, *, customer: str, scopes: Sequence[str], site: str | None = None) -> str:
    """Make a key and return it; it can never be shown again. ValueError for a scope there is not."""
    for scope in scopes:
        if scope not in SCOPES:
            raise ValueError(f"there is no scope {scope!r}; there are {', '.join(SCOPES)}")
    id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    db.document(f"api_keys/{id}").create(
        {
            "customer": customer,
            "scopes": list(scopes),
            "site": site,
            "secret_sha256": _hash(secret),
            "revoked": False,
            "created": firestore.SERVER_TIMESTAMP,
        }
    )
    return f"wb_{id}_{secret}"


def revoke_key(db: firestore.Client, id: str) -> None:
    """Let a key open nothing from now on; google.api_core.exceptions.NotFound where there is none."""
    db.document(f"api_keys/{id}").update({"revoked": True})


def authenticate(db: firestore.Client, authorization: str, auth_token: str) -> Caller:
    """Who is calling, from the headers `Authorization: Token K` or `Bearer K`, or `X-Auth-Token: K`; one that
    was not sent is empty.

    Unauthenticated where there is no key, or it is unknown, wrong or revoked; which of these is not said.
    """
    kind, _, key = authorization.partition(" ")
    presented = (key if kind.lower() in ("token", "bearer") else auth_token).strip()
    if not presented:
        raise Unauthenticated("Authentication credentials not provided.")
    refused = Unauthenticated("the key is not valid: check that it is whole and has not been revoked")
    parts = _KEY.fullmatch(presented)
    if not parts:
        raise refused
    id, secret = parts.groups()
    fields = db.document(f"api_keys/{id}").get().to_dict()
    if fields is None or fields["revoked"] or not hmac.compare_digest(fields["secret_sha256"], _hash(secret)):
        raise refused
    return Caller(fields["customer"], id, frozenset(fields["scopes"]), fields.get("site"))


def _hash(secret: str) -> str:
    # 256 random bits need no salt and no slow hash: there is nothing to guess.
    return hashlib.sha256(secret.encode()).hexdigest()
