"""Reading a file takes the memory of a few blocks, whatever its size and however long a record."""

import tracemalloc

import pytest

from shared.jobs.reading import BLOCK_BYTES, MAX_RECORD_BYTES, look, records, write_back
from shared.jobs.reading.base import TOO_LONG

SIZE = 50 * 2**20


class _Generated:
    """A file that repeats one text between a beginning and an end. It is never in memory as a whole."""

    def __init__(self, begin: bytes, unit: bytes, end: bytes) -> None:
        self.begin, self.unit, self.end = begin, unit, end
        self.count = SIZE // len(unit)
        self.size = len(begin) + self.count * len(unit) + len(end)

    def read(self, start: int, end: int) -> bytes:
        skipped = max(0, start - len(self.begin)) // len(self.unit)
        at = len(self.begin) + skipped * len(self.unit)
        needed = min(self.count - skipped, (end - at) // len(self.unit) + 1)
        content = self.unit * needed
        if start < len(self.begin):
            content, at = self.begin + content, 0
        if skipped + needed == self.count:
            content += self.end
        return content[start - at : end - at]


def _peak(file: _Generated, csv: bool) -> tuple[int, int, int]:
    """The most memory while reading, in bytes; how many records were good, and how many bad."""
    good = bad = 0
    tracemalloc.start()
    try:
        layout = look(file.read, file.size, csv=csv, header_row=True)
        for record in records(file.read, file.size, layout, layout.start):
            good += record.problem is None
            bad += record.problem is not None
        return tracemalloc.get_traced_memory()[1], good, bad
    finally:
        tracemalloc.stop()


_ROW = b"x" * 5000 + b',"' + b"y" * 5000 + b'"\n'
_OBJECT = b'{"a":"' + b"x" * 10000 + b'"}'


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "csv"),
    [
        (_Generated(b"a,b\n", _ROW, b""), True),
        (_Generated(b"[", _OBJECT + b",\n", _OBJECT + b"]"), False),
        (_Generated(b"", _OBJECT + b"\n", b""), False),
        (_Generated(b"", b'{\n"a":"' + b"x" * 10000 + b'"}\n', b""), False),
    ],
    ids=["csv", "array", "lines", "pretty lines"],
)
def test_many_records_take_the_memory_of_a_few_blocks(file: _Generated, csv: bool) -> None:
    peak, good, bad = _peak(file, csv)
    assert (good, bad) == (file.count + file.end.count(b"{"), 0)
    assert peak < 6 * BLOCK_BYTES, f"{peak:,} bytes"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "csv"),
    [
        (_Generated(b"a,b\n", b"x" * 1000, b"\n1,2\n"), True),
        (_Generated(b'a,b\n"', b"x" * 1000, b'",2\n1,2\n'), True),
        (_Generated(b'a,b\n"', b"x" * 1000, b"\n1,2\n"), True),
        (_Generated(b'a,b\n1,"', b'x""\n\r\n' * 100, b'",\r\n1,2\n'), True),
        (_Generated(b'a,b\n1,"', b'x""\n\r\n' * 100, b'"'), True),
        (_Generated(b'[{"a":"', b'\\"x{y' * 250, b'"},{"b":1}]'), False),
        (_Generated(b'[{"a":[', b'{"b":[]},', b'1]},{"b":1}]'), False),
        (_Generated(b'{"b":1}\n{"a":"', b"x" * 1000, b'"}\n'), False),
        (_Generated(b'{\n"b":1}\n{"a":"', b"x" * 1000, b'"}\n'), False),
        (_Generated(b'{\n"b":1}\n', b" " * 1000, b"x"), False),
    ],
    ids=[
        "row",
        "quoted",
        "never closed",
        "quoted lines",
        "quoted to the end",
        "string",
        "list",
        "line",
        "pretty",
        "space",
    ],
)
def test_one_record_that_is_too_long_is_skipped(file: _Generated, csv: bool) -> None:
    peak, good, bad = _peak(file, csv)
    assert bad == 1
    assert good == file.end.count(b"\n1,2") + (file.begin + file.end).count(b'"b":1')
    assert peak < 3 * (BLOCK_BYTES + MAX_RECORD_BYTES), f"{peak:,} bytes"


@pytest.mark.slow
def test_behind_a_record_that_is_too_long_lines_and_positions_are_right() -> None:
    for begin, unit, end, csv in (
        (b'a,b\n"1\n","', b'x""\n\r\n' * 100, b'"\r\n1,2\n', True),
        (b"a,b\n", b"x" * 1000, b"\r\n1,2", True),
        (b'[{"a":"', b'\\"\n{x' * 200, b'"},\n{"b":1}]', False),
        (b'{"a":"', b"x" * 1000, b'"}\n{"b":1}', False),
    ):
        file = _Generated(begin, unit, end)
        layout = look(file.read, file.size, csv=csv, header_row=True)
        bad, good = records(file.read, file.size, layout, layout.start)
        lines = begin.count(b"\n") + file.count * unit.count(b"\n") + end.count(b"\n", 0, -2)
        assert (bad.problem, good.line) == (TOO_LONG, 1 + lines), file.begin
        assert list(records(file.read, file.size, layout, bad.end)) == [good]
        assert len(bad.raw) < 5000


def test_a_row_that_was_cut_is_not_imported_when_it_is_sent_again() -> None:
    for begin, end in ((b"a\n", b"\n1\n"), (b'a\n"', b'"\n1\n')):
        file = _Generated(begin, b"x" * 1000, end)
        layout = look(file.read, file.size, csv=True, header_row=True)
        bad, _ = records(file.read, file.size, layout, layout.start)
        again = b"".join(write_back(layout, [(bad.raw, "Too long.", 2)]))

        def read(start: int, end: int, content: bytes = again) -> bytes:
            return content[start:end]

        layout = look(read, len(again), csv=True, header_row=True)
        assert [record.value for record in records(read, len(again), layout, layout.start)] == [None]
