"""A customer's SFTP server: reached, logged in to, and each of its refusals made sense of.

Nothing that it sends is trusted: names and paths that it offers are never used, every wait is bounded, and a
packet of its is at most 4 MiB, which asyncssh sees to. What it refuses is told to the customer; a connection
that breaks, or a server that does not answer, is passing.
"""

import asyncio
import contextlib
import posixpath
import re
import socket
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import asyncssh

from shared.delivery.sftp import keys
from shared.delivery.sftp.config import PORT, Login, SftpConfig
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

CALL_SECONDS = 60.0
"""How long the server may take over one small thing, such as looking at a name or renaming a file."""

RANGE_SECONDS = 240.0
"""How long it may take over one range of a file: 17 KB a second are enough for one of 4 MiB."""

CLOSE_SECONDS = 5.0
"""How long is waited for a file or connection to be closed that nothing depends on any longer."""

BLOCK_BYTES = 32 * 1024
"""What one request writes or reads: every server takes as much.
https://datatracker.ietf.org/doc/html/draft-ietf-secsh-filexfer-02#section-3"""

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
MAX_HANDLES = 12
"""How many files are open at once, until the server refuses one."""

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
    return await asyncssh.connect(
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
    )


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
        self, config: SftpConfig, connection: asyncssh.SSHClientConnection, client: asyncssh.SFTPClient
    ) -> None:
        self.host = config.host
        self._config = config
        self._connection = connection
        self._client = client
        self._directories: set[str] = {"", "/"}
        self.made: list[str] = []
        self._max_handles = MAX_HANDLES
        self._handles = 0
        self._closed = asyncio.Condition()

    @classmethod
    async def over(cls, config: SftpConfig, connection: asyncssh.SSHClientConnection) -> "Remote":
        """SFTP over a connection that is logged in to, and closed where that does not come to be."""
        try:
            async with asyncio.timeout(LOGIN_SECONDS):
                return cls(config, connection, await connection.start_sftp_client())
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
            async with self.asking(f"to look at {path}", refusals_pass=True):
                return await self._client.lstat(path)
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
        with contextlib.suppress(asyncssh.SFTPError):
            async with self.asking(f"to look at {path}", refusals_pass=True):
                return (await self._client.lstat(path)).size or None
        return None

    async def make_directory(self, path: str) -> None:
        """See that the directory is there, and those above it."""
        if path in self._directories:
            return
        if not await self._is_directory(path):
            await self.make_directory(posixpath.dirname(path))
            async with self.asking(f"to make the directory {path}"):
                try:
                    await self._client.mkdir(path)
                    self.made.append(path)
                except asyncssh.SFTPError:
                    # Another made it meanwhile: servers have no common word for that.
                    if not await self._is_directory(path):
                        raise
        self._directories.add(path)

    async def remove_directory(self, path: str) -> None:
        """Remove an empty directory."""
        async with self.asking(f"to remove the directory {path}"):
            with contextlib.suppress(*_ABSENT):
                await self._client.rmdir(path)
        self._directories.discard(path)

    @contextlib.asynccontextmanager
    async def writing(self, path: str) -> AsyncIterator["File"]:
        """The file of that name, to be written. It is made where there is none, and never cut off."""
        async with self._opened(path, asyncssh.FXF_WRITE | asyncssh.FXF_CREAT, f"to write {path}") as file:
            yield file

    @contextlib.asynccontextmanager
    async def reading(self, path: str) -> AsyncIterator["File"]:
        """The file of that name, to be read."""
        async with self._opened(path, asyncssh.FXF_READ, f"to read {path}") as file:
            yield file

    async def rename(self, old: str, new: str) -> None:
        """Rename a file of ours; asyncssh.SFTPError where the server refuses, as it must where there is a
        file of the new name.
        https://datatracker.ietf.org/doc/html/draft-ietf-secsh-filexfer-02#section-6.5"""
        async with self.asking(f"to rename {old} to {new}", refusals_pass=True):
            await self._client.rename(old, new)

    async def remove(self, path: str) -> None:
        """Remove a file of ours; one that is not there is removed."""
        async with self.asking(f"to remove {path}"):
            with contextlib.suppress(*_ABSENT):
                await self._client.remove(path)

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
        async with self.asking(f"to look at {path}"):
            try:
                found = await self._client.stat(path)
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

    @contextlib.asynccontextmanager
    async def _opened(self, path: str, flags: int, doing: str) -> AsyncIterator["File"]:
        file = await self._open(path, flags, doing)
        try:
            try:
                yield File(self, file, doing)
            except BaseException:
                with contextlib.suppress(Exception):
                    async with asyncio.timeout(CLOSE_SECONDS):
                        await file.close()
                raise
            # A server may say only now that it could not keep it all.
            async with self.asking(doing):
                await file.close()
        finally:
            await self._free_handle()

    async def _open(self, path: str, flags: int, doing: str) -> asyncssh.SFTPClientFile:
        """Open a file. A server has no word for too many open files: where it fails while others are open,
        fewer are, and it is tried again once one of them is closed."""
        while True:
            async with self._closed:
                await self._closed.wait_for(lambda: self._handles < self._max_handles)
                self._handles += 1
            try:
                async with self.asking(doing, refusals_pass=True):
                    # Without a size of blocks each call is one request: asyncssh's own parallel ones, when
                    # the connection breaks, leave tasks behind that nobody asks, each of which logs a trace.
                    return await self._client.open(path, flags, encoding=None, block_size=0)
            except asyncssh.SFTPError as refused:
                await self._free_handle()
                if self._handles == 0 or not isinstance(refused, asyncssh.SFTPFailure):
                    raise self.refusal(doing, refused) from refused
                self._max_handles = min(self._max_handles, self._handles)
            except BaseException:
                await self._free_handle()
                raise

    async def _free_handle(self) -> None:
        self._handles -= 1
        async with self._closed:
            self._closed.notify_all()

    @contextlib.asynccontextmanager
    async def asking(
        self, doing: str, seconds: float | None = None, refusals_pass: bool = False
    ) -> AsyncIterator[None]:
        """Bound what the server is asked, and explain what comes of it; `doing` is such as `to write x`.

        `seconds` is CALL_SECONDS unless it is said. With `refusals_pass` what the server refuses is raised as
        asyncssh.SFTPError.
        """
        try:
            async with asyncio.timeout(seconds or CALL_SECONDS):
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

    def __init__(self, remote: Remote, file: asyncssh.SFTPClientFile, doing: str) -> None:
        self._remote = remote
        self._file = file
        self._doing = doing

    async def size(self) -> int | None:
        """Its size in bytes; None where the server does not tell of an open file, or tells 0."""
        with contextlib.suppress(asyncssh.SFTPError):
            async with self._remote.asking(self._doing, refusals_pass=True):
                return (await self._file.stat()).size or None
        return None

    async def write(self, content: bytes, offset: int) -> None:
        """Write there, in blocks side by side: when this returns, the server has said of each that it is
        written."""
        async with self._remote.asking(self._doing, RANGE_SECONDS):
            await _all(
                self._file.write(content[start : start + BLOCK_BYTES], offset + start)
                for start in range(0, len(content), BLOCK_BYTES)
            )

    async def read(self, size: int, offset: int) -> bytes:
        """At most `size` bytes from there on; less at its end."""
        async with self._remote.asking(self._doing, RANGE_SECONDS):
            return b"".join(
                await _all(
                    self._read_block(min(BLOCK_BYTES, size - start), offset + start)
                    for start in range(0, size, BLOCK_BYTES)
                )
            )

    async def _read_block(self, size: int, offset: int) -> bytes:
        content = bytearray()
        # A server may answer less than it is asked for, and must not answer more.
        while len(content) < size:
            more: bytes = await self._file.read(size - len(content), offset + len(content))
            if not more:
                break
            content += more
        if len(content) > size:
            raise asyncssh.SFTPBadMessage("more bytes than requested")
        return bytes(content)

    async def cut(self, size: int) -> None:
        """Leave its first `size` bytes."""
        async with self._remote.asking(self._doing):
            await self._file.truncate(size)

    async def sync(self) -> None:
        """Have the server put it on its disk, if it can be told to: a server that refuses has it all the
        same, unless it names its disk."""
        try:
            async with self._remote.asking(self._doing, RANGE_SECONDS, refusals_pass=True):
                await self._file.fsync()
        except asyncssh.SFTPError as refused:
            if isinstance(refused, _NO_ROOM) or _DISK.search(str(refused)):
                raise self._remote.refusal(self._doing, refused) from refused


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
