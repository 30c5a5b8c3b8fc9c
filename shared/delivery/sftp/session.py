"""The requests of SFTP, version 3, over one channel of a connection. Many are in flight, and each is answered
by its number, in whatever order the server likes.

asyncssh has an SFTP client, too, which waits for each answer in a task and writes each request by itself: an
image of 50 KB cost it 5 ms of CPU, and costs 0.4 here. The rest of SSH is asyncssh's.
https://datatracker.ietf.org/doc/html/draft-ietf-secsh-filexfer-02
"""

import asyncio
import struct
from collections.abc import Callable
from dataclasses import dataclass

import asyncssh
from asyncssh.constants import MSG_CHANNEL_DATA, MSG_IGNORE
from asyncssh.packet import PacketDecodeError, SSHPacket

VERSION = 3
"""Of SFTP: the one that every server speaks."""

BLOCK_BYTES = 32 * 1024
"""What one request reads, and writes where a server does not say that it takes more. Every server takes it.
https://datatracker.ietf.org/doc/html/draft-ietf-secsh-filexfer-02#section-3"""

MAX_BLOCK_BYTES = 255 * 1024
"""What one request writes at most: as much as OpenSSH's server takes.
https://github.com/openssh/openssh-portable/blob/master/PROTOCOL, limits@openssh.com"""

MIN_BLOCK_BYTES = 4 * 1024
"""A server that says that it takes less is not believed: a range would be too many requests to hold."""

MAX_ANSWER_BYTES = 256 * 1024
"""How long an answer may be: a block that is read is the longest that is asked for."""

FLUSH_BYTES = 128 * 1024
"""How much is collected before it is sent, unless there is nothing else to do: so requests share packets of
SSH, which take 32 KiB each."""

WRITE_BYTES = 128 * 1024
"""How much is written to the socket at once, and one packet more."""

CALL_SECONDS = 60.0
"""For how long the server may be silent while a small thing is to be answered, such as looking at a name."""

RANGE_SECONDS = 240.0
"""The same while it writes or reads a block, or puts a file on its disk."""

_INIT, _VERSION = 1, 2
_OPEN, _CLOSE, _READ, _WRITE, _LSTAT, _FSTAT, _FSETSTAT = 3, 4, 5, 6, 7, 8, 10
_REMOVE, _MKDIR, _RMDIR, _STAT, _RENAME = 13, 14, 15, 17, 18
_STATUS, _HANDLE, _DATA, _ATTRS = 101, 102, 103, 105
_EXTENDED, _EXTENDED_REPLY = 200, 201
_NO_ATTRS = b"\0\0\0\0"
_SIZE_ATTR = 1
_FSYNC = b"fsync@openssh.com"
_LIMITS = b"limits@openssh.com"

_HEAD = struct.Struct(">IBI")
_WHERE = struct.Struct(">QI")
_OK = b"\0\0\0\0"


@dataclass(slots=True)
class _Waiting:
    """A request without an answer: what is wanted, since when, and how long the server may be silent."""

    answer: "asyncio.Future[bytes]"
    wanted: int
    asked: float
    seconds: float


