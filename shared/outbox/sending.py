"""Sending one mail, once: the kind of work "mail".

1. ask    may SendGrid be called now, and would it deliver to the address at all
2. send   the one call, and what came of it

One transaction ends `ask`: from then on the mail is SENDING, and its link is there. The letter, with the
link's secret, is only in the memory of the attempt that committed this. So no other attempt can send the
mail: one that finds it SENDING does not know whether the call was made, and ends it as UNKNOWN. A mail that
SendGrid did not take goes back to `ask`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter

from shared import logs
from shared.accounts import by_mail
from shared.accounts.customers import Customer, customer_of
from shared.accounts.limits import MAIL_TEXT
from shared.errors import Retry
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, fields_of
from shared.outbox import letters, links, mails, outside, sendgrid, withdrawing
from shared.outbox.letters import Letter, Link
from shared.outbox.mails import ASK, NOT_SENT, REFUSED, SEND, SENDING, SENT, SKIPPED, UNKNOWN, WAITING, Mail
from shared.outbox.sendgrid import Account, SendGridAnswer
from shared.work.attempts import Attempt
from shared.work.kinds import CANCELLED, Done, End, Kind, Stage, Writes

TRIED_FOR = timedelta(days=1)
"""How long a mail waits for SendGrid to take it before it is REFUSED."""

PAUSE = timedelta(minutes=1)
"""How long SendGrid is not called for a customer's mails after a call that it did not take, where it does not
say how long."""

MAX_PAUSE = timedelta(minutes=10)
"""The same where it says more. https://www.twilio.com/docs/sendgrid/glossary/rate-limiting"""

SIGN_IN = "sign_in"
"""The kind of the letter whose link signs in to the console, and leads to no files."""

SIGN_IN_PATH = "/console/by-mail"
"""Where that link leads; behind it is its token."""

LIMITS = "limits/sendgrid/customers"
"""The collection of the documents that say until when SendGrid is not called for a customer's mails. Its
limits are Waybill's; but a customer who meets them by a thousand mails stops nobody else's. Where they are
met by everyone, a few calls of each customer find that out."""

_ASK_OPERATOR = "Ask the operators of Waybill to fix it, then have this mail sent again."
_LOOK = (
    "Look in SendGrid's activity, or ask the recipient, whether it arrived; have it sent again if it did not."
)


@dataclass(frozen=True)
class Verdict:
    """What becomes of a mail: its state, why, and what would help.

    message_id  what SendGrid calls the mail
    until       until when SendGrid is not to be called
    """

    state: str
    reason: str | None = None
    next_action: str | None = None
    message_id: str | None = None
    until: datetime | None = None


def ask(cloud: Cloud, mail: Mail, attempt: Attempt) -> Done:
    """Commit that the mail is being sent, if SendGrid may be called now and would deliver to its address.

    Retry where it is to wait. A mail that SendGrid has not taken for TRIED_FOR ends as REFUSED.
    """
    piece = attempt.piece
    now = piece.heartbeat
    if attempt.carried:
        return _again(mail, attempt, attempt.carried)
    cancelled, withdrawn, pause, customer, owner = _look(cloud, mail)
    if mail.letter == SIGN_IN and (why := _not_to_sign_in(mail, owner, now)):
        return _ended(mail, Verdict(SKIPPED, why, "Nothing is to be done: they can ask again."))
    if cancelled and mail.then is not None:
        reason = "The run that it would have delivered was cancelled."
        return _ended(mail, Verdict(SKIPPED, reason, "Export the window again with :backfill."))
    if withdrawn and mail.files is not None:
        reason = "Its recipient was removed from the export, or the export was deleted."
        return _ended(mail, Verdict(SKIPPED, reason, "Nothing is to be done, if that was intended."))
    if now < pause["until"]:
        raise Retry(
            piece.waits_for
            or f"SendGrid is not to be called yet. Of another of the customer's mails: {pause['reason']}"
        )
    account = _account(cloud)
    if account is None:
        return _ended(mail, Verdict(REFUSED, "Waybill is not set up to send mail.", _ASK_OPERATOR))
    found = sendgrid.suppression(account, mail.address)
    if isinstance(found, str):
        forget = "Have SendGrid take the address off its list, then have this mail sent again."
        return _ended(mail, Verdict(SKIPPED, found, forget))
    if isinstance(found, SendGridAnswer):
        verdict = judge_asking(found, now)
        if verdict.state != WAITING:
            return _ended(mail, verdict)
        _pause(cloud, mail, verdict)
        return _again(mail, attempt, verdict.reason or "SendGrid is not to be called yet.")
    return _intent(cloud, mail, attempt, customer, owner)


