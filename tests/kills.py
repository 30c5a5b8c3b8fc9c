"""Goes through the calls of a small subject, and disturbs a fresh one at each: it ends the same, once.

A first, undisturbed subject says which calls there are. Just before a call things are as just after the one
before it, and a call that only reads changes nothing outside. So a process dies after each call that writes,
and at the end of each event: its handler has returned, and nobody has been told. Where calls are in flight at
the same time their order means nothing: there it dies on both sides of each, and a call is found again by how
many of its kind came before it. It is paused before every call, reads too: what it read before a pause is out
of date after it. Two kinds of places are left out, since they end as another does (`Pass.pauses`).
"""

import re
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter
from typing import Any, Generic, Protocol, Self, TypeVar

import pytest

from infra.local.pubsub import Delivery
from tests.outside import Call, Outside, When
from tests.world import World

OF = 2
"""In how many tests the places are shared out, so that they run side by side."""

SHARES = pytest.mark.parametrize("share", range(OF))


class Subject(Protocol):
    """What is killed: something small that makes every kind of call, and ends the same whatever happens."""

    outside: Outside

    def push(self, delivery: Delivery) -> bool:
        """Deliver a message to it, by `outside.alive`; False where it was killed."""

    def run(self, push: Callable[[Delivery], bool]) -> None:
        """Begin it, and deliver all that comes of it by `push`."""

    def settle(self) -> None:
        """Let time go by, with redeliveries and ticks, until nothing but a paused attempt is left."""

    def done_once(self) -> None:
        """Check that it became what it should have become."""


@dataclass(frozen=True)
class Start:
    """Just before an event of a pass: the message that was to be delivered, how many calls and events there
    had been, and what takes the services back there."""

    delivery: Delivery
    calls: int
    events: int
    back: Callable[[], None]


class InWorld:
    """A subject of which only what is in its world's services changes. It is made once; what comes before the
    event that a place is in is not done again for each place: the services go back there."""

    world: World
    outside: Outside
    start: Start | None = None
    """Where it goes on from; None: from its beginning."""

    def kept(self) -> Callable[[], None]:
        """What takes all that changes of it back to now."""
        return self.world.kept()

    def again(self, start: Start | None) -> Self:
        """One that goes on from there, in services that went back."""
        made = copy(self)
        made.start = start
        return made

    def push(self, delivery: Delivery) -> bool:
        """Deliver a message to it; see `Subject`."""
        raise NotImplementedError

    def set_off(self) -> None:
        """Do what its messages come from; nothing where they are there already."""

    def run(self, push: Callable[[Delivery], bool]) -> None:
        """Begin it, or go on; deliver all that comes of it by `push`."""
        messages = self.world.suite.pubsub
        if self.start is None:
            self.set_off()
        else:
            messages.hand_over(self.start.delivery, push)
        while messages.deliver_due(push):
            pass


S = TypeVar("S", bound=Subject)

_NAMES = re.compile("/o/[^/]*")
# The names of objects in URLs, which are new each time.


@dataclass(frozen=True)
class Place:
    """Where something happens: before or after the call of that number (from 1), or at that event's end. It
    is the `nth` call of its kind, or event."""

    number: int
    when: When
    name: str
    nth: int

    @property
    def kind(self) -> str:
        """Of what kind its call is."""
        return Call(self.name).kind

    def __str__(self) -> str:
        return f"{self.when} {'of event' if self.when == 'end' else 'call'} {self.number}: {self.name}"


