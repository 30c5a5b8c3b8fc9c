"""So much of something that many share, such as bytes in memory: whoever wants more than there is waits."""

import asyncio
from collections import deque


class Room:
    """`most` of something, which may be lowered, of which so much is `taken`."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, amount: int = 1) -> None:
        """Take so much, once it is there, in turn. More than all of it is given to whoever is alone."""
        if not self._waiting and self._fits(amount):
            self.taken += amount
            return
        mine = asyncio.get_running_loop().create_future()
        self._waiting.append((amount, mine))
        try:
            await mine
        except asyncio.CancelledError:
            if mine.cancelled():
                self._waiting.remove((amount, mine))
            else:
                self.give(amount)  # it was just given
            raise

    def give(self, amount: int = 1) -> None:
        """Give it back."""
        self.taken -= amount
        while self._waiting and self._fits(self._waiting[0][0]):
            amount, first = self._waiting.popleft()
            self.taken += amount
            first.set_result(None)

    def _fits(self, amount: int) -> bool:
        return not self.taken or self.taken + amount <= self.most
