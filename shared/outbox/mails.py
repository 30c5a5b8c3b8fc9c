"""A mail as Firestore holds it: `<owner>/mails/<id>`, one for each recipient of each occurrence.

It is created in the transaction that makes true what it says, and its id is made of what it says to whom: so
what happened once is mailed once. It is a work of the engine, whose steps are in `sending`.

States: WAITING until it is sent; SENDING from the commit before the call to SendGrid; then SENT, SKIPPED
(SendGrid would not deliver to the address), REFUSED (not accepted), or UNKNOWN (it may have been sent). Only
a person may have a mail in state UNKNOWN sent again.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter

from shared import audit_trail, logs
from shared.accounts import limits
from shared.accounts.customers import Customer
from shared.accounts.limits import MAILS
from shared.addresses import folded, once
from shared.errors import Conflict, NotFound
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, fields_of, moment_in, read_time, transact
from shared.outbox import letters
from shared.work import control, pieces, stages
from shared.work.attempts import WAITS_NO_LONGER
from shared.work.lifetimes import REMOVE_AFTER
from shared.work.pieces import READY

WAITING, SENDING = "WAITING", "SENDING"
SENT, SKIPPED, REFUSED, UNKNOWN = "SENT", "SKIPPED", "REFUSED", "UNKNOWN"
NOT_SENT = "mails_not_sent"
"""The field of a document that has `address`, `status` and `reason` of each mail about it that was SKIPPED or
REFUSED, where there is no other address that could be told."""

ENDED = (SENT, SKIPPED, REFUSED, UNKNOWN)

KIND = "mail"
"""The name of their kind of work."""

ASK, SEND = "ask", "send"
"""Their stages."""

DAY = timedelta(days=1)

FUNCTION = "send_mail"
"""The function that sends them."""


@dataclass(frozen=True)
class Files:
    """What a mail's link leads to: the path of the collection whose documents describe the files, each with
    `name`, `rows`, `bytes` and `staged`, and the customer's account, which may read them."""

    account: str
    folder: str


@dataclass(frozen=True)
class Mail:
    """A mail. What is None is not known, or not so.

    letter       the kind of letter that it is (`letters.KINDS`)
    facts        what the letter says
    not_taken_since  since when SendGrid takes no mail while this one is to be sent, by Firestore
    attempt      the attempt that sends it, or that sent it last
    files        what its link leads to
    links        the ids of the links that it was sent with; the last one is the newest
    then         {"function", "message"}: published when it has an outcome
    reason       why it is not sent, or not yet, in a sentence; next_action what would help
    message_id   what SendGrid calls it
    finished     when it had its outcome
    """

    path: str
    customer: str
    letter: str
    address: str
    facts: Mapping[str, Any]
    state: str
    created: datetime
    not_taken_since: datetime | None
    attempt: str | None
    files: Files | None
    links: tuple[str, ...]
    then: Mapping[str, Any] | None
    reason: str | None
    next_action: str | None
    message_id: str | None
    finished: datetime | None

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
    letter: str,
    occurrence: str,
    addresses: Iterable[str],
    facts: Mapping[str, Any],
    *,
    customer: str,
    at: datetime,
    link: Files | None = None,
    then: Mapping[str, Any] | None = None,
    told: bool = False,
) -> dict[str, dict[str, Any]]:
    """The mails that say something to these addresses, each with its first piece, by their paths. They are to
    be created in the transaction that makes it true, and published after it (`publish`, `messages`).

    owner       the path of the document that they are about
    occurrence  what distinguishes one such mail from another with the same letter and owner
    at          the time by Firestore
    link        what a link in the mail leads to; without it there is none
    then        {"function", "message"}: published when the mail has an outcome
    told        whether the document that they are about is told of each that was not sent (`NOT_SENT`)

    ValueError where the facts are not those of the letter.
    """
    kept = letters.kept(letter, facts)
    made: dict[str, dict[str, Any]] = {}
    for address in once(addresses):
        path = f"{owner}/mails/{_id(letter, occurrence, address)}"
        made[path] = {
            **control.new(KIND, customer, at),
            "letter": letter,
            "occurrence": occurrence,
            "address": address,
            "facts": kept,
            "files": asdict(link) if link else None,
            "then": dict(then) if then else None,
            "told": told,
            "links": [],
            **_to_be_sent(at),
        }
        made[f"{path}/pieces/{ASK}"] = _first_piece(customer, at)
    return made


def made_since(cloud: Cloud, customer: str, at: datetime) -> Any:
    """The query of a customer's mails that were made after `at`."""
    query = cloud.db.collection_group("mails").where(filter=FieldFilter("customer", "==", customer))
    return query.where(filter=FieldFilter("created", ">", at))


def in_use(cloud: Cloud, customer: str, most: int, at: datetime) -> int:
    """How many mails of a customer count at Firestore's time `at`: those made within a DAY before, counted up
    to `most`, and those that a person had sent again on that day (UTC)."""
    made = limits.in_use(made_since(cloud, customer, at - DAY), most)
    return made + limits.of_day(_sent_again(cloud, customer).get(), at)


