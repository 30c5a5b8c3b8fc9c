"""How one file gets onto the server whole, whatever dies on the way.

It is written under a temporary name in its own directory, and renamed. The temporary name is made of the
final one and of the object's generation: so an attempt finds what one before it has written, and goes on
behind it.

Blocks of a file go side by side, and one is sent only when everything is acknowledged that lies more than a
range before its end: so only the last range of a file can have holes where an attempt died. Going on one
range before the file's end fills them. No file is ever cut off below its full size, so two attempts at once
do each other no harm: both write the same bytes.

Servers differ in what they tell. A size that a server does not tell of the open file is asked by name once
the file is closed; where that tells nothing either, the answers to each write are believed. So is a file that
cannot be read back, if its size is right.

SFTP has no checksums: of what stands under a final name already, the size and both ends are compared with the
object's. Reading all of it back could take longer than an attempt may, and so no attempt would end. Servers
refuse a rename onto a name that is taken; whoever meets that looks whether it is their own work.
"""

import asyncio
import contextlib
import hashlib
import itertools
import posixpath
from collections import deque
from collections.abc import AsyncGenerator, Callable
from typing import Literal, Protocol

import asyncssh

from shared.delivery.sftp.remote import TEMPORARY, File, Remote
from shared.errors import CustomerMustAct, GiveUp, Retry
from shared.gcp.objects import Stored

RANGE_BYTES = 4 * 1024 * 1024
"""How much of a file is read from Cloud Storage at once, and is on its way to the server at most: more than a
fast and far line holds, so that little is lost with waiting. And how much of each end is read back."""

READ_AHEAD = 2
"""How many ranges are read, side by side, while another is sent."""

RANGES_HELD = READ_AHEAD + 1 + 1
"""How many ranges of a file are in memory at most: those, the one that is sent, and as much that is on its
way."""

READ_BYTES = 512 * 1024
"""How much is read back at once: that takes 16 requests."""

DIGITS = 32
"""How many hex digits a temporary name has: 128 bits, since a customer chooses the path that is hashed."""

_FILES = (asyncssh.FILEXFER_TYPE_REGULAR, asyncssh.FILEXFER_TYPE_UNKNOWN)


def temporary(target: str, generation: int) -> str:
    """The name that an object of this generation has until it is whole: in the same directory, so that the
    rename moves no bytes."""
    digest = hashlib.sha256(f"{target}\n{generation}".encode()).hexdigest()[:DIGITS]
    return posixpath.join(posixpath.dirname(target), f"{TEMPORARY}{digest}")


class Reader(Protocol):
    """What objects are read through, as `Many.read`."""

    async def read(self, stored: Stored, start: int, end: int) -> bytes:
        """The bytes [start, end); LookupError where the object is gone."""
        ...


