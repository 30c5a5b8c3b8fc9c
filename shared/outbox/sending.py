"""Sending one mail, once.

1. look     is it still to be sent, and may SendGrid be called now
2. ask      would SendGrid deliver to the address at all
3. intend   one commit, on condition that nothing has changed: the mail is SENDING, and its link is there
4. send     the one call
5. write    what came of it

Whoever finds a mail SENDING whose attempt can no longer be alive does not know whether the call was made: the
mail is UNKNOWN, and a person decides. What dies before the commit leaves it WAITING, what dies after the
write finds it done. That two are at it at once does no harm: one commit wins.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from google.api_core.exceptions import GoogleAPICallError
from google.cloud import firestore

from shared import logs
from shared.errors import Busy, Retry
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, fields_of, read_time, transact
from shared.gcp.messages import Message
from shared.gcp.silence import change
from shared.outbox import letters, links, mails, sendgrid
from shared.outbox.letters import Letter, Link
from shared.outbox.mails import ENDED, REFUSED, SENDING, SENT, SKIPPED, UNKNOWN, WAITING, Mail
from shared.outbox.sendgrid import Account, Answer

LEASE = timedelta(minutes=3)
"""How long after its intent an attempt may be alive: more than a function that sends is given."""

TRIED_FOR = timedelta(days=1)
"""How long a mail waits for SendGrid to take it before that is called refused."""

PAUSE = timedelta(minutes=1)
"""How long SendGrid is left alone after a call too many, where it does not say how long."""

PAUSE_MOST = timedelta(minutes=10)
"""The same where it says more. https://www.twilio.com/docs/sendgrid/glossary/rate-limiting"""

LIMIT = "limits/sendgrid"
"""The document that says until when SendGrid is left alone: its limits are the account's, not a mail's."""

_ASK_OPERATOR = "Ask the operators of Waybill to mend it, then have this mail sent again."
_LOOK = (
    "Look in SendGrid's activity, or ask the recipient, whether it arrived; have it sent again if it did not."
)


@dataclass(frozen=True)
class Verdict:
    """What becomes of a mail: its state, why, what would help; `until` when SendGrid is to be left alone."""

    state: str
    reason: str | None = None
    next_action: str | None = None
    message_id: str | None = None
    until: datetime | None = None


def send(cloud: Cloud, message: Message) -> None:
    """What `send_mail` does with a message: send the mail that it names, once.

    Busy where another attempt may be at it, Retry where SendGrid takes nothing now.
    """
    with logs.bound(mail=message["mail"], customer=message["customer"]):
        mail = _advance(cloud, message["mail"])
        # Told again wherever the mail is met: whoever wrote the outcome may have died before.
        if mail is not None and mail.then:
            cloud.messages.publish(mail.then["function"], mail.then["message"])


def judge(answer: Answer, now: datetime) -> Verdict:
    """What becomes of a mail whose sending was answered so; `now` by Firestore."""
    says = f"SendGrid answered {answer.status}: {answer.says or 'without a word'}"
    match answer.status:
        case 202:
            return Verdict(SENT, message_id=answer.id or None)
        case 429:
            return Verdict(WAITING, says, until=_until(answer.reset, now))
        case 503:
            return Verdict(WAITING, says)
        case sendgrid.UNREACHED:
            return Verdict(WAITING, f"SendGrid could not be reached ({answer.says})")
        case 401 | 403:
            return Verdict(REFUSED, f"{says}. Waybill's key for SendGrid is not accepted.", _ASK_OPERATOR)
        case sendgrid.LOST:
            lost = f"SendGrid's answer was lost ({answer.says}): it may have been sent."
            return Verdict(UNKNOWN, lost, _LOOK)
        case status if 400 <= status < 500:
            return Verdict(REFUSED, says, "See what it says of the address, then have this mail sent again.")
    return Verdict(UNKNOWN, f"{says}: it may have been sent.", _LOOK)


def judge_asking(answer: Answer, now: datetime) -> Verdict:
    """The same of a question about the address: nothing was sent, so what is not known is asked again."""
    verdict = judge(answer, now)
    if verdict.state in (WAITING, REFUSED):
        return verdict
    return Verdict(WAITING, f"SendGrid does not say whether it delivers to the address ({answer.says})")


def _advance(cloud: Cloud, path: str) -> Mail | None:
    """Take the mail on; returns it where it has an outcome."""
    snapshot, paused_until = _look(cloud, path)
    if snapshot is None:
        return None
    mail, now = mails.from_snapshot(snapshot), read_time(snapshot)
    if mail.state in ENDED:
        return mail
    if mail.state == SENDING:
        if now - mail.beat < LEASE:
            raise Busy("another attempt may be sending it")
        lost = "The attempt that was sending it ended without a word: it may have been sent."
        return _write(cloud, mail, Verdict(UNKNOWN, lost, _LOOK))
    if now - mail.asked >= TRIED_FOR:
        late = f"It could not be sent within a day. {mail.reason or ''}".strip()
        return _write(cloud, mail, Verdict(REFUSED, late, "Have it sent again."))
    if now < paused_until:
        _wait(cloud, snapshot, Verdict(WAITING, mail.reason))
    settings = cloud.settings
    if not (settings.sendgrid_key and settings.mail_from and settings.url):
        return _write(cloud, mail, Verdict(REFUSED, "Waybill is not set up to send mail.", _ASK_OPERATOR))
    account = Account(settings.sendgrid_key, settings.sendgrid_url, settings.mail_from)
    found = sendgrid.suppression(account, mail.address)
    if isinstance(found, str):
        forget = "Have SendGrid take the address off its list, then have this mail sent again."
        return _write(cloud, mail, Verdict(SKIPPED, found, forget))
    if isinstance(found, Answer):
        verdict = judge_asking(found, now)
        if verdict.state == WAITING:
            _wait(cloud, snapshot, verdict)
        return _write(cloud, mail, verdict)
    mail, letter = _intend(cloud, snapshot, mail)
    return _write(cloud, mail, judge(sendgrid.send(account, mail.address, letter), now))


