"""What people do with mails: see them, withdraw their links, have them sent again.

`owner` is the path of the document that the mails are about. The caller checks before that the person may see
it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter

from shared import ids, logs
from shared.accounts.customers import get_customer
from shared.errors import Conflict, NotFound, TooMany
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, server_time
from shared.gcp.unreadable import readable
from shared.outbox import links, mails
from shared.outbox.links import Link
from shared.outbox.mails import REFUSED, UNKNOWN, Mail
from shared.work import turns


@dataclass(frozen=True)
class Shown:
    """A mail with the links that it was sent with, the newest last."""

    mail: Mail
    links: tuple[Link, ...]


def newest(cloud: Cloud, owner: str) -> Any:
    """A query for the mails, the newest first, whose snapshots `shown` takes."""
    collection = cloud.db.collection(f"{owner}/mails")
    return collection.order_by("created", direction=firestore.Query.DESCENDING)


def shown(cloud: Cloud, snapshots: Sequence[Snapshot]) -> list[Shown]:
    """These mails with what became of their links."""
    found = list(readable(cloud.db, snapshots, mails.from_snapshot))
    known = links.of(cloud, (id for mail in found for id in mail.links))
    return [Shown(mail, tuple(known[id] for id in mail.links if id in known)) for mail in found]


def not_sent(cloud: Cloud, since: datetime, most: int) -> list[Mail]:
    """The mails of all customers that ended as REFUSED or UNKNOWN `since` then, the newest first; at most so
    many, customers in turn."""
    query = (
        cloud.db.collection_group("mails")
        .where(filter=FieldFilter("state", "in", [REFUSED, UNKNOWN]))
        .where(filter=FieldFilter("finished", ">=", since))
        .order_by("finished", direction=firestore.Query.DESCENDING)
    )
    return list(readable(cloud.db, turns.first(query, most), mails.from_snapshot))


def revoke(cloud: Cloud, owner: str, id: str) -> Shown:
    """Withdraw all links of a mail. NotFound where there is no such mail, Conflict where it was sent without
    a link."""
    mail = find(cloud, owner, id)
    if not mail.links:
        raise Conflict(f"the mail {id} has no link to be withdrawn")
    for link in links.of(cloud, mail.links):  # those that expired long ago are there no more
        links.revoke(cloud, mail.customer, link, mail.path)
    logs.info("links withdrawn", mail=mail.path, customer=mail.customer, **logs.ids_of(mail.path))
    return _shown(cloud, mail.path)


def resend(cloud: Cloud, owner: str, id: str) -> Shown:
    """Send a mail once more, because a person says so. NotFound where there is no such mail, TooMany where
    its customer may have no further one now, Conflict where it waits or is being sent."""
    mail = find(cloud, owner, id)
    if why := mails.full(cloud, get_customer(cloud.db, mail.customer), 1, server_time(cloud.db)):
        raise TooMany(why)
    return _shown(cloud, mails.again(cloud, mail.path).path)


def find(cloud: Cloud, owner: str, id: str) -> Mail:
    """The mail of that owner with that id. NotFound where there is none."""
    snapshot = cloud.db.document(f"{owner}/mails/{id}").get() if ids.MADE.fullmatch(id) else None
    if snapshot is None or not snapshot.exists:
        raise NotFound(f"there is no mail {id}")
    return mails.from_snapshot(snapshot)


def _shown(cloud: Cloud, path: str) -> Shown:
    return shown(cloud, [cloud.db.document(path).get()])[0]
