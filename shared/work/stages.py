"""Moves a work from stage to stage: its start, what of a stage is published, the next stage, its end.

Only this package writes a work's `state`. A work's document has, beside its kind's own fields:

kind, customer      whose it is, and the kind's name
state, stage, open  where it is; `open` until it has ended
plan, plans         the plan that counts at its stage; and those of stages to come, by stage
at_once             how many pieces of its customer are published at once at its stage; None: MAX_PUBLISHED
stage_times         by stage, when it last `began`, and when it `ended` since
heartbeat           when an attempt at one of its pieces last showed life
waits_for, since    what it waits for, from the first failed try on; `waiting` once that took a second try
"""

import contextlib
from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from google.api_core.exceptions import FailedPrecondition, GoogleAPICallError, NotFound
from google.cloud import firestore
from google.cloud.firestore_v1.field_path import FieldPath

from shared import logs
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, change, fields_of, read_time, transact
from shared.work import pieces, slots
from shared.work.attempts import WAITS_NO_LONGER, Attempt, alive, wanted
from shared.work.changed import Changed
from shared.work.kinds import PENDING, Done, End, Fields, Kind, Stage, Writes
from shared.work.lifetimes import REMOVE_AFTER, WORKS_KEPT
from shared.work.pieces import CLOSED, GATE, OPEN, QUEUED, READY

MAX_PUBLISHED = 50
"""How many pieces of one customer a function has to do at once, beside one of each work. The others are
queued, and published as those are begun and end."""

MAX_IN_LINE = 5
"""How many of these nobody has begun: no piece of another customer stands behind more of them. Where a
function has instances to spare they are begun at once, and others follow, up to MAX_PUBLISHED."""

REFILL = 3
"""For how many a line has room before others are published: as long as it has less, enough are still to be
begun, and whoever begins one looks again."""


class Begun(NamedTuple):
    """A work at the stage that it has begun, as it was written, and the piece that was written with it; the
    attempt at that, where it can be done at once."""

    work: Snapshot
    first: Snapshot
    attempt: Attempt | None = None


def begin(
    kind: Kind[Any],
    batch: firestore.WriteBatch,
    work: Snapshot,
    at: datetime,
    after: timedelta | None = None,
) -> Begun:
    """Have a work run from the stage where it is, in the commit that this is part of. `after`: its piece
    rests for so long, unless a message comes."""
    fields = fields_of(work)
    subject = kind.parse(work)
    stage = kind.starts_at(fields)
    plans = fields.get("plans", {})
    changes = {
        **_at(stage, plans),
        **_begun(stage.name, at),
        **WAITS_NO_LONGER,
        "heartbeat": at,
        "open": True,
    }
    batch.update(work.reference, {**changes, "started": firestore.SERVER_TIMESTAMP})
    reference, piece = _first_piece(kind, stage, work.reference, fields["customer"], subject, plans, at)
    piece |= {} if after is None else pieces.resting(at, after)
    batch.set(reference, piece)
    return Begun(Changed(work.reference, {**fields, **changes}, at), Changed(reference, piece, at))


def start_pending(cloud: Cloud, kind: Kind[Any], customer: str) -> None:
    """Start as many of a customer's pending works as there are free slots (`slots`); nothing for a kind that
    needs none. Doing it twice, or twice at once, starts no work twice: whoever comes second has read what the
    first one changed."""
    if kind.slots is None:
        return

    def start(transaction: firestore.Transaction) -> list[Begun]:
        able, now = slots.startable(cloud, kind, customer, transaction)
        return [begin(kind, transaction, work, now) for work in able]

    for begun in transact(cloud.db, start):
        with logs.bound(**log_ids(kind, begun.work, None)):
            logs.info(f"{kind.name} started")
        resume(cloud, kind, begun.work, begun.first)


def log_ids(kind: Kind[Any], work: Snapshot, piece: str | None) -> dict[str, str | None]:
    """What the log lines of a work name: its path, its kind and customer, its kind's ids, and the piece."""
    ids = kind.ids(kind.parse(work))
    about = {"work": work.reference.path, "kind": kind.name, "customer": work.get("customer"), "piece": piece}
    return {**logs.ids_of(work.reference.path), **about, **ids}


