"""Every call of this process to the outside is counted, and at one of them something happens.

`Killed` is raised just before the call is sent or just after it took effect, and nothing catches it; from
then on the process is dead: every further call raises it, too, until another process takes its place. Or,
instead of dying, an attempt is paused there while something else goes on. tests/kills.py goes through the
calls.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import aiohttp
import asyncssh.sftp
import pytest
import requests.adapters
from grpc import _channel

from shared.delivery.sftp.session import Session
from shared.gcp.calls import Answer, Connections
from shared.net import outbound
from shared.outbox import sendgrid
from tests import in_process

When = Literal["before", "after", "end"]
"""Just before a call, just after it, or at the end of an event: its handler returned, nobody was told."""

WRITES = ("Commit", "BatchWrite", "Publish", "POST ", "PUT ", "PATCH ", "DELETE ")
"""How the calls begin that write to Firestore, Pub/Sub, Storage, or anything else by HTTP."""

READS = ":signBlob"
"""How the calls end that are sent as if they wrote, and change nothing."""

TOKENS = (":generateAccessToken", "/computeMetadata/")
"""What is in the calls that ask for an access token. They are not counted: each is answered the same whenever
it is asked, so who dies or is paused there does so at the call that needs the token; and how many there are
depends on what the process did before."""

SFTP = {
    kind: name.removeprefix("FXP_").lower()
    for name, kind in vars(asyncssh.sftp).items()
    if name.startswith("FXP_")
}
"""What the kinds of requests are called; those of an extension bring their name."""

SFTP_WRITES = {f"sftp {name}" for name in ("open", "write", "setstat", "remove", "mkdir", "rmdir", "rename")}
"""The requests that change something on a server; `open` makes a file. Others that are sent only read."""

T = TypeVar("T")


class Killed(BaseException):
    """The process is gone. No `except Exception` sees it."""


@dataclass(eq=False)
class Call:
    """One call.

    beside    others: they were in flight at the same time, so their order means nothing
    inside    a transaction: it reads in one, whose commit is refused where what was read has changed
    timeless  it is answered the same whenever it is asked: it reads as of a time
    event     the number of the event that it was made in
    """

    name: str
    beside: bool = False
    inside: bool = False
    timeless: bool = False
    event: int = 0

    @property
    def kind(self) -> str:
        """What is the same of it at every pass: not the names in it that are new each time."""
        return self.name if self.name.startswith("sftp") else self.name.partition(" ")[0]

    @property
    def writes(self) -> bool:
        """Whether it changes anything outside."""
        return self.name in SFTP_WRITES or (self.name.startswith(WRITES) and not self.name.endswith(READS))

    @property
    def elsewhere(self) -> bool:
        """Whether it goes neither to Firestore nor to Pub/Sub."""
        return " " in self.name


@dataclass
class Outside:
    """Counts the calls that this process makes, and the events that it is sent; `made` has what each was."""

    made: list[Call] = field(default_factory=list)
    events: int = 0
    at: int = 0
    when: When = "before"
    kind: str = ""
    of_kind: int = 0
    """How many calls of that kind were made."""
    struck: Call | None = None
    """The call at which it happens, once that is made."""
    happens: Callable[[], object] | None = None
    dead: bool = False
    counting: bool = False
    in_flight: list[Call] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    broke: BaseException | None = None
    """What went wrong in what happened meanwhile: whoever was paused may have swallowed it."""

    @property
    def calls(self) -> list[str]:
        """What each call was."""
        return [call.name for call in self.made]

    def arm(
        self, at: int, when: When, happens: Callable[[], object] | None = None, *, kind: str = ""
    ) -> None:
        """At the `at`-th call, or event, from now (from 1) die, or do `happens` once and go on. With `kind`
        only such calls count (`Call.kind`): others may come between them in any order."""
        self.made.clear()
        self.events = self.of_kind = 0
        self.at, self.when, self.happens, self.dead = at, when, happens, False
        self.kind, self.struck = kind, None
        self.broke = None

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Count only what is called in here: the code under test, not the test's own looking."""
        before, self.counting = self.counting, True
        try:
            yield
        finally:
            self.counting = before

    def alive(self, work: Callable[[], T]) -> T | None:
        """Handle an event by a process of its own, in `watching`; None where that was killed, and another
        takes its place."""
        try:
            with self.watching():
                self.events += 1
                mine = self.when == "end" and self.events == self.at
                done = work()
                if mine:
                    self.strike(f"event {self.events}")
                return done
        except Killed:
            self.dead = False
            return None

    def before(self, name: str, request: Any = None) -> Call | None:
        """Called before a call goes out, with its request where it is to Firestore or Pub/Sub; returns it
        where it is counted."""
        if not self.counting:
            return None
        if self.dead:
            raise Killed(f"dead already, at {name}")
        if any(part in name for part in TOKENS):
            return None
        call = Call(name, inside=_reads_in("transaction", request), event=self.events)
        call.timeless = _reads_in("read_time", request)
        with self.lock:
            if self.in_flight:
                for each in (call, *self.in_flight):
                    each.beside = True
            self.in_flight.append(call)
            self.made.append(call)
            counts = self.kind in ("", call.kind)
            self.of_kind += counts
            mine = counts and self.of_kind == self.at
            if mine:
                self.struck = call
        if mine and self.when == "before":
            self.ended(call)
            self.strike(name)
        return call

    def ended(self, call: Call | None) -> None:
        """Called when a call is over, answered or not."""
        with self.lock:
            if call in self.in_flight:
                self.in_flight.remove(call)

    def after(self, call: Call | None) -> None:
        """Called after a call took effect."""
        if call is not None and self.strikes_after(call):
            self.strike(call.name)

    def strikes_after(self, call: Call) -> bool:
        """Whether something happens after this call."""
        return self.when == "after" and self.struck is call

    def strike(self, name: str) -> None:
        if self.happens is None:
            self.dead = True
            raise Killed(f"{self.when} call {self.at}: {name}")
        happens, self.at = self.happens, 0
        self.counting = False
        try:
            with ThreadPoolExecutor(1) as another:  # this one may be in the middle of an event loop
                another.submit(happens).result()
        except BaseException as error:
            self.broke = error
            raise
        finally:
            self.counting = True


