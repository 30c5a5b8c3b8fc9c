"""Performs a piece: an attempt takes it, does its step, and writes down what came of it."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from itertools import chain, islice
from operator import methodcaller
from types import MappingProxyType
from typing import Any, NamedTuple

from google.api_core.exceptions import Aborted, FailedPrecondition, GoogleAPICallError, NotFound
from google.cloud import firestore

from shared import logs
from shared.errors import Busy, GiveUp, Retry
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, change, fields_of, read_time, read_together, transact
from shared.gcp.outages import outage
from shared.gcp.unreadable import MALFORMED, report
from shared.work import pieces, stages
from shared.work.attempts import Attempt, Stopped, alive, holds, show_life, wanted
from shared.work.changed import Changed
from shared.work.kinds import (
    CANCELLED,
    PENDING,
    Done,
    End,
    Fields,
    Kind,
    Later,
    PlannedTooLongAgo,
    WaitedTooLong,
    Writes,
)
from shared.work.pieces import CLOSED, DONE, GATE, LEASE, OPEN, QUEUED, READY, Piece, Write
from shared.work.stages import Begun

MAX_ATTEMPTS = 10
"""How many attempts may begin a piece and end without a result before its work fails."""

BACKOFF = timedelta(seconds=10)
MAX_BACKOFF = timedelta(minutes=10)
"""How long a piece waits after its first failed try; twice as long after each, up to the most."""

MAX_WAIT_ALONE = timedelta(days=1)
"""How long a piece may wait for something outside while other pieces of its work get on."""

WITH_WORK = 20
"""How many pieces of a plan are written in the transaction that has the work name it."""

REPORT_WAITING = timedelta(hours=1)
"""After which time of waiting the kind reports it to people."""


def perform(cloud: Cloud, kind: Kind[Any], message: Mapping[str, Any]) -> None:
    """What a function does with a message: do the piece, and go on with what follows at the same function.

    Returning acknowledges the message: what is passing is tried again by the sweep. A fault of ours is
    raised, after it was written down, and Retry where not even an attempt could begin.
    """
    id: str | None = message["piece"]
    reference = cloud.db.document(message["work"])
    held: Attempt | None = None
    while id is not None:
        if held:
            work, read = reference.get(), None
        else:
            piece = reference.collection("pieces").document(id)
            work, read = read_together(cloud.db, [reference, piece])
        if not work.exists or fields_of(work).get("kind") != kind.name:
            return
        try:
            ids = stages.log_ids(kind, work, id)
            if (stage := work.get("stage")) is not None:
                kind.stage(stage)
        except MALFORMED as failure:
            _unreadable(cloud, reference, id, reference.path, failure)
            return
        with logs.bound(**ids):
            try:
                held = _perform(cloud, kind, work, id, read, held)
            except Busy as busy:
                logs.info("another attempt is at it", reason=str(busy))
                return
            except Stopped:
                logs.info("the work has ended or gone on")
                return
        id = held.piece.id if held else None


def _perform(
    cloud: Cloud, kind: Kind[Any], work: Snapshot, id: str, read: Snapshot | None, held: Attempt | None
) -> Attempt | None:
    """Do one piece, which was `read` with its work or is held already; returns the attempt at the next one
    where that goes on here."""
    reference = work.reference.collection("pieces").document(id)
    try:
        attempt = held or _take(cloud, work, read)
    except GiveUp as error:
        _failed(cloud, kind, work, pieces.parse(reference.get()), None, error)
        return None
    except MALFORMED as failure:
        _unreadable(cloud, work.reference, id, reference.path, failure)
        return None
    except Exception as error:
        if why := outage(error):
            raise Retry(f"no attempt could begin: {why}") from error
        raise
    if attempt is None:
        stages.resume(cloud, kind, work)
        return None
    if not held and not kind.stage(attempt.piece.stage).cancellable:
        # It may have been cancelled before the lease was taken. From then on the lease keeps it from that.
        work = work.reference.get()
        if not wanted(work, attempt.piece):
            raise Stopped
    attempt.work = work
    show_life(cloud, work, got_on=False)
    if not held:
        _publish_more(cloud, kind, attempt)
    stage = kind.stage(attempt.piece.stage)
    subject = kind.parse(work)
    try:
        result = stage.step(cloud, subject, attempt)
        if isinstance(result, Later):
            _save_later(cloud, kind, attempt, result)
            return None
        return _finish(cloud, kind, attempt, result)
    except (Busy, Stopped):
        raise
    except GiveUp as error:
        _failed(cloud, kind, work, attempt.piece, attempt, error)
        return None
    except PlannedTooLongAgo as passed:
        stages.go_back(cloud, kind, attempt, passed.stage)
        return None
    except Retry as passing:
        with logs.bound(**logs.raised_with(passing)):
            _wait(cloud, kind, attempt, str(passing))
        return None
    except Exception as error:
        with logs.bound(**logs.raised_with(error)):
            if why := outage(error):
                _wait(cloud, kind, attempt, why)
                return None
            _save_failure(cloud, kind, attempt, f"a fault of ours ({type(error).__name__})", counted=True)
        raise


def _unreadable(cloud: Cloud, work: Any, id: str, path: str, failure: Exception) -> None:
    """Report that a work or its piece cannot be read, and have the piece leave the line, where it would take
    the room of others. The sweep publishes it again."""
    with contextlib.suppress(NotFound):
        work.collection("pieces").document(id).update({"in_line": False})
    report(cloud.db, path, failure)


class _Taking(NamedTuple):
    """What comes of taking a piece, and what is to be written of it for that."""

    outcome: Piece | Stopped | Busy | None
    changes: Fields = MappingProxyType({})


def _take(cloud: Cloud, work: Snapshot, seen: Snapshot) -> Attempt | None:
    """Begin an attempt at a piece that was read with its work; None where the piece has ended or is the gate.
    Busy where another attempt is alive at it or it is too early; GiveUp where too many have begun it.

    One write takes a piece that is as it was read. Else a transaction looks again.
    """
    id, reference = cloud.new_id()[:12], seen.reference

    def take(transaction: firestore.Transaction) -> _Taking:
        snapshot = reference.get(transaction=transaction)
        piece = _to_do(snapshot)
        if piece is None:
            return _Taking(None)
        if wanted(work, piece):
            taking = _taking(id, piece, snapshot)
        else:
            # The work may have been retried since it was read.
            taking = _left(work.reference.get(transaction=transaction), piece, snapshot)
        if taking.changes:
            transaction.update(reference, dict(taking.changes))
        return taking

    piece = _to_do(seen)
    if piece is None:
        return None
    taking = _taking(id, piece, seen) if wanted(work, piece) else None
    if taking is None or not _written(cloud, seen, taking.changes):
        taking = transact(cloud.db, take)
    if isinstance(taking.outcome, Stopped | Busy):
        raise taking.outcome
    return Attempt(cloud, id, taking.outcome, work) if taking.outcome else None


def _written(cloud: Cloud, piece: Snapshot, changes: Fields) -> bool:
    """Write these unless the piece has changed since it was read; False also where others are at it."""
    try:
        return change(cloud.db, piece, dict(changes)) is not None
    except Aborted:
        return False


def _to_do(snapshot: Snapshot) -> Piece | None:
    """The piece in a snapshot; None where there is nothing to do."""
    piece = pieces.parse(snapshot) if snapshot.exists else None
    return None if piece is None or piece.ended or piece.name == GATE else piece


def _left(work: Snapshot, piece: Piece, snapshot: Snapshot) -> _Taking:
    """Nobody takes a piece that is none of the stage where its work is: it is closed, unless its time may
    come yet."""
    unplanned = work.get("open") and piece.plan not in (work.get("plans") or {}).values()
    later = work.get("open") and (work.get("state") == PENDING or piece.plan != work.get("plan"))
    if wanted(work, piece) or unplanned or later:
        # Its plan may come to count yet; else the sweep closes it. Or it is published again when its
        # work starts, or comes to its stage.
        return _Taking(Stopped(), {"in_line": False} if fields_of(snapshot).get("in_line") else {})
    return _Taking(Stopped(), pieces.ended(CLOSED))


def _taking(id: str, piece: Piece, snapshot: Snapshot) -> _Taking:
    """What comes of taking a piece, for the attempt of that id, as the piece is."""
    now = read_time(snapshot)
    if piece.holder == id:  # it was taken, and the answer was lost
        return _Taking(piece)
    if piece.holder and now - piece.heartbeat < LEASE:
        return _Taking(Busy(f"attempt {piece.holder} is at {piece.id}"), {"woken": True, "in_line": False})
    if piece.retry_at and now < piece.retry_at:
        raise Busy(f"{piece.id} is to be tried again at {piece.retry_at:%H:%M:%S}")
    if piece.attempts >= MAX_ATTEMPTS:
        last = f" What it met last: {piece.waits_for}." if piece.waits_for else ""
        raise GiveUp(
            f"The piece {piece.id} was begun {piece.attempts} times and never ended.{last}",
            "This is ours to fix: look into the functions' logs for it, then retry it.",
        )
    begun = {"holder": id, "attempts": piece.attempts + 1, "status": OPEN, **alive(now)}
    begun |= {"woken": False, "swept": 0, "in_line": False}
    return _Taking(pieces.parse(Changed(snapshot.reference, {**fields_of(snapshot), **begun})), begun)


def _finish(cloud: Cloud, kind: Kind[Any], attempt: Attempt, done: Done) -> Attempt | None:
    """Write down that a piece is done, with what follows from it."""
    piece = attempt.piece
    single = piece.plan == piece.stage
    planned = {stage: _plan(cloud, kind, attempt, stage, each) for stage, each in done.plans.items()}
    plans = {stage: plan for stage, (plan, _) in planned.items()}
    reference = cloud.db.document(piece.path)
    owner = cloud.db.document(piece.work)
    begun: Begun | None = None
    writes = Writes()

    def finish(transaction: firestore.Transaction) -> None:
        nonlocal begun, writes
        begun, writes = None, Writes()
        both = [reference, owner] if single else [reference]
        snapshot, *rest = read_together(cloud.db, both, transaction)
        work = rest[0] if rest else None
        if not holds(snapshot, attempt.id):
            if not (work and done.end and kind.corrects(kind.parse(work), attempt.id, done.end)):
                raise Busy(f"another attempt has taken over {piece.id}")
            transaction.update(owner, {**done.end.fields, "state": done.end.state})
            return
        if work is not None and not wanted(work, piece):
            raise Stopped
        now = read_time(snapshot)
        if work is not None and done.end is None and _abandoned(cloud, kind, transaction, work, done):
            writes = kind.ending(cloud, transaction, work, End(CANCELLED))
            stages.write_end(cloud, transaction, work, End(CANCELLED), writes, done.work)
        elif work is not None and done.end is not None:
            writes = kind.ending(cloud, transaction, work, done.end)
            stages.write_end(cloud, transaction, work, done.end, writes, done.work)
        elif work is not None:
            begun = stages.move(cloud, kind, transaction, work, done, plans, now, attempt)
            for write in chain.from_iterable(few for _, few in planned.values()):
                write(transaction)
        if kind.standing:
            transaction.delete(reference)
        else:
            ended = {**done.fields, **pieces.ended(DONE), "holder": attempt.id, "heartbeat": now}
            transaction.update(reference, ended)
        pieces.create_all(cloud.db, transaction, {**done.documents, **_rest(piece, done, now)})

    try:
        transact(cloud.db, finish)
    except GoogleAPICallError:
        seen = reference.get()
        if not (seen.exists and seen.get("status") == DONE and seen.get("holder") == attempt.id):
            raise
        # It was committed, and the answer was lost.
    stages.publish(cloud, writes)
    left = [pieces.message(piece.work, pieces.id_of(piece.plan, name)) for name in done.rest]
    cloud.messages.publish(piece.function, *left)
    if done.end is not None:
        stages.start_pending(cloud, kind, piece.customer)
    if begun is not None and begun.attempt is not None:
        return begun.attempt
    _go_on(cloud, kind, attempt, begun)
    return None


def _abandoned(
    cloud: Cloud, kind: Kind[Any], transaction: firestore.Transaction, work: Snapshot, done: Done
) -> bool:
    """Whether a work would move on to a stage that finishes, and what it belongs to is gone."""
    stage = kind.stage(work.get("stage"))
    following = kind.stage(done.next) if done.next else kind.after(stage.name)
    finishes = stage.cancellable and not following.cancellable
    return finishes and kind.abandoned(cloud, transaction, work)


def _rest(piece: Piece, done: Done, at: datetime) -> dict[str, Fields]:
    """The pieces that take what a piece left, by their paths: they belong to its plan."""
    of = (piece.customer, piece.function, piece.stage, piece.plan)
    return {
        f"{piece.work}/pieces/{pieces.id_of(piece.plan, name)}": {**fields, **pieces.new(*of, name, at)}
        for name, fields in done.rest.items()
    }


def _publish_more(cloud: Cloud, kind: Kind[Any], attempt: Attempt) -> None:
    """Publish what there is room for in the line that a piece was in, now that it is begun. Where that fails,
    the piece does not: another one's end looks again, or the sweep."""
    piece = attempt.piece
    try:
        if kind.in_turn:
            stages.publish_ready(cloud, piece.customer, piece.function, piece.heartbeat)
        if piece.plan != piece.stage:
            stages.publish_queued(cloud, attempt.work, piece.function, piece.plan)
    except Exception as failure:
        logs.warning("queued pieces were not published", reason=type(failure).__name__)


