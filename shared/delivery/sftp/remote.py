"""A customer's SFTP server: reached, logged in to, and each of its refusals made sense of.

Nothing that it sends is trusted: names and paths that it offers are never used, and every wait and every
answer is bounded, which `session` sees to. What it refuses is told to the customer; a connection
that breaks, or a server that does not answer, is passing.
"""

import asyncio
import contextlib
import posixpath
import re
import socket
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Coroutine, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

import asyncssh

from shared.delivery.sftp import keys
from shared.delivery.sftp.config import PORT, Login, SftpConfig
from shared.delivery.sftp.room import Room
from shared.delivery.sftp.session import BLOCK_BYTES, Session, with_fewer_writes
from shared.errors import CustomerMustAct, Retry
from shared.net import outbound
from shared.net.outbound import Blocked, Failed, Network, Resolver

CONNECT_SECONDS = 15.0
"""How long resolving the name and connecting may take."""

LOGIN_SECONDS = 30.0
"""How long the server may take from the connection until the login and SFTP are through."""

KEEPALIVE_SECONDS = 15.0
MAX_KEEPALIVES = 4
"""After which time without an answer a server is sent a keepalive, and how many of them it may not answer."""

CLOSE_SECONDS = 5.0
"""How long is waited for a file or connection to be closed that nothing depends on any longer."""

CIPHERS = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
)
"""The ciphers that are taken, those that cost least first: asyncssh's own, in another order."""

TEMPORARY = ".waybill-"
"""How the names of our temporary files begin."""

SAID_LONGEST = 200
"""How many characters of what a server says are repeated."""

_PASSING = (
    OSError,
    EOFError,
    ValueError,  # an answer that cannot be read
    asyncssh.DisconnectError,
    asyncssh.ChannelOpenError,
    asyncssh.SFTPNoConnection,
    asyncssh.SFTPConnectionLost,
    asyncssh.SFTPBadMessage,
)
HANDLES = 12
"""How many files are open at once, until the server refuses one, where it does not tell how many may be."""

MAX_HANDLES = 48
"""How many are open at once where it tells."""

CHANNELS = 4
"""How many channels images are written over. Most servers do one thing after the other on each, and wait for
their disk at each file."""

CHANNEL_SECONDS = 5.0
"""How long the server may take to open one more."""

_ABSENT = (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath, asyncssh.SFTPNotADirectory)
_NO_ROOM = (asyncssh.SFTPNoSpaceOnFilesystem, asyncssh.SFTPQuotaExceeded)

_DISK = re.compile(r"space|quota|full|input/output|\bI/O\b", re.I)
"""How a server that speaks version 3, which has no codes for it, says that its disk did not take it."""

T = TypeVar("T")


def reach(
    config: SftpConfig,
    allowed: Sequence[Network],
    seconds: float = CONNECT_SECONDS,
    resolve: Resolver = outbound.system_resolver,
) -> socket.socket:
    """A connection to the server, which may only be where `allowed` or the public internet is.

    CustomerMustAct where it may not be called; Retry where it cannot be reached.
    """
    try:
        return outbound.connect(
            config.host, config.port, allowed=allowed, seconds=seconds, low_ports={PORT}, resolve=resolve
        )
    except Blocked as blocked:
        raise CustomerMustAct(
            str(blocked),
            "Set the export's host and port to a server that Waybill may connect to, and retry what "
            "failed with :retry-failed.",
        ) from blocked
    except Failed as failed:
        raise Retry(str(failed)) from failed


