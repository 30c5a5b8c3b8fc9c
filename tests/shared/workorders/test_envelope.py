"""What is kept beside a record takes so much room, and no more."""

import random
import subprocess
import sys
import zlib
from collections.abc import Mapping
from typing import Any

import pytest

from shared.errors import Invalid
from shared.workorders import envelope


def kept(labels: Mapping[str, Any]) -> dict[str, Any]:
    return envelope.details(tags=(), parameters={}, labels=labels, checked=0, analysis="DONE", failure="")


def labels(inputs: int, boxes: list[list[float]]) -> dict[str, Any]:
    """Labels with these boxes for each input."""
    return {
        str(id): {"task": {"regions": [{"label": "a", "box": box} for box in boxes]}} for id in range(inputs)
    }


def test_labels_come_back() -> None:
    some = labels(10, [[1.0, 2.5, 3.0, 4.0]])
    assert envelope.read_labels(kept(some)["labels"]) == some
    assert kept({})["labels"] == b""


def test_labels_that_do_not_fit_into_the_document_are_refused() -> None:
    chance = random.Random(1)
    boxes = [[chance.random() for _ in range(4)] for _ in range(10_000)]
    with pytest.raises(Invalid, match="at most 262144 bytes of labels, compressed"):
        kept(labels(1, boxes))


@pytest.mark.slow
def test_labels_that_do_not_fit_into_memory_are_refused_however_small_they_are_compressed() -> None:
    with pytest.raises(Invalid, match="at most 8388608 bytes of labels"):
        kept(labels(250, [[1.0, 2.0, 3.0, 4.0]] * 1_000))


def unpacked(packed: envelope.Packed) -> bytes:
    return envelope.unpack(packed.encoding, packed.record, lambda _: packed.content)


@pytest.mark.parametrize("more", [0, 1])
def test_a_record_has_as_many_bytes_as_it_may_have_and_no_more(more: int) -> None:
    record = b"x" * (envelope.RECORD_BYTES + more)
    if more:
        with pytest.raises(Invalid, match="5,242,881 bytes as a record, and may have 5,242,880"):
            envelope.pack(record, "acme", 0)
    else:
        packed = envelope.pack(record, "acme", 0)
        assert (packed.encoding, len(packed.record) < 10_000) == ("zlib", True)
        assert unpacked(packed) == record


@pytest.mark.parametrize("encoding", ["zlib", "object"])
@pytest.mark.parametrize("more", [0, 1])
def test_a_record_is_inflated_up_to_its_limit_and_not_past_it(encoding: str, more: int) -> None:
    content = zlib.compress(bytes(envelope.RECORD_BYTES + more), 1)
    record = content if encoding == "zlib" else b"acme/name"
    if more:
        with pytest.raises(envelope.Oversized, match="is kept with more than 5,242,880 bytes"):
            envelope.unpack(encoding, record, lambda _: content)
    else:
        assert len(envelope.unpack(encoding, record, lambda _: content)) == envelope.RECORD_BYTES


def test_a_record_that_breaks_off_is_not_taken_for_whole() -> None:
    with pytest.raises(ValueError, match="breaks off"):
        envelope.unpack("zlib", zlib.compress(b"x" * 1_000)[:-2], lambda _: b"")


BOMB = """
import resource, sys, zlib
from shared.workorders import envelope
deflater = zlib.compressobj(1)
packed = b"".join(deflater.compress(bytes(1 << 20)) for _ in range(480)) + deflater.flush()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    envelope.unpack("zlib", packed, lambda _: b"")
except envelope.Oversized:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
def test_a_record_of_480_mib_costs_no_more_than_one_of_five() -> None:
    done = subprocess.run([sys.executable, "-c", BOMB], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 16 * 1024, "KiB"
