"""Keys: `wb_<id>_<secret>`, kept as a hash, good on every surface within their scopes.

Who signs requests needs a secret that both sides have: that of a key with the scope `signing` is kept sealed,
too, as a document of shared/accounts/secrets.py, until the key is revoked.

Whoever identifies a key notes that it was used, about once an hour (`note_use`).

docs/contracts/keys.md says what clients send.
"""

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from secrets import token_hex, token_urlsafe
from typing import Any

from google.api_core.exceptions import AlreadyExists, FailedPrecondition, GoogleAPICallError
from google.api_core.exceptions import NotFound as Gone
from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter

from shared import audit_trail, ids, logs
from shared.accounts import secrets
from shared.errors import Conflict, CustomerMustAct, Forbidden, NotFound, Unauthenticated
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, fields_of, moment_in, read_time
from shared.gcp.unreadable import readable
from shared.http.rates import Rate, Rates
from shared.settings import Settings
from shared.work.lifetimes import REMOVE_AFTER

SIGNING = "signing"
"""The scope of a key that requests can be signed with."""

KEYS = "keys"
"""The scope of a key that makes, lists and revokes keys of its customer."""

SCOPES = ("exports", "batches", "jobs", "datasets", SIGNING, KEYS)
"""What a key can be good for (docs/contracts/keys.md)."""

MAX_NAME = 100
"""How many characters the name of a key may have."""

REVOKED_KEPT = timedelta(days=400)
"""How long a revoked key is listed: as long as the entries of the audit trail that name it."""

USE_NOTED_EVERY = timedelta(hours=1)
"""How old what is known of a key's last use may become while it is used."""

USE_SECONDS = 2.0
"""How long a request waits at most for noting that its key was used."""

USE_TRIED_AGAIN = Rate(per_second=1 / 60, burst=1)
"""How often an instance tries to note the use of a key where that fails."""

KEYS_KEPT = 10_000
"""Of how many keys an instance knows that this failed: about 2 MB."""

_failures = Rates(KEYS_KEPT)

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
    """A key as it is kept, without its secret.

    name   what its customer calls it, if anything
    site   its own, if it has one
    used   when it was used last, at most USE_NOTED_EVERY before it was; None where it never was, or not since
           its use is noted
    asked  the hash of the request that made it, if that can be sent again
    """

    id: str
    customer: str
    scopes: tuple[str, ...]
    site: str | None
    revoked: bool
    created: datetime
    name: str | None = None
    used: datetime | None = None
    asked: str = ""


