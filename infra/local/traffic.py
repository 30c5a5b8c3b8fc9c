"""What every service of the suite tells of each call it gets, and the faults that a test asks of it."""

import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

CALLS_KEPT = 100_000
"""How many calls the journal remembers; the oldest go first."""

READS, WRITES, DELETES = "firestore.reads", "firestore.writes", "firestore.deletes"
"""Documents that Firestore charges for. A query costs a read at least, and one that counts or adds up a read
for each thousand index entries. https://cloud.google.com/firestore/pricing"""

CLASS_A, CLASS_B = "storage.class_a", "storage.class_b"
"""Operations of Cloud Storage that are charged; removing an object is free, and a resumable upload is one.
https://cloud.google.com/storage/pricing#operations-by-class"""

MESSAGES, MESSAGE_BYTES = "pubsub.messages", "pubsub.bytes"
"""Messages that were published, and the bytes that Pub/Sub charges for: of each request, to publish or to
deliver, at least LEAST_BYTES. https://cloud.google.com/pubsub/pricing"""

LEAST_BYTES = 1_000
"""For how many bytes Pub/Sub charges at least, of each request."""

ENTRIES_A_READ = 1_000
"""How many index entries a read pays for, where a query counts or adds up."""

_CLASS_A = {"insert", "list", "rewrite", "compose", "update", "start"}
_CLASS_B = {"get", "get_media"}

Action = Literal["error", "reset_before", "reset_after", "delay", "truncate", "abort"]


@dataclass(frozen=True)
class Call:
    """One call that a service got.

    `kind` is service and method, such as `storage.objects.rewrite` or `firestore.Commit`; `resource` is what
    it was about (`bucket/object`, a document's path, a topic); `principal` is the account it came from, or
    an empty string where the service knows none.
    """

    kind: str
    resource: str = ""
    principal: str = ""


@dataclass(frozen=True)
class Need:
    """A permission that a call was found to need, held or not: on which bucket or account, and who called."""

    permission: str
    resource: str
    principal: str


@dataclass(frozen=True)
class Fault:
    """What goes wrong with a call.

    error         answered with `status` (an HTTP status, or a gRPC code's number) and has no effect; Storage
                  says `message` and `reason` where they are given
    reset_before  the connection breaks and the call has no effect
    reset_after   the call takes effect and the connection breaks before the answer
    delay         answered rightly, after `seconds` of the machine's time (Firestore's Commit: see its README)
    truncate      the answer's body breaks off in the middle
    abort         Firestore ends the call's transaction, as for another's sake; calls in none are passed over
    """

    action: Action
    status: int = 503
    seconds: float = 0.0
    message: str = ""
    reason: str = ""


@dataclass
class _Armed:
    kind: str
    resource: str
    skip: int
    times: int
    fault: Fault


class Traffic:
    """The journal of calls and the faults waiting for theirs. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: deque[Call] = deque(maxlen=CALLS_KEPT)
        self._armed: list[_Armed] = []
        self._needs: set[Need] = set()
        self._billed: Counter[str] = Counter()

    def bill(self, charged: str, number: int) -> None:
        """Write down that Google would charge for so many of something."""
        with self._lock:
            self._billed[charged] += number

    def take_billed(self) -> Mapping[str, int]:
        """What Google would have charged for since this was asked last."""
        with self._lock:
            taken, self._billed = self._billed, Counter()
            return taken

    def need(self, permission: str, resource: str, principal: str) -> None:
        """Write down that a call needs a permission."""
        with self._lock:
            self._needs.add(Need(permission, resource, principal))

    def take_needs(self) -> set[Need]:
        """The permissions that were needed since this was asked last, each once."""
        with self._lock:
            taken, self._needs = self._needs, set()
            return taken

    def enter(
        self, kind: str, resource: str = "", principal: str = "", *, transaction: bool = False
    ) -> Fault | None:
        """Write a call down; return the fault it must suffer, if one was asked for.

        `transaction`: whether it belongs to a transaction that can be aborted.
        """
        with self._lock:
            self._calls.append(Call(kind, resource, principal))
            service, _, method = kind.partition(".")
            if service == "storage" and (charged := _class_of(method.rpartition(".")[2])):
                self._billed[charged] += 1
            for armed in self._armed:
                if armed.fault.action == "abort" and not transaction:
                    continue
                if armed.kind == kind and armed.resource in resource:
                    if armed.skip:
                        armed.skip -= 1
                        continue
                    armed.times -= 1
                    if not armed.times:
                        self._armed.remove(armed)
                    return armed.fault
        return None

    def arm(self, kind: str, fault: Fault, *, nth: int = 1, times: int = 1, resource: str = "") -> None:
        """Let the `nth` call from now of this kind (and the `times` - 1 after it) suffer `fault`.

        `resource` narrows it to calls whose resource contains that text.
        """
        with self._lock:
            self._armed.append(_Armed(kind, resource, nth - 1, times, fault))

    def disarm(self) -> None:
        """Forget every fault still waiting."""
        with self._lock:
            self._armed.clear()

    def calls(self, kind: str = "", resource: str = "") -> list[Call]:
        """The calls kept, oldest first; `kind` and `resource` pick by what they begin with and contain."""
        with self._lock:
            return [c for c in self._calls if c.kind.startswith(kind) and resource in c.resource]

    def reset(self) -> None:
        """Forget every call and every fault."""
        with self._lock:
            self._calls.clear()
            self._needs.clear()
            self._billed.clear()
            self._armed.clear()

    def kept(self) -> Callable[[], None]:
        """What takes it back to the calls and the faults of now."""
        with self._lock:
            calls, armed = list(self._calls), [replace(each) for each in self._armed]
            needs, billed = set(self._needs), Counter(self._billed)

        def restore() -> None:
            with self._lock:
                self._calls.clear()
                self._calls.extend(calls)
                self._armed = [replace(each) for each in armed]
                self._needs, self._billed = set(needs), Counter(billed)

        return restore

    def forget(self) -> None:
        """Empty the journal."""
        with self._lock:
            self._calls.clear()
            self._needs.clear()


def _class_of(method: str) -> str | None:
    """What an operation of Storage is charged as; None for one that is free, or part of another."""
    return CLASS_A if method in _CLASS_A else CLASS_B if method in _CLASS_B else None
