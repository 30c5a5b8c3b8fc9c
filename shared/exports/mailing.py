"""Step six of a run: the mails by which an export by email is delivered; and those that report on a run.

They are documents below the run's (`shared.outbox.mails`), which another function sends; when one has an
outcome, the run's piece is woken.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from operator import methodcaller
from typing import Any

from google.api_core.exceptions import AlreadyExists, FailedPrecondition
from google.cloud.firestore_v1 import FieldFilter

from shared.accounts.customers import get_customer, sites_of
from shared.accounts.limits import ASK, MAILS
from shared.addresses import folded
from shared.errors import CustomerMustAct, Retry
from shared.exports.runs import Run
from shared.gcp.clients import Cloud
from shared.gcp.documents import count, fields_of, plain, server_time
from shared.outbox import mails
from shared.outbox.letters import MAX_SITES, MAX_UNSENT, some
from shared.outbox.mails import REFUSED, SENT, SKIPPED, UNKNOWN, Files, Mail
from shared.window import utc_second
from shared.work import pieces
from shared.work.attempts import Attempt
from shared.work.kinds import Done, Later

DELIVERY_LETTER, FAILED_LETTER = "export", "failed"
SUSPENDED_LETTER, WAITING_LETTER = "suspended", "waiting"
UNDELIVERED_LETTER = "undelivered"
"""The letters that there are of a run."""

STAGE = "mail"
"""The stage of a run in which its mails are sent."""

LOOK_AFTER = timedelta(minutes=15)
"""After which time a run looks whether its mails are sent, where no mail has woken it."""

WAITS_FOR_ROOM = timedelta(days=2)
"""How long a run waits until its customer may have its mails. Those of a day leave room within a day, unless
others of the customer take it."""

CHANGES_A_COMMIT = 200
"""How many documents of mails and their pieces are written at once. A request may hold 10 MiB."""


_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Sent:
    """What came of a run's mails: how many were sent, and those that were not, or of which nobody knows."""

    sent: int
    others: tuple[Mail, ...]

    @property
    def nobody(self) -> bool:
        """Whether certainly no one was mailed."""
        return not self.sent and all(mail.state != UNKNOWN for mail in self.others)


NO_MAILS = Sent(0, ())


def mail(cloud: Cloud, run: Run, attempt: Attempt) -> Done | Later:
    """Have the mails of a run sent, and wait until each has an outcome. CustomerMustAct where nobody was
    mailed."""
    if not recipients(run):
        return Done()
    if not attempt.fields.get("made"):
        if why := _no_room(cloud, run, attempt.piece.heartbeat):
            return Later(after=LOOK_AFTER, waits_for=why)
        make_mails(cloud, run)
    if not all_ended(cloud, run):
        return Later({"made": True}, after=LOOK_AFTER, waits_for=_waits_for(cloud, run))
    outcome(cloud, run, anew=True)
    return Done()


def _no_room(cloud: Cloud, run: Run, at: datetime) -> str | None:
    """Why the mails of a run may not be made at Firestore's time `at`, where its customer has too many now.
    CustomerMustAct where they are more than it may have in a day, or have waited for WAITS_FOR_ROOM."""
    customer, whom = get_customer(cloud.db, run.customer), recipients(run)
    most = customer.limit(MAILS)
    if len(whom) > most:
        raise CustomerMustAct(
            f"The export has {len(whom):,} recipients, and the limit {MAILS.name} is {most:,} {MAILS.unit}.",
            f"Name fewer recipients, or {ASK}. Then retry the run.",
        )
    missing = len(whom) - count(_delivering(cloud, run))
    why = mails.full(cloud, customer, missing, at) if missing > 0 else None
    if why and run.since is not None and at - run.since >= WAITS_FOR_ROOM:
        raise CustomerMustAct(
            f"The mails of the run waited for {WAITS_FOR_ROOM.days} days: {why}.", "Then retry the run."
        )
    return why


def recipients(run: Run) -> tuple[str, ...]:
    """Whom a run is mailed to: the recipients of its export, if the run has a file."""
    there_is_data = run.totals is not None and run.totals.files > 0
    return run.config.recipients if there_is_data else ()


def make_mails(cloud: Cloud, run: Run) -> None:
    """Make the document of every mail that has none yet, open those again that were refused before the run
    was tried again, and have what waits sent. Doing it twice is doing it once."""
    at = server_time(cloud.db)
    chosen = _delivering(cloud, run).select(["state", "finished", "customer"])
    found = {each.reference.path: each for each in chosen.stream()}
    changes: list[Callable[[Any], None]] = [
        partial(mails.reopen, snapshot=each, at=at)
        for each in found.values()
        if _refused_before(run, each.get("state"), plain(each.get("finished")))
    ]
    changes += [
        methodcaller("create", cloud.db.document(path), fields)
        for path, fields in _documents(cloud, run, at)
        if path.partition("/pieces/")[0] not in found
    ]
    for start in range(0, len(changes), CHANGES_A_COMMIT):
        batch = cloud.db.batch()
        for change in changes[start : start + CHANGES_A_COMMIT]:
            change(batch)
        try:
            batch.commit()
        except (AlreadyExists, FailedPrecondition):
            return make_mails(cloud, run)  # another attempt does it, too: see what is left now
    mails.publish(cloud, run.customer, at)
    return None


def all_ended(cloud: Cloud, run: Run) -> bool:
    """Whether each mail of the run has an outcome, by a strong count."""
    whom = recipients(run)
    if not whom:
        return True
    ended = _delivering(cloud, run).where(filter=FieldFilter("open", "==", False))
    return count(ended) >= len(whom)


