"""Signing in to the console by mail: who may, and the links that they are mailed.

`console_addresses/<hash of the address>` says that an operator allowed an address, and as which key it signs
in. `console_links/<id>` is a link: its token, `<id>_<secret>`, is in one mail and nowhere else, since the
document has its hash. A link is good once, for LINK_LIFE, and only while its address is allowed and its key
is good; and so is the session that it begins.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter

from shared import audit_trail
from shared.accounts.customers import get_customer
from shared.accounts.keys import Caller, caller_of, get_key, hashed
from shared.addresses import checked, folded
from shared.errors import Conflict, Invalid, NotFound, Unauthenticated
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, fields_of, moment_in, read_time, read_together, transact
from shared.gcp.unreadable import readable
from shared.work.lifetimes import REMOVE_AFTER

ADDRESSES = "console_addresses"
LINKS = "console_links"

LINK_LIFE = timedelta(minutes=15)
"""How long a link works from its sending, by Firestore's time; and how long after it was asked for it is
sent."""

LINK_KEPT = timedelta(days=1)
"""How long the document of a link is kept after that."""

SECRET_BYTES = 32
"""How long a secret is; a token has it in base64."""

_TOKEN = re.compile(r"([0-9a-f]{32})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True)
class Allowed:
    """An address that may sign in.

    key    the id of the key that it signs in as
    grant  an id of this permission: another one where the address is withdrawn and allowed again
    """

    address: str
    customer: str
    key: str
    grant: str
    created: datetime


def path_of(address: str) -> str:
    """The document of an address."""
    return f"{ADDRESSES}/{hashlib.sha256(folded(address).encode()).hexdigest()[:32]}"


def allow(cloud: Cloud, address: str, key: str) -> Allowed:
    """Let whoever reads the mail of an address sign in to the console as the key of that id.

    NotFound where there is no such key; Conflict where it is revoked, or the address signs in as another key;
    Invalid where it cannot be mailed. Doing it twice is doing it once.
    """
    address = _checked(address)
    found = get_key(cloud.db, key)
    if found.revoked:
        raise Conflict(f"the key {key} is revoked: name one that is good")
    customer = get_customer(cloud.db, found.customer)
    reference = cloud.db.document(path_of(address))

    def write(transaction: firestore.Transaction) -> None:
        there = reference.get(transaction=transaction)
        if there.exists:
            before = from_snapshot(there)
            if before.key != key:
                raise Conflict(
                    f"{address} signs in as the key {before.key} of {before.customer}: withdraw it first"
                )
            return
        allowed = {
            "address": address,
            "customer": customer.id,
            "customer_name": customer.name,
            "key": key,
            "grant": cloud.new_id(),
            "created": firestore.SERVER_TIMESTAMP,
            "asked": [],
        }
        transaction.create(reference, allowed)
        audit_trail.note(cloud.db, transaction, customer.id, reference.path, ["address", "key"])

    transact(cloud.db, write)
    return from_snapshot(reference.get())


def withdraw(cloud: Cloud, address: str) -> Allowed:
    """Let an address sign in no more: its links and its sessions end at once. NotFound where it may not."""
    reference = cloud.db.document(path_of(address))

    def write(transaction: firestore.Transaction) -> Allowed:
        there = reference.get(transaction=transaction)
        if not there.exists:
            raise NotFound(f"{address} is not allowed to sign in")
        allowed = from_snapshot(there)
        transaction.delete(reference)
        audit_trail.note(cloud.db, transaction, allowed.customer, reference.path, ["address", "key"])
        return allowed

    return transact(cloud.db, write)


def allowed_of(db: firestore.Client, customer: str | None = None) -> list[Allowed]:
    """The addresses that may sign in, of one customer or of all, in their order."""
    query: Any = db.collection(ADDRESSES)
    if customer is not None:
        query = query.where(filter=FieldFilter("customer", "==", customer))
    return sorted(readable(db, query.stream(), from_snapshot), key=lambda each: (each.customer, each.address))


def from_snapshot(snapshot: Snapshot) -> Allowed:
    """The address that a snapshot holds; it must exist."""
    fields = fields_of(snapshot)
    return Allowed(
        address=fields["address"],
        customer=fields["customer"],
        key=fields["key"],
        grant=fields["grant"],
        created=moment_in(fields, "created"),
    )


def new_link(address: str, allowed: Mapping[str, Any], id: str, at: datetime) -> tuple[str, dict[str, Any]]:
    """A new token, which is not stored, and the document of its link, which belongs at `link_path`.

    `address` is the path of the document of the address, `allowed` has the fields of that, and `at` is the
    time by Firestore.
    """
    secret = secrets.token_urlsafe(SECRET_BYTES)
    return f"{id}_{secret}", {
        "address": address,
        "customer": allowed["customer"],
        "key": allowed["key"],
        "grant": allowed["grant"],
        "secret_sha256": hashed(secret),
        "expires": at + LINK_LIFE,
        "used": False,
        REMOVE_AFTER: at + LINK_LIFE + LINK_KEPT,
    }


def link_path(id: str) -> str:
    """The document of a link."""
    return f"{LINKS}/{id}"


@dataclass(frozen=True)
class Taken:
    """Who signs in by a link: as which key, and the path and the grant of the address that it was mailed
    to."""

    caller: Caller
    address: str
    grant: str


def take(cloud: Cloud, token: str) -> Taken:
    """Use up a link: whoever has its token signs in, once.

    Unauthenticated where there is no such link, and where it was used, has expired, or its address or its key
    is good no more; which of these is not said.
    """
    refused = Unauthenticated(
        "this link is good no more: it works once, within 15 minutes of its mail. Ask for a new one"
    )
    parts = _TOKEN.fullmatch(token)
    if parts is None:
        raise refused
    reference = cloud.db.document(link_path(parts[1]))

    def use(transaction: firestore.Transaction) -> Taken:
        snapshot = reference.get(transaction=transaction)
        if not snapshot.exists or not hmac.compare_digest(snapshot.get("secret_sha256"), hashed(parts[2])):
            raise refused
        link = fields_of(snapshot)
        if link["used"] or read_time(snapshot) >= moment_in(link, "expires"):
            raise refused
        both = [cloud.db.document(path) for path in (link["address"], f"api_keys/{link['key']}")]
        address, key = read_together(cloud.db, both, transaction)
        caller = caller_of(key)
        if caller is None or not holds(address, link["grant"]):
            raise refused
        transaction.update(reference, {"used": True})
        return Taken(caller, link["address"], link["grant"])

    return transact(cloud.db, use)


def holds(address: Snapshot, grant: str) -> bool:
    """Whether an address is still allowed as it was when it was given this grant."""
    return (address.to_dict() or {}).get("grant") == grant


def _checked(address: str) -> str:
    try:
        return checked(address)
    except ValueError as wrong:
        raise Invalid.field("address", str(wrong)) from None
