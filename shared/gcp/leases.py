"""Who works on a piece of work: a part or a slice. A lease saves work; that two at once do no harm rests on
other things: what is written is the same, names are written once, and one transaction decides whose result
counts.

The document of a piece has `written` (whether its result is there), `attempts`, `retries` (those that ended
with Retry), `holder` (the attempt that is at it), `beat` (when it last showed life), and `open`: whether the
sweep looks at it. The document that owns it, a run's or a batch's, has a `beat`, too. All times are
Firestore's.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from google.cloud import firestore
from google.cloud.firestore_v1 import And, FieldFilter

from shared.clock import elapsed_since, stopwatch
from shared.errors import Busy, GiveUp, Retry
from shared.gcp.clients import Cloud
from shared.gcp.documents import fields_of, read_time, transact

LEASE = timedelta(minutes=3)
"""How long an attempt that shows no life keeps others from the work."""

BEAT_SECONDS = 45.0
"""How often an attempt shows that it lives. One document takes about one write a second."""

ATTEMPTS_MOST = 10
"""How many attempts may begin a piece of work and end without a word before its owner is failed."""

RETRIES_MOST = 40
"""How many may end with Retry, one after the other, without having got on: with Pub/Sub's backoff, and the
sweep after it, half a day."""

ALIVE = {"beat": firestore.SERVER_TIMESTAMP, "swept": firestore.SERVER_TIMESTAMP}
"""What every step that gets on writes into the owner's document: when it showed life, and after which the
sweep counts its silence."""


@dataclass(frozen=True)
class Done:
    """What came of a piece of work: fields of its document, and documents to make with it, by their path."""

    fields: Mapping[str, Any]
    more: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class Lease:
    """The right to work on one piece; the attempt's id is in what it stages."""

    def __init__(self, cloud: Cloud, owner: str, reference: Any, attempt: str) -> None:
        self.attempt = attempt
        self._cloud = cloud
        self._owner = owner
        self._reference = reference
        self._beaten = stopwatch()

    def beat_if_due(self) -> None:
        """Show life, every BEAT_SECONDS. Busy where another attempt has taken over: leave it the work."""
        if elapsed_since(self._beaten) >= BEAT_SECONDS:
            self.save({})

    def save(self, fields: Mapping[str, Any], more: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        """Write down how far the work is, with documents to be made, and show life. Busy as `beat_if_due`."""

        def save(transaction: firestore.Transaction) -> bool:
            if not self._holds(transaction):
                return False
            transaction.update(self._reference, {**fields, "beat": firestore.SERVER_TIMESTAMP})
            transaction.update(self._cloud.db.document(self._owner), ALIVE)
            for path, content in (more or {}).items():
                transaction.create(self._cloud.db.document(path), dict(content))
            return True

        if not transact(self._cloud.db, save):
            raise Busy(f"another attempt has taken over {self._reference.path}")
        self._beaten = stopwatch()

    def release(self, why: BaseException) -> None:
        """Let the next attempt begin at once; of an attempt that ends without a result. What ended it says
        how that is counted."""

        def release(transaction: firestore.Transaction) -> None:
            if not self._holds(transaction):
                return
            changes: dict[str, Any] = {"holder": None}
            if isinstance(why, GotOn):
                changes |= {"attempts": 0, "retries": 0}
            elif isinstance(why, Retry):
                changes |= {"attempts": firestore.Increment(-1), "retries": firestore.Increment(1)}
                changes["held_up"] = str(why)
            transaction.update(self._reference, changes)

        transact(self._cloud.db, release)

    def _holds(self, transaction: firestore.Transaction) -> bool:
        fields = fields_of(self._reference.get(transaction=transaction))
        return not fields["written"] and fields["holder"] == self.attempt


class GotOn(Retry):
    """The attempt's time is over, and it got on: the next goes on from there."""


def new_work() -> dict[str, Any]:
    """The fields of a piece that nobody has begun."""
    return {
        "written": False,
        "open": True,
        "attempts": 0,
        "retries": 0,
        "holder": None,
        "beat": firestore.SERVER_TIMESTAMP,
    }


def untaken() -> Any:
    """A filter for the work that is to be done and that no attempt is at."""
    return And([FieldFilter("written", "==", False), FieldFilter("holder", "==", None)])


def waiting(collection: firestore.CollectionReference) -> list[str]:
    """The ids of the pieces that are to be done and that no attempt is alive at, in order."""
    unwritten = collection.where(filter=FieldFilter("written", "==", False)).select(["holder", "beat"])
    return [
        snapshot.id
        for snapshot in unwritten.stream()
        if not snapshot.get("holder") or snapshot.read_time - snapshot.get("beat") >= LEASE
    ]


def do(cloud: Cloud, owner: str, reference: Any, work: Callable[[Lease], Done]) -> Done | None:
    """Do a piece of work of `owner` (its document's path) and add the result, once.

    None where it is done already, is no more, or another attempt was quicker. Busy where another attempt is
    alive at it; GiveUp where too many have begun it; else what `work` raises.
    """
    lease = _take(cloud, owner, reference)
    if lease is None:
        return None
    try:
        done = work(lease)
    except Exception as why:
        lease.release(why)
        raise

    def finish(transaction: firestore.Transaction) -> bool:
        if reference.get(transaction=transaction).get("written"):
            return False
        ended = {"written": True, "open": False, "holder": None, "beat": firestore.SERVER_TIMESTAMP}
        transaction.update(reference, {**done.fields, **ended})
        for path, fields in done.more.items():
            transaction.create(cloud.db.document(path), dict(fields))
        return True

    return done if transact(cloud.db, finish) else None


def _take(cloud: Cloud, owner: str, reference: Any) -> Lease | None:
    attempt = cloud.new_id()[:12]

    def begin(transaction: firestore.Transaction) -> Lease | None:
        snapshot = reference.get(transaction=transaction)
        if not snapshot.exists or snapshot.get("written"):
            return None
        fields = fields_of(snapshot)
        if fields["holder"] and read_time(snapshot) - fields["beat"] < LEASE:
            raise Busy(f"attempt {fields['holder']} is at {reference.path}")
        if fields.get("retries", 0) >= RETRIES_MOST:
            raise GiveUp(
                f"It was tried {fields['retries']} times, the last time it was: {fields['held_up']}",
                "See to that, then retry the run. If it is nothing of yours, ask Waybill's operators.",
            )
        if fields["attempts"] >= ATTEMPTS_MOST:
            raise GiveUp(
                f"{reference.path} was begun {fields['attempts']} times and never ended.",
                "This is ours to mend: look into the functions' logs for it, then try it again.",
            )
        begun = {
            "holder": attempt,
            "attempts": fields["attempts"] + 1,
            "beat": firestore.SERVER_TIMESTAMP,
        }
        transaction.update(reference, begun)
        transaction.update(cloud.db.document(owner), ALIVE)
        return Lease(cloud, owner, reference, attempt)

    return transact(cloud.db, begin)