def resume(cloud: Cloud, kind: Kind[Any], work: Snapshot, first: Snapshot | None = None) -> None:
    """See to it that a work goes on: publish the one piece of its stage, or those that are queued, and move
    it on where all is done. Doing it twice is doing it once. `first`: a piece that was read or written with
    the work; the stage's is read where it is another.

    Open pieces of a plan have been published before. Where such a message was lost, the sweep publishes them:
    if each message for a piece that is done did so, messages would breed messages.
    """
    fields = fields_of(work)
    if not fields["open"] or fields["state"] == PENDING:
        return
    subject, plan = kind.parse(work), fields["plan"]
    function = kind.stage(fields["stage"]).function(subject)
    collection = work.reference.collection("pieces")
    if plan == fields["stage"]:
        snapshot = first if first is not None and first.id == plan else collection.document(plan).get()
        if snapshot.exists and snapshot.get("status") == READY:
            publish_ready(cloud, fields["customer"], function, read_time(snapshot))
        elif snapshot.exists and snapshot.get("holder") is None and snapshot.get("retry_at") is None:
            cloud.messages.publish(function, pieces.message(work.reference.path, plan))
        return
    if publish_queued(cloud, work, function, plan) or kind.standing:
        return
    if not pieces.open_left(cloud, work.reference.path, plan):
        advance(cloud, kind, work.reference, plan)


def publish_queued(cloud: Cloud, work: Snapshot, function: str, plan: str) -> bool:
    """Publish queued pieces of a plan, as many as their customer has room for at the function; returns
    whether there are any."""
    at_once = fields_of(work).get("at_once")
    return publish_plan(cloud, work.reference.path, work.get("customer"), function, plan, at_once)


def publish_plan(
    cloud: Cloud, path: str, customer: str, function: str, plan: str, at_once: int | None = None
) -> bool:
    """The same of a plan of the work at a path, without its document."""
    queue = pieces.of_plan(cloud, path, plan, [QUEUED]).order_by("__name__").select([])
    if not (some := list(queue.limit(MAX_IN_LINE).stream())):
        return False
    room = _room(cloud, customer, function, at_once)
    if not room:
        if list(pieces.of_plan(cloud, path, plan, [OPEN]).select([]).limit(1).stream()):
            return True
        room = 1  # the other works of its customer must not keep it from ever going on
    _publish(cloud, function, some[:room], QUEUED, read_time(some[0]))
    return True


def publish_ready(cloud: Cloud, customer: str, function: str, at: datetime) -> None:
    """Publish pieces of a customer that are READY for a function at Firestore's time `at`, as many as there
    is room for: of all the customer's works, the longest ready first."""
    some = pieces.ready(cloud.db, customer, function, at, MAX_IN_LINE)
    if some and (room := _room(cloud, customer, function)):
        _publish(cloud, function, some[:room], READY, at)


def make_ready(cloud: Cloud, work: Any, stage: str) -> bool:
    """Have the piece of a stage that rests be READY, for a kind `in_turn`; False where it does not rest."""
    snapshot = work.collection("pieces").document(stage).get()
    if not snapshot.exists or snapshot.get("status") != QUEUED:
        return False
    return change(cloud.db, snapshot, {"status": READY, "next": read_time(snapshot)}) is not None


def _room(cloud: Cloud, customer: str, function: str, at_once: int | None = None) -> int:
    """How many more pieces of a customer can be published to a function, where not so many are to be done at
    once as it has instances for."""
    most = min(at_once or MAX_PUBLISHED, MAX_PUBLISHED)
    room = MAX_IN_LINE - pieces.in_line(cloud.db, customer, function, MAX_IN_LINE)
    if room < REFILL:
        return 0
    return min(room, most - pieces.published(cloud.db, customer, function, most))