class Session(asyncssh.SSHClientSession[bytes]):
    """SFTP over one channel. Paths are as the server sees them.

    Each method raises asyncssh.SFTPError for what the server refuses, and what the connection broke of, or
    TimeoutError where the server is silent for too long: then nothing more can be asked.

    block_bytes  what one request writes at most
    max_handles  how many files may be open, where the server tells; else 0
    """

    def __init__(self) -> None:
        self.block_bytes = BLOCK_BYTES
        self.max_handles = 0
        self._loop = asyncio.get_running_loop()
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None
        self._extensions: dict[bytes, bytes] = {}
        self._began: asyncio.Future[bytes] = self._loop.create_future()
        self._received = bytearray()
        self._waiting: dict[int, _Waiting] = {}
        self._last = 0
        self._heard = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self._to_send: list[bytes | memoryview] = []
        self._bytes_to_send = 0
        self._lost: Exception | None = None

    @classmethod
    async def start(cls, connection: asyncssh.SSHClientConnection) -> "Session":
        """SFTP over a channel of its own. asyncssh.ChannelOpenError where the server gives none."""
        session = cls()
        await connection.create_session(lambda: session, subsystem="sftp", encoding=None)
        await session._begin()
        return session

    def unanswered(self) -> int:
        """How many requests are in flight."""
        return len(self._waiting)

    @property
    def is_lost(self) -> bool:
        """Whether nothing can be asked any more."""
        return self._lost is not None

    # --- requests

    def ask(
        self,
        kind: int | bytes,
        *fields: bytes | memoryview,
        wanted: int = _STATUS,
        seconds: float | None = None,
    ) -> "asyncio.Future[bytes]":
        """Send a request, an extension's by its name; the answer is what stands behind its number.

        `seconds` is CALL_SECONDS unless it is said.
        """
        answer: asyncio.Future[bytes] = self._loop.create_future()
        if self._lost is not None:
            _fail(answer, self._lost)
            return answer
        code = kind if isinstance(kind, int) else _EXTENDED
        if isinstance(kind, bytes):
            fields = (_string(kind), *fields)
        self._last = number = (self._last + 1) & 0xFFFFFFFF
        now = self._loop.time()
        self._waiting[number] = _Waiting(answer, wanted, now, seconds or CALL_SECONDS)
        if self._watch is None:
            self._watch = self._loop.call_at(now + (seconds or CALL_SECONDS), self._look_at_the_time)
        size = sum(map(len, fields))
        self._send((_HEAD.pack(5 + size, code, number), *fields), size)
        return answer

    async def lstat(self, path: str) -> asyncssh.SFTPAttrs:
        """What stands there, a link as a link."""
        return _attrs(await self.ask(_LSTAT, _path(path), wanted=_ATTRS))

    async def stat(self, path: str) -> asyncssh.SFTPAttrs:
        """What stands there, or where a link leads."""
        return _attrs(await self.ask(_STAT, _path(path), wanted=_ATTRS))

    async def mkdir(self, path: str) -> None:
        """Make a directory."""
        await self.ask(_MKDIR, _path(path), _NO_ATTRS)

    async def rmdir(self, path: str) -> None:
        """Remove an empty directory."""
        await self.ask(_RMDIR, _path(path))

    async def remove(self, path: str) -> None:
        """Remove a file."""
        await self.ask(_REMOVE, _path(path))

    async def rename(self, old: str, new: str) -> None:
        """Rename a file, where there is none of the new name."""
        await self.ask(_RENAME, _path(old), _path(new))

    async def open(self, path: str, flags: int) -> bytes:
        """Open a file; the answer is its handle."""
        answer = await self.ask(_OPEN, _path(path), _number(flags), _NO_ATTRS, wanted=_HANDLE)
        return _one_string(answer)

    def write(self, handle: bytes, content: bytes | memoryview, offset: int) -> "asyncio.Future[bytes]":
        """Write at most `block_bytes` there; the answer says that they are written."""
        where = _WHERE.pack(offset, len(content))
        return self.ask(_WRITE, _string(handle), where, content, seconds=RANGE_SECONDS)

    async def read(self, handle: bytes, size: int, offset: int) -> bytes:
        """At most BLOCK_BYTES from there on, or fewer; none at the end of the file."""
        asked = _string(handle), _WHERE.pack(offset, size)
        try:
            return _one_string(await self.ask(_READ, *asked, wanted=_DATA, seconds=RANGE_SECONDS))
        except asyncssh.SFTPEOFError:
            return b""

    async def truncate(self, handle: bytes, size: int) -> None:
        """Leave the first `size` bytes of an open file."""
        await self.ask(_FSETSTAT, _string(handle), _number(_SIZE_ATTR), size.to_bytes(8, "big"))

    def fstat(self, handle: bytes) -> "asyncio.Future[bytes]":
        """Ask about an open file; `size_in` reads the answer."""
        return self.ask(_FSTAT, _string(handle), wanted=_ATTRS)

    @staticmethod
    def size_in(answer: bytes) -> int | None:
        """The size that an answer to `fstat` tells of, in bytes, if it does. It stands first.
        https://datatracker.ietf.org/doc/html/draft-ietf-secsh-filexfer-02#section-5"""
        told = len(answer) >= 4 and answer[3] & _SIZE_ATTR
        if len(answer) < (12 if told else 4):
            raise asyncssh.SFTPBadMessage("attributes that are not as long as they say")
        return int.from_bytes(answer[4:12], "big") if told else None

    def fsync(self, handle: bytes) -> "asyncio.Future[bytes] | None":
        """Have an open file put on the server's disk; None where the server cannot be told to."""
        if self._extensions.get(_FSYNC) != b"1":
            return None
        return self.ask(_FSYNC, _string(handle), seconds=RANGE_SECONDS)

    def close(self, handle: bytes) -> "asyncio.Future[bytes]":
        """Close a file."""
        return self.ask(_CLOSE, _string(handle))

    # --- the channel

    def connection_made(self, chan: "asyncssh.SSHClientChannel[bytes]") -> None:
        """The channel is there."""
        self._channel = chan

    def connection_lost(self, exc: Exception | None) -> None:
        """The channel is closed: nothing that is asked will be answered."""
        self._lose(exc or asyncssh.SFTPConnectionLost("Connection closed"))

    def eof_received(self) -> bool:
        """The server says no more: so the channel can be closed."""
        return False

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Take the answers that these bytes end; what comes from the server's stderr is passed over."""
        if datatype is not None:
            return
        self._heard = self._loop.time()
        received = self._received
        received += data
        start = 0
        try:
            while len(received) - start >= 4:
                size = int.from_bytes(received[start : start + 4], "big")
                if not 5 <= size <= MAX_ANSWER_BYTES:
                    raise asyncssh.SFTPBadMessage(f"an answer of {size} bytes")
                if len(received) - start < 4 + size:
                    break
                self._answered(bytes(received[start + 4 : start + 4 + size]))
                start += 4 + size
        except asyncssh.SFTPBadMessage as bad:
            self._lose(bad)
        del received[:start]

    def _answered(self, packet: bytes) -> None:
        kind, number, answer = packet[0], int.from_bytes(packet[1:5], "big"), packet[5:]
        if kind == _VERSION and not self._began.done():
            self._began.set_result(packet[1:])
            return
        waiting = self._waiting.pop(number, None)
        if waiting is None:
            raise asyncssh.SFTPBadMessage("an answer to nothing that was asked")
        if waiting.answer.done():  # whoever asked has gone
            return
        if kind == _STATUS and not answer.startswith(_OK):
            _fail(waiting.answer, _refusal(answer))
        elif kind == waiting.wanted:
            waiting.answer.set_result(answer)
        else:
            _fail(waiting.answer, asyncssh.SFTPBadMessage(f"an answer of the wrong kind, {kind}"))

    async def _begin(self) -> None:
        self._send((_HEAD.pack(5, _INIT, VERSION),), 0)
        packet = SSHPacket(await self._began)
        try:
            if packet.get_uint32() != VERSION:
                raise asyncssh.SFTPBadMessage("another version of SFTP than 3")
            while packet:
                name = packet.get_string()
                self._extensions[name] = packet.get_string()
        except PacketDecodeError as error:
            raise asyncssh.SFTPBadMessage(str(error)) from error
        if self._extensions.get(_LIMITS) == b"1":
            try:
                answer = await self.ask(_LIMITS, wanted=_EXTENDED_REPLY)
                _, _, most, handles = struct.unpack_from(">4Q", answer)
            except (asyncssh.SFTPFailure, asyncssh.SFTPOpUnsupported, struct.error):
                return  # then it has told nothing
            self.block_bytes = min(most if most >= MIN_BLOCK_BYTES else BLOCK_BYTES, MAX_BLOCK_BYTES)
            self.max_handles = handles

    def _send(self, parts: tuple[bytes | memoryview, ...], size: int) -> None:
        """Send that, with all else that is asked before the loop has nothing to do. `size` is what it has
        behind its head."""
        if not self._to_send:
            self._loop.call_soon(self._flush)
        self._to_send += parts
        self._bytes_to_send += _HEAD.size + size
        if self._bytes_to_send >= FLUSH_BYTES:
            self._flush()

    def _flush(self) -> None:
        parts, self._to_send, self._bytes_to_send = self._to_send, [], 0
        if parts and self._channel is not None and self._lost is None:
            try:
                self._channel.write(b"".join(parts))
            except OSError as error:
                self._lose(error)

    def _look_at_the_time(self) -> None:
        """Give up where the server has been silent for too long, and look again when it could have been."""
        self._watch = None
        oldest = next(iter(self._waiting.values()), None)
        if oldest is None:
            return
        until = max(oldest.asked, self._heard) + oldest.seconds
        if until <= self._loop.time():
            self._lose(TimeoutError())
        else:
            self._watch = self._loop.call_at(until, self._look_at_the_time)

    def _lose(self, error: Exception) -> None:
        """All that is asked, now or later, has this for an answer."""
        if self._lost is None:
            self._lost = error
            waiting, self._waiting = self._waiting, {}
            for answer in (self._began, *(each.answer for each in waiting.values())):
                if not answer.done():
                    _fail(answer, error)
        if self._watch is not None:
            self._watch.cancel()
        if self._channel is not None:
            self._channel.close()


