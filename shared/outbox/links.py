"""A link by which whoever has it downloads files for seven days: `downloads/<id>`.

Its token, `<id>_<secret>`, is in one mail and nowhere else: the document has its hash. The link can be used
any number of times, so that a mail scanner that follows it takes nothing from its reader. Each use is
recorded.
https://www.rfc-editor.org/rfc/rfc9110#section-9.2.1
"""

import base64
import hmac
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from google.cloud import firestore

from shared import audit_trail
from shared.accounts.keys import hashed
from shared.accounts.secrets import derived as derive
from shared.errors import NotFound
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, fields_of, plain, read_time, transact
from shared.outbox import letters, withdrawing
from shared.outbox.letters import About
from shared.outbox.mails import Files, Mail
from shared.settings import Settings
from shared.work.lifetimes import REMOVE_AFTER

LIFE = timedelta(days=7)
"""How long a link works, by Firestore's time from its sending."""

KEPT = timedelta(days=90)
"""How long a link is kept after it expired: whoever comes late is told that it expired, and the mails of a
run show who downloaded what."""

MAX_CLICKS = 50
"""How many clicks are stored with a link, the newest. `downloads` counts all that led to a file."""

MAX_AGENT = 200
"""How many characters of a User-Agent are stored."""

SECRET_BYTES = 32
"""How long a secret is; a token has it in base64."""

PURPOSE = b"waybill: a link to files, "
"""Bound into a derived secret, so that nothing else that is made of the same key is that secret.
https://www.rfc-editor.org/rfc/rfc5869"""

_TOKEN = re.compile(r"([0-9a-f]{32})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True)
class Click:
    """One use: when, by which program as it calls itself, and for which file (a document's id) if any."""

    at: datetime
    agent: str
    file: str | None


@dataclass(frozen=True)
class Link:
    """A link as it is stored, without its secret."""

    id: str
    customer: str
    about: About
    files: Files
    recipient: str
    mail: str
    created: datetime
    expires: datetime
    revoked: bool
    downloads: int
    clicks: tuple[Click, ...]


@dataclass(frozen=True)
class Found:
    """A link that was clicked, and when it was, by Firestore."""

    link: Link
    at: datetime

    @property
    def expired(self) -> bool:
        """Whether it had expired by then."""
        return self.at >= self.link.expires


def new(mail: Mail, files: Files, id: str, expires: datetime) -> tuple[str, dict[str, Any]]:
    """A new token, which is not stored, and the document of its link, which belongs at `path`."""
    secret = secrets.token_urlsafe(SECRET_BYTES)
    about = letters.about(mail.letter, mail.facts)
    document = _document(mail.customer, about, files, mail.address, mail.path, hashed(secret), expires)
    return f"{id}_{secret}", document


def _document(
    customer: str,
    about: About,
    files: Files,
    recipient: str,
    owner: str,
    secret_sha256: str,
    expires: datetime,
) -> dict[str, Any]:
    return {
        "customer": customer,
        "about": asdict(about),
        "account": files.account,
        "folder": files.folder,
        "recipient": recipient,
        "mail": owner,
        "secret_sha256": secret_sha256,
        "created": firestore.SERVER_TIMESTAMP,
        "expires": expires,
        REMOVE_AFTER: expires + KEPT,
        "revoked": False,
        "downloads": 0,
        "clicks": [],
    }


def derived(
    settings: Settings,
    id: str,
    customer: str,
    about: About,
    files: Files,
    owner: str,
    expires: datetime,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A link whose token can be made again (`token`), for who may read it more than once: what it is made of,
    and its document, which belongs at `path`. `owner` is the path of what it is about."""
    made = {"id": id, "key_version": settings.link_keys.newest()}
    document = _document(customer, about, files, "", owner, hashed(_secret(settings, made)), expires)
    return made, document


def token(settings: Settings, made: Mapping[str, Any]) -> str | None:
    """The token of a derived link; None where the version of its key is not set any more."""
    if made["key_version"] not in settings.link_keys.versions:
        return None
    return f"{made['id']}_{_secret(settings, made)}"


def _secret(settings: Settings, made: Mapping[str, Any]) -> str:
    key = settings.link_keys.versions[made["key_version"]]
    secret = derive(key, PURPOSE + made["id"].encode())
    return base64.urlsafe_b64encode(secret).decode().rstrip("=")


def path(id: str) -> str:
    """The document of a link."""
    return f"downloads/{id}"


def find(cloud: Cloud, token: str) -> Found | None:
    """The link of a token, also if it is withdrawn or expired. None where there is no such token."""
    parts = _TOKEN.fullmatch(token)
    if parts is None:
        return None
    snapshot = cloud.db.document(path(parts[1])).get()
    if not snapshot.exists or not hmac.compare_digest(snapshot.get("secret_sha256"), hashed(parts[2])):
        return None
    (link,) = _links(cloud, [snapshot])
    return Found(link, read_time(snapshot))


def record(cloud: Cloud, link: Link, agent: str, file: str | None) -> None:
    """Record a click by a program of that name. A click that led to a file is a download."""
    reference = cloud.db.document(path(link.id))

    def add(transaction: firestore.Transaction) -> None:
        snapshot = reference.get(transaction=transaction)
        click = {"at": read_time(snapshot), "agent": agent, "file": file}
        fields = fields_of(snapshot)
        written = {"clicks": [*fields["clicks"], click][-MAX_CLICKS:]}
        transaction.update(reference, {**written, "downloads": fields["downloads"] + (file is not None)})

    transact(cloud.db, add)


def revoke(cloud: Cloud, customer: str, id: str, owner: str) -> None:
    """Withdraw a link of a customer. NotFound where there is none. Signed URLs that it has led to work until
    they expire. `owner` is the path of what it was made for, which the audit trail names."""
    snapshot = cloud.db.document(path(id)).get()
    if not snapshot.exists or snapshot.get("customer") != customer:
        raise NotFound(f"there is no link {id}")
    batch = cloud.db.batch()
    batch.update(snapshot.reference, {"revoked": True})
    audit_trail.note(cloud.db, batch, customer, owner)
    batch.commit()


def of(cloud: Cloud, ids: Iterable[str]) -> dict[str, Link]:
    """Those of the links that there are, by their ids."""
    references = [cloud.db.document(path(id)) for id in ids]
    there = [each for each in cloud.db.get_all(references) if each.exists] if references else []
    return {each.id: each for each in _links(cloud, there)}


def _links(cloud: Cloud, snapshots: Sequence[Snapshot]) -> list[Link]:
    """These links, each as it stands with what was withdrawn on the document that it is about."""
    roots = {withdrawing.root(each.get("mail")) for each in snapshots}
    found = cloud.db.get_all([cloud.db.document(root) for root in sorted(roots)]) if roots else ()
    marks = {each.reference.path: fields_of(each) for each in found if each.exists}
    return [_link(each, marks.get(withdrawing.root(each.get("mail")), {})) for each in snapshots]


def _link(snapshot: Snapshot, about: Mapping[str, Any]) -> Link:
    fields = fields_of(snapshot)
    gone = withdrawing.is_withdrawn(about, fields["recipient"], fields["created"])
    return Link(
        id=snapshot.id,
        customer=fields["customer"],
        about=About(**fields["about"]),
        files=Files(fields["account"], fields["folder"]),
        recipient=fields["recipient"],
        mail=fields["mail"],
        created=fields["created"],
        expires=fields["expires"],
        revoked=fields["revoked"] or gone,
        downloads=fields["downloads"],
        clicks=tuple(Click(**plain(each)) for each in fields["clicks"]),
    )