def _publish(cloud: Cloud, function: str, found: list[Snapshot], status: str, now: datetime) -> None:
    opened = _opened(cloud, found, now)
    works = [each.parent.parent.path for each in opened]
    bodies = (pieces.message(work, each.id) for work, each in zip(works, opened, strict=True))
    try:
        cloud.messages.publish(function, *bodies)
    except Exception:
        # Whoever asks again then publishes them, before the sweep would.
        batch = cloud.db.batch()
        for reference, opened_at in opened.items():
            option = cloud.db.write_option(last_update_time=opened_at)
            batch.update(reference, {"status": status, "in_line": False, "next": now}, option=option)
        with contextlib.suppress(GoogleAPICallError):
            batch.commit()
        raise


def _opened(cloud: Cloud, found: list[Snapshot], now: datetime) -> dict[Any, datetime]:
    """Open these pieces, but for those that another one opened meanwhile: they may even be done by now. When
    each was opened, by Firestore's clock."""
    opening = {"status": OPEN, "in_line": True, "next": now + pieces.STALLED}
    batch = cloud.db.batch()
    for each in found:
        option = cloud.db.write_option(last_update_time=each.update_time)
        batch.update(each.reference, opening, option=option)
    try:
        written = batch.commit()
    except (FailedPrecondition, NotFound):
        alone = ((each.reference, change(cloud.db, each, opening)) for each in found)
        return {reference: opened_at for reference, opened_at in alone if opened_at}
    return {each.reference: result.update_time for each, result in zip(found, written, strict=True)}


def advance(cloud: Cloud, kind: Kind[Any], reference: Any, plan: str) -> None:
    """Move a work on whose planned pieces are all done; nothing where it has gone on from that plan."""

    def move_on(transaction: firestore.Transaction) -> Begun | None:
        work = reference.get(transaction=transaction)
        if not (work.exists and work.get("open") and work.get("plan") == plan):
            return None
        gate = reference.collection("pieces").document(pieces.id_of(plan, GATE))
        begun = move(cloud, kind, transaction, work, Done(), {}, read_time(work))
        transaction.update(gate, pieces.ended(CLOSED))
        return begun

    if begun := transact(cloud.db, move_on):
        resume(cloud, kind, begun.work, begun.first)


def move(
    cloud: Cloud,
    kind: Kind[Any],
    transaction: firestore.Transaction,
    work: Snapshot,
    done: Done,
    plans: Mapping[str, str],
    now: datetime,
    attempt: Attempt | None = None,
) -> Begun:
    """Move a work on to the stage that follows, in the transaction that read it. Where that is one piece of
    the same function, `attempt` can go on with it at once."""
    fields = fields_of(work)
    known = {**fields.get("plans", {}), **plans}
    subject = kind.parse(Changed(work.reference, {**fields, **done.work, "plans": known}))
    stage = kind.stage(done.next) if done.next else kind.after(fields["stage"])
    times = {**_ended(fields, now), **_begun(stage.name, now)}
    moved = {**done.work, **_at(stage, known), **times, **WAITS_NO_LONGER, "plans": known, "heartbeat": now}
    transaction.update(work.reference, moved)
    reference, piece = _first_piece(kind, stage, work.reference, fields["customer"], subject, known, now)
    following = None
    if attempt is not None and piece["function"] == attempt.piece.function and piece["name"] != GATE:
        piece |= {"status": OPEN, "holder": attempt.id, "attempts": 1, "in_line": False, **alive(now)}
        taken = pieces.parse(Changed(reference, piece))
        following = Attempt(cloud, attempt.id, taken, work, done.carry)
    transaction.set(reference, piece)
    begun = Changed(work.reference, {**fields, **moved}, now)
    return Begun(begun, Changed(reference, piece, now), following)


def go_back(cloud: Cloud, kind: Kind[Any], attempt: Attempt, stage: str) -> None:
    """Move a work back to an earlier stage, unless it has gone on from the plan of this attempt's piece. The
    other pieces of that plan count no more."""
    reference = attempt.work.reference

    def move_back(transaction: firestore.Transaction) -> Begun | None:
        work = reference.get(transaction=transaction)
        if not wanted(work, attempt.piece):
            return None
        return move(cloud, kind, transaction, work, Done(next=stage), {}, read_time(work))

    if begun := transact(cloud.db, move_back):
        logs.info("work is planned anew", stage=stage)
        resume(cloud, kind, begun.work, begun.first)


