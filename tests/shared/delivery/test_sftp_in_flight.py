"""Delivery by SFTP with much in flight: bounded, answered in any order, and failing in the middle."""

import asyncio
import random
from typing import Any

import asyncssh.sftp
import pytest
from asyncssh.constants import MSG_CHANNEL_DATA, MSG_DISCONNECT, MSG_IGNORE

from shared.delivery.base import Copy, CopyResult
from shared.delivery.sftp import connector, remote, session, writing
from shared.delivery.sftp.config import SftpConfig
from shared.delivery.sftp.room import Room
from shared.delivery.sftp.session import Session
from shared.errors import CustomerMustAct, Retry
from shared.gcp.objects import Stored
from tests.sftp_server import DELIVERED, Delivering, SftpServer, sftp
from tests.world import World

__all__ = ["sftp"]

PLACE = f"waybill/{DELIVERED}"
BLOCK = 4_096
RANGE = 3 * BLOCK + 100
"""Small, so that a small file has many blocks, and ranges that do not end where blocks do."""


@pytest.fixture
def delivering(world: World, sftp: SftpServer) -> Delivering:
    return Delivering(world, sftp)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "MAX_BLOCK_BYTES", BLOCK)
    monkeypatch.setattr(writing, "RANGE_BYTES", RANGE)


@pytest.fixture
def out_of_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers that come together are taken in another order."""
    order = random.Random(1)
    take = Session._answered
    held: list[tuple[Session, bytes]] = []

    def release() -> None:
        order.shuffle(held)
        while held:
            take(*held.pop())

    def hold(self: Session, packet: bytes) -> None:
        if not held:
            asyncio.get_running_loop().call_soon(release)
        held.append((self, packet))

    monkeypatch.setattr(Session, "_answered", hold)


def content_of(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def images(delivering: Delivering, contents: dict[str, bytes]) -> list[Copy]:
    bucket = delivering.cloud.settings.images_bucket
    made = {
        name: delivering.cloud.objects.create(bucket, f"acme/site/{name}", content, "image/jpeg")
        for name, content in contents.items()
    }
    return [
        Copy(each.name, each.generation, each.size, each.crc32c, f"site/images/{name}")
        for name, each in made.items()
    ]


SIZES = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, RANGE - 1, RANGE, RANGE + 1, 4 * RANGE, 7 * BLOCK + 5]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.usefixtures("small_blocks", "out_of_order")
def test_a_file_arrives_byte_for_byte(delivering: Delivering, size: int) -> None:
    delivering.deliver(delivering.staged(content_of(size)))
    assert delivering.sftp.files() == {PLACE: content_of(size)}
    assert delivering.sftp.written == size


@pytest.mark.usefixtures("small_blocks", "out_of_order")
def test_images_of_all_sizes_arrive_byte_for_byte(delivering: Delivering) -> None:
    contents = {f"{size}.jpg": content_of(size) for size in SIZES}
    assert delivering.copy(images(delivering, contents)) == CopyResult(copied=len(SIZES))
    assert delivering.sftp.files() == {
        f"waybill/site/images/{name}": content for name, content in contents.items()
    }


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("failing", [0, 13])
@pytest.mark.parametrize("why", ["refused", "full disk"])
def test_a_write_that_fails_among_many_costs_no_other_image(
    delivering: Delivering, failing: int, why: str
) -> None:
    """A full disk takes a part of a block, and then fails."""
    contents = {f"{number:02}.jpg": content_of(BLOCK + number) for number in range(20)}
    copies = images(delivering, contents)
    if why == "refused":
        delivering.sftp.arm("write", asyncssh.SFTPFailure("Failure"), skip=failing)
    else:
        delivering.sftp.room = failing * BLOCK + 100
    with pytest.raises(CustomerMustAct, match=r"refuses to write waybill/site/images/\.waybill-"):
        delivering.copy(copies)
    whole = {f"waybill/site/images/{name}": content for name, content in contents.items()}
    for name, content in delivering.sftp.files().items():
        assert "/.waybill-" in name or content == whole[name]
    delivering.sftp.room = None
    outcome = delivering.copy(copies)
    assert (outcome.copied + outcome.present, outcome.conflicts, outcome.missing) == (20, [], [])
    assert delivering.sftp.files() == whole


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("failing", [0, 3, 9])
def test_a_block_that_fails_among_many_is_written_by_the_next_attempt(
    delivering: Delivering, failing: int
) -> None:
    """The blocks after it may be there already: so there is a hole, and no end to see it by."""
    content = content_of(4 * RANGE)
    staged = delivering.staged(content)
    delivering.sftp.arm("write", asyncssh.SFTPFailure("Failure"), skip=failing)
    with pytest.raises(CustomerMustAct, match=r"refuses to write waybill/site/.*: Failure"):
        delivering.deliver(staged)
    assert PLACE not in delivering.sftp.files()
    delivering.deliver(staged)
    assert delivering.sftp.files() == {PLACE: content}


@pytest.mark.usefixtures("small_blocks", "out_of_order")
def test_of_a_file_a_range_is_in_flight_at_most(
    delivering: Delivering, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted from the first byte that is not acknowledged: what lies before it is never a hole."""
    spans: list[int] = []
    sent: dict[int, asyncio.Future[bytes]] = {}
    write = Session.write

    def counted(self: Session, handle: bytes, content: bytes, offset: int) -> "asyncio.Future[bytes]":
        sent[offset] = write(self, handle, content, offset)
        spans.append(offset + len(content) - min(each for each, answer in sent.items() if not answer.done()))
        return sent[offset]

    monkeypatch.setattr(Session, "write", counted)
    delivering.deliver(delivering.staged(content_of(10 * RANGE)))
    assert RANGE - BLOCK <= max(spans) <= RANGE
    assert delivering.sftp.files() == {PLACE: content_of(10 * RANGE)}


