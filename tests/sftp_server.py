"""An SFTP server on 127.0.0.1 for quick tests, in a thread of its own, which can be told to misbehave.

    def test_it(sftp: SftpServer) -> None:
        sftp.arm("write", "drop_before", skip=2)   # the third write: the connection breaks before it is done
        ...
        assert sftp.files() == {"waybill/a.jsonl": b"..."}

Use it with `from shared.net.outbound import Network
from tests.sftp_server import SftpServer, sftp`, or from a conftest.
"""

import asyncio
import errno
import os
import shutil
import stat
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from threading import Thread
from typing import Any, Literal, TypeVar

import asyncssh
import pytest

from shared.delivery.base import Copy, CopyResult
from shared.delivery.sftp.config import Login, SftpConfig
from shared.delivery.sftp.connector import Sftp
from shared.gcp.objects import Stored
from shared.net.outbound import Network
from tests.world import World

USERNAME = "waybill"
PASSWORD = "p4ss wörd"
DELIVERED = "site/work-orders-timeline/dt=2026-11-22/file é #?%.jsonl"
"""What `Delivering` calls a file, below the connector's own path."""

Action = Literal["drop_before", "drop_after", "hang"] | Exception | Callable[[], None]
"""What becomes of a call: the connection breaks before or after it is done, it is never answered, it is
refused with this error (an asyncssh.SFTPError, or an OSError as of a disk), or this is done first."""

T = TypeVar("T")


@dataclass
class Fault:
    operation: str
    action: Action
    skip: int
    times: int


