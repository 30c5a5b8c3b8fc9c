"""A mail as Firestore holds it: `<owner>/mails/<id>`, one for each recipient of each occurrence.

It is made in the transaction that makes true what it tells, and its id says what it tells whom: so what
happened once is told once. States: WAITING until it is sent; SENDING from the commit before the call to
SendGrid; then SENT, SKIPPED (SendGrid would not deliver to the address), REFUSED (not accepted), or UNKNOWN:
it may have been sent. From these only a person's word leads back to WAITING.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from google.cloud import firestore

from shared import logs
from shared.addresses import folded, once
from shared.errors import Conflict, NotFound
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, fields_of, transact
from shared.gcp.silence import change, silent
from shared.outbox import letters

WAITING, SENDING = "WAITING", "SENDING"
SENT, SKIPPED, REFUSED, UNKNOWN = "SENT", "SKIPPED", "REFUSED", "UNKNOWN"
ENDED = (SENT, SKIPPED, REFUSED, UNKNOWN)

FUNCTION = "send_mail"
"""The function that sends them."""


@dataclass(frozen=True)
class Files:
    """What a mail's link leads to: the path of the collection whose documents tell of the files, each with
    `name`, `rows`, `bytes` and `staged`, and the customer's account, which may read them."""

    account: str
    folder: str


@dataclass(frozen=True)
class Mail:
    """A mail. What is None is not known, or not so.

    facts        what the letter tells (`letters.KINDS`)
    asked        since when it is to be sent; once more by a person's word
    beat         when an attempt at it last showed life
    attempt      the attempt that is sending it, or that sent it last
    files        what its link leads to
    links        the ids of the links that it was sent with; the last one is the newest
    then         the function and the message that go on when it has an outcome
    reason       why it is not sent, in a sentence; next_action what would help
    message_id   what SendGrid calls it
    ended        when it had its outcome
    """

    path: str
    customer: str
    kind: str
    address: str
    facts: Mapping[str, Any]
    state: str
    created: datetime
    asked: datetime
    beat: datetime
    attempt: str | None = None
    files: Files | None = None
    links: tuple[str, ...] = ()
    then: Mapping[str, Any] | None = None
    reason: str | None = None
    next_action: str | None = None
    message_id: str | None = None
    ended: datetime | None = None

    @property
    def id(self) -> str:
        """Its document's id."""
        return self.path.rpartition("/")[2]

    @property
    def owner(self) -> str:
        """The path of the document that it is about."""
        return self.path.rpartition("/mails/")[0]


def documents(
    owner: str,
    kind: str,
    occurrence: str,
    addresses: Iterable[str],
    facts: Mapping[str, Any],
    *,
    customer: str,
    link: Files | None = None,
    then: Mapping[str, Any] | None = None,
) -> dict[str, dict[str, Any]]:
    """The mails that tell these addresses of something, by their paths: to be created in the transaction that
    makes it true, and told of after it (`tell`).

    owner       the path of the document that they are about
    occurrence  what tells one such mail from another of the same kind and owner
    link        what a link in the mail leads to; without it there is none
    then        {"function", "message"}: published to when the mail has an outcome

    ValueError where the facts are not those of the kind.
    """
    told = letters.kept(kind, facts)
    return {
        f"{owner}/mails/{_id(kind, occurrence, address)}": {
            "customer": customer,
            "kind": kind,
            "address": address,
            "facts": told,
            "files": asdict(link) if link else None,
            "then": dict(then) if then else None,
            "links": [],
            "created": firestore.SERVER_TIMESTAMP,
            **_to_be_sent(),
        }
        for address in once(addresses)
    }


def from_snapshot(snapshot: Snapshot) -> Mail:
    """The mail that a snapshot holds; it must exist."""
    fields = fields_of(snapshot)
    return Mail(
        path=snapshot.reference.path,
        customer=fields["customer"],
        kind=fields["kind"],
        address=fields["address"],
        facts=fields["facts"],
        state=fields["state"],
        created=fields["created"],
        asked=fields["asked"],
        beat=fields["beat"],
        attempt=fields.get("attempt"),
        files=Files(**fields["files"]) if fields["files"] else None,
        links=tuple(fields["links"]),
        then=fields["then"],
        reason=fields.get("reason"),
        next_action=fields.get("next_action"),
        message_id=fields.get("message_id"),
        ended=fields.get("ended"),
    )


def tell(cloud: Cloud, customer: str, paths: Iterable[str]) -> None:
    """Have these mails sent. Telling once more is always safe."""
    cloud.messages.publish(FUNCTION, *(message for _, message in messages(customer, paths)))


def messages(customer: str, paths: Iterable[str]) -> list[tuple[str, dict[str, str]]]:
    """The messages by which mails are sent, with the function of each."""
    return [(FUNCTION, {"mail": path, "customer": customer}) for path in paths]


def again(cloud: Cloud, path: str) -> Mail:
    """Have a mail that has an outcome sent once more, with a link of its own, by a person's word. The links
    that it was sent with stay as they are.

    NotFound where there is none; Conflict where it waits or is being sent.
    """
    reference = cloud.db.document(path)

    def reopen(transaction: firestore.Transaction) -> None:
        snapshot = reference.get(transaction=transaction)
        if not snapshot.exists:
            raise NotFound(f"there is no mail {reference.id}")
        mail = from_snapshot(snapshot)
        if mail.state not in ENDED:
            raise Conflict(f"the mail {mail.id} is {mail.state}: it can be sent again when that has ended")
        transaction.update(reference, reopened())

    transact(cloud.db, reopen)
    mail = from_snapshot(reference.get())
    tell(cloud, mail.customer, [path])
    logs.info("mail to be sent again", mail=path)
    return mail


def reopened() -> dict[str, Any]:
    """The fields by which a mail that has an outcome is to be sent once more."""
    cleared = dict.fromkeys(("reason", "next_action", "message_id", "ended", "attempt"))
    return {**cleared, **_to_be_sent()}


def sweep(cloud: Cloud, at: datetime) -> None:
    """Have every mail taken up that waits or is being sent and is silent at `at`. What fails here is logged
    and stops nothing else."""
    for snapshot in silent(cloud, "mails", "open", [True], "beat", at):
        path = snapshot.reference.path
        try:
            # Of one that is being sent the beat says whether its attempt can be alive: that stays.
            told = fields_of(snapshot)
            if told["state"] == SENDING or change(cloud, snapshot, {"beat": firestore.SERVER_TIMESTAMP}):
                tell(cloud, told["customer"], [path])
                logs.warning("a silent mail is taken up", mail=path, state=told["state"])
        except Exception as failure:
            logs.error("a silent mail could not be taken up", exception=failure, mail=path)


def _to_be_sent() -> dict[str, Any]:
    return {
        "state": WAITING,
        "open": True,
        "asked": firestore.SERVER_TIMESTAMP,
        "beat": firestore.SERVER_TIMESTAMP,
    }


def _id(kind: str, occurrence: str, address: str) -> str:
    told = "\n".join((kind, occurrence, folded(address)))
    return hashlib.sha256(told.encode()).hexdigest()[:32]