@dataclass(frozen=True)
class Pass:
    """What an undisturbed subject did."""

    calls: tuple[Call, ...]
    events: int

    def deaths(self) -> list[Place]:
        """Where its process can die and leave something else behind than at another place."""
        writes = [(number, call) for number, call in enumerate(self.calls, 1) if call.writes]
        before = [self._place(number, "before") for number, call in writes if call.beside]
        after = [self._place(number, "after") for number, _ in writes]
        ends = [Place(number, "end", "acknowledgement", number) for number in range(1, self.events + 1)]
        return [*before, *after, *ends]

    def pauses(self) -> list[Place]:
        """Where it can be paused, and others go on.

        Not before a read in a transaction. If what it read before has changed, its commit is refused, as
        after a pause before the commit; if not, it is as after a pause before the transaction.

        Of a row of calls that are answered the same whenever they are asked, only before the first and behind
        the last.
        """
        return [
            self._place(number, "before")
            for number, (before, call) in enumerate(zip((None, *self.calls), self.calls, strict=False), 1)
            if call.beside or not (call.inside or (call.timeless and before and before.timeless))
        ]

    def changes(self) -> list[Place]:
        """Where others can change something in Firestore meanwhile, and nothing else: of `pauses` those that
        do not come right behind a call elsewhere, which neither sees the change nor is seen by it."""
        return [
            place
            for place in self.pauses()
            if place.number == 1 or self.calls[place.number - 1].beside or not self._before(place).elsewhere
        ]

    def once(self, places: list[Place]) -> list[Place]:
        """Of places those in events that do not make the very calls, in their order, of an event before."""
        seen: dict[tuple[str, ...], int] = {}
        for event in range(1, self.events + 1):
            made = tuple(_NAMES.sub("/o/…", call.name) for call in self.calls if call.event == event)
            seen.setdefault(made, event)
        kept = set(seen.values())
        return [place for place in places if self._event(place) in kept]

    def counted_from(self, start: Start, place: Place) -> Place:
        """The same place, for a subject that goes on from a start."""
        if place.when == "end":
            return replace(place, number=place.number - start.events, nth=place.nth - start.events)
        before = sum(call.kind == place.kind for call in self.calls[: start.calls])
        return replace(place, number=place.number - start.calls, nth=place.nth - before)

    def _place(self, number: int, when: When) -> Place:
        call = self.calls[number - 1]
        nth = sum(each.kind == call.kind for each in self.calls[:number])
        return Place(number, when, call.name, nth)

    def _event(self, place: Place) -> int:
        return place.number if place.when == "end" else self.calls[place.number - 1].event

    def _before(self, place: Place) -> Call:
        return self.calls[place.number - 2]


@dataclass(frozen=True)
class Mode(Generic[S]):
    """What happens to a subject, and at which places of a pass."""

    name: str
    places: Callable[[Pass], list[Place]]
    strike: Callable[[S, Place], None]

    def __str__(self) -> str:
        return self.name


def arm(subject: Subject, place: Place, happens: Callable[[], object] | None = None) -> None:
    """Have it die there, or have something else happen."""
    kind = "" if place.when == "end" else place.kind
    subject.outside.arm(place.nth, place.when, happens, kind=kind)


def die(subject: Subject, place: Place, *, redelivered: bool) -> None:
    """Kill it there; let redelivery, or else the sweep alone, bring it to its end."""
    arm(subject, place)

    def push(delivery: Delivery) -> bool:
        # What a killed process was sent may never come again, as after 24 hours: then only the sweep is left.
        return subject.push(delivery) or not redelivered

    subject.run(push)
    end(subject, place)
    subject.done_once()


def sleep(subject: Subject, place: Place) -> None:
    """Pause it there for longer than any lease, while others do all there is; then let it go on."""
    arm(subject, place, subject.settle)
    subject.run(subject.push)
    end(subject, place)
    subject.done_once()


def end(subject: Subject, place: Place) -> None:
    """See that the place was there and nothing failed meanwhile, and let time go by until it has ended."""
    outside = subject.outside
    if outside.broke is not None:
        raise outside.broke
    if place.when == "end":
        assert outside.events >= place.number
    else:
        assert outside.struck is not None, outside.calls
    outside.arm(0, "before")
    subject.settle()


REDELIVERED: Mode[Any] = Mode("killed and redelivered", Pass.deaths, partial(die, redelivered=True))
SWEPT: Mode[Any] = Mode("killed and swept", Pass.deaths, partial(die, redelivered=False))
PAUSED: Mode[Any] = Mode("paused past its lease", Pass.pauses, sleep)


def _cancel(subject: Any, place: Place) -> None:
    """Cancel it there, while its attempt is under way."""
    arm(subject, place, subject.cancel)
    subject.run(subject.push)
    end(subject, place)
    subject.done_or_cancelled()