def _waits_for(cloud: Cloud, run: Run) -> str | None:
    """Why a mail of the run could not be sent yet, or None where none was tried in vain."""
    tried = _open(cloud, run).where(filter=FieldFilter("since", ">", _EARLIEST)).order_by("since").limit(1)
    return next((fields_of(each)["waits_for"] for each in tried.stream()), None)


def outcome(cloud: Cloud, run: Run, anew: bool = False) -> Sent:
    """What came of the mails of a run, which all have an outcome. CustomerMustAct where nobody was mailed;
    `anew`: Retry where some are to be sent again first. Only the step that makes them asks so."""
    sent, others = 0, []
    for snapshot in _delivering(cloud, run).order_by("__name__").stream() if recipients(run) else ():
        mail = mails.from_snapshot(snapshot)
        if mail.state == SENT:
            sent += 1
        else:
            others.append(mail)
    if anew and any(_refused_before(run, mail.state, mail.finished) for mail in others):
        raise Retry("the mails that were refused before are to be sent again first")
    found = Sent(sent, tuple(others))
    if others and found.nobody:
        first = others[0]
        raise CustomerMustAct(
            f"None of {len(others)} mails was sent. To {first.address}: {first.reason}",
            f"{first.next_action or 'Fix the addresses.'} Then retry the run.",
        )
    return found


def _refused_before(run: Run, state: str, finished: datetime | None) -> bool:
    """Whether a mail was certainly not sent, before the run was started this time."""
    refused = state in (REFUSED, SKIPPED)
    return refused and finished is not None and run.started is not None and finished < run.started


def report(
    cloud: Cloud, run: Run, letter: str, occurrence: str, why: Mapping[str, str | None], at: datetime
) -> dict[str, dict[str, Any]]:
    """The mails that report a failure, the export's suspension, or that a run waits, by their paths: to be
    created in the transaction that makes it so, at Firestore's time `at`. `why` has the `error` and the
    `next_action`."""
    said = {name: why[name] or "" for name in ("error", "next_action")}
    return _report(cloud, run, letter, occurrence, said, at, _owners(cloud, run))


def report_undelivered(
    cloud: Cloud, run: Run, unsent: Sequence[Mapping[str, str | None]], at: datetime
) -> dict[str, dict[str, Any]]:
    """The mails that report whom a delivered run did not reach, as `report`; none where all were reached.
    `unsent` has the `address`, `status` and `reason` of each mail that was not sent."""
    refused = [each for each in unsent if each["status"] in (REFUSED, SKIPPED)]
    if not refused:
        return {}
    gone = {folded(each["address"] or "") for each in refused}
    said = {
        "unsent": [
            {"place": each["address"] or "", "sentence": each["reason"] or ""}
            for each in refused[:MAX_UNSENT]
        ],
        "count": len(refused),
        "next_action": "Correct the addresses in the export's emails.",
    }
    owners = [each for each in _owners(cloud, run) if folded(each) not in gone]
    if not owners:  # whoever is to be told cannot be reached either
        customer = get_customer(cloud.db, run.customer)
        owners = [each for each in customer.notify if folded(each) not in gone]
    return _report(cloud, run, UNDELIVERED_LETTER, run.label, said, at, owners)


def _owners(cloud: Cloud, run: Run) -> tuple[str, ...]:
    return run.config.notify or get_customer(cloud.db, run.customer).notify


def _report(
    cloud: Cloud,
    run: Run,
    letter: str,
    occurrence: str,
    said: Mapping[str, Any],
    at: datetime,
    addresses: Sequence[str],
) -> dict[str, dict[str, Any]]:
    if not addresses or mails.not_made(cloud, get_customer(cloud.db, run.customer), addresses, at):
        return {}
    facts = {**_subject(cloud, run), **said}
    return mails.documents(run.path, letter, occurrence, addresses, facts, customer=run.customer, at=at)


def _documents(cloud: Cloud, run: Run, at: datetime) -> Iterator[tuple[str, dict[str, Any]]]:
    totals, config = run.totals, run.config
    if totals is None:
        raise ValueError(f"the run {run.id} has nothing pinned yet")
    facts = {
        **_subject(cloud, run),
        "export_type": config.export_type,
        "file_format": config.file_format,
        "rows": totals.rows,
        "bytes": totals.bytes,
        "files": totals.files,
    }
    yield from mails.documents(
        run.path,
        DELIVERY_LETTER,
        run.label,
        recipients(run),
        facts,
        customer=run.customer,
        at=at,
        link=Files(run.account, run.files),
        then={"function": run.source.function, "message": pieces.message(run.path, STAGE)},
    ).items()


def _subject(cloud: Cloud, run: Run) -> dict[str, Any]:
    """What each letter about a run names. A site that is no more is named by its id."""
    named = run.config.site_ids[:MAX_SITES]
    sites = sites_of(cloud.db, named, run.customer)
    names = [sites[id].name if id in sites else id for id in named]
    return {
        "customer": get_customer(cloud.db, run.customer).name,
        "sites": some([*names, *run.config.site_ids[MAX_SITES:]]),
        "export_name": run.config.name,
        "window_start": utc_second(run.window.start),
        "window_end": utc_second(run.window.end),
        "timezone": run.config.timezone,
        "export": run.export,
        "run": run.id,
    }


def _open(cloud: Cloud, run: Run) -> Any:
    return _delivering(cloud, run).where(filter=FieldFilter("open", "==", True))


def _delivering(cloud: Cloud, run: Run) -> Any:
    """The mails by which a run is delivered; where it was planned anew, not those of the older plan."""
    theirs = cloud.db.collection(f"{run.path}/mails").where(
        filter=FieldFilter("letter", "==", DELIVERY_LETTER)
    )
    return theirs.where(filter=FieldFilter("occurrence", "==", run.label))