class SftpServer:
    """What a test holds of it. Everything may be changed while it runs.

    operations  connect, auth, login, then those of SFTP: lstat, stat, fstat, mkdir, open, write, read, fsync,
                close, setstat, rename, rmdir, remove
    calls       each call as (operation, path), in order; of an open file the path it was opened with
    written, read  bytes that went in and out
    room        how many bytes all files together may have; None for no end
    home        what realpath answers; None for the truth
    padding     what it sends behind what it was asked to read
    handles     how many files may be open at once; None for no end
    sizes       what it tells of sizes, of `open` files or of `all`: the truth, nothing, or 0
    vague       it answers Failure, not "no such file", of a name that is not there
    keys        public keys that may log in
    interactive  the password is asked for in a dialogue, and taken in no other way
    channels    after how many channels of a connection it hangs up at another; None for no end
    greets      it sends greetings before the login, one after the other, for as long as the client stays
    """

    host = "127.0.0.1"

    def __init__(self, root: Path) -> None:
        self.root = root
        self.username = USERNAME
        self.password: str | None = PASSWORD
        self.keys: list[asyncssh.SSHKey] = []
        self.calls: list[tuple[str, str]] = []
        self.written = 0
        self.read = 0
        self.room: int | None = None
        self.home: str | None = None
        self.padding = b""
        self.handles: int | None = None
        self.most_open = 0
        self.sizes: tuple[Literal["open", "all"], Literal["none", "zero"]] | None = None
        self.vague = False
        self.interactive = False
        self.greets = False
        self.channels: int | None = None
        self._faults: list[Fault] = []
        self.key = asyncssh.generate_private_key("ssh-ed25519")
        self._connections: set[asyncssh.SSHServerConnection] = set()
        self._opened: Counter[object] = Counter()
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._acceptor = self._do(self._listen())
        self.port = self._acceptor.get_port()

    # --- what a test asks for

    @property
    def host_key(self) -> str:
        """Its host key, as a config pins it."""
        return " ".join(self.key.export_public_key().decode().split()[:2])

    @property
    def fingerprint(self) -> str:
        return self.key.get_fingerprint()

    def connector_config(self, **changes: Any) -> dict[str, Any]:
        """The `connector_config` of an export that lands here."""
        return {
            "host": self.host,
            "port": self.port,
            "username": self.username,
            "password": self.password,
            "host_key": self.host_key,
            "path": "waybill",
        } | changes

    def files(self) -> dict[str, bytes]:
        """Every file, by its path below the root."""
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for path in sorted(self.root.rglob("*"))
            if path.is_file()
        }

    def count(self, operation: str) -> int:
        return sum(1 for each, _ in self.calls if each == operation)

    def arm(self, operation: str, action: Action, *, skip: int = 0, times: int = 1) -> None:
        """Have this become of the next calls of an operation, `*` being any, after letting `skip` through."""
        self._faults.append(Fault(operation, action, skip, times))

    def disarm(self) -> None:
        self._faults.clear()

    def login_key(self, kind: str = "ssh-ed25519") -> str:
        """A new private key that may log in, as text."""
        key = asyncssh.generate_private_key(kind)
        self.keys.append(key.convert_to_public())
        return key.export_private_key().decode()

    def change_host_key(self, kind: str = "ssh-ed25519") -> None:
        """Show another host key from the next connection on."""
        self.show(asyncssh.generate_private_key(kind))

    def show(self, key: asyncssh.SSHKey) -> None:
        """Show this host key, such as an earlier one, from the next connection on."""
        self.key = key
        self._do(self._update(server_host_keys=[self.key]))

    def allow_ciphers(self, names: list[str]) -> None:
        """Speak with these alone."""
        self._do(self._update(encryption_algs=names))

    def forbid_sftp(self) -> None:
        """Let users in, but not to SFTP."""
        self._do(self._update(sftp_factory=None))

    def empty(self) -> None:
        """Break every connection, and remove every file and call: for another subject of the same test."""
        self._do(self._break())
        for path in list(self.root.iterdir()):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.calls.clear()

    def kept(self) -> Callable[[], None]:
        """What takes the files back to now."""
        files, folders = self.files(), [path for path in self.root.rglob("*") if path.is_dir()]

        def back() -> None:
            self.empty()
            for folder in folders:
                folder.mkdir(parents=True, exist_ok=True)
            for name, content in files.items():
                (self.root / name).write_bytes(content)

        return back

    def close(self) -> None:
        self._do(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        assert not self._thread.is_alive(), "the SFTP server does not end"
        self._loop.close()

    # --- what the server's own classes ask for

    async def meet(
        self,
        operation: str,
        path: str,
        connection: asyncssh.SSHServerConnection,
        do: Callable[[], T],
    ) -> T:
        """Do it, or what was armed in its place."""
        self.calls.append((operation, path))
        action = self._take(operation)
        if action == "hang":
            await asyncio.Event().wait()
        if action == "drop_before":
            connection.abort()
            raise asyncssh.SFTPConnectionLost("dropped")
        if isinstance(action, Exception):
            raise action
        if callable(action):
            action()
        try:
            return do()
        finally:
            if action == "drop_after":
                connection.abort()

    def early(self, operation: str, connection: asyncssh.SSHServerConnection) -> None:
        """The same before there is SFTP: a connection can only be dropped there."""
        self.calls.append((operation, ""))
        if self._take(operation) is not None:
            connection.abort()

    def used(self) -> int:
        return sum(path.stat().st_size for path in self.root.rglob("*") if path.is_file())

    def opened(self, connection: asyncssh.SSHServerConnection) -> None:
        self._connections.add(connection)

    def closed(self, connection: asyncssh.SSHServerConnection) -> None:
        self._connections.discard(connection)

    def _take(self, operation: str) -> Action | None:
        for fault in self._faults:
            if fault.operation in ("*", operation):
                if fault.skip:
                    fault.skip -= 1
                elif fault.times:
                    fault.times -= 1
                    return fault.action
        return None

    def _do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=30)

    async def _listen(self) -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            self.host,
            0,
            server_factory=lambda: _Server(self),
            sftp_factory=self._channel,
            server_host_keys=[self.key],
            login_timeout=30,
        )

    def _channel(self, channel: "asyncssh.SSHServerChannel[bytes]") -> "_Sftp":
        connection = channel.get_connection()
        self._opened[connection] += 1
        if self.channels is not None and self._opened[connection] > self.channels:
            connection.abort()
        return _Sftp(self, channel)

    async def _update(self, **options: object) -> None:
        self._acceptor.update(**options)

    async def _break(self) -> None:
        for connection in list(self._connections):
            connection.abort()
        while self._connections:
            await asyncio.sleep(0)

    async def _stop(self) -> None:
        self._acceptor.close()
        for connection in list(self._connections):
            connection.abort()
        await self._acceptor.wait_closed()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


