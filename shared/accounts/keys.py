"""Keys: `wb_<id>_<secret>`, kept as a hash, good on every surface within their scopes.

Who signs requests needs a secret that both sides have: that of a key with the scope `signing` is kept sealed,
too, as a document of shared/accounts/secrets.py, until the key is revoked.

docs/contracts/keys.md says what clients send.
"""

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from secrets import token_hex, token_urlsafe

from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter

from shared import audit_trail, ids
from shared.accounts import secrets
from shared.errors import Conflict, CustomerMustAct, Forbidden, NotFound, Unauthenticated
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, fields_of, moment_in, read_time
from shared.gcp.unreadable import readable
from shared.settings import Settings

SIGNING = "signing"
"""The scope of a key that requests can be signed with."""

SCOPES = ("exports", "batches", "jobs", "datasets", SIGNING)
"""What a key can be good for (docs/contracts/keys.md)."""

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
            raise Forbidden(f"the key {self.key} lacks the scope {scope!r}: use a key that has it")


@dataclass(frozen=True)
class Key:
    """A key as it is kept, without its secret. `site` is its own, if it has one."""

    id: str
    customer: str
    scopes: tuple[str, ...]
    site: str | None
    revoked: bool
    created: datetime


def create_key(
    db: firestore.Client,
    *,
    customer: str,
    scopes: Sequence[str],
    site: str | None = None,
    settings: Settings | None = None,
) -> str:
    """Make a key and return it; it can never be shown again. With the scope `signing` its secret is sealed
    under the `settings`.

    ValueError for a scope there is not, and where the settings hold no key that seals.
    """
    for scope in scopes:
        if scope not in SCOPES:
            raise ValueError(f"there is no scope {scope!r}; there are {', '.join(SCOPES)}")
    id, secret = token_hex(8), token_urlsafe(32)
    batch = db.batch()
    batch.create(
        db.document(f"api_keys/{id}"),
        {
            "customer": customer,
            "scopes": list(scopes),
            "site": site,
            "secret_sha256": _hash(secret),
            "revoked": False,
            "created": firestore.SERVER_TIMESTAMP,
        },
    )
    if SIGNING in scopes:
        if settings is None:
            raise ValueError(f"a key with the scope {SIGNING!r} needs settings that seal its secret")
        sealed = _sealed(id)
        batch.create(db.document(secrets.path(sealed)), secrets.seal(settings, customer, sealed, secret))
    audit_trail.note(db, batch, customer, f"api_keys/{id}")
    batch.commit()
    return f"wb_{id}_{secret}"


def revoke_key(db: firestore.Client, id: str) -> None:
    """Let a key open nothing from now on; NotFound where there is none."""
    key = get_key(db, id)
    batch = db.batch()
    batch.update(db.document(f"api_keys/{id}"), {"revoked": True})
    batch.delete(db.document(secrets.path(_sealed(id))))
    audit_trail.note(db, batch, key.customer, f"api_keys/{id}")
    batch.commit()


def get_key(db: firestore.Client, id: str) -> Key:
    """The key of that id, or NotFound."""
    snapshot = db.document(f"api_keys/{id}").get()
    if not snapshot.exists:
        raise NotFound(f"there is no key {id}")
    return _key(snapshot)


def keys_of(db: firestore.Client, customer: str) -> list[Key]:
    """All keys of a customer, revoked ones too, the oldest first."""
    found = db.collection("api_keys").where(filter=FieldFilter("customer", "==", customer)).stream()
    return sorted(readable(db, found, _key), key=lambda key: key.created)


def successor(db: firestore.Client, id: str, settings: Settings | None = None) -> str:
    """Make a key with the customer, scopes and site of another, which stays good, and return it; it can never
    be shown again. NotFound where there is no such key, Conflict where it is revoked, ValueError as
    `create_key` raises it."""
    old = get_key(db, id)
    if old.revoked:
        raise Conflict(f"the key {id} is revoked: add a new one instead")
    return create_key(db, customer=old.customer, scopes=old.scopes, site=old.site, settings=settings)


def presented(authorization: str, auth_token: str) -> str:
    """What the header `Authorization: Token K` or `Bearer K`, or `X-Auth-Token: K`, carries; one that was not
    sent is empty. Unauthenticated where that is nothing."""
    kind, _, key = authorization.partition(" ")
    carried = (key if kind.lower() in ("token", "bearer") else auth_token).strip()
    if not carried:
        raise Unauthenticated("Authentication credentials not provided.")
    return carried


def identify(db: firestore.Client, key: str) -> tuple[Caller, datetime]:
    """Who has this key, and when that was read, by Firestore.

    Unauthenticated where it is unknown, wrong or revoked; which of these is not said.
    """
    parts = _KEY.fullmatch(key)
    if parts is not None:
        snapshot: Snapshot = db.document(f"api_keys/{parts[1]}").get()
        caller = caller_of(snapshot)
        if caller and hmac.compare_digest(snapshot.get("secret_sha256"), _hash(parts[2])):
            return caller, read_time(snapshot)
    raise Unauthenticated("the key is not valid: check that it is complete and not revoked")


def signing_secret(cloud: Cloud, id: str) -> tuple[Caller, str]:
    """Who signs with the key of this id, and the secret that they sign with.

    Unauthenticated where the key is unknown, revoked or lacks the scope `signing`; which of these is not
    said, since who asks has proved nothing yet.
    """
    if not ids.KEY.fullmatch(id):
        raise Unauthenticated("the access key must be a key's id: the 16 hex digits in wb_<id>_<secret>")
    refused = Unauthenticated(
        f"the access key {id} is not valid: check that it is complete, not revoked, and has the scope "
        f"{SIGNING!r}"
    )
    snapshot: Snapshot = cloud.db.document(f"api_keys/{id}").get()
    caller = caller_of(snapshot)
    if caller is None or SIGNING not in caller.scopes:
        raise refused
    try:
        secret = secrets.get(cloud, caller.customer, _sealed(id))
    except CustomerMustAct:  # it was revoked just now
        raise refused from None
    return caller, secret


def caller_of(snapshot: Snapshot) -> Caller | None:
    """Who calls with the key of this document; None where there is no such key, or it is revoked."""
    fields = snapshot.to_dict()
    if fields is None or fields["revoked"]:
        return None
    return Caller(fields["customer"], snapshot.id, frozenset(fields["scopes"]), fields.get("site"))


def _key(snapshot: Snapshot) -> Key:
    fields = fields_of(snapshot)
    return Key(
        id=snapshot.id,
        customer=fields["customer"],
        scopes=tuple(fields["scopes"]),
        site=fields.get("site"),
        revoked=fields["revoked"],
        created=moment_in(fields, "created"),
    )


def _sealed(id: str) -> str:
    """The id of the sealed secret of a key."""
    return f"{secrets.OF_KEY}{id}"


def _hash(secret: str) -> str:
    # 256 random bits need no salt and no slow hash: there is nothing to guess.
    return hashlib.sha256(secret.encode()).hexdigest()
