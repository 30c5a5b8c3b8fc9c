"""Photographs are decoded in child processes: within limits, side by side, and each at its own cost."""

import io
import itertools
import os
import re
import resource
import select
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image as pillow
from pillow_heif import register_heif_opener

from shared.analysis import decoding
from shared.analysis.decoding import TOO_LONG, TOO_MUCH_MEMORY
from shared.workorders import pictures

register_heif_opener()  # so that Pillow writes HEIC


def encoded(picture: pillow.Image, format: str = "JPEG", **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def photograph(width: int = 320, height: int = 240) -> pillow.Image:
    shapes = pillow.effect_mandelbrot((width, height), (-2, -1.3, 1, 1.3), 60)
    return pillow.merge("RGB", (shapes, shapes, pillow.linear_gradient("L").resize((width, height))))


GOOD = {format: encoded(photograph(), format) for format in ("JPEG", "PNG", "WEBP", "HEIF")}


def scanned(side: int, more: int) -> bytes:
    """A progressive JPEG with so many scans more: its shortest one, which says nothing of a grey picture."""
    whole = encoded(pillow.new("RGB", (side, side), (127, 127, 127)), progressive=True)
    starts = [found.start() for found in re.finditer(b"\xff[\xc4\xda\xd9]", whole)][1:]
    pieces = [whole[start:end] for start, end in itertools.pairwise(starts)]
    at = max(n for n, each in enumerate(pieces) if each[1] == 0xDA and len(each) < 40)
    return whole[: starts[at]] + pieces[at] * more + whole[starts[at] :]


def always() -> bool:
    return True


def of_children() -> resource.struct_rusage:
    """What all children used that have ended, and were waited for."""
    return resource.getrusage(resource.RUSAGE_CHILDREN)


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadPoolExecutor]:
    """Threads whose children have the limits that the test sets."""
    with ThreadPoolExecutor(decoding.DECODERS) as own:
        monkeypatch.setattr(decoding, "_threads", lambda: own)
        yield own


def with_memory(monkeypatch: pytest.MonkeyPatch, memory: int) -> None:
    monkeypatch.setattr(decoding, "_LIMITS", replace(decoding._LIMITS, memory=memory))


@pytest.mark.parametrize("content", [*GOOD.values(), b"", b"none", GOOD["PNG"][:900], GOOD["HEIF"][:900]])
def test_a_child_says_what_the_checks_say(content: bytes) -> None:
    assert decoding.check(content, always) == pictures.check(content)


def test_a_photograph_whose_turn_comes_too_late_is_not_decoded() -> None:
    assert decoding.check(GOOD["JPEG"], lambda: False) is None


@pytest.mark.slow
@pytest.mark.parametrize("content", [*GOOD.values(), b"none", GOOD["PNG"][:900]])
def test_a_child_makes_the_thumbnail_that_pictures_make(content: bytes) -> None:
    made = decoding.thumbnail(lambda: content, 64, turned=True)
    assert made == pictures.thumbnail(content, 64, turned=True)


@pytest.mark.slow
def test_a_thumbnail_that_costs_too_much_is_none(
    threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "CPU_SECONDS", 1)
    assert decoding.thumbnail(lambda: scanned(6_000, 980), 320, turned=True) is None
    assert decoding.thumbnail(lambda: GOOD["JPEG"], 320, turned=True), (
        "the next is made by a child that is new"
    )