class Greeter(asyncssh.SSHClient):
    """Accepts the host key that the config pins, and no other. `shown` is the key that the server showed."""

    def __init__(self, config: SftpConfig) -> None:
        self.pinned = keys.host_key(config.host_key)
        self.shown: asyncssh.SSHKey | None = None

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Whether this is the pinned key; asyncssh then has the server prove that it holds it."""
        self.shown = key
        return self.accepted

    @property
    def accepted(self) -> bool:
        """Whether the server has shown the pinned key."""
        return self.shown == self.pinned


async def log_in(
    config: SftpConfig, login: Login, sock: socket.socket, greeter: Greeter
) -> asyncssh.SSHClientConnection:
    """Log in over this connection, which is then the answer's, with the password or key and nothing else.

    CustomerMustAct where the host key is another, the login is refused, or there is no way of speaking in
    common; Retry where the server does not answer as SSH asks.
    """
    try:
        private = None if login.private_key is None else [keys.private_key(login.private_key)]
        with _login_explained(config, greeter, "password" if private is None else "private key"):
            async with asyncio.timeout(LOGIN_SECONDS):
                return await _connect(config, login.password, private, sock, greeter)
    except BaseException:
        sock.close()
        raise


async def _connect(
    config: SftpConfig,
    password: str | None,
    private: list[asyncssh.SSHKey] | None,
    sock: socket.socket,
    greeter: Greeter,
) -> asyncssh.SSHClientConnection:
    # It tells every step of every connection, users' names among them, and not as our log does.
    asyncssh.set_log_level("WARNING")
    kind = greeter.pinned.get_algorithm()
    others = [names for other, names in keys.ALGORITHMS.items() if other != kind]
    connection = await asyncssh.connect(
        sock=sock,
        config=None,
        client_factory=lambda: greeter,
        # None is known beforehand: so the greeter is asked about each.
        known_hosts=([], [], []),
        # The pinned kind is asked for first. A server that no longer has it shows another, which is not
        # accepted either, but can be named.
        server_host_key_algs=[name for names in (keys.ALGORITHMS[kind], *others) for name in names],
        x509_trusted_certs=None,
        username=config.username,
        password=password,
        client_keys=private,
        # Many servers ask for the password in the latter way only.
        preferred_auth=["publickey"] if private else ["password", "keyboard-interactive"],
        agent_path=None,
        host_based_auth=False,
        gss_kex=False,
        gss_auth=False,
        login_timeout=LOGIN_SECONDS,
        keepalive_interval=KEEPALIVE_SECONDS,
        keepalive_count_max=MAX_KEEPALIVES,
        encryption_algs=CIPHERS,
    )
    with_fewer_writes(connection)
    return connection


@contextlib.contextmanager
def _login_explained(config: SftpConfig, greeter: Greeter, given: str) -> Iterator[None]:
    """Raise what goes wrong at the login as `log_in` says; `given` is what was given to log in with."""
    host = config.host
    try:
        yield
    except asyncssh.HostKeyNotVerifiable as error:
        shown = "a key that cannot be read" if greeter.shown is None else greeter.shown.get_fingerprint()
        raise CustomerMustAct(
            f"The host key of the SFTP server {host} is not the export's host_key: it is {shown}, not "
            f"{greeter.pinned.get_fingerprint()}. Waybill sent nothing to the server.",
            "Ask the server's operators whether its host key has changed. If it has, set the export's "
            "host_key to the new key and retry the run. If it has not, another server answers in its place.",
        ) from error
    except (asyncssh.PermissionDenied, asyncssh.IllegalUserName) as refused:
        raise CustomerMustAct(
            f"The SFTP server {host} refused the login of {config.username} with the export's {given}.",
            f"Check on the server that {config.username} may log in with a {given}, or correct the export's "
            f"username and {given}. Then retry the run.",
        ) from refused
    except (asyncssh.KeyExchangeFailed, asyncssh.ProtocolNotSupported) as error:
        raise CustomerMustAct(
            f"The SFTP server {host} and Waybill support no common SSH protocol or algorithm{_said(error)}.",
            "If the export's host and port are right, set the server up for SSH 2 with a host key of one of "
            f"the types {', '.join(keys.ALGORITHMS)}, and retry the run. If not, correct them, and retry "
            "what failed with :retry-failed.",
        ) from error
    except Exception as error:
        # Of whatever kind: what asyncssh makes of rubbish is not written down anywhere.
        raise Retry(
            f"the connection to the SFTP server {host} failed before the login{_said(error)}"
        ) from error


class Remote:
    """A server that is logged in to. Paths are as the config's `place` gives them.

    `made` are the directories that were made over it, in order.

    Every method raises CustomerMustAct for what the server refuses, and Retry for what is passing.
    """

    def __init__(
        self, config: SftpConfig, connection: asyncssh.SSHClientConnection, session: Session
    ) -> None:
        self.host = config.host
        self._config = config
        self._connection = connection
        self._sessions = [session]
        self._directories: set[str] = {"", "/"}
        self._making = asyncio.Lock()
        self.made: list[str] = []
        self._handles = Room(min(session.max_handles or HANDLES, MAX_HANDLES))

    @classmethod
    async def over(cls, config: SftpConfig, connection: asyncssh.SSHClientConnection) -> "Remote":
        """SFTP over a connection that is logged in to, and closed where that does not come to be."""
        try:
            async with asyncio.timeout(LOGIN_SECONDS):
                return cls(config, connection, await Session.start(connection))
        except asyncssh.ChannelOpenError as refused:
            broken = connection.is_closed()
            connection.abort()
            if broken or refused.code == asyncssh.OPEN_RESOURCE_SHORTAGE:
                raise Retry(f"the SFTP server {config.host} did not start SFTP{_said(refused)}") from refused
            raise CustomerMustAct(
                f"The SFTP server {config.host} does not allow SFTP for {config.username}{_said(refused)}.",
                f"Allow SFTP for {config.username} on the server, then retry the run.",
            ) from refused
        except (*_PASSING, asyncssh.SFTPError) as error:
            connection.abort()
            raise Retry(f"the SFTP server {config.host} did not start SFTP{_said(error)}") from error
        except BaseException:
            connection.abort()
            raise

    async def widen(self) -> bool:
        """Have CHANNELS channels, or as many of them as the server gives; False where it hung up instead."""
        more = [
            asyncio.create_task(Session.start(self._connection))
            for _ in range(CHANNELS - len(self._sessions))
        ]
        if more:
            await asyncio.wait(more, timeout=CHANNEL_SECONDS)
            for each in more:
                each.cancel()
            for came in await asyncio.gather(*more, return_exceptions=True):
                if isinstance(came, Session):
                    self._sessions.append(came)
        return not self._sessions[0].is_lost

    async def close(self) -> None:
        """Hang up; what goes wrong with that matters to nobody."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(CLOSE_SECONDS):
                self._connection.close()
                await self._connection.wait_closed()

    async def look(self, path: str) -> asyncssh.SFTPAttrs | None:
        """What stands at that name, a link as a link, or None. Where the server refuses to tell, what can be
        opened is there: then neither its kind nor its size is known."""
        try:
            with self.asking(f"to look at {path}", refusals_pass=True):
                return await self._session.lstat(path)
        except _ABSENT:
            return None
        except asyncssh.SFTPError:
            # Some servers say so of every name that is not there.
            try:
                async with self.reading(path):
                    return asyncssh.SFTPAttrs()
            except CustomerMustAct:
                return None

    async def size(self, path: str) -> int | None:
        """The size of the file of that name, in bytes; None where the server does not tell, or tells 0."""
        with contextlib.suppress(asyncssh.SFTPError), self.asking(f"to look at {path}", refusals_pass=True):
            return (await self._session.lstat(path)).size or None
        return None

    async def make_directory(self, path: str) -> None:
        """See that the directory is there, and those above it."""
        if path not in self._directories:
            async with self._making:  # else each of many files would ask for it
                await self._make_directory(path)

    async def _make_directory(self, path: str) -> None:
        if path in self._directories:
            return
        if not await self._is_directory(path):
            await self._make_directory(posixpath.dirname(path))
            with self.asking(f"to make the directory {path}"):
                try:
                    await self._session.mkdir(path)
                    self.made.append(path)
                except asyncssh.SFTPError:
                    # Another made it meanwhile: servers have no common word for that.
                    if not await self._is_directory(path):
                        raise
        self._directories.add(path)

    async def remove_directory(self, path: str) -> None:
        """Remove an empty directory."""
        with self.asking(f"to remove the directory {path}"), contextlib.suppress(*_ABSENT):
            await self._session.rmdir(path)
        self._directories.discard(path)

    def writing(self, path: str) -> AbstractAsyncContextManager["File"]:
        """The file of that name, to be written. It is made where there is none, and never cut off."""
        return self._opened(path, asyncssh.FXF_WRITE | asyncssh.FXF_CREAT, f"to write {path}")

    def reading(self, path: str) -> AbstractAsyncContextManager["File"]:
        """The file of that name, to be read."""
        return self._opened(path, asyncssh.FXF_READ, f"to read {path}")

    async def rename(self, old: str, new: str) -> None:
        """Rename a file of ours; asyncssh.SFTPError where the server refuses, as it must where there is a
        file of the new name.
        https://datatracker.ietf.org/doc/html/draft-ietf-secsh-filexfer-02#section-6.5"""
        with self.asking(f"to rename {old} to {new}", refusals_pass=True):
            await self._session.rename(old, new)

    async def remove(self, path: str) -> None:
        """Remove a file of ours; one that is not there is removed."""
        with self.asking(f"to remove {path}"), contextlib.suppress(*_ABSENT):
            await self._session.remove(path)

    def refusal(self, doing: str, refused: asyncssh.SFTPError) -> CustomerMustAct:
        """What to tell the customer of what the server refuses."""
        user = self._config.username
        if isinstance(refused, asyncssh.SFTPPermissionDenied | asyncssh.SFTPWriteProtect):
            fix = (
                f"Allow {user} to make directories, and to write, read and rename files, in "
                f"{self._config.path or 'the home directory'}"
            )
        elif isinstance(refused, _ABSENT):
            directory = self._config.path or "the home directory"
            fix = f"Make sure that the directory {directory} exists, and that {user} may open it"
        elif isinstance(refused, _NO_ROOM):
            fix = f"Free space on the server, or raise the quota of {user}"
        elif isinstance(refused, asyncssh.SFTPOpUnsupported):
            fix = "Ask the server's operators to allow it"
        else:
            fix = (
                "Look for the reason in the server's log, such as a full disk, a reached quota or a "
                "read-only file system, and fix it"
            )
        return CustomerMustAct(
            f"The SFTP server {self._config.host} refuses {doing}{_said(refused)}.",
            f"{fix}, then retry the run. An unfinished file keeps a name that begins with {TEMPORARY}; the "
            "retry continues it.",
        )

    async def _is_directory(self, path: str) -> bool:
        with self.asking(f"to look at {path}"):
            try:
                found = await self._session.stat(path)
            except (*_ABSENT, asyncssh.SFTPFailure):  # the latter some servers say of what is not there
                return False
        # A server need not say what it is; if it is none, writing into it will tell.
        if found.type in (asyncssh.FILEXFER_TYPE_DIRECTORY, asyncssh.FILEXFER_TYPE_UNKNOWN):
            return True
        raise CustomerMustAct(
            f"{path} on the SFTP server {self._config.host} is not a directory.",
            "Move or delete it, then retry the run. Or change the export's path, and retry what failed with "
            ":retry-failed.",
        )

    @property
    def _session(self) -> Session:
        """The one of the channels that has least to do."""
        return min(self._sessions, key=Session.unanswered)

    @contextlib.asynccontextmanager
    async def _opened(self, path: str, flags: int, doing: str) -> AsyncIterator["File"]:
        file = await self._open(path, flags, doing)
        try:
            try:
                yield file
            except BaseException:
                with contextlib.suppress(Exception):
                    async with asyncio.timeout(CLOSE_SECONDS):
                        await file.close()
                raise
            await file.close()
        finally:
            self._handles.give()

    async def _open(self, path: str, flags: int, doing: str) -> "File":
        """Open a file. A server has no word for too many open files: where it fails while others are open,
        fewer are, and it is tried again once one of them is closed."""
        while True:
            await self._handles.take()
            session = self._session
            try:
                with self.asking(doing, refusals_pass=True):
                    return File(self, session, await session.open(path, flags), doing)
            except asyncssh.SFTPError as refused:
                others = self._handles.taken - 1
                self._handles.most = min(self._handles.most, max(1, others))
                self._handles.give()
                if others == 0 or not isinstance(refused, asyncssh.SFTPFailure):
                    raise self.refusal(doing, refused) from refused
            except BaseException:
                self._handles.give()
                raise

    @contextlib.contextmanager
    def asking(self, doing: str, refusals_pass: bool = False) -> Iterator[None]:
        """Explain what comes of what the server is asked; `doing` is such as `to write x`. With
        `refusals_pass` what the server refuses is raised as asyncssh.SFTPError."""
        try:
            yield
        except _PASSING as error:
            raise Retry(
                f"the SFTP server {self._config.host} did not answer a request {doing}{_said(error)}"
            ) from error
        except asyncssh.SFTPError as refused:
            if refusals_pass:
                raise
            raise self.refusal(doing, refused) from refused