def _go_on(cloud: Cloud, kind: Kind[Any], attempt: Attempt, begun: Begun | None) -> None:
    """See to what follows from a piece that is done, where that is not done here."""
    piece = attempt.piece
    if kind.in_turn:
        stages.publish_ready(cloud, piece.customer, piece.function, read_time(attempt.work))
    if kind.standing:  # it has no end to look for, only its queue
        if attempt.work.get("waits_for"):
            show_life(cloud, attempt.work.reference.get(), got_on=True)
        stages.publish_queued(cloud, attempt.work, piece.function, piece.plan)
    elif begun is not None:
        stages.resume(cloud, kind, begun.work, begun.first)
    elif piece.plan != piece.stage:
        _go_on_with_plan(cloud, kind, piece)


def _go_on_with_plan(cloud: Cloud, kind: Kind[Any], piece: Piece) -> None:
    """Publish more pieces of the plan of one that is done, or move its work on."""
    reference = cloud.db.document(piece.work)
    if not pieces.open_left(cloud, piece.work, piece.plan):
        stages.advance(cloud, kind, reference, piece.plan)
        return
    work = reference.get()
    if wanted(work, piece):
        show_life(cloud, work, got_on=True)
        stages.publish_queued(cloud, work, piece.function, piece.plan)


def _plan(
    cloud: Cloud, kind: Kind[Any], attempt: Attempt, stage: str, planned: Iterable[tuple[str, Fields]]
) -> tuple[str, list[Write]]:
    """The plan of a stage and its pieces, which count once the work names the plan: those that are still to
    be written with that, where they are at most WITH_WORK; else all were written, in several commits."""
    plan = f"{stage}-{attempt.id}"
    piece = attempt.piece
    function = kind.stage(stage).function(kind.parse(attempt.work))
    at = read_time(attempt.work)
    collection = cloud.db.collection(f"{piece.work}/pieces")
    new: Iterator[Write] = (
        methodcaller(
            "set",
            collection.document(pieces.id_of(plan, name)),
            {**fields, **pieces.new(piece.customer, function, stage, plan, name, at, QUEUED)},
        )
        for name, fields in planned
    )
    few = list(islice(new, WITH_WORK + 1))
    if len(few) <= WITH_WORK:
        return plan, few
    pieces.in_commits(cloud.db, chain(few, new), attempt.heartbeat)
    return plan, []