def _at(stage: Stage[Any], plans: Mapping[str, str]) -> dict[str, Any]:
    """The fields that say that a work is at a stage."""
    plan = plans.get(stage.name, stage.name)
    return {"state": stage.state, "stage": stage.name, "plan": plan, "at_once": stage.at_once}


def _begun(stage: str, at: datetime) -> dict[str, Any]:
    """What a work's document says of a stage that begins, perhaps once more."""
    return {FieldPath("stage_times", stage).to_api_repr(): {"began": at}}


def _ended(work: Mapping[str, Any], at: datetime) -> dict[str, Any]:
    """What the document of a work with these fields says of its stage, which ends; nothing of one that does
    not run."""
    if work["state"] == PENDING or work["stage"] is None:
        return {}
    return {FieldPath("stage_times", work["stage"], "ended").to_api_repr(): at}


def _first_piece(
    kind: Kind[Any],
    stage: Stage[Any],
    work: Any,
    customer: str,
    subject: Any,
    plans: Mapping[str, str],
    at: datetime,
) -> tuple[Any, dict[str, Any]]:
    """The document with which a stage begins: its one piece, or the gate of its plan."""
    plan = plans.get(stage.name)
    function = stage.function(subject)
    collection = work.collection("pieces")
    if plan is None:
        status = READY if kind.in_turn else OPEN
        piece = pieces.new(customer, function, stage.name, stage.name, stage.name, at, status)
        return collection.document(stage.name), piece
    # The gate is no piece to be done: no count of those finds it.
    gate = pieces.new(customer, function, stage.name, plan, GATE, at, GATE)
    return collection.document(pieces.id_of(plan, GATE)), gate


def end(
    cloud: Cloud,
    kind: Kind[Any],
    reference: Any,
    end: End,
    may: Callable[[firestore.Transaction, Snapshot], bool],
) -> bool:
    """End a work in one transaction, if it `may` end so as it stands; returns whether it did."""

    def write(transaction: firestore.Transaction) -> tuple[Writes, str] | None:
        work = reference.get(transaction=transaction)
        if not (work.exists and work.get("open") and may(transaction, work)):
            return None
        writes = kind.ending(cloud, transaction, work, end)
        write_end(cloud, transaction, work, end, writes)
        return writes, work.get("customer")

    ended = transact(cloud.db, write)
    if ended is None:
        return False
    writes, customer = ended
    publish(cloud, writes)
    start_pending(cloud, kind, customer)
    return True


def write_end(
    cloud: Cloud,
    transaction: firestore.Transaction,
    work: Snapshot,
    end: End,
    writes: Writes,
    more: Fields | None = None,
) -> None:
    """Write the end of a work, in the transaction that read it."""
    ended = {
        **(more or {}),
        **_ended(fields_of(work), read_time(work)),
        **end.fields,
        **writes.fields,
        **WAITS_NO_LONGER,
        "state": end.state,
        "open": False,
        "finished": firestore.SERVER_TIMESTAMP,
        REMOVE_AFTER: read_time(work) + WORKS_KEPT,
    }
    transaction.update(work.reference, ended)
    pieces.create_all(cloud.db, transaction, writes.documents)
    for path, content in writes.updates.items():
        transaction.update(cloud.db.document(path), dict(content))
    for path, content in writes.merged.items():
        transaction.set(cloud.db.document(path), dict(content), merge=True)


def publish(cloud: Cloud, writes: Writes) -> None:
    """Publish what follows from the end of a work, after its transaction: its messages, and the pieces among
    its documents that are READY."""
    by_function: dict[str, list[Fields]] = defaultdict(list)
    if not (writes.messages and _finds(writes.unless)):
        for function, message in writes.messages:
            by_function[function].append(message)
    for function, messages in by_function.items():
        cloud.messages.publish(function, *messages)
    ready = [each for each in writes.documents.values() if each.get("status") == READY]
    lines = {(each["customer"], each["function"]): each["next"] for each in ready}
    for (customer, function), at in lines.items():
        publish_ready(cloud, customer, function, at)


def _finds(query: Any) -> bool:
    return query is not None and bool(list(query.select([]).limit(1).stream()))
