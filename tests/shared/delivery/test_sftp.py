"""Delivery by SFTP: each file whole and once, whatever the server does."""

import contextlib
import re
import threading
import tracemalloc
from collections.abc import Callable

import asyncssh
import pytest

from shared.delivery.base import Copy, CopyResult
from shared.delivery.sftp import remote, session, writing
from shared.delivery.sftp.writing import temporary
from shared.errors import CustomerMustAct, GiveUp, Retry
from tests.sftp_server import DELIVERED, PASSWORD, Action, Delivering, SftpServer, sftp
from tests.subjects.sparse_sftp import ALWAYS, DENIED, FAILURE, UNSUPPORTED, no_truncate, sparse
from tests.world import World

__all__ = ["sftp"]

PLACE = f"waybill/{DELIVERED}"
RANGE = 100_000
"""What the tests that need several ranges make a range: four blocks, the last of them short."""


@pytest.fixture
def delivering(world: World, sftp: SftpServer) -> Delivering:
    return Delivering(world, sftp)


@pytest.fixture
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "RANGE_BYTES", RANGE)
    monkeypatch.setattr(writing, "READ_BYTES", RANGE // 2)
    monkeypatch.setattr(session, "MAX_BLOCK_BYTES", session.BLOCK_BYTES)


def content_of(size: int) -> bytes:
    """Bytes in which every block differs from every other."""
    return b"".join(b"%015d\n" % number for number in range(-(-size // 16)))[:size]


@pytest.mark.parametrize("size", [0, 1, RANGE, RANGE + 1, 5 * RANGE - 1])
@pytest.mark.usefixtures("small_ranges")
def test_a_file_lands_whole_under_its_name(delivering: Delivering, size: int) -> None:
    beats = []
    delivering.deliver(delivering.staged(content_of(size)), lambda: beats.append(1))
    assert delivering.sftp.files() == {PLACE: content_of(size)}
    assert delivering.sftp.written == size
    assert len(beats) == -(-size // RANGE)


@pytest.mark.parametrize(
    ("path", "place"),
    [("", ""), ("/", ""), ("/in/from waybill/", "in/from waybill/"), ("in", "in/")],
)
def test_every_form_of_path(delivering: Delivering, path: str, place: str) -> None:
    staged = delivering.staged(b"lines\n")
    for _ in range(2):
        with delivering.connector(path=path) as there:
            there.deliver(staged, DELIVERED)
    assert delivering.sftp.files() == {f"{place}{DELIVERED}": b"lines\n"}
    assert delivering.sftp.written == 6


def test_what_is_there_is_read_back_and_not_written_again(delivering: Delivering) -> None:
    staged = delivering.staged(content_of(3 * RANGE))
    delivering.deliver(staged)
    before = (delivering.sftp.root / PLACE).stat()
    delivering.sftp.written = 0
    delivering.deliver(staged)
    assert (delivering.sftp.written, delivering.sftp.read) == (0, 3 * RANGE)
    after = (delivering.sftp.root / PLACE).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize(
    ("size", "reads"),
    [
        (0, 0),
        (1, 1),
        (RANGE, RANGE),
        (RANGE + 1, RANGE + 1),
        (2 * RANGE, 2 * RANGE),
        (20 * RANGE + 1, 2 * RANGE),
    ],
)
@pytest.mark.usefixtures("small_ranges")
def test_however_large_it_is_its_ends_alone_are_read_back(
    delivering: Delivering, size: int, reads: int
) -> None:
    """So an attempt whose rename was not answered ends with the next, which need not read for minutes."""
    staged = delivering.staged(content_of(size))
    delivering.sftp.arm("rename", "drop_after")
    with pytest.raises(Retry):
        delivering.deliver(staged)
    assert delivering.sftp.files() == {PLACE: content_of(size)}
    beats: list[int] = []
    delivering.sftp.written = delivering.sftp.read = 0
    delivering.deliver(staged, lambda: beats.append(1))
    assert (delivering.sftp.written, delivering.sftp.read) == (0, reads)
    assert len(beats) == -(-reads // (RANGE // 2))


@pytest.mark.parametrize("at", [0, RANGE - 1, 4 * RANGE, 5 * RANGE - 1])
@pytest.mark.usefixtures("small_ranges")
def test_a_file_of_the_same_size_with_another_end_is_not_ours(delivering: Delivering, at: int) -> None:
    theirs = bytearray(content_of(5 * RANGE))
    theirs[at] = ord("x")
    file = delivering.sftp.root / PLACE
    file.parent.mkdir(parents=True)
    file.write_bytes(theirs)
    with pytest.raises(CustomerMustAct, match=r"^There is already another file at"):
        delivering.deliver(delivering.staged(content_of(5 * RANGE)))
    assert delivering.sftp.files() == {PLACE: bytes(theirs)}
    assert delivering.sftp.written == 0


@pytest.mark.parametrize("theirs", [b"their lines", b"LINES\n", b""])
def test_another_file_is_left_as_it_is(delivering: Delivering, theirs: bytes) -> None:
    file = delivering.sftp.root / PLACE
    file.parent.mkdir(parents=True)
    file.write_bytes(theirs)
    with pytest.raises(
        CustomerMustAct, match=r"^There is already another file at waybill/site/.* did not change it\.$"
    ) as error:
        delivering.deliver(delivering.staged(b"lines\n"))
    assert error.value.next_action == "Move or delete that file, then retry the run."
    assert delivering.sftp.files() == {PLACE: theirs}


@pytest.mark.parametrize("kind", ["directory", "dangling link", "link to the same"])
def test_what_is_no_file_is_in_the_way(delivering: Delivering, kind: str) -> None:
    file = delivering.sftp.root / PLACE
    file.parent.mkdir(parents=True)
    if kind == "directory":
        file.mkdir()
    else:
        if kind == "link to the same":
            (delivering.sftp.root / "other").write_bytes(b"lines\n")
        file.symlink_to(delivering.sftp.root / "other")
    with pytest.raises(CustomerMustAct, match=r"^There is already another file at"):
        delivering.deliver(delivering.staged(b"lines\n"))


def test_a_file_where_a_directory_must_be(delivering: Delivering) -> None:
    (delivering.sftp.root / "waybill").write_bytes(b"theirs")
    with pytest.raises(CustomerMustAct, match=r"is not a directory") as error:
        delivering.deliver(delivering.staged(b"lines\n"))
    assert delivering.sftp.files() == {"waybill": b"theirs"}
    assert error.value.next_action == (
        "Move or delete it, then retry the run. Or change the export's path, and retry what failed with "
        ":retry-failed."
    ), "a run that is retried keeps its path"


def test_another_server_is_one_that_a_retry_does_not_go_to(delivering: Delivering) -> None:
    delivering.allowed = ()
    with pytest.raises(CustomerMustAct) as error:
        delivering.deliver(delivering.staged(b"lines\n"))
    assert error.value.next_action.endswith("connect to, and retry what failed with :retry-failed.")
    assert delivering.sftp.calls == []


STAGES = [
    "connect",
    "auth",
    "login",
    "lstat",
    "stat",
    "mkdir",
    "open",
    "fstat",
    "write",
    "fsync",
    "close",
    "rename",
]


@pytest.mark.parametrize("action", ["drop_before", "drop_after"])
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.usefixtures("small_ranges")
def test_a_connection_that_breaks_costs_nothing_but_another_attempt(
    delivering: Delivering, stage: str, action: Action
) -> None:
    staged = delivering.staged(content_of(2 * RANGE + 5))
    delivering.sftp.arm(stage, action)
    with pytest.raises(Retry) as error:
        delivering.deliver(staged)
    assert "127.0.0.1" in str(error.value)
    assert PASSWORD not in str(error.value)
    delivering.deliver(staged)
    assert delivering.sftp.files() == {PLACE: content_of(2 * RANGE + 5)}


@pytest.mark.usefixtures("small_ranges")
def test_a_break_at_any_call_one_after_the_other(delivering: Delivering) -> None:
    """However far each attempt comes, the next goes on, and the end is one whole file."""
    staged = delivering.staged(content_of(3 * RANGE))
    attempts = 0
    # All attempts but the last die at their ninth, tenth, … call of whatever kind.
    for attempt in range(6, 60):
        attempts += 1
        delivering.sftp.disarm()
        delivering.sftp.arm("*", "drop_before", skip=attempt)
        with contextlib.suppress(Retry):
            delivering.deliver(staged)
            break
        assert delivering.sftp.files().get(PLACE) in (None, content_of(3 * RANGE))
    assert attempts > 5
    assert delivering.sftp.files() == {PLACE: content_of(3 * RANGE)}


@pytest.mark.usefixtures("small_ranges")
def test_the_same_connector_goes_on_after_a_break(delivering: Delivering) -> None:
    staged = delivering.staged(content_of(2 * RANGE))
    delivering.sftp.arm("write", "drop_before", skip=5)
    with delivering.connector() as there:
        with pytest.raises(Retry):
            there.deliver(staged, DELIVERED)
        there.deliver(staged, DELIVERED)
        there.deliver(staged, "another")
    assert delivering.sftp.files() == {PLACE: content_of(2 * RANGE), "waybill/another": content_of(2 * RANGE)}
    assert delivering.sftp.count("login") == 2


@pytest.mark.usefixtures("small_ranges")
def test_a_resume_writes_only_what_is_missing_and_one_range(delivering: Delivering) -> None:
    size = 10 * RANGE
    staged = delivering.staged(content_of(size))
    delivering.sftp.arm("write", "drop_before", skip=4 * 7)  # seven whole ranges
    with pytest.raises(Retry):
        delivering.deliver(staged)
    first = delivering.sftp.written
    assert 7 * RANGE <= first < 8 * RANGE
    delivering.sftp.written = 0
    delivering.deliver(staged)
    assert 3 * RANGE <= delivering.sftp.written <= 4 * RANGE
    assert delivering.sftp.files() == {PLACE: content_of(size)}


@pytest.mark.usefixtures("small_ranges")
def test_a_resume_fills_the_holes_of_what_was_in_flight(delivering: Delivering) -> None:
    """Blocks of a range arrive in any order: here the last of the third, and none of those before it."""
    content = content_of(5 * RANGE)
    staged = delivering.staged(content)
    half = delivering.sftp.root / temporary(PLACE, staged.generation)
    half.parent.mkdir(parents=True)
    hole = b"\0" * (RANGE - 1_000)
    half.write_bytes(content[: 2 * RANGE] + hole + content[3 * RANGE - 1_000 : 3 * RANGE])
    delivering.deliver(staged)
    assert delivering.sftp.files() == {PLACE: content}
    assert delivering.sftp.written == 3 * RANGE


@pytest.mark.parametrize("size", [RANGE // 2, 3 * RANGE])
@pytest.mark.usefixtures("small_ranges")
def test_a_temporary_file_that_is_too_long_is_begun_anew(delivering: Delivering, size: int) -> None:
    staged = delivering.staged(content_of(size))
    half = delivering.sftp.root / temporary(PLACE, staged.generation)
    half.parent.mkdir(parents=True)
    half.write_bytes(b"x" * (size + 1))
    delivering.deliver(staged)
    assert delivering.sftp.files() == {PLACE: content_of(size)}
    assert delivering.sftp.written == size


@pytest.mark.usefixtures("small_ranges")
def test_another_generation_does_not_go_on_with_the_bytes_of_the_one_before(delivering: Delivering) -> None:
    first = delivering.staged(b"a" * 3 * RANGE, "first")
    second = delivering.staged(b"b" * 3 * RANGE, "second")
    delivering.sftp.arm("write", "drop_before", skip=6)
    with pytest.raises(Retry):
        delivering.deliver(first)
    delivering.deliver(second)
    assert delivering.sftp.files()[PLACE] == b"b" * 3 * RANGE


def test_a_rename_whose_answer_was_lost_is_seen_to_be_done(delivering: Delivering) -> None:
    staged = delivering.staged(b"lines\n")
    delivering.sftp.arm("rename", "drop_after")
    with pytest.raises(Retry):
        delivering.deliver(staged)
    assert delivering.sftp.files() == {PLACE: b"lines\n"}
    delivering.sftp.written = 0
    delivering.deliver(staged)
    assert (delivering.sftp.files(), delivering.sftp.written) == ({PLACE: b"lines\n"}, 0)


FULL = OSError(28, "No space left on device")
QUOTA = OSError(122, "Disk quota exceeded")
REFUSALS: list[tuple[str, Exception, str, str]] = [
    ("mkdir", DENIED, "to make the directory waybill: no", "^Allow waybill to make"),
    ("mkdir", FAILURE, "to make the directory waybill: Failure", "reason in the server's log"),
    ("mkdir", asyncssh.SFTPNoSuchFile("gone"), "to make the directory waybill: gone", "waybill exists, and"),
    ("open", DENIED, "refuses to write waybill/", "^Allow waybill to make"),
    ("open", UNSUPPORTED, "refuses to write waybill/", "operators to allow it"),
    ("write", FULL, "to write .*: No space left", "such as a full disk"),
    ("write", QUOTA, "to write .*: Disk quota exceeded", "such as a full disk"),
    ("fsync", FULL, "to write .*: No space left", "such as a full disk"),
    ("close", FULL, "to write .*: No space left", "such as a full disk"),
    ("rename", DENIED, "to rename a file to waybill/.*: no", "^Allow waybill to make"),
    ("rename", FAILURE, "to rename a file to waybill/.*: Failure", "reason in the server's log"),
    ("rename", UNSUPPORTED, "to rename a file to waybill/.*: never", "operators to allow it"),
]


@pytest.mark.parametrize(("operation", "refusal", "says", "fix"), REFUSALS)
def test_what_the_server_refuses_is_told_and_gone_on_with_once_mended(
    delivering: Delivering, operation: str, refusal: Exception, says: str, fix: str
) -> None:
    staged = delivering.staged(b"lines\n")
    delivering.sftp.arm(operation, refusal)
    with pytest.raises(CustomerMustAct, match=says) as error:
        delivering.deliver(staged)
    assert str(error.value).startswith("The SFTP server 127.0.0.1 refuses ")
    assert re.search(fix, error.value.next_action), error.value.next_action
    assert PLACE not in delivering.sftp.files()
    delivering.deliver(staged)
    assert delivering.sftp.files() == {PLACE: b"lines\n"}


def test_what_a_server_says_is_repeated_in_part_and_on_one_line(delivering: Delivering) -> None:
    delivering.sftp.arm("mkdir", asyncssh.SFTPFailure("a\r\nSeverity: x\x1b[2J" + "y" * 10_000))
    with pytest.raises(CustomerMustAct) as error:
        delivering.deliver(delivering.staged(b"lines\n"))
    assert len(str(error.value)) < 400
    assert str(error.value).isprintable()


@pytest.mark.usefixtures("small_ranges")
def test_a_disk_that_fills_keeps_what_is_written_for_the_next_attempt(delivering: Delivering) -> None:
    content = content_of(6 * RANGE)
    staged = delivering.staged(content)
    delivering.sftp.room = 4 * RANGE + 100
    with pytest.raises(CustomerMustAct, match="refuses to write") as error:
        delivering.deliver(staged)
    unfinished = "An unfinished file keeps a name that begins with .waybill-; the retry continues it."
    assert unfinished in error.value.next_action
    [half] = delivering.sftp.files()
    assert half == temporary(PLACE, staged.generation)
    delivering.sftp.room = None
    delivering.sftp.written = 0
    delivering.deliver(staged)
    assert delivering.sftp.files() == {PLACE: content}
    assert delivering.sftp.written <= 3 * RANGE


def test_a_name_taken_while_the_file_was_written(delivering: Delivering) -> None:
    """Also where the server would have renamed onto it: the name is looked at before."""
    file = delivering.sftp.root / PLACE

    def taken() -> None:
        file.write_bytes(b"theirs")

    with pytest.raises(CustomerMustAct, match=r"^There is already another file at"):
        delivering.deliver(delivering.staged(b"lines\n"), taken)
    assert delivering.sftp.files()[PLACE] == b"theirs"
    assert delivering.sftp.count("rename") == 0


@pytest.mark.parametrize("theirs", [b"theirs", b"lines\n"])
def test_a_name_taken_at_the_rename_itself(delivering: Delivering, theirs: bytes) -> None:
    """Theirs is in the way; our own, by another attempt, is our work."""
    file = delivering.sftp.root / PLACE

    def taken() -> None:
        file.write_bytes(theirs)

    delivering.sftp.arm("rename", taken)
    if theirs == b"lines\n":
        delivering.deliver(delivering.staged(b"lines\n"))
        assert delivering.sftp.files() == {PLACE: b"lines\n"}
    else:
        with pytest.raises(CustomerMustAct, match=r"^There is already another file at"):
            delivering.deliver(delivering.staged(b"lines\n"))
        assert delivering.sftp.files()[PLACE] == b"theirs"


@pytest.mark.usefixtures("small_ranges")
def test_two_deliveries_of_the_same_file_at_once(delivering: Delivering) -> None:
    content = content_of(12 * RANGE)
    staged = delivering.staged(content)
    barrier = threading.Barrier(3, timeout=30)
    failures: list[BaseException] = []

    def attempt() -> None:
        begun = False

        def between() -> None:
            nonlocal begun
            if not begun:
                begun = True
                barrier.wait()

        try:
            delivering.deliver(staged, between)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=attempt) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert delivering.sftp.files() == {PLACE: content}
    # One that finds its temporary file renamed away may say that it is passing, and nothing worse.
    assert all(isinstance(each, Retry) for each in failures), failures
    delivering.deliver(staged)
    assert delivering.sftp.files() == {PLACE: content}


@pytest.mark.usefixtures("small_ranges")
def test_one_that_is_overtaken_leaves_nothing_behind(delivering: Delivering) -> None:
    """While the first stands still between two ranges, another attempt does all of it."""
    content = content_of(4 * RANGE)
    staged = delivering.staged(content)
    overtaken = False

    def between() -> None:
        nonlocal overtaken
        if not overtaken:
            overtaken = True
            thread = threading.Thread(target=delivering.deliver, args=(staged,))
            thread.start()
            thread.join(timeout=60)

    delivering.deliver(staged, between)
    assert delivering.sftp.files() == {PLACE: content}


def test_what_an_attempt_left_beside_the_whole_file_is_tidied_away(delivering: Delivering) -> None:
    """OpenSSH renames by a second name and the removal of the first, and may die in between."""
    staged = delivering.staged(b"lines\n")
    delivering.deliver(staged)
    (delivering.sftp.root / temporary(PLACE, staged.generation)).write_bytes(b"lines\n")
    delivering.deliver(staged)
    assert delivering.sftp.files() == {PLACE: b"lines\n"}


def test_what_between_raises_ends_it_and_leaves_what_is_written(delivering: Delivering) -> None:
    class Lost(Exception):
        pass

    def between() -> None:
        raise Lost

    with pytest.raises(Lost):
        delivering.deliver(delivering.staged(b"lines\n"), between)
    assert PLACE not in delivering.sftp.files()
    assert len(delivering.sftp.files()) == 1


def test_a_path_that_climbs_out_is_never_asked_for(delivering: Delivering) -> None:
    delivering.sftp.home = "../../etc"
    delivering.deliver(delivering.staged(b"lines\n"))
    assert delivering.sftp.files() == {PLACE: b"lines\n"}
    assert all(path == "waybill" or path.startswith("waybill/") for _, path in delivering.sftp.calls if path)


@pytest.mark.slow
def test_the_memory_does_not_grow_with_the_file(
    delivering: Delivering, monkeypatch: pytest.MonkeyPatch
) -> None:
    """8 MiB and 40 MiB, in ranges of 1 MiB. The suite that stages them and the server are in this process,
    too, and hold a part of what goes through them: the same part of either."""
    monkeypatch.setattr(writing, "RANGE_BYTES", 1024 * 1024)
    peaks = []
    for mebibytes in (8, 40):
        name = f"{mebibytes}.jsonl"
        staged = delivering.staged(content_of(mebibytes * 1024 * 1024), name)
        with delivering.connector() as there:
            tracemalloc.start()
            try:
                there.deliver(staged, name)
                peaks.append(tracemalloc.get_traced_memory()[1] / 1024 / 1024)
            finally:
                tracemalloc.stop()
        assert (delivering.sftp.root / "waybill" / name).stat().st_size == staged.size
    assert peaks[1] < peaks[0] + 8, f"{peaks[0]:.1f} and {peaks[1]:.1f} MiB"


@pytest.mark.parametrize("operation", ["lstat", "open", "write", "rename"])
def test_a_server_that_never_answers(
    delivering: Delivering, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    monkeypatch.setattr(session, "CALL_SECONDS", 0.2)
    monkeypatch.setattr(session, "RANGE_SECONDS", 0.2)
    monkeypatch.setattr(remote, "CLOSE_SECONDS", 0.2)
    staged = delivering.staged(b"lines\n")
    delivering.sftp.arm(operation, "hang")
    with pytest.raises(Retry, match=r"127\.0\.0\.1 did not answer a request to .*: it took too long$"):
        delivering.deliver(staged)
    delivering.deliver(staged)
    assert delivering.sftp.files() == {PLACE: b"lines\n"}


def test_what_is_no_longer_staged(delivering: Delivering) -> None:
    staged = delivering.staged(b"lines\n")
    delivering.world.suite.storage.remove(staged.bucket, staged.name)
    with pytest.raises(GiveUp, match=r"^The staged file for .* is gone: ") as error:
        delivering.deliver(staged)
    assert not isinstance(error.value, CustomerMustAct)
    assert ":backfill" in error.value.next_action
    assert delivering.sftp.files() == {}


def test_it_reads_as_the_customer_and_so_only_what_is_theirs(delivering: Delivering) -> None:
    bucket = delivering.cloud.settings.staging_bucket
    others = delivering.cloud.objects.create(bucket, "globex/export/run/file", b"secret", "text/plain")
    with pytest.raises(Retry, match="403"):
        delivering.deliver(others)
    assert delivering.sftp.files() == {}


# --- images


def test_images_land_several_at_once(delivering: Delivering) -> None:
    copies = delivering.images(40)
    beats: list[int] = []
    with delivering.connector() as there:
        assert there.copy_images(iter(copies), lambda _: beats.append(1)) == CopyResult(copied=40)
    assert delivering.sftp.files() == {
        f"waybill/{copy.name}": f"image {number}".encode() for number, copy in enumerate(copies)
    }
    assert len(beats) == 40
    assert delivering.sftp.count("login") == 1


def test_no_image_at_all(delivering: Delivering) -> None:
    assert delivering.copy([]) == CopyResult()


def test_images_that_are_there_gone_or_in_the_way(delivering: Delivering) -> None:
    copies = delivering.images(8)
    assert delivering.copy(copies[:2]).copied == 2
    source = delivering.cloud.settings.images_bucket
    delivering.world.suite.storage.remove(source, copies[2].source_name)
    delivering.world.suite.storage.put(source, copies[3].source_name, b"changed")
    (delivering.sftp.root / "waybill" / copies[4].name).write_bytes(b"theirs")
    delivering.sftp.written = 0
    outcome = delivering.copy(copies)
    assert (outcome.copied, outcome.present) == (3, 2)
    assert [sorted(each.name for each in some) for some in (outcome.missing, outcome.conflicts)] == [
        [copies[2].name, copies[3].name],
        [copies[4].name],
    ]
    assert delivering.sftp.files() == {
        f"waybill/{copy.name}": b"theirs" if number == 4 else f"image {number}".encode()
        for number, copy in enumerate(copies)
        if number not in (2, 3)
    }
    assert delivering.sftp.written == 3 * 7


@pytest.mark.parametrize("stage", ["login", "mkdir", "write", "rename"])
@pytest.mark.parametrize("action", ["drop_before", "drop_after"])
def test_a_break_among_images(delivering: Delivering, stage: str, action: Action) -> None:
    copies = delivering.images(20)
    delivering.sftp.arm(stage, action, skip=5 if stage in ("write", "rename") else 0)
    with pytest.raises(Retry):
        delivering.copy(copies)
    outcome = delivering.copy(copies)
    assert (outcome.copied + outcome.present, outcome.missing, outcome.conflicts) == (20, [], [])
    assert delivering.sftp.files() == {
        f"waybill/{copy.name}": f"image {number}".encode() for number, copy in enumerate(copies)
    }


def test_images_onto_a_full_disk(delivering: Delivering) -> None:
    copies = delivering.images(20)
    delivering.sftp.room = 50
    with pytest.raises(CustomerMustAct, match=r"refuses to write waybill/site/images/.*No space left"):
        delivering.copy(copies)
    delivering.sftp.room = None
    delivering.copy(copies)
    assert len(delivering.sftp.files()) == 20


def test_the_same_images_by_two_at_once(delivering: Delivering) -> None:
    copies = delivering.images(30)
    outcomes: list[CopyResult | BaseException] = []

    def copy() -> None:
        try:
            outcomes.append(delivering.copy(copies))
        except BaseException as error:
            outcomes.append(error)

    threads = [threading.Thread(target=copy) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert all(isinstance(each, Retry) or (each.copied + each.present == 30) for each in outcomes), outcomes  # type: ignore[union-attr]
    assert delivering.copy(copies).present == 30
    assert delivering.sftp.files() == {
        f"waybill/{copy.name}": f"image {number}".encode() for number, copy in enumerate(copies)
    }


@pytest.mark.usefixtures("small_ranges")
def test_a_large_image(delivering: Delivering) -> None:
    content = content_of(3 * RANGE)
    bucket = delivering.cloud.settings.images_bucket
    stored = delivering.cloud.objects.create(bucket, "acme/site/large.jpg", content, "image/jpeg")
    copy = Copy(stored.name, stored.generation, stored.size, stored.crc32c, "large.jpg")
    delivering.sftp.arm("write", "drop_before", skip=9)
    with pytest.raises(Retry):
        delivering.copy([copy])
    assert delivering.copy([copy]).copied == 1
    assert delivering.sftp.files() == {"waybill/large.jpg": content}


# --- servers that tell less, or allow less, than others


@sparse
@pytest.mark.usefixtures("small_ranges")
def test_a_file_lands_on_a_server_that_tells_little(
    delivering: Delivering, limit: Callable[[SftpServer], None]
) -> None:
    limit(delivering.sftp)
    content = content_of(5 * RANGE + 1)
    staged = delivering.staged(content)
    delivering.sftp.arm("write", "drop_before", skip=6)
    with pytest.raises(Retry):
        delivering.deliver(staged)
    delivering.deliver(staged)
    assert delivering.sftp.files() == {PLACE: content}
    delivering.sftp.written = 0
    delivering.deliver(staged)
    assert (delivering.sftp.files(), delivering.sftp.written) == ({PLACE: content}, 0)


@sparse
def test_another_file_stays_on_a_server_that_tells_little(
    delivering: Delivering, limit: Callable[[SftpServer], None]
) -> None:
    limit(delivering.sftp)
    there = delivering.sftp.root / PLACE
    there.parent.mkdir(parents=True)
    staged = delivering.staged(b"lines")
    for theirs in (b"LINES", b"lines and more", b"line"):
        there.write_bytes(theirs)
        with pytest.raises(CustomerMustAct, match="already another file"):
            delivering.deliver(staged)
        assert delivering.sftp.files() == {PLACE: theirs}


@sparse
def test_images_land_on_a_server_that_tells_little(
    delivering: Delivering, limit: Callable[[SftpServer], None]
) -> None:
    limit(delivering.sftp)
    copies = delivering.images(20)
    assert delivering.copy(copies) == CopyResult(copied=20)
    assert delivering.copy(copies) == CopyResult(present=20)
    there = delivering.sftp.root / "waybill/site/images/003.jpg"
    there.write_bytes(b"theirs")
    assert delivering.copy(copies) == CopyResult(present=20 - 1, conflicts=[copies[3]])


@pytest.mark.parametrize("handles", [1, 2, 5])
def test_fewer_files_are_open_where_the_server_refuses_more(delivering: Delivering, handles: int) -> None:
    delivering.sftp.handles = handles
    assert delivering.copy(delivering.images(40)) == CopyResult(copied=40)
    assert delivering.sftp.most_open == handles


def test_a_refusal_that_is_not_of_handles_is_told(delivering: Delivering) -> None:
    delivering.sftp.arm("open", FAILURE, times=ALWAYS)
    with pytest.raises(CustomerMustAct, match=r"refuses to write .*: Failure"):
        delivering.copy(delivering.images(40))


def test_a_server_that_lets_nobody_read_is_believed_about_the_size(delivering: Delivering) -> None:
    staged = delivering.staged(b"lines")
    delivering.sftp.arm("read", DENIED, times=ALWAYS)
    delivering.deliver(staged)
    delivering.deliver(staged)
    assert delivering.sftp.files() == {PLACE: b"lines"}
    (delivering.sftp.root / PLACE).write_bytes(b"another")
    with pytest.raises(CustomerMustAct, match="already another file"):
        delivering.deliver(staged)


@pytest.mark.usefixtures("small_ranges")
def test_a_temporary_file_that_cannot_be_cut_is_removed_and_written_anew(delivering: Delivering) -> None:
    no_truncate(delivering.sftp)
    staged = delivering.staged(b"short")
    place = delivering.sftp.root / temporary(PLACE, staged.generation)
    place.parent.mkdir(parents=True)
    place.write_bytes(b"much longer than it can be")
    with pytest.raises(Retry, match="has 26 bytes"):
        delivering.deliver(staged)
    delivering.deliver(staged)
    assert delivering.sftp.files() == {PLACE: b"short"}
