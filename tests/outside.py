"""The kill harness: every call to the outside is counted, and at the n-th one something happens.

`Killed` is raised just before the call is sent or just after it took effect, and nothing catches it; from
then on the process is dead: every further call raises it, too, until the test takes up again. Or, instead of
dying, an attempt is paused there while something else goes on. It serves whatever is made of events.
"""

import contextlib
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

import aiohttp
import asyncssh.sftp
import pytest
import requests.adapters
from grpc import _channel

from infra.local.pubsub import Delivery

When = Literal["before", "after"]

BOTH = pytest.mark.parametrize("when", ["before", "after"])
"""For a test of a death just before a call is sent, and of one just after it took effect."""

WRITES = (
    *("Commit", "Publish", "POST", "PUT", "PATCH", "DELETE"),
    *(f"sftp {name}" for name in ("mkdir", "open", "write", "setstat", "rename", "posix-rename", "remove")),
)
"""How the calls begin that write to Firestore, Pub/Sub, Storage, HTTP and SFTP."""

END = "end of an event"
"""The moment after the handler and before the acknowledgement; in `calls` only where writes are counted."""

Mode = Literal["redelivered", "swept", "paused"]
"""What happens at a place: a death resumed by redelivery, a death resumed by the sweep alone, or a pause for
longer than any lease."""

MODES = pytest.mark.parametrize("mode", ["redelivered", "swept", "paused"])

SAMPLE = pytest.mark.parametrize(("mode", "of"), [("redelivered", 6), ("swept", 6), ("paused", 40)])
"""For the quick tests: each sixth death and each fortieth pause."""

SFTP = {
    kind: name.removeprefix("FXP_").lower()
    for name, kind in vars(asyncssh.sftp).items()
    if name.startswith("FXP_")
}
"""What the kinds of requests are called; those of an extension bring their name."""

T = TypeVar("T")


class Killed(BaseException):
    """The process is gone. No `except Exception` sees it."""


@dataclass
class Outside:
    """Counts the calls that this process makes; `calls` has what each was."""

    calls: list[str] = field(default_factory=list)
    at: int = 0
    when: When = "before"
    happens: Callable[[], None] | None = None
    dead: bool = False
    counting: bool = False
    writes: bool = False

    def arm(self, at: int, when: When, happens: Callable[[], None] | None = None) -> None:
        """At the `at`-th call from now (from 1) die, or do `happens` once and go on."""
        self.calls.clear()
        self.at, self.when, self.happens, self.dead = at, when, happens, False
        self.writes = False

    def arm_write(self, at: int, happens: Callable[[], None] | None = None) -> None:
        """After the `at`-th call that writes, or end of an event, die, or do `happens` once and go on.

        `calls` has those alone.
        """
        self.arm(at, "after", happens)
        self.writes = True

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Count only what is called in here: the code under test, not the test's own looking."""
        before, self.counting = self.counting, True
        try:
            yield
        finally:
            self.counting = before

    def alive(self, work: Callable[[], T]) -> T | None:
        """Do it as a process of its own, in `watching`; None where that was killed, and another takes its
        place."""
        try:
            with self.watching():
                result = work()
                if self.writes:
                    self.after(END, self.before(END))
                return result
        except Killed:
            self.dead = False
            return None

    def before(self, call: str) -> bool:
        """Called before a call goes out; returns whether this is the one."""
        if not self.counting:
            return False
        if self.dead:
            raise Killed(f"dead already, at {call}")
        if self.writes and not call.startswith((*WRITES, END)):
            return False
        self.calls.append(call)
        mine = len(self.calls) == self.at
        if mine and self.when == "before":
            self.strike(call)
        return mine

    def after(self, call: str, mine: bool) -> None:
        """Called after a call took effect."""
        if mine and self.when == "after":
            self.strike(call)

    def strike(self, call: str) -> None:
        if self.happens is None:
            self.dead = True
            raise Killed(f"{self.when} call {self.at}: {call}")
        happens, self.at = self.happens, 0
        self.counting = False
        try:
            with ThreadPoolExecutor(1) as another:  # this one may be in the middle of an event loop
                another.submit(happens).result()
        finally:
            self.counting = True


class Subject(Protocol):
    """What is killed: something small that makes every kind of call, and ends the same whatever happens."""

    outside: Outside

    def push(self, delivery: Delivery) -> bool:
        """Deliver a message to it, in `watching`; False where it was killed."""

    def run(self, push: Callable[[Delivery], bool]) -> None:
        """Begin it, and deliver all that comes of it by `push`."""

    def settle(self) -> None:
        """Let time go by, with redeliveries and ticks, until it has ended."""

    def done_once(self) -> None:
        """Hold it against what it should have become."""


S = TypeVar("S", bound=Subject)


def die(subject: Subject, at: int, when: When, *, redelivered: bool) -> None:
    """Kill it at that call; let redelivery, or else the sweep alone, take it up."""
    subject.outside.arm(at, when)
    finish_killed(subject, at, redelivered=redelivered)


