"""An attempt at a piece. Its lease saves work; that two at once do no harm rests on other things: what is
written is the same, names are written once, and one transaction decides whose result counts."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

from google.api_core.exceptions import FailedPrecondition, NotFound
from google.cloud import firestore

from shared.clock import elapsed_since, stopwatch
from shared.errors import Busy
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, fields_of, read_time, read_together, transact
from shared.work.kinds import PENDING
from shared.work.pieces import LEASE, OPEN, Piece, create_all

HEARTBEAT_SECONDS = 45.0
"""How often an attempt writes down that it is alive, and at most how often a work's document is written for
that, however many attempts there are. A document takes about one write a second.
https://cloud.google.com/firestore/quotas#soft_limits"""


GOT_ON = {"attempts": 1, "tries": 0, "waits_for": None, "since": None}
"""The fields of a piece that gets on: it has not failed, so what counts its attempts begins anew."""


class Stopped(Exception):
    """The work has ended, or has gone on without this attempt: nothing more is to be done."""


class Attempt:
    """The right to do one piece, for as long as it shows life.

    id       its own id, for the names of what it stages
    piece    the piece as it was taken
    work     the work's document as it was last read
    carried  what its step before this one carried over; None where another attempt did that step
    """

    def __init__(self, cloud: Cloud, id: str, piece: Piece, work: Snapshot, carried: Any = None) -> None:
        self.id = id
        self.piece = piece
        self.work = work
        self.carried = carried
        self._cloud = cloud
        self._alive = stopwatch()

    @property
    def fields(self) -> Mapping[str, Any]:
        """The kind's own fields of the piece, as they were taken."""
        return self.piece.fields

    def heartbeat(self) -> None:
        """Show life, every HEARTBEAT_SECONDS. Stopped and Busy as `save`."""
        if elapsed_since(self._alive) >= HEARTBEAT_SECONDS:
            self.save({})

    def save(
        self,
        fields: Mapping[str, Any],
        documents: Mapping[str, Mapping[str, Any]] | None = None,
        tells: Callable[[], Mapping[str, Any]] | None = None,
    ) -> None:
        """Write down how far the piece is, with documents to create, and show life. `tells` is called where
        life is shown in the work's document: the fields that it returns are written there, too.

        Busy where another attempt has taken over; Stopped where the work has ended meanwhile.
        """
        reference = self._cloud.db.document(self.piece.path)

        def save(transaction: firestore.Transaction) -> bool:
            snapshot = reference.get(transaction=transaction)
            if not holds(snapshot, self.id):
                return False
            got_on = GOT_ON if fields else {}
            transaction.update(reference, {**fields, **got_on, **alive(read_time(snapshot))})
            create_all(self._cloud.db, transaction, documents or {})
            return True

        # The work is looked at side by side with that: a slice waits for each chunk's.
        with ThreadPoolExecutor(1) as other:
            looked = other.submit(self.work.reference.get)
            if not transact(self._cloud.db, save):
                raise Busy(f"another attempt has taken over {self.piece.path}")
            self._alive = stopwatch()
            self.work = looked.result()
        if not wanted(self.work, self.piece):
            raise Stopped
        show_life(self._cloud, self.work, got_on=bool(fields), tells=tells)

    def commit(self, write: Callable[[firestore.Transaction], Mapping[str, Any]]) -> None:
        """Commit a part of the piece: what `write` writes, and the fields of the piece that it returns, in
        one transaction. It may read in the transaction, and is called again where that meets another.

        Nothing is written, and Busy or Stopped is raised as by `save`, where this attempt does not count any
        more. So a part is committed once, and never after its work was cancelled.
        """
        reference = self._cloud.db.document(self.piece.path)

        def commit(transaction: firestore.Transaction) -> None:
            both = [reference, self.work.reference]
            snapshot, work = read_together(self._cloud.db, both, transaction)
            if not holds(snapshot, self.id):
                raise Busy(f"another attempt has taken over {self.piece.path}")
            if not wanted(work, self.piece):
                raise Stopped
            fields = write(transaction)
            transaction.update(reference, {**fields, **GOT_ON, **alive(read_time(snapshot))})
            self.work = work

        # Where the answer is lost, the next attempt reads how far the piece is.
        transact(self._cloud.db, commit)
        self._alive = stopwatch()
        show_life(self._cloud, self.work, got_on=True)


def holds(snapshot: Snapshot, attempt: str) -> bool:
    """Whether an attempt still has the lease of a piece."""
    return bool(snapshot.exists and snapshot.get("status") == OPEN and snapshot.get("holder") == attempt)


def alive(at: datetime) -> dict[str, Any]:
    """The fields that show the life of an attempt, at Firestore's time."""
    return {"heartbeat": at, "next": at + LEASE}


def wanted(work: Snapshot, piece: Piece) -> bool:
    """Whether a work is open and at the stage of a piece, by the plan that counts."""
    runs = work.exists and work.get("open") and work.get("state") != PENDING
    return bool(runs and work.get("plan") == piece.plan)


def show_life(
    cloud: Cloud, work: Snapshot, got_on: bool, tells: Callable[[], Mapping[str, Any]] | None = None
) -> None:
    """Write into a work's document that it is alive, unless that was done within HEARTBEAT_SECONDS, with the
    fields that `tells` returns; and that it waits no longer, where it got on. Nothing where it has ended, or
    others wrote meanwhile."""
    fields = fields_of(work)
    now = read_time(work)
    # Of many pieces some may wait and some get on: that is not written to and fro.
    waited = (now - (fields["since"] or now)).total_seconds() >= HEARTBEAT_SECONDS
    waits_no_longer = got_on and fields["waits_for"] is not None and waited
    old = (now - fields["heartbeat"]).total_seconds() >= HEARTBEAT_SECONDS
    if not fields["open"] or not (old or waits_no_longer):
        return
    changes: dict[str, Any] = {"heartbeat": now, **(tells() if tells is not None else {})}
    if waits_no_longer:
        changes |= WAITS_NO_LONGER
    option = cloud.db.write_option(last_update_time=work.update_time)
    try:
        work.reference.update(changes, option=option)
    except (FailedPrecondition, NotFound):
        return


WAITS_NO_LONGER = {"waits_for": None, "waiting": False, "since": None, "waiting_reported": False}
"""The fields of a work that gets on."""