def _look(cloud: Cloud, path: str) -> tuple[Snapshot | None, datetime]:
    """The mail, and until when SendGrid is not to be called."""
    references = [cloud.db.document(path), cloud.db.document(LIMIT)]
    found = {each.reference.path: each for each in cloud.db.get_all(references) if each.exists}
    until = fields_of(found[LIMIT])["until"] if LIMIT in found else datetime.min.replace(tzinfo=UTC)
    return found.get(path), until


def _wait(cloud: Cloud, snapshot: Snapshot, verdict: Verdict) -> NoReturn:
    """Leave a mail of which nothing was sent to a later delivery. It shows life to the sweep."""
    if verdict.until is not None:
        cloud.db.document(LIMIT).set({"until": verdict.until})
    change(cloud, snapshot, {"beat": firestore.SERVER_TIMESTAMP, "reason": verdict.reason})
    raise Retry(verdict.reason or "SendGrid is not to be called yet")


def _intend(cloud: Cloud, snapshot: Snapshot, mail: Mail) -> tuple[Mail, Letter]:
    """Write down that the mail is being sent, with its link. Busy where another attempt was quicker."""
    attempt = cloud.new_id()[:12]
    sending = replace(mail, state=SENDING, attempt=attempt)
    batch = cloud.db.batch()
    link = None
    if mail.files is not None:
        id, expires = cloud.new_id(), read_time(snapshot) + links.LIFE
        token, document = links.new(mail, mail.files, id, expires)
        batch.create(cloud.db.document(links.path(id)), document)
        link = Link(f"{cloud.settings.url}/v1/downloads/{token}", expires)
        sending = replace(sending, links=(*mail.links, id))
    letter = letters.write(letters.parse(mail.kind, mail.facts), cloud.settings.url, link)
    changes = {
        "state": SENDING,
        "attempt": attempt,
        "links": list(sending.links),
        "beat": firestore.SERVER_TIMESTAMP,
    }
    unchanged = cloud.db.write_option(last_update_time=snapshot.update_time)
    batch.update(snapshot.reference, changes, option=unchanged)
    try:
        batch.commit()
    except GoogleAPICallError:
        now = snapshot.reference.get()
        if now.update_time == snapshot.update_time:
            raise
        # It may be our own commit, whose answer was lost.
        if mails.from_snapshot(now).attempt != attempt:
            raise Busy("another attempt has taken the mail over") from None
    return sending, letter


def _write(cloud: Cloud, mail: Mail, verdict: Verdict) -> Mail:
    """Write down what came of the mail as the attempt knew it, and return it as it is then. Retry where it is
    to be sent later.

    What another attempt wrote stays; but that it was lost is not held against who comes late and knows.
    """
    reference = cloud.db.document(mail.path)
    unaccepted = verdict.state in (WAITING, REFUSED)

    def write(transaction: firestore.Transaction) -> tuple[Mail, bool]:
        current = mails.from_snapshot(reference.get(transaction=transaction))
        late = current.state == UNKNOWN and verdict.state in (SENT, REFUSED)
        if current.attempt != mail.attempt or not (current.state == mail.state or late):
            return current, False
        changes: dict[str, Any] = {
            "state": verdict.state,
            "reason": verdict.reason,
            "next_action": verdict.next_action,
            "message_id": verdict.message_id,
            "beat": firestore.SERVER_TIMESTAMP,
        }
        if verdict.state == WAITING:
            changes["attempt"] = None
        else:
            changes |= {"open": False, "ended": firestore.SERVER_TIMESTAMP}
        if unaccepted and mail.state == SENDING and mail.files is not None:
            # Nobody has been sent this link.
            transaction.delete(cloud.db.document(links.path(mail.links[-1])))
            changes["links"] = list(mail.links[:-1])
        if verdict.until is not None:
            transaction.set(cloud.db.document(LIMIT), {"until": verdict.until})
        transaction.update(reference, changes)
        return replace(current, state=verdict.state), True

    written, ours = transact(cloud.db, write)
    if ours:
        _log(verdict)
    if written.state not in ENDED:
        raise Retry(verdict.reason or "the mail is to be sent later")
    return written


def _log(verdict: Verdict) -> None:
    if verdict.state == SENT:
        logs.info("mail sent", message_id=verdict.message_id)
    elif verdict.state in (REFUSED, UNKNOWN):
        logs.error(
            "mail not sent", state=verdict.state, reason=verdict.reason, next_action=verdict.next_action
        )
    else:
        logs.warning("mail not sent", state=verdict.state, reason=verdict.reason)


def _until(reset: int | None, now: datetime) -> datetime:
    if reset is None:
        return now + PAUSE
    return now + min(timedelta(seconds=max(reset - now.timestamp(), 0)), PAUSE_MOST)
