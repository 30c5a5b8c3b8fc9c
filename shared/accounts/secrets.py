"""Customers' secrets at rest: what they gave us to reach a server of theirs, a password or a private key; and
the secrets of keys that requests are signed with.

Each is a document of its own, `secrets/<id>`: `customer`, `created`, `key_version` and `sealed`, which is the
nonce and behind it what AES-256-GCM made of the value. The key is derived from that version of
WAYBILL_SECRET_KEYS, or for a key's own secret of WAYBILL_ACCESS_KEYS; the newest seals, every version that is
held opens. Customer and id are bound into what is sealed, so that it opens nothing in another document or
under another customer's name.

GCM: https://csrc.nist.gov/pubs/sp/800/38/d/final. Deriving keys: https://www.rfc-editor.org/rfc/rfc5869.
"""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from google.cloud import firestore

from shared.errors import CustomerMustAct, GiveUp, Retry
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, change, fields_of
from shared.settings import KEY_BYTES, Keys, Settings

COLLECTION = "secrets"
"""Where the documents are."""

OF_KEY = "key-"
"""What the id of a key's own secret begins with; behind it is the key's id."""

VALUE_BYTES = 64 * 1024
"""How long a value may be, in UTF-8: a private key is a few KiB."""

NONCE_BYTES = 12
"""GCM's own size of a nonce. Random ones are good for 2**32 values under one key (SP 800-38D, 8.3)."""

PURPOSE = b"waybill: customers' secrets at rest"
"""Bound into the derived key, so that nothing else that is made of the same version is that key."""

PAGE_DOCUMENTS = 100
"""How many documents are read at once for sealing them anew: 6 MiB at the most."""

UNOPENED_TOLD = 200
"""How many of those that cannot be opened are named: what a person can read."""


@dataclass(frozen=True)
class Unopened:
    """A secret that cannot be opened, and why, in a sentence."""

    id: str
    customer: str
    why: str


@dataclass(frozen=True)
class Rotated:
    """What came of sealing anew.

    keys      what seals them
    newest    the version that seals now
    found     version -> how many secrets were found sealed with it
    sealed    how many were sealed anew
    unopened  how many could not be opened; they are as they were
    told      the first UNOPENED_TOLD of these
    left      version -> how many are sealed with it after all that, for every version that is held or found:
              one that has none here is not needed for opening any more
    """

    keys: Keys
    newest: int
    found: Mapping[int, int]
    sealed: int
    unopened: int
    told: Sequence[Unopened]
    left: Mapping[int, int]


def path(id: str) -> str:
    """A secret's document."""
    return f"{COLLECTION}/{id}"


def keys_for(settings: Settings, id: str) -> Keys:
    """What seals and opens the secret of this id."""
    return settings.access_keys if id.startswith(OF_KEY) else settings.secret_keys


def seal(settings: Settings, customer: str, id: str, value: str) -> dict[str, Any]:
    """The fields of a secret's document, for its first writing; each time other ones, as the nonce is.

    ValueError where no key is set, and for a value longer than VALUE_BYTES.
    """
    if len(value.encode()) > VALUE_BYTES:
        raise ValueError(f"a secret must not be longer than {VALUE_BYTES} bytes")
    sealed = _sealed(settings, customer, id, value)
    return {"customer": customer, **sealed, "created": firestore.SERVER_TIMESTAMP}


def get(cloud: Cloud, customer: str, id: str) -> str:
    """A customer's secret.

    CustomerMustAct where it is gone; another's looks as if it were not there. GiveUp where no key that is
    held opens it. Retry where its key is newer than all that are held: this instance was started
    before that key was added, and another holds it.
    """
    fields = cloud.db.document(path(id)).get().to_dict()
    if fields is None or fields["customer"] != customer:
        raise CustomerMustAct(
            f"There is no stored secret {id}.", "Give the password or the private key again."
        )
    return _opened(cloud.settings, id, fields)