def _failed(
    cloud: Cloud, kind: Kind[Any], work: Snapshot, piece: Piece, attempt: Attempt | None, error: GiveUp
) -> None:
    """End the work of a piece that trying again cannot help; of a standing work, the piece alone."""
    logs.error("work failed", about=error, error=str(error), next_action=error.next_action)
    if kind.standing:
        seen = cloud.db.document(piece.path).get()
        if not seen.exists or (seen.get("attempts"), seen.get("tries")) != (piece.attempts, piece.tries):
            return  # it was made due anew
        kind.piece_failed(cloud, kind.parse(work), attempt or Attempt(cloud, "", piece, work), error)
        with contextlib.suppress(FailedPrecondition):
            seen.reference.delete(option=cloud.db.write_option(last_update_time=seen.update_time))
        return
    why = {"error": str(error), "next_action": error.next_action}
    # What an attempt met before its work was retried, or planned anew, says nothing of it now.
    failed = End(kind.stage(piece.stage).failed, why)

    def may(transaction: firestore.Transaction, now: Snapshot) -> bool:
        seen = cloud.db.document(piece.path).get(transaction=transaction)
        if attempt is not None:
            return wanted(now, piece) and holds(seen, attempt.id)
        return bool(wanted(now, piece) and seen.exists and seen.get("attempts") == piece.attempts)

    stages.end(cloud, kind, work.reference, failed, may)


