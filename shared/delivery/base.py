"""What a connector is: it brings a run's files and images to where the customer wants them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from shared.gcp.objects import Stored

TAIL_BYTES = 320
"""More than any name takes that a connector is given; a test holds the names against it."""

Verdict = Literal["passed", "failed", "skipped", "warning"]


@dataclass(frozen=True)
class Step:
    """One step of a connection test: what came of it, and a sentence for the person who runs the other side.

    A step is skipped where one before it makes it pointless; a warning keeps no export from running.
    """

    name: str
    verdict: Verdict
    sentence: str


def passed(steps: Sequence[Step]) -> bool:
    """Whether the export may run."""
    return all(step.verdict != "failed" for step in steps)


@dataclass(frozen=True, slots=True)
class Copy:
    """One image to copy: where it stands in our images bucket, exactly which generation, its size in bytes,
    its crc32c in base64, and what it is to be called, below the connector's own place."""

    source_name: str
    generation: int
    size: int
    crc32c: str
    name: str


@dataclass
class Outcome:
    """What came of some copies. `missing` and `conflicts` hold those whose image is gone, or whose name is
    taken by something else."""

    copied: int = 0
    present: int = 0
    missing: list[Copy] = field(default_factory=list)
    conflicts: list[Copy] = field(default_factory=list)


class Connector(Protocol):
    """Where a run's files go. Names are relative: the connector knows what stands before them.

    Every method raises CustomerMustAct for what the customer can mend, GiveUp for what we must, and Retry for
    what is passing. Each can be done twice, and by two at once, and nothing that stands there is ever
    overwritten or removed.
    """

    def deliver(self, staged: Stored, name: str, between: Callable[[], None]) -> None:
        """Bring a staged object there under this name, once; `between` is called now and then where that
        takes long, and may raise to end it: the next time goes on from there."""
        ...

    def copy_images(self, copies: Iterable[Copy], between: Callable[[Outcome], None]) -> Outcome:
        """Copy these; `between` is called now and then with what came of it so far, and may raise to end
        it."""
        ...