class _Server(asyncssh.SSHServer):
    def __init__(self, owner: SftpServer) -> None:
        self._owner = owner
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._owner.opened(conn)
        self._owner.early("connect", conn)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._connection is not None:
            self._owner.closed(self._connection)

    async def begin_auth(self, username: str) -> bool:
        assert self._connection is not None
        while self._owner.greets and not self._connection.is_closed():
            self._connection.send_auth_banner("Welcome! " * 1_000)
            await asyncio.sleep(0)
        self._owner.early("auth", self._connection)
        return True

    def auth_completed(self) -> None:
        assert self._connection is not None
        self._owner.early("login", self._connection)

    def password_auth_supported(self) -> bool:
        return self._owner.password is not None and not self._owner.interactive

    def kbdint_auth_supported(self) -> bool:
        return self._owner.interactive

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> Any:
        return "", "", "en", [("Password: ", False)]

    def validate_kbdint_response(self, username: str, responses: Any) -> bool:
        return self.validate_password(username, *responses)

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == (self._owner.username, self._owner.password)

    def public_key_auth_supported(self) -> bool:
        return bool(self._owner.keys)

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return username == self._owner.username and key in self._owner.keys


class _Sftp(asyncssh.SFTPServer):
    """Files below the owner's root, which a client sees as `/` and as its home."""

    def __init__(self, owner: SftpServer, channel: "asyncssh.SSHServerChannel[bytes]") -> None:
        super().__init__(channel, chroot=os.fsencode(owner.root))
        self._owner = owner
        self._paths: dict[int, str] = {}

    async def _meet(self, operation: str, path: bytes, do: Callable[[], T]) -> T:
        try:
            return await self._owner.meet(operation, path.decode(), self.connection, do)
        except FileNotFoundError as absent:
            if self._owner.vague:
                raise asyncssh.SFTPFailure("Failure") from absent
            raise

    def _told(self, found: Any, of: Literal["open", "all"]) -> Any:
        attrs = asyncssh.SFTPAttrs.from_local(found) if isinstance(found, os.stat_result) else found
        if (
            self._owner.sizes
            and of in (self._owner.sizes[0], "open")
            and not stat.S_ISDIR(attrs.permissions or 0)
        ):
            attrs.size = None if self._owner.sizes[1] == "none" else 0
        return attrs

    async def _meet_open(self, operation: str, file: Any, do: Callable[[], T]) -> T:
        return await self._owner.meet(operation, self._paths.get(id(file), ""), self.connection, do)

    async def realpath(self, path: bytes) -> bytes:
        real = super().realpath(path)
        assert isinstance(real, bytes)
        return real if self._owner.home is None else self._owner.home.encode()

    async def lstat(self, path: bytes) -> Any:
        return self._told(await self._meet("lstat", path, lambda: super(_Sftp, self).lstat(path)), "all")

    async def stat(self, path: bytes) -> Any:
        return self._told(await self._meet("stat", path, lambda: super(_Sftp, self).stat(path)), "all")

    async def mkdir(self, path: bytes, attrs: asyncssh.SFTPAttrs) -> None:
        await self._meet("mkdir", path, lambda: super(_Sftp, self).mkdir(path, attrs))

    async def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> Any:
        def do() -> Any:
            if self._owner.handles is not None and len(self._paths) >= self._owner.handles:
                raise asyncssh.SFTPFailure("Failure")
            file = super(_Sftp, self).open(path, pflags, attrs)
            self._paths[id(file)] = path.decode()
            self._owner.most_open = max(self._owner.most_open, len(self._paths))
            return file

        return await self._meet("open", path, do)

    async def write(self, file_obj: Any, offset: int, data: bytes) -> int:
        def do() -> int:
            room = self._owner.room
            content = data
            if room is not None:
                more = max(0, offset + len(data) - os.fstat(file_obj.fileno()).st_size)
                over = max(0, self._owner.used() + more - room)
                content = data[: len(data) - over]
            super(_Sftp, self).write(file_obj, offset, content)
            self._owner.written += len(content)
            if len(content) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return len(content)

        return await self._meet_open("write", file_obj, do)

    async def read(self, file_obj: Any, offset: int, size: int) -> bytes:
        def do() -> bytes:
            content = super(_Sftp, self).read(file_obj, offset, size)
            assert isinstance(content, bytes)
            self._owner.read += len(content)
            return content + self._owner.padding

        return await self._meet_open("read", file_obj, do)

    async def fstat(self, file_obj: Any) -> Any:
        found = await self._meet_open("fstat", file_obj, lambda: super(_Sftp, self).fstat(file_obj))
        return self._told(found, "open")

    async def fsetstat(self, file_obj: Any, attrs: asyncssh.SFTPAttrs) -> None:
        await self._meet_open("setstat", file_obj, lambda: super(_Sftp, self).fsetstat(file_obj, attrs))

    async def fsync(self, file_obj: Any) -> None:
        await self._meet_open("fsync", file_obj, lambda: super(_Sftp, self).fsync(file_obj))

    async def close(self, file_obj: Any) -> None:
        await self._meet_open("close", file_obj, lambda: super(_Sftp, self).close(file_obj))
        self._paths.pop(id(file_obj), None)

    async def rename(self, oldpath: bytes, newpath: bytes) -> None:
        await self._meet("rename", newpath, lambda: super(_Sftp, self).rename(oldpath, newpath))

    async def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
        raise AssertionError("this rename overwrites, and is not to be used")

    async def rmdir(self, path: bytes) -> None:
        await self._meet("rmdir", path, lambda: super(_Sftp, self).rmdir(path))

    async def remove(self, path: bytes) -> None:
        await self._meet("remove", path, lambda: super(_Sftp, self).remove(path))