def _save_later(cloud: Cloud, kind: Kind[Any], attempt: Attempt, later: Later) -> None:
    """Let another attempt continue a piece: at once, or when a message comes or its time has come. What came
    while this attempt was at it is not lost."""
    piece = attempt.piece
    reference = cloud.db.document(piece.path)
    planned = piece.plan != piece.stage
    in_turn = kind.in_turn and not planned

    def save(transaction: firestore.Transaction) -> tuple[bool, datetime] | None:
        snapshot = reference.get(transaction=transaction)
        if not holds(snapshot, attempt.id):
            return None
        now = read_time(snapshot)
        at_once = later.after is None or bool(snapshot.get("woken"))
        state = pieces.untried(now, READY if in_turn else OPEN)
        if later.after is not None and not at_once:
            state = pieces.resting(now, later.after)
        transaction.update(reference, {**later.fields, **state})
        return at_once, now

    saved = transact(cloud.db, save)
    if saved is None:
        return
    at_once, now = saved
    if at_once and in_turn:
        stages.publish_ready(cloud, piece.customer, piece.function, now)
    elif at_once:
        cloud.messages.publish(piece.function, piece.message)
    if later.waits_for is not None:
        _note_waiting(cloud, kind, piece, later.waits_for, waiting=True)
    else:
        show_life(cloud, attempt.work.reference.get(), got_on=True)