def with_fewer_writes(connection: asyncssh.SSHClientConnection) -> None:
    """Have asyncssh write to the socket at once what it sends of channels' data before the loop has nothing
    else to do, up to WRITE_BYTES. By itself it writes each packet, and each write wakes the server.

    And have it leave out the empty packet that it sends before each packet. It is against an attack on
    CBC, which is not offered; with the ciphers that are it only takes time, an eighth of all.
    https://www.rfc-editor.org/rfc/rfc4251#section-9.3.1
    """
    send_packet: Callable[..., None] = connection.send_packet
    write: Callable[[bytearray], None] = connection._send  # type: ignore[assignment]
    loop = asyncio.get_running_loop()
    gathered = bytearray()

    def flush() -> None:
        nonlocal gathered
        content, gathered = gathered, bytearray()
        if content:
            write(content)

    def gather(packet: bytes) -> None:
        nonlocal gathered
        if not gathered:
            loop.call_soon(flush)
        gathered += packet
        if len(gathered) >= WRITE_BYTES:
            flush()

    def send(kind: int, *fields: bytes, **others: object) -> None:
        if kind != MSG_IGNORE:
            send_packet(kind, *fields, **others)
            if kind != MSG_CHANNEL_DATA:
                flush()

    connection._send = gather  # type: ignore[method-assign, assignment]
    connection.send_packet = send  # type: ignore[method-assign, assignment]