def send(cloud: Cloud, mail: Mail, attempt: Attempt) -> Done:
    """Send the mail, if this is the attempt that committed that it does; else end it as UNKNOWN."""
    letter: Letter | None = attempt.carried
    account = _account(cloud)
    if letter is None or account is None:
        lost = "The attempt that was sending it ended without a result: it may have been sent."
        return _ended(mail, Verdict(UNKNOWN, lost, _LOOK))
    verdict = judge(sendgrid.send(account, mail.address, letter), attempt.piece.heartbeat)
    left = mail.links
    if verdict.state in (WAITING, REFUSED) and mail.files is not None:
        left = mail.links[:-1]  # nobody was sent the last one
        cloud.db.document(links.path(mail.links[-1])).delete()
    if verdict.state == WAITING:
        _pause(cloud, mail, verdict)
        not_taken_since = mail.not_taken_since or attempt.piece.heartbeat
        waiting = {"links": list(left), "attempt": None, "not_taken_since": not_taken_since}
        return Done(next=ASK, work=waiting, carry=verdict.reason)
    return _ended(mail, verdict, left)


def _again(mail: Mail, attempt: Attempt, reason: str) -> Done:
    """Raise Retry for a mail that SendGrid did not take just now, or end one that it has not taken for
    TRIED_FOR. Time in a queue does not count."""
    first = mail.not_taken_since or attempt.piece.since
    if first is None or attempt.piece.heartbeat - first < TRIED_FOR:
        raise Retry(reason)
    return _ended(
        mail, Verdict(REFUSED, f"It could not be sent within a day. {reason}", "Have it sent again.")
    )


def judge(answer: SendGridAnswer, now: datetime) -> Verdict:
    """What becomes of a mail whose sending was answered so; `now` by Firestore."""
    says = f"SendGrid answered {answer.status}: {answer.says or 'without a word'}"
    match answer.status:
        case 202:
            return Verdict(SENT, message_id=answer.id or None)
        case 429 | 503:
            return Verdict(WAITING, says, until=_until(answer.reset, now))
        case sendgrid.UNREACHED:
            return Verdict(WAITING, f"SendGrid could not be reached ({answer.says})", until=now + PAUSE)
        case 401 | 403:
            return Verdict(REFUSED, f"{says}. Waybill's key for SendGrid is not accepted.", _ASK_OPERATOR)
        case sendgrid.LOST:
            lost = f"SendGrid's answer was lost ({answer.says}): it may have been sent."
            return Verdict(UNKNOWN, lost, _LOOK)
        case status if 400 <= status < 500:
            return Verdict(REFUSED, says, "See what it says of the address, then have this mail sent again.")
    return Verdict(UNKNOWN, f"{says}: it may have been sent.", _LOOK)


def judge_asking(answer: SendGridAnswer, now: datetime) -> Verdict:
    """The same of a question about the address: nothing was sent, so what is not known is asked again."""
    verdict = judge(answer, now)
    if verdict.state in (WAITING, REFUSED):
        return verdict
    return Verdict(WAITING, f"SendGrid does not say whether it delivers to the address ({answer.says})")


def _not_to_sign_in(mail: Mail, address: Mapping[str, Any] | None, now: datetime) -> str | None:
    """Why a link that signs in is not sent now, if so; `address` has the fields of who may sign in."""
    if address is None:
        return "Its address may not sign in any more."
    if now - mail.created >= by_mail.LINK_LIFE:
        return "It could not be sent within 15 minutes of being asked for."
    return None


def _intent(
    cloud: Cloud, mail: Mail, attempt: Attempt, customer: Customer, owner: Mapping[str, Any] | None
) -> Done:
    """What is committed before the call: the attempt that sends the mail, and the mail's link."""
    link, documents, left = None, {}, mail.links
    if mail.letter == SIGN_IN and owner is not None:
        id, sent = cloud.new_id(), attempt.piece.heartbeat
        token, document = by_mail.new_link(mail.owner, owner, id, sent)
        link = Link(f"{cloud.settings.url}{SIGN_IN_PATH}/{token}", sent + by_mail.LINK_LIFE)
        documents = {by_mail.link_path(id): document}
    if mail.files is not None:
        id, expires = cloud.new_id(), attempt.piece.heartbeat + links.LIFE
        token, document = links.new(mail, mail.files, id, expires)
        link, left = Link(f"{cloud.settings.url}/v1/downloads/{token}", expires), (*mail.links, id)
        documents = {links.path(id): document}
    facts = letters.parse(mail.letter, mail.facts)
    if outside.is_outside(customer, mail.address):
        facts = letters.for_outside(facts, customer.limit(MAIL_TEXT))
    letter = letters.write(facts, cloud.settings.url, link)
    not_taken_since = mail.not_taken_since or attempt.piece.since
    intent = {"attempt": attempt.id, "links": list(left), "not_taken_since": not_taken_since}
    return Done(work=intent, documents=documents, carry=letter)