def create_key(
    db: firestore.Client,
    *,
    customer: str,
    scopes: Sequence[str],
    site: str | None = None,
    settings: Settings | None = None,
    id: str | None = None,
    name: str | None = None,
    asked: str = "",
) -> str:
    """Make a key and return it; it can never be shown again. With the scope `signing` its secret is sealed
    under the `settings`.

    id     the key's id, where that is not a random one
    name   what its customer calls it
    asked  the hash of the request that makes it, if that can be sent again

    ValueError for a scope there is not, and where the settings hold no key that seals. Conflict with the id
    where there is such a key already.
    """
    for scope in scopes:
        if scope not in SCOPES:
            raise ValueError(f"there is no scope {scope!r}; there are {', '.join(SCOPES)}")
    id, secret = id or token_hex(8), token_urlsafe(32)
    reference = db.document(f"api_keys/{id}")
    batch = db.batch()
    batch.create(
        reference,
        {
            "customer": customer,
            "scopes": list(scopes),
            "site": site,
            "name": name,
            "asked": asked,
            "secret_sha256": hashed(secret),
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
    try:
        batch.commit()
    except AlreadyExists:
        if (reference.get().to_dict() or {}).get("secret_sha256") != hashed(secret):
            raise Conflict(f"there is a key {id} already", id) from None
        # It is our own write, whose answer was lost.
    return f"wb_{id}_{secret}"


def revoke_key(db: firestore.Client, id: str) -> None:
    """Let a key open nothing from now on; NotFound where there is none."""
    snapshot = db.document(f"api_keys/{id}").get()
    key = _found(id, snapshot)
    batch = db.batch()
    removed = read_time(snapshot) + REVOKED_KEPT
    batch.update(db.document(f"api_keys/{id}"), {"revoked": True, REMOVE_AFTER: removed})
    batch.delete(db.document(secrets.path(_sealed(id))))
    audit_trail.note(db, batch, key.customer, f"api_keys/{id}")
    batch.commit()


def get_key(db: firestore.Client, id: str) -> Key:
    """The key of that id, or NotFound."""
    return _found(id, db.document(f"api_keys/{id}").get())


def keys_of(db: firestore.Client, customer: str) -> list[Key]:
    """All keys of a customer, revoked ones too, the oldest first."""
    return sorted(readable(db, all_of(db, customer).stream(), from_snapshot), key=lambda key: key.created)


def all_of(db: firestore.Client, customer: str) -> Any:
    """The query of a customer's keys, revoked ones too, without an order."""
    return db.collection("api_keys").where(filter=FieldFilter("customer", "==", customer))


def good_keys(db: firestore.Client, customer: str) -> Any:
    """The query of a customer's keys that are not revoked, without an order."""
    return all_of(db, customer).where(filter=FieldFilter("revoked", "==", False))


def successor(db: firestore.Client, id: str, settings: Settings | None = None) -> str:
    """Make a key with the customer, scopes and site of another, which stays good, and return it; it can never
    be shown again. NotFound where there is no such key, Conflict where it is revoked, ValueError as
    `create_key` raises it."""
    old = get_key(db, id)
    if old.revoked:
        raise Conflict(f"the key {id} is revoked: add a new one instead")
    return create_key(
        db, customer=old.customer, scopes=old.scopes, site=old.site, settings=settings, name=old.name
    )


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
        if caller and hmac.compare_digest(snapshot.get("secret_sha256"), hashed(parts[2])):
            note_use(db, snapshot)
            return caller, read_time(snapshot)
    raise Unauthenticated("the key is not valid: check that it is complete and not revoked")


def signing_secret(cloud: Cloud, id: str) -> tuple[Caller, str, Snapshot]:
    """Who signs with the key of this id, the secret that they sign with, and the key's document, for
    `note_use` once the signature is found right.

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
    return caller, secret, snapshot


def caller_of(snapshot: Snapshot) -> Caller | None:
    """Who calls with the key of this document; None where there is no such key, or it is revoked."""
    fields = snapshot.to_dict()
    if fields is None or fields["revoked"]:
        return None
    return Caller(fields["customer"], snapshot.id, frozenset(fields["scopes"]), fields.get("site"))


def note_use(db: firestore.Client, snapshot: Snapshot) -> None:
    """Note on a key's document, as it was read for a request, that the key is used, unless that was noted
    within USE_NOTED_EVERY. Where it cannot be noted, the request goes on."""
    used, at = fields_of(snapshot).get("last_used"), read_time(snapshot)
    if used is not None and at - used < USE_NOTED_EVERY:
        return
    if _failures.wait(snapshot.id, USE_TRIED_AGAIN):
        return
    try:
        snapshot.reference.update(
            {"last_used": at},
            # Of several requests at once one writes, and none brings a key back that is gone.
            option=db.write_option(last_update_time=snapshot.update_time),
            retry=None,
            timeout=USE_SECONDS,
        )
    except (FailedPrecondition, Gone):
        pass
    except GoogleAPICallError as failed:
        _failures.take(snapshot.id, USE_TRIED_AGAIN)
        logs.warning("the use of a key could not be noted", about=failed, key=snapshot.id)


def forget() -> None:
    """Try to note every use, for a process that goes on as if just started, as tests do."""
    _failures.clear()


def _found(id: str, snapshot: Snapshot) -> Key:
    if not snapshot.exists:
        raise NotFound(f"there is no key {id}")
    return from_snapshot(snapshot)


def from_snapshot(snapshot: Snapshot) -> Key:
    """The key that a snapshot holds; it must exist."""
    fields = fields_of(snapshot)
    return Key(
        id=snapshot.id,
        customer=fields["customer"],
        scopes=tuple(fields["scopes"]),
        site=fields.get("site"),
        revoked=fields["revoked"],
        created=moment_in(fields, "created"),
        name=fields.get("name"),
        used=fields.get("last_used"),
        asked=fields.get("asked", ""),
    )


def _sealed(id: str) -> str:
    """The id of the sealed secret of a key."""
    return f"{secrets.OF_KEY}{id}"


def hashed(secret: str) -> str:
    """What is kept of a secret: of a key, or of a link in a mail. Its 256 random bits need no salt and no
    slow hash, since there is nothing to guess."""
    return hashlib.sha256(secret.encode()).hexdigest()