def finish_killed(subject: Subject, at: int, *, redelivered: bool) -> None:
    """Run what is to be killed at the call `at`; let redelivery, or else the sweep alone, resume it."""

    def push(delivery: Delivery) -> bool:
        # What a killed process was sent may never come again, as after 24 hours: then only the sweep is left.
        return subject.push(delivery) or not redelivered

    subject.run(push)
    assert len(subject.outside.calls) >= at
    subject.outside.arm(0, "before")
    subject.settle()
    subject.done_once()


def sleep(subject: Subject, at: int, when: When) -> None:
    """Have it sleep at that call for longer than any lease, while others do all there is; then go on."""
    subject.outside.arm(at, when, subject.settle)
    subject.run(subject.push)
    subject.outside.arm(0, "before")
    subject.settle()
    subject.done_once()


def shares(of: int) -> pytest.MarkDecorator:
    """Parametrizes a test that visits many places: each of its `of` shares is a test."""
    return pytest.mark.parametrize(("share", "of"), [(share, of) for share in range(1, of + 1)])


def each_place(
    make: Callable[[], S],
    what: str,
    strike: Callable[[S, int], None],
    *,
    share: int,
    of: int,
    writes: bool = False,
) -> None:
    """Call `strike` with a fresh subject for each place of a share: `share`, `share + of`, and so on.

    The places are the calls of a first, undisturbed pass, from 1; with `writes` those that write and the ends
    of events. A failure names the place.
    """
    undisturbed = make()
    if writes:
        undisturbed.outside.arm_write(0)
    else:
        undisturbed.outside.arm(0, "before")
    undisturbed.run(undisturbed.push)
    places = list(undisturbed.outside.calls)
    undisturbed.outside.arm(0, "before")
    assert len(places) >= of, f"{len(places)} places are too few for {of} shares: {places}"
    for at in range(share, len(places) + 1, of):
        subject = make()
        try:
            strike(subject, at)
        except BaseException as error:
            error.add_note(f"{what} at {at} of {len(places)}: {places[at - 1]}")
            raise


def disturb(make: Callable[[], Subject], mode: Mode, share: int, of: int) -> None:
    """Kill or pause a fresh subject at each place of a share; each time it must become what it should, once.

    It dies after calls that write and at the ends of events: a death before a call is the death after the one
    before it, and a call that only reads leaves nothing behind. It is paused before every call, because what
    was read before a pause is out of date after it.
    """

    def strike(subject: Subject, at: int) -> None:
        if mode == "paused":
            sleep(subject, at, "before")
            return
        subject.outside.arm_write(at)
        finish_killed(subject, at, redelivered=mode == "redelivered")

    each_place(make, mode, strike, share=share, of=of, writes=mode != "paused")


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> Outside:
    """Stands between this process and everything that it calls: HTTP by requests, aiohttp and urllib,
    gRPC, and SFTP."""
    counted = Outside()

    def watch(owner: Any, name: str, label: Callable[..., str]) -> None:
        original = getattr(owner, name)

        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            what = label(self, *args, **kwargs)
            mine = counted.before(what)
            answer = original(self, *args, **kwargs)
            counted.after(what, mine)
            return answer

        monkeypatch.setattr(owner, name, call)

    def watch_async(owner: Any, name: str, label: Callable[..., str]) -> None:
        original = getattr(owner, name)

        async def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            what = label(self, *args, **kwargs)
            mine = counted.before(what)
            answer = await original(self, *args, **kwargs)
            if mine and counted.when == "after":
                await answer.read()  # only then has it taken effect for certain
            counted.after(what, mine)
            return answer

        monkeypatch.setattr(owner, name, call)

    def watch_sftp(owner: Any, name: str, label: Callable[..., str]) -> None:
        original = getattr(owner, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            what = label(*args, **kwargs)
            mine = counted.before(what)
            try:
                return await original(*args, **kwargs)
            finally:  # a refusal is an answer, too: that there is no such file
                counted.after(what, mine)

        monkeypatch.setattr(owner, name, call)

    def rpc(multicallable: Any, *_: Any, **__: Any) -> str:
        method = multicallable._method
        return (method.decode() if isinstance(method, bytes) else str(method)).rpartition("/")[2]

    watch(
        requests.adapters.HTTPAdapter,
        "send",
        lambda _, request, **__: f"{request.method} {request.url.partition('?')[0].rpartition('//')[2]}",
    )
    watch(
        urllib.request.OpenerDirector,
        "open",
        lambda _, request, *__, **___: f"{request.get_method()} {request.full_url.rpartition('//')[2]}",
    )
    watch_async(aiohttp.ClientSession, "_request", lambda _, method, url, **__: f"{method} {url}")
    watch_sftp(asyncssh, "connect", lambda **_: "sftp login")
    watch_sftp(
        asyncssh.sftp.SFTPClientHandler,
        "_make_request",
        lambda _, kind, *__: f"sftp {SFTP.get(kind) or kind.decode()}",
    )
    watch(_channel._UnaryUnaryMultiCallable, "__call__", rpc)
    watch(_channel._UnaryUnaryMultiCallable, "with_call", rpc)
    watch(_channel._UnaryStreamMultiCallable, "__call__", rpc)
    return counted