def _string(value: bytes) -> bytes:
    return len(value).to_bytes(4, "big") + value


def _number(value: int) -> bytes:
    return value.to_bytes(4, "big")


def _path(path: str) -> bytes:
    return _string(path.encode())


def _one_string(answer: bytes) -> bytes:
    if int.from_bytes(answer[:4], "big") != len(answer) - 4:
        raise asyncssh.SFTPBadMessage("an answer that is not as long as it says")
    return answer[4:]


def _attrs(answer: bytes) -> asyncssh.SFTPAttrs:
    try:
        return asyncssh.SFTPAttrs.decode(SSHPacket(answer), VERSION)
    except PacketDecodeError as error:
        raise asyncssh.SFTPBadMessage(str(error)) from error


def _refusal(answer: bytes) -> asyncssh.SFTPError:
    try:
        refused = asyncssh.SFTPError.construct(SSHPacket(answer), "replace")
    except (PacketDecodeError, asyncssh.SFTPBadMessage) as error:
        return asyncssh.SFTPBadMessage(str(error))
    return refused or asyncssh.SFTPBadMessage("a status that is none")


def _fail(answer: "asyncio.Future[bytes]", error: Exception) -> None:
    answer.set_exception(error)
    # Who asked may have gone, since something else went wrong. Then nobody reads it, and asyncio tells.
    answer.exception()
