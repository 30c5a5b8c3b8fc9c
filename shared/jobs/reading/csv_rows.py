"""Rows of a CSV file, as RFC 4180 has them; lines may also end with LF or CR alone.

https://www.rfc-editor.org/rfc/rfc4180
"""

import csv
import functools
import re
from collections.abc import Iterator
from typing import NamedTuple

from shared.jobs.reading.base import (
    MAX_RECORD_BYTES,
    TOO_LONG,
    Layout,
    Position,
    Problem,
    Read,
    Record,
    beginning,
)
from shared.jobs.reading.blocks import Blocks, lines_in
from shared.jobs.reading.strict_json import not_text

MAX_SKIPPED_BYTES = 128 * 2**20
"""How far the end of a quoted field is looked for. One that does not end by then counts as never closed."""

_IN_QUOTES = re.compile(rb'(?:[^"]++|"")*+')


class Patterns(NamedTuple):
    """For a delimiter.

    row  a whole row
    cut  a row whose last field is quoted and does not end in the text; group 1 is what stands before it
    """

    row: re.Pattern[bytes]
    cut: re.Pattern[bytes]


@functools.cache
def patterns(delimiter: str) -> Patterns:
    """The patterns for rows with this delimiter. Nothing in them is tried twice, so they take linear time."""
    between = re.escape(delimiter.encode())
    plain = rb'[^"\r\n' + between + rb"]*+"
    open_field = rb'"(?:[^"]++|"")*+'
    fields = rb"(?:(?:" + open_field + rb'"|' + plain + rb")" + between + rb")*+"
    return Patterns(
        row=re.compile(fields + rb"(?:" + open_field + rb'"|' + plain + rb")(?=[\r\n]|\Z)"),
        cut=re.compile(rb"(" + fields + rb")" + open_field + rb'"?\Z'),
    )


def cells_of(text: str, delimiter: str) -> list[str]:
    """The fields of a row that has the form of `patterns`."""
    if '"' not in text:
        return text.split(delimiter)
    _allow_long_fields()
    return next(csv.reader((text,), delimiter=delimiter, strict=True))


@functools.cache
def _allow_long_fields() -> None:
    # The limit is the process's: https://docs.python.org/3/library/csv.html#csv.field_size_limit
    csv.field_size_limit(MAX_RECORD_BYTES)


def rows(read: Read, size: int, layout: Layout, position: Position) -> Iterator[Record]:
    """The rows from this position on."""
    assert layout.delimiter is not None
    delimiter, columns, dropped = layout.delimiter, layout.columns, layout.error_column
    between = delimiter.encode()
    pattern = patterns(delimiter)
    width = len(columns) + (dropped is not None)
    blocks = Blocks(read, size, layout.encoding, position.offset)
    as_utf8 = layout.encoding == "utf-8"
    offset, line, number = position.offset, position.line, position.record
    text, at, ended = b"", 0, False
    lf = cr = quote = -1  # the next of each from `at` on, or the length of the text
    while True:
        length = len(text)
        if lf < at:
            lf = _find(text, b"\n", at)
        if cr < at:
            cr = _find(text, b"\r", at)
        if quote < at:
            quote = _find(text, b'"', at)
        stop = end = lf if lf < cr else cr
        complete = stop < length - 1 or ended or (stop < length and stop == lf)
        quoted = complete and quote < stop
        malformed = ""
        if quoted:
            found = pattern.row.match(text, at)
            if found is not None:
                end = found.end()
                complete = ended or end < length - 1 or text[end : end + 1] == b"\n"
            elif cut := pattern.cut.match(text, at):
                complete = ended
                malformed = _NEVER_CLOSED
            else:
                malformed = _QUOTES
        if not complete:
            if length - at <= MAX_RECORD_BYTES:
                text, at = text[at:] + blocks.next(), 0
                ended = blocks.ended
                lf = cr = quote = -1
                continue
            begin = line
            cut = pattern.cut.match(text, at)
            if cut is not None:
                before = text[at : cut.end(1) + 1]
                field = offset + blocks.width(before)
                behind = _behind_long_row(read, size, layout, field)
                if behind is not None:
                    raw = beginning(text, at)
                    offset, lines = behind
                    line += lines_in(before) + lines
                    number += 1
                    yield Record(begin, number, raw, None, TOO_LONG, Position(offset, line, number))
                    blocks = Blocks(read, size, layout.encoding, offset)
                    text, at, ended = b"", 0, blocks.ended
                    lf = cr = quote = -1
                    continue
                malformed = _NEVER_CLOSED
        if not complete and not (malformed and stop < length - 1):
            # A line without end: it is skipped, block by block.
            raw = beginning(text, at)
            begin = line
            offset += blocks.width(text[at:])
            line += lines_in(text[at:]) + (text[-1:] != b"\r")
            text, at, passed = _next_line(blocks, text[-1:] == b"\r")
            ended = blocks.ended
            lf = cr = quote = -1
            offset += passed
            number += 1
            yield Record(begin, number, raw, None, TOO_LONG, Position(offset, line, number))
            continue
        if at == length:
            return
        if malformed:
            end = stop
        raw = text[at:end]
        after = end + 1 if text[end : end + 2] != b"\r\n" else end + 2
        if after > length:
            after = length
        if as_utf8:
            offset += after - at
        else:
            offset += blocks.width(text[at:after])
        begin = line
        line += lines_in(text[at:after]) if quoted else 1
        at = after
        if not raw.strip(b" "):
            continue
        number += 1
        end_at = Position(offset, line, number)
        if malformed:
            yield Record(begin, number, raw, None, Problem("", malformed), end_at)
            continue
        if len(raw) > MAX_RECORD_BYTES:
            yield Record(begin, number, beginning(raw, 0), None, TOO_LONG, end_at)
            continue
        try:
            row = raw.decode()
        except UnicodeDecodeError as wrong:
            yield Record(begin, number, raw, None, _not_text(layout, raw, wrong, between), end_at)
            continue
        cells = cells_of(row, delimiter) if quoted else row.split(delimiter)
        if len(cells) != width:
            yield Record(begin, number, raw, None, _ragged(len(cells), width, layout), end_at)
            continue
        if dropped is not None:
            del cells[dropped]
        if "\0" in row:
            name = next((name for name, cell in zip(columns, cells, strict=True) if "\0" in cell), "")
            yield Record(begin, number, raw, None, Problem(name, _NUL), end_at)
            continue
        yield Record(begin, number, raw, dict(zip(columns, cells, strict=True)), None, end_at)