def _wait(cloud: Cloud, kind: Kind[Any], attempt: Attempt, why: str) -> None:
    """Have a piece wait for something outside that failed it, or end its work where that lasts too long."""
    too_long = _waited_too_long(cloud, kind, attempt)
    if too_long is None:
        _save_failure(cloud, kind, attempt, why, counted=False)
    else:
        error = WaitedTooLong(_hours(too_long), why, kind.advice)
        _failed(cloud, kind, attempt.work, attempt.piece, attempt, error)


def _waited_too_long(cloud: Cloud, kind: Kind[Any], attempt: Attempt) -> timedelta | None:
    """For how long a piece that failed now has waited, where that is too long.

    It is counted from its first failed try, and ends at a failed try: time in a queue proves nothing. Where
    other pieces of its work get on, what it waits for is there, and only busy.
    """
    if attempt.piece.since is None:
        return None
    snapshot, work = cloud.db.document(attempt.piece.path).get(), attempt.work.reference.get()
    since = snapshot.get("since") if holds(snapshot, attempt.id) else None  # it may have got on meanwhile
    if since is None or not work.exists:
        return None
    now, all_since = read_time(snapshot), work.get("since")
    if now - since >= kind.max_wait and all_since and now - all_since >= kind.max_wait:
        return kind.max_wait
    longest = max(MAX_WAIT_ALONE, kind.max_wait)
    return longest if now - since >= longest else None