def _account(cloud: Cloud) -> Account | None:
    settings = cloud.settings
    if not (settings.sendgrid_key and settings.mail_from and settings.url):
        return None
    return Account(settings.sendgrid_key, settings.sendgrid_url, settings.mail_from)


def _ended(mail: Mail, verdict: Verdict, left: tuple[str, ...] | None = None) -> Done:
    """A mail has an outcome, and these links of it are left, by default all."""
    if verdict.state == SENT:
        logs.info("mail sent", message_id=verdict.message_id)
    else:
        log = logs.warning if verdict.state == SKIPPED else logs.error
        log(
            "mail not sent",
            state=verdict.state,
            letter=mail.letter,
            address=mail.address,
            reason=verdict.reason,
            next_action=verdict.next_action,
        )
    fields = {
        "error": verdict.reason,
        "next_action": verdict.next_action,
        "message_id": verdict.message_id,
        "links": list(mail.links if left is None else left),
    }
    return Done(end=End(verdict.state, fields))


def _look(
    cloud: Cloud, mail: Mail
) -> tuple[bool, bool, Mapping[str, Any], Customer, Mapping[str, Any] | None]:
    """Whether what the mail is about was cancelled, whether a link in it would be withdrawn already, until
    when SendGrid is not to be called for its customer and why, who that is, and the fields of what the mail
    is about, None where that is gone."""
    limit, theirs = f"{LIMITS}/{mail.customer}", f"customers/{mail.customer}"
    root = withdrawing.root(mail.path)
    wanted = [cloud.db.document(each) for each in sorted({mail.owner, root, limit, theirs})]
    read = {each.reference.path: each for each in cloud.db.get_all(wanted)}
    found = {path: fields_of(each) for path, each in read.items() if each.exists}
    pause = {"until": datetime.min.replace(tzinfo=UTC), "reason": "", **found.get(limit, {})}
    withdrawn = withdrawing.is_withdrawn(found.get(root, {}), mail.address)
    cancelled = found.get(mail.owner, {}).get("state") == CANCELLED
    return cancelled, withdrawn, pause, customer_of(read[theirs]), found.get(mail.owner)


def _pause(cloud: Cloud, mail: Mail, verdict: Verdict) -> None:
    if verdict.until is not None:
        cloud.db.document(f"{LIMITS}/{mail.customer}").set({"until": verdict.until, "reason": verdict.reason})


def _until(reset: int | None, now: datetime) -> datetime:
    if reset is None:
        return now + PAUSE
    return now + min(timedelta(seconds=max(reset - now.timestamp(), 0)), MAX_PAUSE)


def _ids(mail: Mail) -> Mapping[str, str]:
    return {**logs.ids_of(mail.path), "mail": mail.path, "customer": mail.customer}


def _ending(_: Cloud, __: firestore.Transaction, work: Snapshot, end: End) -> Writes:
    """What else is written when a mail has an outcome: whoever waits for it is woken, once those that were
    made with it have one too, and where it was not sent the document that it is about is told."""
    mail, then = mails.from_snapshot(work), work.get("then")
    messages = [(then["function"], then["message"])] if then else []
    if end.state not in (SKIPPED, REFUSED) or not work.get("told"):
        return Writes(messages=messages, unless=_others(work))
    why = {"address": mail.address, "status": end.state, "reason": end.fields.get("error") or ""}
    return Writes(
        updates={mail.owner: {NOT_SENT: firestore.ArrayUnion([why])}},
        messages=messages,
        unless=_others(work),
    )


def _others(work: Snapshot) -> Any:
    """The mails that are still to have an outcome, of those that were made with one."""
    query: Any = work.reference.parent
    for name, value in (
        ("letter", work.get("letter")),
        ("occurrence", work.get("occurrence")),
        ("open", True),
    ):
        query = query.where(filter=FieldFilter(name, "==", value))
    return query


def _corrects(mail: Mail, attempt: str, end: End) -> bool:
    """Whether an attempt comes late that knows what another one did not."""
    return mail.state == UNKNOWN and mail.attempt == attempt and end.state in (SENT, REFUSED)


KIND = Kind(
    name=mails.KIND,
    collection="mails",
    stages=(
        Stage(ASK, WAITING, lambda _: mails.FUNCTION, ask, failed=REFUSED),
        Stage(SEND, SENDING, lambda _: mails.FUNCTION, send, failed=UNKNOWN),
    ),
    parse=mails.from_snapshot,
    ids=_ids,
    ending=_ending,
    corrects=_corrects,
    in_turn=True,
    max_wait=2 * TRIED_FOR,  # after TRIED_FOR the step itself ends the mail
)
"""A mail to one recipient."""