class Writing:
    """Brings objects, read through `reader`, onto `remote`. Targets are paths on the server.

    Every method raises CustomerMustAct for what the server refuses, Retry for what is passing, and
    LookupError where the object is gone.
    """

    def __init__(self, remote: Remote, reader: Reader) -> None:
        self._remote = remote
        self._reader = reader

    async def deliver(self, staged: Stored, target: str, on_progress: Callable[[], None]) -> None:
        """Have the object at this name, once; `on_progress` is called after each range. CustomerMustAct where
        something else stands there."""
        if not await self._is_there(staged, target, on_progress):
            path = await self._write(staged, target, on_progress)
            # Not every server refuses to rename onto a file, and writing took its time: look again.
            if not await self._is_there(staged, target, on_progress):
                await self._rename(path, staged, target, on_progress)

    async def copy(self, image: Stored, target: str) -> Literal["copied", "present", "conflict"]:
        """Have the image at this name; a file of the same size is taken for it. Where the server tells no
        size, its content decides."""
        found = await self._remote.look(target)
        if found is None:
            path = await self._write(image, target, lambda: None)
            try:
                await self._remote.rename(path, target)
                return "copied"
            except asyncssh.SFTPError as refused:
                found = await self._remote.look(target)
                if found is None:
                    raise self._not_renamed(target, refused) from refused
            await self._tidy(image, target)
        if found.type in _FILES and (
            found.size == image.size
            or (not found.size and await self._same_ends(image, target, None, lambda: None))
        ):
            return "present"
        return "conflict"

    async def _is_there(self, staged: Stored, target: str, on_progress: Callable[[], None]) -> bool:
        """Whether the very object stands there; CustomerMustAct where something else does."""
        found = await self._remote.look(target)
        if found is None:
            return False
        if (
            found.type not in _FILES
            or (found.size and found.size != staged.size)
            or not await self._same_ends(staged, target, found.size, on_progress)
        ):
            raise CustomerMustAct(
                f"There is already another file at {target} on the SFTP server {self._remote.host}. Waybill "
                "did not change it.",
                "Move or delete that file, then retry the run.",
            )
        await self._tidy(staged, target)
        return True

    async def _same_ends(
        self, staged: Stored, target: str, size: int | None, on_progress: Callable[[], None]
    ) -> bool:
        """Whether the first and the last RANGE_BYTES there are the object's, and nothing comes behind; of up
        to two, that is all. `size` is what the server tells of it. Of the right size it is the object's also
        where the server lets nobody read."""
        try:
            async with self._remote.reading(target) as file:
                for first in sorted({0, max(RANGE_BYTES, staged.size - RANGE_BYTES)}):
                    ours = await self._read(staged, first)
                    for start in range(0, len(ours), READ_BYTES):
                        piece = ours[start : start + READ_BYTES]
                        if await file.read(len(piece), first + start) != piece:
                            return False
                        on_progress()
                return bool(size) or not await file.read(1, staged.size)
        except CustomerMustAct:
            if size != staged.size:
                raise
            return True

    async def _write(self, source: Stored, target: str, on_progress: Callable[[], None]) -> str:
        """Have the whole object under its temporary name, which is the answer."""
        # Before anything is made there: what is gone from our bucket leaves nothing behind.
        first = await self._read(source, 0)
        await self._remote.make_directory(posixpath.dirname(target))
        path = temporary(target, source.generation)
        async with self._remote.writing(path) as file:
            if source.size <= RANGE_BYTES:
                await file.write(first, 0, RANGE_BYTES)
            else:
                start = await self._start(source, file, path)
                await self._write_ranges(source, file, start, first, on_progress)
            size = await file.finish()
        if source.size:
            on_progress()
        if size is not None and size > source.size:
            size = await self._cut(path, source.size)
        if size != source.size:
            # Of an open file servers may tell nothing, or what it was before.
            size = await self._remote.size(path)
        if size is None or size == source.size:
            return path
        if size > source.size:  # somebody else's, and it cannot be cut: written anew it is right
            await self._remote.remove(path)
        raise Retry(
            f"the SFTP server {self._remote.host} has {size} bytes of {target}, but Waybill wrote "
            f"{source.size}"
        )

    async def _write_ranges(
        self, source: Stored, file: File, start: int, first: bytes, on_progress: Callable[[], None]
    ) -> None:
        """Send the object from there on, range by range; `first` is its first. `on_progress` is called
        when each but the last is acknowledged."""
        began = start
        async with contextlib.aclosing(self._ranges(source, start, first)) as ranges:
            async for content in ranges:
                await file.write(content, start, RANGE_BYTES)
                if start > began:  # now the range before is acknowledged
                    on_progress()
                start += len(content)

    async def _ranges(self, source: Stored, start: int, first: bytes) -> AsyncGenerator[bytes, None]:
        """The ranges of the object from there on: READ_AHEAD are read before they are asked for."""
        ahead: deque[asyncio.Future[bytes]] = deque()
        if start == 0:
            ahead.append(asyncio.get_running_loop().create_future())
            ahead[0].set_result(first)
            start = len(first)
        starts = iter(range(start, source.size, RANGE_BYTES))
        try:
            while True:
                for each in itertools.islice(starts, READ_AHEAD + 1 - len(ahead)):
                    ahead.append(asyncio.create_task(self._read(source, each)))
                if not ahead:
                    return
                yield await ahead.popleft()
        finally:
            for task in ahead:
                task.cancel()
            await asyncio.gather(*ahead, return_exceptions=True)

    async def _cut(self, path: str, size: int) -> int | None:
        """Leave the first `size` bytes of the temporary file, if the server lets us. Gives its size, where
        the server tells."""
        async with self._remote.writing(path) as file:
            with contextlib.suppress(CustomerMustAct):
                await file.cut(size)
            return await file.finish()

    async def _start(self, source: Stored, file: File, path: str) -> int:
        """Where an attempt goes on: one range before the end of what is there. What is longer than it can be
        is written anew, over what is there."""
        there = await file.size() or await self._remote.size(path) or 0
        return 0 if there > source.size else max(0, there - RANGE_BYTES)

    async def _read(self, source: Stored, start: int) -> bytes:
        end = min(start + RANGE_BYTES, source.size)
        return await self._reader.read(source, start, end) if start < end else b""

    async def _rename(self, path: str, staged: Stored, target: str, on_progress: Callable[[], None]) -> None:
        """Give the whole file its final name, unless another attempt has."""
        try:
            await self._remote.rename(path, target)
        except asyncssh.SFTPError as refused:
            if not await self._is_there(staged, target, on_progress):
                raise self._not_renamed(target, refused) from refused

    def _not_renamed(self, target: str, refused: asyncssh.SFTPError) -> Exception:
        if isinstance(refused, asyncssh.SFTPNoSuchFile):
            # Somebody tidied our file away, or moved a whole directory: writing it again fixes that.
            return Retry(f"the unfinished file of {target} is gone from the SFTP server {self._remote.host}")
        return self._remote.refusal(f"to rename a file to {target}", refused)

    async def _tidy(self, source: Stored, target: str) -> None:
        """Remove what an attempt left under the temporary name; that it cannot be is no harm."""
        with contextlib.suppress(GiveUp, Retry):
            await self._remote.remove(temporary(target, source.generation))