def _save_failure(cloud: Cloud, kind: Kind[Any], attempt: Attempt, why: str, counted: bool) -> None:
    """Write down what a piece waits for, and when it is tried again. `counted`: as an attempt without a
    result, of which there may be MAX_ATTEMPTS."""
    piece = attempt.piece
    reference = cloud.db.document(piece.path)
    tries, backoff = 0, BACKOFF

    def save(transaction: firestore.Transaction) -> bool:
        nonlocal tries, backoff
        snapshot = reference.get(transaction=transaction)
        if not holds(snapshot, attempt.id):
            return False
        now, since = read_time(snapshot), snapshot.get("since")  # it may have got on since it was taken
        tries = snapshot.get("tries") + 1
        backoff = min(BACKOFF * 2 ** min(tries - 1, 10), MAX_BACKOFF)
        changes = {
            "holder": None,
            "in_line": False,  # the sweep may have published it meanwhile: that message comes too early
            "tries": tries,
            "waits_for": why,
            "since": since if counted else since or now,
            "retry_at": now + backoff,
            "next": now + backoff,
        }
        if kind.in_turn and piece.plan == piece.stage:
            changes["status"] = READY
        if not counted:
            changes["attempts"] = max(snapshot.get("attempts") - 1, 0)
        transaction.update(reference, changes)
        return True

    if not transact(cloud.db, save):
        return
    logs.warning("to be tried again", reason=why, tries=tries, seconds=backoff.total_seconds())
    _note_waiting(cloud, kind, piece, why, waiting=tries > 1)


def _note_waiting(cloud: Cloud, kind: Kind[Any], piece: Piece, why: str, waiting: bool) -> None:
    """Write into a work's document what it waits for, unless it says so. After REPORT_WAITING report it."""
    reference = cloud.db.document(piece.work)
    seen = reference.get()
    if not wanted(seen, piece):
        return
    fields = fields_of(seen)
    since = fields.get("since")
    now = read_time(seen)
    report = bool(since and now - since >= REPORT_WAITING and not fields["waiting_reported"])
    if fields["waits_for"] and (fields["waiting"] or not waiting) and not report:
        return  # however many pieces wait, it is written once
    writes = kind.waiting(cloud, kind.parse(seen), why) if report else Writes()

    def note(transaction: firestore.Transaction) -> bool:
        work = reference.get(transaction=transaction)
        if not wanted(work, piece) or (report and work.get("waiting_reported")):
            return False
        changes: dict[str, Any] = {"waits_for": why, "waiting": waiting or work.get("waiting")}
        changes |= {
            "since": work.get("since") or now,
            "waiting_reported": report or work.get("waiting_reported"),
        }
        transaction.update(reference, changes | dict(writes.fields))
        pieces.create_all(cloud.db, transaction, writes.documents)
        return True

    if transact(cloud.db, note):
        stages.publish(cloud, writes)
        if waiting:
            stages.start_pending(cloud, kind, piece.customer)  # what waits holds no slot


def _hours(time: timedelta) -> str:
    hours = time.total_seconds() / 3600
    return "an hour" if hours == 1 else f"{hours:g} hours"
