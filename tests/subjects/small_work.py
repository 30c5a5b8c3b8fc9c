"""One work of the engine that is killed, paused or cancelled: what all of them have in common."""

from typing import Any, ClassVar

from infra.local.pubsub import Delivery
from tests.kills import InWorld
from tests.outside import Outside
from tests.world import World


class SmallWork(InWorld):
    """A work whose messages are delivered as usual until it ends. A process that was killed answers nothing.

    function  what does its pieces
    ended     what its clients are shown of its state once it has ended
    """

    function: ClassVar[str]
    ended: ClassVar[tuple[str, ...]]

    def __init__(self, world: World, outside: Outside) -> None:
        self.world = world
        self.outside = outside
        self._reached = 0

    def shown(self) -> dict[str, Any]:
        """The work as its clients see it; its `status` says how far it is."""
        raise NotImplementedError

    def reached(self, shown: dict[str, Any]) -> int:
        """How much of it is done, as its clients see it."""
        raise NotImplementedError

    def cancel(self) -> None:
        """Cancel it, as its clients do; it may be too late."""
        raise NotImplementedError

    def done_or_cancelled(self) -> None:
        """Check that it was cancelled, or completed where the cancel came too late."""
        raise NotImplementedError

    def push(self, delivery: Delivery) -> bool:
        if delivery.function != self.function:
            return self.world.push(delivery)
        return bool(self.outside.alive(lambda: self.world.push(delivery)))

    def settle(self) -> None:
        """Let time go by until it has ended."""
        self.world.settle_until(self._has_ended, self.shown)

    def _has_ended(self) -> bool:
        shown = self.shown()
        reached = self.reached(shown)
        assert reached >= self._reached, "it never goes back"
        self._reached = reached
        return shown["status"] in self.ended
