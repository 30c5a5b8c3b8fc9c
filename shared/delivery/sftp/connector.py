"""Brings a run's files and images onto the customer's own SFTP server: many calls side by side in one event
loop, behind a synchronous face."""

import asyncio
import itertools
import socket
from collections.abc import Callable, Coroutine, Iterable, Sequence
from types import TracebackType
from typing import Any, TypeVar

from shared.delivery.base import Copy, CopyResult
from shared.delivery.sftp.config import Login, SftpConfig
from shared.delivery.sftp.remote import MAX_HANDLES, Greeter, Remote, log_in, reach
from shared.delivery.sftp.room import Room
from shared.delivery.sftp.writing import RANGE_BYTES, RANGES_HELD, Writing
from shared.errors import GiveUp
from shared.gcp.clients import Cloud
from shared.gcp.many import Many
from shared.gcp.objects import Stored
from shared.net.outbound import Network

IMAGES_IN_FLIGHT = MAX_HANDLES
"""How many images are being copied at once: each waits five times for the server, one after the other."""

BYTES_IN_FLIGHT = 32 * 1024 * 1024
"""How many bytes of images are read from Cloud Storage and not yet acknowledged by the server, all together:
each is in memory twice, the second time on its way."""

T = TypeVar("T")


class Sftp:
    """A customer's SFTP server, as a Connector. Use it as a context manager, outside of any event loop: it
    connects when it is first needed, and anew after anything went wrong.

    `account` is the customer's own: what that may not read of ours does not get there. `allowed` are the
    customer's private networks.

    Beyond what Connector says: where an attempt dies after a file has its name and before that is written
    down, and the customer has taken the file away by then, it is delivered again. Nothing tells.
    """

    def __init__(
        self, cloud: Cloud, account: str, config: SftpConfig, login: Login, allowed: Sequence[Network]
    ) -> None:
        self._cloud = cloud
        self._account = account
        self._config = config
        self._login = login
        self._allowed = allowed
        self._runner = asyncio.Runner()
        self._remote: Remote | None = None

    def __enter__(self) -> "Sftp":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hang_up()
        self._runner.close()

    def deliver(self, staged: Stored, name: str, on_progress: Callable[[], None] = lambda: None) -> None:
        """Deliver a staged object under this name, once. `on_progress` is called after each range, and may
        raise to stop.

        CustomerMustAct where the server refuses or something else stands there; GiveUp where the staged
        object is gone; Retry for what is passing.
        """
        target = self._config.place(name)

        async def do(writing: Writing) -> None:
            try:
                await writing.deliver(staged, target, on_progress)
            except LookupError as gone:
                raise GiveUp(
                    f"The staged file for {name} is gone: staged files are deleted after 30 days.",
                    "Export the run's window again with :backfill.",
                ) from gone

        self._run(do)

    def copy_images(
        self, copies: Iterable[Copy], on_progress: Callable[[CopyResult], None] = lambda _: None
    ) -> CopyResult:
        """Copy images, several at once. `on_progress` is called after each with the result so far, and may
        raise to stop.

        A file of the right name and size counts as the image: reading it back would cost as much as writing
        it. Errors as `deliver`; an image that is gone is counted as missing.
        """
        copies = iter(copies)
        first = list(itertools.islice(copies, IMAGES_IN_FLIGHT))
        many = len(first) == IMAGES_IN_FLIGHT  # else it is not worth more channels
        every = itertools.chain(first, copies)
        return self._run(lambda writing: self._copy_images(writing, every, on_progress), many)

    async def _copy_images(
        self, writing: Writing, copies: Iterable[Copy], on_progress: Callable[[CopyResult], None]
    ) -> CopyResult:
        result = CopyResult()
        waiting = iter(copies)
        room = Room(BYTES_IN_FLIGHT)

        async def work() -> None:
            for copy in waiting:  # of one iterator: each worker takes the next
                held = min(copy.size, RANGES_HELD * RANGE_BYTES)
                await room.take(held)
                try:
                    await self._copy(writing, copy, result)
                finally:
                    room.give(held)
                on_progress(result)

        workers = [asyncio.create_task(work()) for _ in range(IMAGES_IN_FLIGHT)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        return result

    async def _copy(self, writing: Writing, copy: Copy, result: CopyResult) -> None:
        bucket = self._cloud.settings.images_bucket
        image = Stored(bucket, copy.source_name, copy.generation, copy.size, copy.crc32c)
        try:
            came = await writing.copy(image, self._config.place(copy.name))
        except LookupError:
            result.missing.append(copy)
            return
        if came == "conflict":
            result.conflicts.append(copy)
        elif came == "present":
            result.present += 1
        else:
            result.copied += 1

    def _run(self, do: Callable[[Writing], Coroutine[Any, Any, T]], many: bool = False) -> T:
        try:
            remote = self._remote or self._connect()
            if many and not self._runner.run(remote.widen()):
                # Some servers hang up on whoever asks for a second channel.
                self._hang_up()
                remote = self._connect()
            return self._runner.run(self._with_objects(remote, do))
        except BaseException:
            # Whatever went wrong, the next call begins with a connection of its own.
            self._hang_up()
            raise

    async def _with_objects(self, remote: Remote, do: Callable[[Writing], Coroutine[Any, Any, T]]) -> T:
        objects = self._cloud.as_customer(self._account)
        async with Many(objects, self._cloud.settings.storage_url) as many:
            return await do(Writing(remote, many))

    def _connect(self) -> Remote:
        # Resolving and connecting can block: they are done outside of the loop.
        sock = reach(self._config, self._allowed)
        self._remote = self._runner.run(_logged_in(self._config, self._login, sock))
        return self._remote

    def _hang_up(self) -> None:
        remote, self._remote = self._remote, None
        if remote is not None:
            self._runner.run(remote.close())


async def _logged_in(config: SftpConfig, login: Login, sock: socket.socket) -> Remote:
    return await Remote.over(config, await log_in(config, login, sock, Greeter(config)))
