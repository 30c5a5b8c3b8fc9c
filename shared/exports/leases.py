"""Who works on a part or a slice. A lease saves work; that two at once do no harm rests on other things: what
is written is the same, names are written once, and one transaction decides whose result counts.

The document of a part or slice has `written` (whether its result is there), `attempts`, `holder` (the
attempt that is at it), `beat` (when it last showed life), and `open`: whether the sweep looks at it. The
run's document has a `beat`, too. All times are Firestore's.
"""

from datetime import timedelta
from typing import Any

from google.cloud import firestore
from google.cloud.firestore_v1 import And, FieldFilter

from shared.clock import elapsed_since, stopwatch
from shared.errors import Busy, GiveUp
from shared.exports.runs import ALIVE, Run
from shared.gcp.clients import Cloud
from shared.gcp.documents import fields_of, read_time, transact

LEASE = timedelta(minutes=3)
"""How long an attempt that shows no life keeps others from the work."""

BEAT_SECONDS = 45.0
"""How often an attempt shows that it lives. One document takes about one write a second."""

ATTEMPTS_MOST = 10
"""How many attempts may begin a piece of work before the run is failed."""


class Lease:
    """The right to work on one part or slice; the attempt's id is in what it stages."""

    def __init__(self, cloud: Cloud, run: Run, reference: Any, attempt: str) -> None:
        self.attempt = attempt
        self._cloud = cloud
        self._run = run
        self._reference = reference
        self._beaten = stopwatch()

    def beat_if_due(self) -> None:
        """Show life, every BEAT_SECONDS. Busy where another attempt has taken over: leave it the work."""
        if elapsed_since(self._beaten) < BEAT_SECONDS:
            return

        def beat(transaction: firestore.Transaction) -> bool:
            if not self._holds(transaction):
                return False
            transaction.update(self._reference, {"beat": firestore.SERVER_TIMESTAMP})
            transaction.update(self._cloud.db.document(self._run.path), ALIVE)
            return True

        if not transact(self._cloud.db, beat):
            raise Busy(f"another attempt has taken over {self._reference.path}")
        self._beaten = stopwatch()

    def release(self) -> None:
        """Let the next attempt begin at once; of an attempt that failed."""

        def release(transaction: firestore.Transaction) -> None:
            if self._holds(transaction):
                transaction.update(self._reference, {"holder": None})

        transact(self._cloud.db, release)

    def _holds(self, transaction: firestore.Transaction) -> bool:
        fields = fields_of(self._reference.get(transaction=transaction))
        return not fields["written"] and fields["holder"] == self.attempt


def new_work() -> dict[str, Any]:
    """The fields of a part or slice that nobody has begun."""
    return {
        "written": False,
        "open": True,
        "attempts": 0,
        "holder": None,
        "beat": firestore.SERVER_TIMESTAMP,
    }


def untaken() -> Any:
    """A filter for the work that is to be done and that no attempt is at."""
    return And([FieldFilter("written", "==", False), FieldFilter("holder", "==", None)])


def done_work() -> dict[str, Any]:
    """What changes in those when the result is there."""
    return {"written": True, "open": False, "holder": None, "beat": firestore.SERVER_TIMESTAMP}


def take(cloud: Cloud, run: Run, reference: Any) -> Lease | None:
    """Begin an attempt; None where the work is done, or is no more.

    Busy where another attempt is alive at it; GiveUp where too many have begun it.
    """
    attempt = cloud.new_id()[:12]

    def begin(transaction: firestore.Transaction) -> Lease | None:
        snapshot = reference.get(transaction=transaction)
        if not snapshot.exists or snapshot.get("written"):
            return None
        fields = fields_of(snapshot)
        if fields["holder"] and read_time(snapshot) - fields["beat"] < LEASE:
            raise Busy(f"attempt {fields['holder']} is at {reference.path}")
        if fields["attempts"] >= ATTEMPTS_MOST:
            raise GiveUp(
                f"{reference.path} was begun {fields['attempts']} times and never ended.",
                "This is ours to mend: look into the functions' logs for this run, then retry the run.",
            )
        begun = {
            "holder": attempt,
            "attempts": fields["attempts"] + 1,
            "beat": firestore.SERVER_TIMESTAMP,
        }
        transaction.update(reference, begun)
        transaction.update(cloud.db.document(run.path), ALIVE)
        return Lease(cloud, run, reference, attempt)

    return transact(cloud.db, begin)