CANCELLED: Mode[Any] = Mode("cancelled", Pass.pauses, _cancel)
"""For a `small_work.SmallWork`."""

QUICK = {REDELIVERED: 3, SWEPT: 2, PAUSED: 2}
"""At how many places the quick tests have a subject die or pause; `make check` takes all."""

MODES = pytest.mark.parametrize("mode", [REDELIVERED, SWEPT, PAUSED], ids=["redelivered", "swept", "paused"])


def once(mode: Mode[Any]) -> Mode[Any]:
    """The mode, in one event of those that make the same calls."""
    return Mode(f"{mode.name}, once", lambda seen: seen.once(mode.places(seen)), mode.strike)


def _die_either_way(subject: Subject, place: Place) -> None:
    die(subject, place, redelivered=bool(place.number % 2))


EITHER_WAY: Mode[Any] = Mode("killed, and redelivered or swept by turns", Pass.deaths, _die_either_way)

MODES_AROUND = pytest.mark.parametrize("mode", [once(EITHER_WAY), once(PAUSED)], ids=["killed", "paused"])
"""For a subject that is about what comes before and behind its runs, each place of which another test has in
all modes."""

_passes: dict[type, Pass] = {}


def undisturbed(subject: Subject) -> Pass:
    """Let it end without any harm, and say what it did."""
    subject.outside.arm(0, "before")
    subject.run(subject.push)
    seen = Pass(tuple(subject.outside.made), subject.outside.events)
    subject.done_once()
    return seen


MANY = 8
"""For so many places and more it pays to write down where the events start."""


def each(
    make: Callable[[], S], mode: Mode[S], *, share: int = 0, of: int = 1, sample: int | None = None
) -> None:
    """Have `mode` happen to a fresh subject at each of its places.

    make    makes a subject in services without any state; subjects of one class make the same calls
            (see `InWorld`)
    share   take each `of`-th place only, from this one on (from 0)
    sample  take only so many, spread over the whole, the last among them
    """
    fresh = fresh_from(make)
    subject = fresh(None)
    kind = type(subject)
    if kind not in _passes:
        _passes[kind] = undisturbed(subject)
        subject = fresh(None)
    places = mode.places(_passes[kind])
    places = places[share::of] if sample is None else spread(places, sample)
    starts: list[Start] = []
    if isinstance(subject, InWorld) and subject.world.can_go_back and len(places) >= MANY:
        starts = _starts(subject)
    for place in places:
        counted = attrgetter("events" if place.when == "end" else "calls")
        start = next((each for each in reversed(starts) if counted(each) < place.number), None)
        there = place if start is None else _passes[kind].counted_from(start, place)
        try:
            mode.strike(fresh(start), there)
        except BaseException as error:
            error.add_note(f"{mode}, {place}")
            raise


def fresh_from(make: Callable[[], S]) -> Callable[[Start | None], S]:
    """What gives fresh subjects, which go on from a start or begin; none is of use once there is another."""
    first = make()
    if not (isinstance(first, InWorld) and first.world.can_go_back):
        return lambda _: make()
    back = first.kept()

    def fresh(start: Start | None) -> S:
        (start.back if start else back)()
        return first.again(start)

    return fresh


def _starts(subject: InWorld) -> list[Start]:
    """Let a subject end without any harm; where each message was delivered, in order."""
    starts: list[Start] = []
    outside = subject.outside

    def push(delivery: Delivery) -> bool:
        starts.append(Start(delivery, len(outside.made), outside.events, subject.kept()))
        return subject.push(delivery)

    outside.arm(0, "before")
    subject.run(push)
    return starts


def spread(places: Sequence[Place], most: int) -> list[Place]:
    """At most so many of them, at even distances, the last among them."""
    count = min(most, len(places))
    return [places[(number + 1) * len(places) // count - 1] for number in range(count)]


def twice(subject: Subject) -> None:
    """Deliver every message twice, one time after the other."""
    subject.outside.arm(0, "before")

    def push(delivery: Delivery) -> bool:
        first = subject.push(delivery)
        return subject.push(delivery) and first

    subject.run(push)
    subject.settle()
    subject.done_once()
