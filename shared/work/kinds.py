"""What a kind of work declares, and what its steps return. Plain values: nothing here talks to Google."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from shared.errors import GiveUp
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot

if TYPE_CHECKING:
    from google.cloud import firestore

    from shared.work.attempts import Attempt

T = TypeVar("T")

PENDING, COMPLETED, FAILED, CANCELLED = "PENDING", "COMPLETED", "FAILED", "CANCELLED"
"""States that every kind has. While a work runs, its state is that of its stage; a kind may end in others."""

MAX_WAIT = timedelta(hours=12)
"""How long a piece waits for something outside before its work fails, unless its kind says otherwise."""

Fields = Mapping[str, Any]
Documents = Mapping[str, Fields]
"""Documents to create, by their paths."""


class WaitedTooLong(GiveUp):
    """A piece waited for something outside for as long as it may.

    time    for how long, in words
    reason  what it waited for last
    """

    def __init__(self, time: str, reason: str, next_action: str) -> None:
        super().__init__(f"It waited for {time}. What it waited for last: {reason}", next_action)
        self.time = time
        self.reason = reason


class PlannedTooLongAgo(Exception):
    """What the pieces of a stage were planned for has passed, such as the time as of which they read. Raised
    by a step: the work goes back to the stage of that name, and is planned anew."""

    def __init__(self, stage: str) -> None:
        super().__init__(stage)
        self.stage = stage


@dataclass(frozen=True)
class End:
    """The end of a work: its last state, and fields of its document."""

    state: str
    fields: Fields = field(default_factory=dict)


@dataclass(frozen=True)
class Done:
    """A piece is done.

    fields     what is added to the piece's document
    documents  documents that are created in the same transaction
    rest       pieces of the same plan that are still to be done, by name: created in the same transaction

    For a stage that is one piece, in the same transaction too:
    work       fields of the work's document
    plans      the pieces of later stages: by stage, the name and the fields of each. They may be any number:
               they are written in several commits, and count from the transaction on
    next       the stage that follows, where it is not the next one
    carry      what the next step is given in memory (`Attempt.carried`), where this attempt goes on with it
    end        the work ends here
    """

    fields: Fields = field(default_factory=dict)
    documents: Documents = field(default_factory=dict)
    rest: Documents = field(default_factory=dict)
    work: Fields = field(default_factory=dict)
    plans: Mapping[str, Iterable[tuple[str, Fields]]] = field(default_factory=dict)
    next: str | None = None
    carry: Any = None
    end: End | None = None


@dataclass(frozen=True)
class Later:
    """A piece is to be continued by another attempt: the time of this one is up, or something is to come.

    fields     what is added to the piece's document
    after      when the sweep looks at it, unless a message wakes it before; None: it is continued at once.
               For the piece of a stage that is one piece
    waits_for  what of the outside it waits for, in a sentence, where that takes longer than it should
    """

    fields: Fields = field(default_factory=dict)
    after: timedelta | None = None
    waits_for: str | None = None


@dataclass(frozen=True)
class Writes:
    """What else is written in the transaction that ends a work.

    fields     more fields of the work's document
    documents  documents to create
    updates    fields of other documents, by their paths
    merged     the same of documents that are made where they are not there; a number can be an Increment
    messages   what is published after the transaction: function and message
    unless     a query, asked after the transaction: where it finds something, the messages are not published
    """

    fields: Fields = field(default_factory=dict)
    documents: Documents = field(default_factory=dict)
    updates: Documents = field(default_factory=dict)
    merged: Documents = field(default_factory=dict)
    messages: Sequence[tuple[str, Fields]] = ()
    unless: Any = None


@dataclass(frozen=True)
class Stage(Generic[T]):
    """A stage: pieces that are done side by side, or a single piece where no earlier step planned any.

    state        the work's state while it is in this stage
    function     the function whose topic the stage's messages go to
    step         does a piece; raises Retry for what passes, GiveUp for what does not. Anything else that it
                 raises is a fault of ours, and is retried MAX_ATTEMPTS times
    cancellable  whether a work can be cancelled here, also while it waits for nothing
    failed       the state in which a work ends that fails here; only from FAILED can it be retried
    at_once      how many pieces of one customer its function has to do at once, where that is less than
                 MAX_PUBLISHED; each further work of the customer has one beside them
    """

    name: str
    state: str
    function: Callable[[T], str]
    step: Callable[[Cloud, T, "Attempt"], Done | Later]
    cancellable: bool = True
    failed: str = FAILED
    at_once: int | None = None


def _no_writes(*_: Any) -> Writes:
    return Writes()


@dataclass(frozen=True)
class Kind(Generic[T]):
    """A kind of work.

    collection    the id of the collections that its works' documents are in
    stages        its stages, in order
    parse         what the steps are given, from a work's document
    ids           what its log lines are about
    ending        what else is written when a work ends; it may read in the transaction, and is called again
                  where that meets another
    waiting       what is written when a work has waited for an hour
    corrects      whether an attempt that lost its lease may still correct how the work ended; its id and what
                  it found
    replans       what changes of a failed work where what it had planned is too old to go on with, None
                  where it can go on; a pure function of the work and the time
    standing      whether works never end: a piece that is done is deleted, and one that fails ends alone,
                  after `piece_failed`
    max_wait      how long a piece may wait for something outside, and what people are told to do then
    slots         how many works of a customer run at once, from the fields of the customer's document: the
                  others are PENDING, the longest `due` first. None: every work runs at once
    in_turn       whether the piece of a stage that is one piece is READY before it is published, after a
                  failed try, and when it is to be continued: for works that are many
    lane          the field by which works belong together: none of them starts while another one waits
    abandoned     whether what a work belongs to is gone, read in a transaction: such a work does not start,
                  and is cancelled where it would move on to a stage that finishes
    closing       the stage that a cancelled work moves to, for what is still to be done then: its last step
                  ends the work. None: cancelling ends it at once
    """

    name: str
    collection: str
    stages: tuple[Stage[T], ...]
    parse: Callable[[Snapshot], T]
    ids: Callable[[T], Mapping[str, str]]
    ending: "Callable[[Cloud, firestore.Transaction, Snapshot, End], Writes]" = _no_writes
    waiting: Callable[[Cloud, T, str], Writes] = _no_writes
    corrects: Callable[[T, str, End], bool] = lambda *_: False
    replans: Callable[[T, datetime], Fields | None] = lambda *_: None
    standing: bool = False
    piece_failed: "Callable[[Cloud, T, Attempt, GiveUp], None]" = lambda *_: None
    max_wait: timedelta = MAX_WAIT
    advice: str = "See to that, then retry it. If it is nothing of yours, ask Waybill's operators."
    slots: Callable[[Fields], int] | None = None
    in_turn: bool = False
    lane: str = ""
    abandoned: "Callable[[Cloud, firestore.Transaction, Snapshot], bool]" = lambda *_: False
    closing: str | None = None

    def starts_at(self, fields: Fields) -> Stage[T]:
        """The stage at which a work with these fields starts: where it was, or else the first. LookupError
        where there is no such stage."""
        return self.stage(fields["stage"]) if fields.get("stage") else self.stages[0]

    def stage(self, name: str) -> Stage[T]:
        """The stage of that name. LookupError where there is none."""
        for each in self.stages:
            if each.name == name:
                return each
        raise LookupError(f"the kind {self.name} has no stage {name}")

    def after(self, name: str) -> Stage[T]:
        """The stage that follows a stage. LookupError where it is the last."""
        names = [each.name for each in self.stages]
        following = self.stages[names.index(name) + 1 :]
        if not following:
            raise LookupError(f"a {self.name} has no stage after {name}, and its last step did not end it")
        return following[0]