class _Answer:
    """The answer to a request that is on its way, also while others are."""

    def __init__(self, counted: Outside, made: Call | None, answer: "asyncio.Future[Any]") -> None:
        self._counted = counted
        self._made = made
        self._answer = answer
        answer.add_done_callback(lambda _: counted.ended(made))

    def __await__(self) -> Generator[Any, None, Any]:
        try:
            return (yield from self._answer)
        finally:  # a refusal is an answer, too: that there is no such file
            self._counted.ended(self._made)
            self._counted.after(self._made)


def _reads_in(what: str, request: Any) -> bool:
    """Whether a request to Firestore reads in a transaction, or as of a time."""
    kind = type(request).__name__
    reads = kind in ("BatchGetDocumentsRequest", "RunQueryRequest", "RunAggregationQueryRequest")
    return reads and what in request


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> Outside:
    """Stands between this process and everything that it calls: HTTP by requests, aiohttp and our own
    clients of analysers and SendGrid, gRPC, and SFTP."""
    counted = Outside()

    def watch(owner: Any, name: str, label: Callable[..., str]) -> None:
        original = getattr(owner, name)

        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            made = counted.before(label(self, *args, **kwargs), args[0] if args else None)
            try:
                answer = original(self, *args, **kwargs)
            finally:
                counted.ended(made)
            counted.after(made)
            return answer

        monkeypatch.setattr(owner, name, call)

    def watch_async(owner: Any, name: str, label: Callable[..., str]) -> None:
        original = getattr(owner, name)

        async def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            made = counted.before(label(self, *args, **kwargs))
            try:
                answer = await original(self, *args, **kwargs)
                if made is not None and counted.strikes_after(made) and not isinstance(answer, Answer):
                    await answer.read()  # only then has it taken effect for certain
            finally:
                counted.ended(made)
            counted.after(made)
            return answer

        monkeypatch.setattr(owner, name, call)

    def watch_sftp() -> None:
        log_in, ask = asyncssh.connect, Session.ask

        async def watched_log_in(**options: Any) -> Any:
            return await _Answer(
                counted, counted.before("sftp login"), asyncio.ensure_future(log_in(**options))
            )

        def watched_ask(self: Session, kind: int | bytes, *fields: bytes, **options: Any) -> Any:
            name = kind.decode() if isinstance(kind, bytes) else SFTP[kind]
            return _Answer(counted, counted.before(f"sftp {name}"), ask(self, kind, *fields, **options))

        monkeypatch.setattr(asyncssh, "connect", watched_log_in)
        monkeypatch.setattr(Session, "ask", watched_ask)

    def rpc(multicallable: Any, *_: Any, **__: Any) -> str:
        method = multicallable._method
        return (method.decode() if isinstance(method, bytes) else str(method)).rpartition("/")[2]

    watch(
        requests.adapters.HTTPAdapter,
        "send",
        lambda _, request, **__: f"{request.method} {request.url.partition('?')[0].rpartition('//')[2]}",
    )
    watch_async(aiohttp.ClientSession, "_request", lambda _, method, url, **__: f"{method} {url}")
    watch_async(Connections, "request", lambda _, method, target, *__: f"{method} {target}")
    watch_sftp()
    for unary in (_channel._UnaryUnaryMultiCallable, in_process.UnaryUnary):
        watch(unary, "__call__", rpc)
        watch(unary, "with_call", rpc)
    for streaming in (_channel._UnaryStreamMultiCallable, in_process.UnaryStream):
        watch(streaming, "__call__", rpc)
    watch(outbound, "call", lambda method, *_, **__: f"{method} to a customer's server")
    watch(sendgrid, "call", lambda _, method, path, *__: f"{method} sendgrid{path}")
    return counted
