"""What is compressed: members that join, the same at each run, and never larger than was said."""

import gzip
import random

import pytest

from shared.formats import FORMATS
from shared.formats.base import Column, Style
from shared.formats.gzipped import MAX_PENDING_BYTES

COLUMNS = (Column("id", "text"),)
GZIPPED = [name for name in FORMATS if name.endswith(".gz")]


def hard(size: int, seed: int) -> bytes:
    """A line that hardly compresses."""
    return b'{"id":"%b"}\n' % random.Random(seed).randbytes(size // 2).hex().encode()


@pytest.mark.parametrize("name", GZIPPED)
def test_what_stands_around_pieces_is_a_member_each(name: str) -> None:
    format, inner = FORMATS[name], FORMATS[name.removesuffix(".gz")]
    for compressed, plain in (
        (format.prefix(COLUMNS, Style()), inner.prefix(COLUMNS, Style())),
        (format.separator, inner.separator),
        (format.suffix, inner.suffix),
    ):
        if plain:
            assert gzip.decompress(compressed) == plain
        else:
            assert compressed == b"", "nothing is to stay nothing"


def test_a_member_says_no_time_and_no_name() -> None:
    out: list[bytes] = []
    records = FORMATS["json.gz"].records(COLUMNS, Style(), out.append)
    records.write(b"{}\n")
    records.close()
    for member in (b"".join(out), FORMATS["csv.gz"].prefix(COLUMNS, Style())):
        # https://www.rfc-editor.org/rfc/rfc1952#page-5: magic, deflate, no flags, mtime
        assert member[:8] == b"\x1f\x8b\x08" + b"\0" * 5


SEQUENCES = {
    "hard": [hard(size, size) for size in (1, 100, 4_000, 16_000, 20_000, 33_000, 60_000, 70_000, 200_000)],
    "hard, many small": [hard(500, seed) for seed in range(300)],
    "easy": [b'{"id":"%b"}\n' % (b"a" * size) for size in (1, 100, 5_000, 100_000, 1_000_000)],
    "easy, then hard": [b'{"id":"%b"}\n' % (b"ab" * 100_000), hard(50_000, 1), b"{}\n", hard(50_000, 2)],
    "tiny": [b"{}\n"] * 50,
    "no text": [
        random.Random(3).randbytes(size).replace(b"\n", b"") + b"\n" for size in (15_000, 40_000, 90_000)
    ],
}


@pytest.mark.parametrize("what", SEQUENCES)
def test_a_piece_is_never_larger_than_it_said_it_could_be(what: str) -> None:
    lines = SEQUENCES[what]
    for count in range(0, len(lines) + 1, 1 + len(lines) // 40):
        out: list[bytes] = []
        records = FORMATS["json.gz"].records(COLUMNS, Style(), out.append)
        announced = 0
        for line in lines[:count]:
            announced = records.size_with(line)
            records.write(line)
        given, most = sum(map(len, out)), records.size
        records.close()
        content = b"".join(out)
        assert len(content) <= most <= given + MAX_PENDING_BYTES, (
            f"after {count} lines: {given} came out at once"
        )
        assert records.size == len(content) <= announced
        assert gzip.decompress(content) == b"".join(lines[:count]) if count else not content


def test_zlib_does_hold_back_what_the_limit_allows_for() -> None:
    """Were it little, the limit would be a guess."""
    most = 0
    for seed in range(20):
        out: list[bytes] = []
        records = FORMATS["json.gz"].records(COLUMNS, Style(), out.append)
        records.write(hard(31_000 + seed * 100, seed))
        given = sum(map(len, out))
        records.close()
        most = max(most, sum(map(len, out)) - given)
    assert MAX_PENDING_BYTES // 8 < most < MAX_PENDING_BYTES