def _find(text: bytes, what: bytes, at: int) -> int:
    found = text.find(what, at)
    return len(text) if found < 0 else found


def _behind_long_row(read: Read, size: int, layout: Layout, field: int) -> tuple[int, int] | None:
    """Where the next row begins, and how many lines are passed, behind a row with a long quoted field.

    `field` is where the text of that field begins, behind its quote. None if the field does not end.
    """
    assert layout.delimiter is not None
    blocks = Blocks(read, size, layout.encoding, field)
    text, offset, lines = b"", field, 0
    while True:
        found = _IN_QUOTES.match(text)
        assert found is not None
        end = found.end()
        if end < len(text) - 1 or blocks.ended:
            break
        if text[end - 1 : end] == b"\r":
            end -= 1  # the LF behind it may be in the next block
        offset += blocks.width(text[:end])
        if offset - field > MAX_SKIPPED_BYTES:
            return None
        lines += lines_in(text[:end])
        text = text[end:] + blocks.next()
    text += blocks.next()
    closed = text[end : end + 1] == b'"' and text[end + 1 : end + 2] in (
        layout.delimiter.encode(),
        b"\r",
        b"\n",
        b"",
    )
    row = patterns(layout.delimiter).row.match(text, end + 1)
    if not closed or row is None or (row.end() >= len(text) - 1 and not blocks.ended):
        return None
    end = row.end()
    end += 2 if text[end : end + 2] == b"\r\n" else 1
    return offset + blocks.width(text[:end]), lines + lines_in(text[:end])


def _next_line(blocks: Blocks, after_cr: bool) -> tuple[bytes, int, int]:
    """What is read behind the end of this line: the text, where the line begins in it, and how many bytes of
    the object were passed."""
    passed = 0
    while not blocks.ended:
        text = blocks.next()
        if after_cr:
            end = 1 if text[:1] == b"\n" else 0
            return text, end, passed + blocks.width(text[:end])
        end = min(_find(text, b"\n", 0), _find(text, b"\r", 0))
        if end < len(text):
            if text[end : end + 1] == b"\r" and end + 1 == len(text) and not blocks.ended:
                text += blocks.next()
            end += 2 if text[end : end + 2] == b"\r\n" else 1
            return text, end, passed + blocks.width(text[:end])
        passed += blocks.width(text)
    return b"", 0, passed


_NUL = "The field holds a NUL character: remove it."
_QUOTES = (
    "The quotes of this line do not match: put a field that holds quotes into quotes, and write each quote "
    "inside it twice."
)
_NEVER_CLOSED = "A quote that is opened in this line is never closed: close it, or remove it."


def _ragged(found: int, width: int, layout: Layout) -> Problem:
    against = "the header" if layout.header else "the first row"
    advice = (
        "add the fields that are missing"
        if found < width
        else f"remove what is too much, or put a field that holds “{shown(layout.delimiter)}” into quotes"
    )
    return Problem("", f"The row has {_fields(found)}, and {against} has {_fields(width)}: {advice}.")


def _fields(count: int) -> str:
    return f"{count:,} field" + ("s" if count != 1 else "")


def shown(delimiter: str | None) -> str:
    """A delimiter as people read it."""
    return "tab" if delimiter == "\t" else str(delimiter)


def _not_text(layout: Layout, raw: bytes, wrong: UnicodeDecodeError, between: bytes) -> Problem:
    before = raw[: wrong.start]
    index = before.count(between)
    names = layout.columns
    field = names[index] if layout.error_column is None and b'"' not in before and index < len(names) else ""
    return Problem(field, not_text(layout.encoding, wrong))