def full(cloud: Cloud, customer: Customer, more: int, at: datetime) -> str | None:
    """What is said where so many more mails of a customer may not be made at Firestore's time `at`, else
    None."""
    most = customer.limit(MAILS)
    used = in_use(cloud, customer.id, most, at)
    return MAILS.sentence(most, used, more) if used + more > most else None


def not_made(
    cloud: Cloud, customer: Customer, addresses: Iterable[str], at: datetime
) -> list[dict[str, str]]:
    """What the document that mails are about is told (`NOT_SENT`) where they may not be made now; nothing
    where they may."""
    whom = once(addresses)
    why = full(cloud, customer, len(whom), at)
    if why is None:
        return []
    logs.warning("mails are not made", customer=customer.id, mails=len(whom), reason=why)
    reason = f"{why[0].upper()}{why[1:]}."
    return [{"address": each, "status": SKIPPED, "reason": reason} for each in whom]


def from_snapshot(snapshot: Snapshot) -> Mail:
    """The mail that a snapshot holds; it must exist."""
    fields = fields_of(snapshot)
    return Mail(
        path=snapshot.reference.path,
        customer=fields["customer"],
        letter=fields["letter"],
        address=fields["address"],
        facts=fields["facts"],
        state=fields["state"],
        created=moment_in(fields, "created"),
        not_taken_since=fields["not_taken_since"],
        attempt=fields["attempt"],
        files=Files(**fields["files"]) if fields["files"] else None,
        links=tuple(fields["links"]),
        then=fields["then"],
        reason=fields["error"] or fields["waits_for"],
        next_action=fields["next_action"],
        message_id=fields["message_id"],
        finished=fields["finished"],
    )


def publish(cloud: Cloud, customer: str, at: datetime) -> None:
    """Have the mails of a customer sent that are to be sent at `at`, Firestore's time: some at once, and the
    others in their turn. Doing it once more is always safe."""
    stages.publish_ready(cloud, customer, FUNCTION, at)


def again(cloud: Cloud, path: str) -> Mail:
    """Have a mail that has an outcome sent once more, with a link of its own, because a person says so. The
    links that it was sent with stay as they are. It counts among the mails of its customer's day.

    NotFound where there is none; Conflict where it waits or is being sent.
    """
    reference = cloud.db.document(path)

    def open_again(transaction: firestore.Transaction) -> None:
        snapshot = reference.get(transaction=transaction)
        if not snapshot.exists:
            raise NotFound(f"there is no mail {reference.id}")
        mail = from_snapshot(snapshot)
        if mail.state not in ENDED:
            raise Conflict(f"the mail {mail.id} is {mail.state}: it can be sent again when that has ended")
        counter, now = _sent_again(cloud, mail.customer), read_time(snapshot)
        count = limits.of_day(counter.get(transaction=transaction), now)
        reopen(transaction, snapshot, now)
        transaction.set(counter, {"day": limits.day_of(now), "count": count + 1})
        audit_trail.note(cloud.db, transaction, mail.customer, path)

    transact(cloud.db, open_again)
    seen: Any = reference.get()
    mail = from_snapshot(seen)
    publish(cloud, mail.customer, read_time(seen))
    logs.info("mail to be sent again", mail=path, customer=mail.customer, **logs.ids_of(path))
    return mail


def reopen(writes: firestore.WriteBatch, snapshot: Snapshot, at: datetime) -> None:
    """Have a mail that has an outcome sent once more, in a batch or a transaction, unless it changes before
    that is committed. The snapshot needs its `customer` only."""
    unchanged = firestore.LastUpdateOption(snapshot.update_time)
    writes.update(snapshot.reference, {**_to_be_sent(at), **WAITS_NO_LONGER}, option=unchanged)
    piece = snapshot.reference.collection("pieces").document(ASK)
    writes.set(piece, _first_piece(snapshot.get("customer"), at))


def _sent_again(cloud: Cloud, customer: str) -> Any:
    """The document that counts a customer's mails that were sent again on a day."""
    return cloud.db.document(f"customers/{customer}/use/mails_again")


def _to_be_sent(at: datetime) -> dict[str, Any]:
    known_later = dict.fromkeys(
        ("error", "next_action", "message_id", "finished", "attempt", "not_taken_since", REMOVE_AFTER)
    )
    opened = {"state": WAITING, "stage": ASK, "plan": ASK, "open": True, "heartbeat": at}
    return {**known_later, **opened}


def _first_piece(customer: str, at: datetime) -> dict[str, Any]:
    return pieces.new(customer, FUNCTION, ASK, ASK, ASK, at, READY)


def _id(letter: str, occurrence: str, address: str) -> str:
    said = "\n".join((letter, occurrence, folded(address)))
    return hashlib.sha256(said.encode()).hexdigest()[:32]