def test_ranges_are_read_ahead_and_no_more_than_that(
    delivering: Delivering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "RANGE_BYTES", RANGE)
    ahead: list[int] = []
    reads = 0
    read, write = writing.Writing._read, remote.File.write

    async def counted_read(self: writing.Writing, *asked: object) -> bytes:
        nonlocal reads
        reads += 1
        return await read(self, *asked)  # type: ignore[arg-type]

    async def counted_write(self: remote.File, content: bytes, offset: int, window: int) -> None:
        await write(self, content, offset, window)
        ahead.append(reads - offset // RANGE - 1)

    monkeypatch.setattr(writing.Writing, "_read", counted_read)
    monkeypatch.setattr(remote.File, "write", counted_write)
    delivering.deliver(delivering.staged(content_of(10 * RANGE)))
    assert max(ahead) == writing.READ_AHEAD
    assert reads == 10
    assert delivering.sftp.files() == {PLACE: content_of(10 * RANGE)}


@pytest.mark.parametrize("size", [1_000, 10_000])
def test_the_bytes_of_images_in_flight_are_bounded(
    delivering: Delivering, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """One image that is larger than all that may be in flight goes alone."""
    monkeypatch.setattr(connector, "BYTES_IN_FLIGHT", 4_000)
    held, most = 0, 0
    copy = writing.Writing.copy

    async def counted(self: writing.Writing, image: Stored, target: str) -> str:
        nonlocal held, most
        held += image.size
        most = max(most, held)
        try:
            return await copy(self, image, target)
        finally:
            held -= image.size

    monkeypatch.setattr(writing.Writing, "copy", counted)
    contents = {f"{number:02}.jpg": content_of(size) for number in range(20)}
    assert delivering.copy(images(delivering, contents)).copied == 20
    assert most == max(4_000, size)
    assert set(delivering.sftp.files().values()) == set(contents.values())


@pytest.mark.parametrize(
    ("told", "used"),
    [
        (1, session.BLOCK_BYTES),
        (session.MIN_BLOCK_BYTES, session.MIN_BLOCK_BYTES),
        (1_000_000_000, session.MAX_BLOCK_BYTES),
        (0, session.BLOCK_BYTES),
    ],
)
def test_a_block_is_as_large_as_the_server_says_within_bounds(
    delivering: Delivering, monkeypatch: pytest.MonkeyPatch, told: int, used: int
) -> None:
    limits = asyncssh.sftp.SFTPLimits(told, told, told, 0).encode()
    ask = Session.ask

    def answered(self: Session, kind: int | bytes, *fields: bytes, **how: Any) -> "asyncio.Future[bytes]":
        if kind != b"limits@openssh.com":
            return ask(self, kind, *fields, **how)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        answer.set_result(limits)
        return answer

    largest = 0
    write = Session.write

    def counted(self: Session, handle: bytes, content: bytes, offset: int) -> "asyncio.Future[bytes]":
        nonlocal largest
        largest = max(largest, len(content))
        return write(self, handle, content, offset)

    monkeypatch.setattr(Session, "ask", answered)
    monkeypatch.setattr(Session, "write", counted)
    delivering.deliver(delivering.staged(content_of(300_000)))
    assert largest == used
    assert delivering.sftp.files() == {PLACE: content_of(300_000)}


# --- channels


def many(delivering: Delivering, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Enough images for more channels."""
    monkeypatch.setattr(connector, "IMAGES_IN_FLIGHT", 8)
    return {f"{number:02}.jpg": content_of(100 + number) for number in range(12)}


def landed(contents: dict[str, bytes]) -> dict[str, bytes]:
    return {f"waybill/site/images/{name}": content for name, content in contents.items()}


def test_many_images_go_over_several_channels_of_one_connection(
    delivering: Delivering, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = many(delivering, monkeypatch)
    used: set[Session] = set()
    write = Session.write

    def counted(self: Session, *asked: object) -> "asyncio.Future[bytes]":
        used.add(self)
        return write(self, *asked)  # type: ignore[arg-type]

    monkeypatch.setattr(Session, "write", counted)
    assert delivering.copy(images(delivering, contents)) == CopyResult(copied=12)
    assert delivering.sftp.files() == landed(contents)
    assert len(used) == remote.CHANNELS
    assert delivering.sftp.count("login") == 1
    assert delivering.sftp.count("mkdir") == 3, "each directory is made once"


def test_a_server_that_hangs_up_at_a_second_channel_is_used_with_one(
    delivering: Delivering, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = many(delivering, monkeypatch)
    delivering.sftp.channels = 1
    assert delivering.copy(images(delivering, contents)) == CopyResult(copied=12)
    assert delivering.sftp.files() == landed(contents)
    assert delivering.sftp.count("login") == 2


@pytest.mark.parametrize("answers", [True, False])
def test_a_server_that_gives_one_channel_is_used_with_one(
    delivering: Delivering, monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    """It refuses another, or does not answer."""
    monkeypatch.setattr(remote, "CHANNEL_SECONDS", 0.02)
    contents = many(delivering, monkeypatch)
    start = Session.start
    started = 0

    async def once(connection: asyncssh.SSHClientConnection) -> Session:
        nonlocal started
        started += 1
        if started == 1:
            return await start(connection)
        if not answers:
            await asyncio.Event().wait()
        raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "open failed")

    monkeypatch.setattr(Session, "start", once)
    assert delivering.copy(images(delivering, contents)) == CopyResult(copied=12)
    assert delivering.sftp.files() == landed(contents)
    assert started == remote.CHANNELS
    assert delivering.sftp.count("login") == 1


# --- what is sent


def test_no_packet_is_sent_that_says_nothing(delivering: Delivering, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    send = asyncssh.SSHClientConnection.send_packet

    def counted(self: asyncssh.SSHClientConnection, kind: int, *fields: bytes, **others: object) -> None:
        sent.append(kind)
        send(self, kind, *fields, **others)  # type: ignore[arg-type]

    monkeypatch.setattr(asyncssh.SSHClientConnection, "send_packet", counted)
    delivering.deliver(delivering.staged(b"lines\n"))
    assert sent.count(MSG_CHANNEL_DATA) > 5
    # Those of the login; asyncssh would send one with each packet.
    assert sent.count(MSG_IGNORE) < 5


def test_packets_that_are_sent_together_are_written_together_up_to_a_limit(
    delivering: Delivering, monkeypatch: pytest.MonkeyPatch
) -> None:
    packets: list[int] = []
    written: list[int] = []
    send, write = asyncssh.SSHClientConnection.send_packet, asyncssh.SSHClientConnection._send

    def sent(self: asyncssh.SSHClientConnection, kind: int, *fields: bytes, **others: object) -> None:
        if kind == MSG_CHANNEL_DATA:
            packets.append(sum(map(len, fields)))
        send(self, kind, *fields, **others)  # type: ignore[arg-type]

    def counted(self: asyncssh.SSHClientConnection, content: bytes) -> None:
        written.append(len(content))
        write(self, content)

    monkeypatch.setattr(asyncssh.SSHClientConnection, "send_packet", sent)
    monkeypatch.setattr(asyncssh.SSHClientConnection, "_send", counted)
    content = random.Random(1).randbytes(2_000_000)
    delivering.deliver(delivering.staged(content))
    assert list(delivering.sftp.files().values()) == [content]
    large = [size for size in packets if size > 1_000]
    # Of every four packets of 32 KiB one write is made; a window that is used up ends some early.
    assert len([size for size in written if size > 1_000]) < len(large) / 2
    assert session.WRITE_BYTES < max(written) < session.WRITE_BYTES + 40_000


def test_what_is_no_data_of_a_channel_is_written_at_once() -> None:
    # Such as the end of the connection: nobody may be there to write it later.
    written: list[bytes] = []

    class Connection:
        def send_packet(self, kind: int, *fields: bytes) -> None:
            self._send(b"".join(fields))

        def _send(self, content: bytes) -> None:
            written.append(bytes(content))

    async def send() -> list[bytes]:
        connection: Any = Connection()
        session.with_fewer_writes(connection)
        connection.send_packet(MSG_CHANNEL_DATA, b"one ")
        connection.send_packet(MSG_CHANNEL_DATA, b"two ")
        assert written == []
        connection.send_packet(MSG_DISCONNECT, b"end")
        at_once = [*written]
        connection.send_packet(MSG_CHANNEL_DATA, b"three")
        await asyncio.sleep(0)
        return at_once

    assert asyncio.run(send()) == [b"one two end"]
    assert written == [b"one two end", b"three"]


@pytest.mark.parametrize(
    ("answer", "size"),
    [
        ("00000001 0000000000000102", 258),
        ("0000000f 0000000000000102 00000001 00000002 00000003 00000004 00000005", 258),
        ("00000004 00000124", None),
        ("00000000", None),
    ],
)
def test_the_size_stands_first_in_what_is_told_of_a_file(answer: str, size: int | None) -> None:
    assert Session.size_in(bytes.fromhex(answer)) == size


@pytest.mark.parametrize("answer", ["", "000000", "00000001", "00000001 00000000000001"])
def test_a_size_that_is_cut_off_is_no_size(answer: str) -> None:
    with pytest.raises(asyncssh.SFTPBadMessage):
        Session.size_in(bytes.fromhex(answer))


@pytest.mark.parametrize(
    ("allowed", "taken"),
    [
        (None, "aes128-gcm@openssh.com"),
        (["aes256-ctr", "chacha20-poly1305@openssh.com"], "chacha20-poly1305"),
    ],
)
def test_the_cheapest_cipher_that_the_server_has_is_taken(
    delivering: Delivering, monkeypatch: pytest.MonkeyPatch, allowed: list[str] | None, taken: str
) -> None:
    if allowed:
        delivering.sftp.allow_ciphers(allowed)
    ciphers: list[str] = []
    over = remote.Remote.over

    async def seen(config: SftpConfig, connection: asyncssh.SSHClientConnection) -> remote.Remote:
        ciphers.append(connection.get_extra_info("send_cipher"))
        return await over(config, connection)

    monkeypatch.setattr(remote.Remote, "over", seen)
    delivering.deliver(delivering.staged(b"lines\n"))
    assert [cipher.removesuffix("@openssh.com") for cipher in ciphers] == [taken.removesuffix("@openssh.com")]


# --- answers that are none


@pytest.mark.parametrize(
    "answer",
    [
        b"\0\0\0\4" + b"\x65\0\0\0",  # too short for its number
        b"\x7f\xff\xff\xff",  # two gigabytes
        b"\0\0\0\x09\x65\xff\xff\xff\xff\0\0\0\0",  # to nothing that was asked
    ],
)
def test_an_answer_that_cannot_be_one_ends_the_attempt(
    delivering: Delivering, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    receive = Session.data_received
    asked = 0

    def garbled(self: Session, data: bytes, datatype: int | None) -> None:
        nonlocal asked
        asked += 1
        receive(self, answer if asked == 4 else data, datatype)

    monkeypatch.setattr(Session, "data_received", garbled)
    staged = delivering.staged(b"lines\n")
    with pytest.raises(Retry, match="did not answer a request"):
        delivering.deliver(staged)
    delivering.deliver(staged)
    assert delivering.sftp.files() == {PLACE: b"lines\n"}


# --- room


def test_room_is_given_in_turn_and_never_more_than_there_is() -> None:
    amounts = [4, 6, 3, 30, 1, 9]
    took: list[int] = []
    taken: list[int] = []

    async def share() -> None:
        room = Room(10)

        async def use(amount: int) -> None:
            await room.take(amount)
            took.append(amount)
            taken.append(room.taken)
            await asyncio.sleep(0)
            room.give(amount)

        await asyncio.gather(*(use(amount) for amount in amounts))
        assert room.taken == 0

    asyncio.run(share())
    assert took == amounts
    assert [each for each in taken if each > 10] == [30], "what is larger than all of it goes alone"


def test_who_no_longer_waits_for_room_takes_none() -> None:
    async def share() -> int:
        room = Room(1)
        await room.take()
        waiting, given = asyncio.create_task(room.take()), asyncio.create_task(room.take())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.sleep(0)
        room.give()
        given.cancel()  # at the moment at which it is given
        await asyncio.gather(waiting, given, return_exceptions=True)
        return room.taken

    assert asyncio.run(share()) == 0