@pytest.mark.slow
def test_a_thumbnail_that_needs_too_much_memory_is_none(
    threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_memory(monkeypatch, 100 * 1024**2)
    assert decoding.thumbnail(lambda: wide("PNG"), 320, turned=True) is None


def test_what_reading_a_picture_raises_passes(threads: ThreadPoolExecutor) -> None:
    def gone() -> bytes:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        decoding.thumbnail(gone, 320, turned=True)


@pytest.mark.parametrize("width", [0, -1, 65_536])
def test_no_thumbnail_has_such_a_width(width: int) -> None:
    with pytest.raises(ValueError, match="wide"):
        decoding.thumbnail(lambda: b"", width, turned=True)


@pytest.mark.slow
def test_a_child_serves_one_photograph_after_the_other(threads: ThreadPoolExecutor) -> None:
    def pid(content: bytes) -> int:
        decoding._checked(content)
        found: int = decoding._own.child._process.pid
        return found

    def one_thread() -> list[int]:
        return [pid(content) for content in (GOOD["JPEG"], b"none", GOOD["PNG"])]

    assert len(set(threads.submit(one_thread).result())) == 1


@pytest.mark.slow
def test_a_child_is_replaced_after_so_many_photographs(
    threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "PICTURES_EACH", 2)

    def left() -> int:
        decoding._checked(GOOD["JPEG"])
        count: int = decoding._own.left if decoding._own.child else 0
        return count

    assert [threads.submit(left).result() for _ in range(1)] == [1]
    assert threads.submit(lambda: [left() for _ in range(4)]).result() in ([0, 1, 0, 1], [1, 0, 1, 0])


@pytest.mark.slow
def test_a_photograph_of_a_thousand_scans_costs_its_seconds_and_no_neighbour(
    threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "CPU_SECONDS", 2)
    evil = scanned(6_000, 980)
    assert len(evil) < 400_000
    before = of_children()
    with ThreadPoolExecutor(3) as callers:
        slow = callers.submit(decoding.check, evil, always)
        neighbours = list(callers.map(lambda _: decoding.check(GOOD["JPEG"], always), range(20)))
        assert not slow.done(), "the neighbours were checked meanwhile"
        assert neighbours == [pictures.check(GOOD["JPEG"])] * 20
        assert slow.result() == TOO_LONG
    after = of_children()
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 4
    assert decoding.check(GOOD["PNG"], always) == pictures.check(GOOD["PNG"]), "by a child that is new"


def wide(format: str) -> bytes:
    """A picture that takes some 70 MB to decode, and no two KB to send."""
    side = 3_500 if format == "HEIF" else 5_000
    if format == "PNG":
        rows = zlib.compress(bytes((1 + 3 * side) * side), 9)
        head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        parts = ((b"IHDR", head), (b"IDAT", rows), (b"IEND", b""))
        chunks = (struct.pack(">I", len(b)) + n + b + struct.pack(">I", zlib.crc32(n + b)) for n, b in parts)
        return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
    picture = pillow.new("RGB", (side, side), (90, 90, 90))
    return encoded(picture, format, **({"progressive": True} if format == "JPEG" else {"quality": 10}))


@pytest.mark.slow
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "HEIF"])
def test_a_photograph_that_needs_too_much_memory_is_said_to(
    format: str, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = wide(format)
    assert pictures.check(content)[0].code != "UNREADABLE"
    with_memory(monkeypatch, 60 * 1024**2)
    assert decoding.check(content, always) == TOO_MUCH_MEMORY
    assert decoding.check(GOOD[format], always) == pictures.check(GOOD[format]), "a smaller one fits"
    assert decoding.check(content[: len(content) // 2], always) in (pictures.UNREADABLE, TOO_MUCH_MEMORY)


@pytest.mark.slow
@pytest.mark.parametrize(
    "how", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL], ids=["crashed", "aborted", "killed"]
)
def test_a_child_that_ended_between_two_photographs_is_neither_s_fault(
    how: signal.Signals, threads: ThreadPoolExecutor
) -> None:
    def killed() -> Any:
        decoding._checked(GOOD["JPEG"])
        process = decoding._own.child._process
        process.send_signal(how)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        return decoding._checked(GOOD["JPEG"])

    assert threads.submit(killed).result() == pictures.check(GOOD["JPEG"])


@pytest.mark.slow
def test_a_photograph_that_a_decoder_crashes_at_is_unreadable(threads: ThreadPoolExecutor) -> None:
    def crashed() -> Any:
        child = decoding._decoder()
        receive = child.receive

        def receive_after_a_crash() -> tuple[bytes, bytes]:
            child._process.send_signal(signal.SIGSEGV)
            return receive()

        child.receive = receive_after_a_crash  # type: ignore[method-assign]
        return decoding._checked(scanned(3_000, 500))

    assert threads.submit(crashed).result() == pictures.UNREADABLE
    assert decoding.check(GOOD["JPEG"], always) == pictures.check(GOOD["JPEG"])


ALONE = """
import sys
from shared.analysis import decoding
decoding._checked(b"none")
print(decoding._own.child._process.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
def test_a_child_dies_with_its_parent() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", ALONE], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        child = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
    assert select.select([child], [], [], 30)[0] == [child]
    os.close(child)


@pytest.mark.slow
def test_a_process_ends_with_its_children() -> None:
    script = "from shared.analysis import decoding\nprint(decoding.check(b'none', lambda: True)[0].code)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "UNREADABLE\n", "")


@pytest.mark.slow
def test_what_a_child_imports_is_neither_google_s_nor_a_way_out() -> None:
    script = (
        "import sys, shared.workorders.pictures as p, shared.sandbox.child\n"
        "print({'google.api_core', 'google.cloud.firestore', 'grpc', 'requests'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
