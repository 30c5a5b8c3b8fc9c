"""What every service of the suite tells of each call it gets, and the faults that a test asks of it."""

import threading
from collections import deque
from dataclasses import dataclass
from typing import Literal

CALLS_KEPT = 100_000
"""How many calls the journal remembers; the oldest go first."""

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
            self._armed.clear()

    def forget(self) -> None:
        """Empty the journal."""
        with self._lock:
            self._calls.clear()
            self._needs.clear()