class File:
    """A file of ours on the server, open."""

    def __init__(self, remote: Remote, session: Session, handle: bytes, doing: str) -> None:
        self._remote = remote
        self._session = session
        self._handle = handle
        self._doing = doing
        self._sent: deque[tuple[int, Awaitable[bytes]]] = deque()
        self._open = True

    async def size(self) -> int | None:
        """Its size in bytes; None where the server does not tell of an open file, or tells 0."""
        return await self._size(self._session.fstat(self._handle))

    async def write(self, content: bytes, offset: int, window: int) -> None:
        """Send it, in blocks: when this returns, the server has said that all is written but the last
        `window` bytes of what was sent. The first error of any is raised."""
        whole = memoryview(content)  # to cut it copies nothing
        for start in range(0, len(content), self._session.block_bytes):
            block = whole[start : start + self._session.block_bytes]
            while self._sent and offset + start + len(block) - self._sent[0][0] > window:
                await self._oldest()
            self._sent.append((offset + start, self._session.write(self._handle, block, offset + start)))

    async def finish(self) -> int | None:
        """Wait until the server has written all that was sent, have it on its disk, if it can be told to, and
        close it. Gives its size, as `size` does."""
        while self._sent:
            await self._oldest()
        # A server does what it is asked of one file in this order.
        # https://datatracker.ietf.org/doc/html/draft-ietf-secsh-filexfer-02#section-6.1
        synced = self._session.fsync(self._handle)
        told = self._session.fstat(self._handle)
        closed = self._closing()
        if synced is not None:
            await self._synced(synced)
        size = await self._size(told)
        with self._remote.asking(self._doing):
            await closed
        return size

    async def read(self, size: int, offset: int) -> bytes:
        """At most `size` bytes from there on; less at its end."""
        with self._remote.asking(self._doing):
            return b"".join(
                await _all(
                    self._read_block(min(BLOCK_BYTES, size - start), offset + start)
                    for start in range(0, size, BLOCK_BYTES)
                )
            )

    async def cut(self, size: int) -> None:
        """Leave its first `size` bytes."""
        with self._remote.asking(self._doing):
            await self._session.truncate(self._handle, size)

    async def close(self) -> None:
        """Close it, unless it is. A server may say only now that it could not keep it all."""
        if self._open:
            with self._remote.asking(self._doing):
                await self._closing()

    def _closing(self) -> Awaitable[bytes]:
        self._open = False
        return self._session.close(self._handle)

    async def _oldest(self) -> None:
        _, answer = self._sent.popleft()
        with self._remote.asking(self._doing):
            await answer

    async def _size(self, told: Awaitable[bytes]) -> int | None:
        with contextlib.suppress(asyncssh.SFTPError), self._remote.asking(self._doing, refusals_pass=True):
            return self._session.size_in(await told) or None
        return None

    async def _synced(self, synced: Awaitable[bytes]) -> None:
        """A server that refuses to put a file on its disk has it all the same, unless it names its disk."""
        try:
            with self._remote.asking(self._doing, refusals_pass=True):
                await synced
        except asyncssh.SFTPError as refused:
            if isinstance(refused, _NO_ROOM) or _DISK.search(str(refused)):
                raise self._remote.refusal(self._doing, refused) from refused

    async def _read_block(self, size: int, offset: int) -> bytes:
        content = bytearray()
        # A server may answer less than it is asked for, and must not answer more.
        while len(content) < size:
            more = await self._session.read(self._handle, size - len(content), offset + len(content))
            if not more:
                break
            content += more
        if len(content) > size:
            raise asyncssh.SFTPBadMessage("more bytes than requested")
        return bytes(content)


async def _all(calls: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """What these give, side by side and each waited for; the first error of any."""
    answers = await asyncio.gather(*calls, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return [answer for answer in answers if not isinstance(answer, BaseException)]


def _said(error: BaseException) -> str:
    """What stands in an error, to be put behind a sentence: bounded, since the server may have written it."""
    if isinstance(error, TimeoutError):
        text = "it took too long"
    elif isinstance(error, asyncssh.Error | OSError) and str(error):
        text = "".join(each if each.isprintable() else " " for each in str(error)[:SAID_LONGEST]).strip(" .")
    else:
        text = type(error).__name__
    return f": {text}"