class Delivering:
    """A connector to such a server, as the first customer of a small world, and what it is given."""

    def __init__(self, world: World, sftp: SftpServer) -> None:
        self.world = world
        self.cloud = world.cloud
        self.allowed: tuple[Network, ...] = (ip_network("127.0.0.0/8"),)
        self.sftp = sftp

    def connector(self, **changes: object) -> Sftp:
        config = SftpConfig.model_validate(self.sftp.connector_config(**changes))
        login = Login.parse(config.sealed_value() or "")
        return Sftp(self.cloud, self.world.acme.account, config, login, self.allowed)

    def staged(self, content: bytes, name: str = "file.jsonl") -> Stored:
        bucket = self.cloud.settings.staging_bucket
        return self.cloud.objects.create(bucket, f"acme/export/run/{name}", content, "text/plain")

    def deliver(self, staged: Stored, between: Callable[[], None] = lambda: None, **changes: object) -> None:
        with self.connector(**changes) as there:
            there.deliver(staged, DELIVERED, between)

    def images(self, count: int) -> list[Copy]:
        bucket = self.cloud.settings.images_bucket
        copies = []
        for number in range(count):
            content = f"image {number}".encode()
            stored = self.cloud.objects.create(bucket, f"acme/site/{number:03}.jpg", content, "image/jpeg")
            name = f"site/images/{number:03}.jpg"
            copies.append(Copy(stored.name, stored.generation, stored.size, stored.crc32c, name))
        return copies

    def copy(self, copies: list[Copy]) -> CopyResult:
        with self.connector() as there:
            return there.copy_images(copies)


@pytest.fixture
def sftp(tmp_path: Path) -> Iterator[SftpServer]:
    """A server with nothing on it, and one user."""
    root = tmp_path / "sftp"
    root.mkdir()
    server = SftpServer(root)
    yield server
    server.close()