def rotate(cloud: Cloud, keys: Keys) -> Rotated:
    """Seal with the newest version every secret of these keys that is not, and see whether the others can be
    opened.

    It can end anywhere and be done again. Who writes or deletes a secret meanwhile wins. ValueError where no
    key is set.
    """
    version = keys.newest()
    found: Counter[int] = Counter()
    sealed = unopened = 0
    told: list[Unopened] = []
    for snapshot in _all(cloud, keys):
        fields = fields_of(snapshot)
        found[fields["key_version"]] += 1
        try:
            value = _opened(cloud.settings, snapshot.id, fields)
        except (GiveUp, Retry) as error:
            unopened += 1
            if len(told) < UNOPENED_TOLD:
                told.append(Unopened(snapshot.id, fields["customer"], _why(error)))
            continue
        if fields["key_version"] != version:
            again = _sealed(cloud.settings, fields["customer"], snapshot.id, value)
            sealed += change(cloud.db, snapshot, again) is not None
    # Counted again at the end: a function that was started with the old keys may have sealed with them
    # meanwhile, where this had been already.
    now = Counter(fields_of(each)["key_version"] for each in _all(cloud, keys))
    left = {each: now[each] for each in sorted({*found, *now, *keys.versions})}
    return Rotated(keys, version, dict(found), sealed, unopened, tuple(told), left)


def _all(cloud: Cloud, keys: Keys) -> Iterator[Snapshot]:
    query = cloud.db.collection(COLLECTION).order_by("__name__").limit(PAGE_DOCUMENTS)
    page = list(query.stream())
    while page:
        yield from (each for each in page if keys_for(cloud.settings, each.id) is keys)
        page = list(query.start_after(page[-1]).stream()) if len(page) == PAGE_DOCUMENTS else []


def _sealed(settings: Settings, customer: str, id: str, value: str) -> dict[str, Any]:
    keys = keys_for(settings, id)
    version = keys.newest()
    nonce = os.urandom(NONCE_BYTES)
    cipher = _cipher(keys.versions[version])
    return {
        "key_version": version,
        "sealed": nonce + cipher.encrypt(nonce, value.encode(), _bound(customer, id)),
    }


def _opened(settings: Settings, id: str, fields: Mapping[str, Any]) -> str:
    version, sealed = fields["key_version"], fields["sealed"]
    keys = keys_for(settings, id)
    held = keys.versions
    if version not in held and held and version > max(held):
        raise Retry(
            f"The secret {id} is encrypted with version {version} of {keys.variable}, but the newest "
            f"version here is {max(held)}: use the value that the functions use."
        )
    if version not in held:
        raise GiveUp(
            f"The secret {id} is encrypted with version {version} of {keys.variable}, which is missing.",
            f"Ask Waybill's operators to add version {version} again, or {_replace(id)}.",
        )
    try:
        value = _cipher(held[version]).decrypt(
            sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _bound(fields["customer"], id)
        )
    except (InvalidTag, ValueError):  # the latter where even the nonce is cut short
        raise GiveUp(
            f"The secret {id} cannot be decrypted with version {version} of {keys.variable}: the "
            "document was changed, or that version is not the key that encrypted it.",
            f"Ask Waybill's operators to restore the key that was version {version}, or {_replace(id)}.",
        ) from None
    return value.decode()


def _replace(id: str) -> str:
    if id.startswith(OF_KEY):
        return f"replace the key {id.removeprefix(OF_KEY)} with `rotate-key`"
    return "give the password or the private key again"


def _cipher(key: bytes) -> AESGCM:
    return AESGCM(derived(key, PURPOSE))


def derived(key: bytes, purpose: bytes) -> bytes:
    """A key of KEY_BYTES made of a version of one of ours; for another purpose it is another one.
    https://www.rfc-editor.org/rfc/rfc5869"""
    return HKDF(SHA256(), length=KEY_BYTES, salt=None, info=purpose).derive(key)


def _bound(customer: str, id: str) -> bytes:
    return orjson.dumps([customer, id])


def _why(error: GiveUp | Retry) -> str:
    return f"{error} {error.next_action}" if isinstance(error, GiveUp) else str(error)
