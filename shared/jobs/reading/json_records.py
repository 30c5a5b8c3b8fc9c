"""Records of JSON files: the elements of an array, one object, or objects one after another."""

import re
from collections.abc import Iterator

from shared.jobs.reading.base import (
    MAX_RECORD_BYTES,
    SHOWN_BYTES,
    TOO_LONG,
    Broken,
    Layout,
    Position,
    Problem,
    Read,
    Record,
    beginning,
)
from shared.jobs.reading.blocks import Blocks, lines_in
from shared.jobs.reading.strict_json import parse

_SEPARATOR = re.compile(rb",[ \t\r\n]*+(?=[^,\] \t\r\n])")
# A comma between two elements.
_SPACE = re.compile(rb"[ \t\r\n]*+")
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_SCALAR = re.compile(rb"(?:" + _STRING + rb'|[^,\[\]{}"\s]++)', re.DOTALL)


def _nested(opening: bytes, closing: bytes, depth: int) -> bytes:
    plain = rb'[^"' + re.escape(opening + closing) + rb"]*+"
    inner = (
        _STRING if depth == 1 else rb"(?:" + _STRING + rb"|" + _nested(opening, closing, depth - 1) + rb")"
    )
    return re.escape(opening) + plain + rb"(?:" + inner + plain + rb")*+" + re.escape(closing)


# Only the value's own kind of bracket is counted: a record that lacks the other kind is still one record.
_WHOLE = {
    b"{": re.compile(_nested(b"{", b"}", 3), re.DOTALL),
    b"[": re.compile(_nested(b"[", b"]", 3), re.DOTALL),
}
_BALANCED = {
    opening: re.compile(
        rb'(?:[^"'
        + re.escape(opening + closing)
        + rb"]++|"
        + _STRING
        + rb"|"
        + _nested(opening, closing, 2)
        + rb")*+",
        re.DOTALL,
    )
    for opening, closing in ((b"{", b"}"), (b"[", b"]"))
}
_REST_OF_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)


class _Text:
    """What is in memory of the text, and where in the object and its lines that is."""

    def __init__(self, read: Read, size: int, layout: Layout, position: Position) -> None:
        self._blocks = Blocks(read, size, layout.encoding, position.offset)
        self._as_utf8 = layout.encoding == "utf-8"
        self.text = b""
        self.at = 0
        self.offset = position.offset
        self.line = position.line

    @property
    def ended(self) -> bool:
        return self._blocks.ended

    def fill(self) -> None:
        """Add the next block behind `at`, which becomes 0."""
        self.text = self.text[self.at :] + self._blocks.next()
        self.at = 0

    def fill_to(self, length: int) -> None:
        """Have this many bytes behind `at`, or all that are left."""
        while len(self.text) - self.at < length and not self.ended:
            self.fill()

    def pass_to(self, end: int) -> None:
        """Everything before `end` is read."""
        passed = self.text[self.at : end]
        self.offset += len(passed) if self._as_utf8 else self._blocks.width(passed)
        self.line += lines_in(passed)
        self.at = end

    def skip_space(self) -> bytes:
        """The byte behind white space; empty at the end of the file."""
        if self.text[self.at : self.at + 1] > b" ":
            return self.text[self.at : self.at + 1]
        while True:
            found = _SPACE.match(self.text, self.at)
            assert found is not None
            end = found.end()
            if end < len(self.text) or self.ended:
                if end > self.at:
                    self.pass_to(end)
                return self.text[end : end + 1]
            if end and self.text[end - 1 : end] == b"\r":
                end -= 1  # the LF behind it may be in the next block
            self.pass_to(end)
            self.fill()

    def skip_line(self) -> None:
        """Pass what is left of this line, in little memory, without its end."""
        while True:
            end = min(_find(self.text, b"\n", self.at), _find(self.text, b"\r", self.at))
            found = end < len(self.text)
            self.pass_to(end)
            if found or self.ended:
                return
            self.fill()

    def end_of_value(self, opening: bytes) -> int:
        """Where the object or array ends that begins at `at`. -1: it is not closed. -2: it is too long."""
        found = _WHOLE[opening].match(self.text, self.at)
        if found is not None:
            return found.end()
        depth, done = 1, self.at + 1
        while True:
            depth, done = _advance(self.text, opening, depth, done)
            if depth == 0:
                return done
            if self.ended:
                return -1
            if len(self.text) - self.at > MAX_RECORD_BYTES:
                return -2
            done -= self.at
            self.fill()

    def skip_value(self, opening: bytes) -> bool:
        """Pass the object or array that begins at `at`, in little memory. False: it is not closed."""
        depth, in_string, done = 0, False, self.at
        while True:
            found = (_REST_OF_STRING if in_string else _BALANCED[opening]).match(self.text, done)
            assert found is not None
            done = found.end()
            token = self.text[done : done + 1]
            if not token or token == b"\\":  # a backslash ends the text: what it escapes is in the next block
                self.pass_to(done)
                if self.ended:
                    return False
                self.fill()
                done = 0
                continue
            done += 1
            if token == b'"':
                in_string = not in_string
            else:
                depth += 1 if token == opening else -1
                if depth == 0:
                    self.pass_to(done)
                    return True


def elements(read: Read, size: int, layout: Layout, position: Position) -> Iterator[Record]:
    """The elements of an array from this position on.

    A position is where an element begins, or at the `]`, or at a comma that has no element before or behind
    it. Broken where the array does not go on or end as an array must.
    """
    text = _Text(read, size, layout, position)
    number = position.record
    never_closed = "The array is never closed: the file is cut off. Complete it, or end it with “]”."
    if position.offset >= size:
        raise Broken(never_closed if position == layout.start else "The rest of the array cannot be read.")
    end_at = position
    stray = False  # a comma was passed that has no element behind it
    while True:
        first = b"," if stray else text.skip_space()
        line = end_at.line if stray else text.line
        number += 1
        if first == b"]":
            text.pass_to(text.at + 1)
            if not text.skip_space():
                return
            line = text.line
            broken = f"Something stands behind the end of the array on line {line:,}: remove it."
            yield _last(text, size, line, number, broken, b"")
            raise Broken(broken)
        if first == b",":
            if not stray:
                text.pass_to(text.at + 1)
            stray = False
            behind = text.skip_space()
            message = (
                "A comma stands behind the last element"
                if behind == b"]"
                else "An element is missing before a comma"
            )
            comma = Problem("", f"{message}: remove the comma.")
            yield Record(line, number, b",", None, comma, Position(text.offset, text.line, number))
            continue
        broken = ""
        not_closed = (
            f"The element that begins on line {line:,} is never closed: close it, or complete the file."
        )
        raw = b""
        problem: Problem | None = None
        if not first:
            raise Broken(never_closed)
        if first in (b"{", b"["):
            end = text.end_of_value(first)
            if end == -1:
                broken = not_closed
            elif end == -2 or end - text.at > MAX_RECORD_BYTES:
                raw, problem = beginning(text.text, text.at), TOO_LONG
                if not text.skip_value(first):
                    broken = not_closed
            else:
                raw = text.text[text.at : end]
                separator = _SEPARATOR.match(text.text, end)
                if separator is not None:  # the usual case, on the quick way
                    text.pass_to(separator.end())
                    value, problem = parse(raw, layout.encoding, line)
                    end_at = Position(text.offset, text.line, number)
                    yield Record(line, number, raw, value, problem, end_at)
                    continue
                text.pass_to(end)
        else:
            found = _SCALAR.match(text.text, text.at)
            while not text.ended and (found is None or found.end() == len(text.text)):
                if len(text.text) - text.at > MAX_RECORD_BYTES:
                    found = None
                    break
                text.fill()
                found = _SCALAR.match(text.text, text.at)
            if found is None:
                broken = (
                    f"Line {line:,} of the array holds something that is no element: correct the file there."
                )
            else:
                raw = found[0]
                text.pass_to(found.end())
        if broken:
            yield _last(text, size, line, number, broken, raw)
            raise Broken(broken)
        value = None
        if problem is None:
            value, problem = parse(raw, layout.encoding, line)
        end_at, separated, stray = _behind(text, number)
        if not separated:
            value, problem = None, problem or _NO_COMMA
        yield Record(line, number, raw, value, problem, end_at)


_NO_COMMA = Problem("", "No comma stands between this element and what follows: put one there.")


def _behind(text: _Text, number: int) -> tuple[Position, bool, bool]:
    """The position behind an element and its comma; whether the array goes on there as it must; and whether
    the comma is the last one before `]`. Then it is passed, but the position is at it."""
    first = text.skip_space()
    here = Position(text.offset, text.line, number)
    if first != b",":
        return here, first in (b"", b"]"), False
    text.pass_to(text.at + 1)
    if text.skip_space() == b"]":
        return here, True, True
    return Position(text.offset, text.line, number), True, False


def _last(text: _Text, size: int, line: int, number: int, message: str, raw: bytes) -> Record:
    if not raw:
        text.fill_to(SHOWN_BYTES)
        raw = text.text[text.at : text.at + SHOWN_BYTES]
    return Record(line, number, raw, None, Problem("", message), Position(size, text.line, number))


def objects(read: Read, size: int, layout: Layout, position: Position) -> Iterator[Record]:
    """Objects one after another, from this position on: each on its line, or each on several lines."""
    text = _Text(read, size, layout, position)
    number = position.record
    lf = cr = -1
    kept = text.text
    while first := text.skip_space():
        line = text.line
        number += 1
        value, problem = None, None
        if layout.multiline and first in (b"{", b"["):
            end = _end_of_multiline(text, first)
            if end == -2 or end - text.at > MAX_RECORD_BYTES:
                raw, problem = beginning(text.text, text.at), TOO_LONG
                text.skip_value(first)
                yield Record(line, number, raw, None, problem, Position(text.offset, text.line, number))
                continue
            raw = text.text[text.at : end]
            text.pass_to(end)
            value, problem = parse(raw, layout.encoding, line)
            yield Record(line, number, raw, value, problem, Position(text.offset, text.line, number))
            continue
        while True:
            if kept is not text.text:
                kept, lf, cr = text.text, -1, -1
            if lf < text.at:
                lf = _find(kept, b"\n", text.at)
            if cr < text.at:
                cr = _find(kept, b"\r", text.at)
            end = min(lf, cr)
            if end < len(kept) or text.ended or len(kept) - text.at > MAX_RECORD_BYTES:
                break
            text.fill()
        if end - text.at > MAX_RECORD_BYTES:
            raw = beginning(kept, text.at)
            text.skip_line()
            yield Record(line, number, raw, None, TOO_LONG, Position(text.offset, text.line, number))
            continue
        raw = kept[text.at : end].rstrip(b" \t")
        value, problem = parse(raw, layout.encoding, line)
        if problem is not None and first == b"{":
            inner = close(raw, 0, first) or len(raw)
            if raw[inner:].lstrip()[:1] == b"{":  # several on one line
                raw = raw[:inner]
                end = text.at + inner
                value, problem = parse(raw, layout.encoding, line)
        text.pass_to(end)
        yield Record(line, number, raw, value, problem, Position(text.offset, text.line, number))


def _find(text: bytes, what: bytes, at: int) -> int:
    found = text.find(what, at)
    return len(text) if found < 0 else found


def close(text: bytes, at: int, opening: bytes) -> int | None:
    """Where the object or array ends that begins at `at`; None where it is not closed."""
    depth, end = _advance(text, opening, 1, at + 1)
    return end if depth == 0 else None


def _advance(text: bytes, opening: bytes, depth: int, at: int) -> tuple[int, int]:
    """The depth, and where it is reached: 0 at the closing bracket, else at a string that does not end or at
    the end of the text."""
    balanced = _BALANCED[opening]
    while True:
        found = balanced.match(text, at)
        assert found is not None
        at = found.end()
        token = text[at : at + 1]
        if not token or token == b'"':
            return depth, at
        at += 1
        depth += 1 if token == opening else -1
        if depth == 0:
            return 0, at


_LINE_BEGINS_OBJECT = re.compile(rb"[\r\n]\{")


def _end_of_multiline(text: _Text, opening: bytes) -> int:
    """Where the value at `at` ends; -2: it is too long. One that is not closed ends before a line that begins
    with `{` where JSON can have no object, else at the end of the file."""
    found = _WHOLE[opening].match(text.text, text.at)
    if found is not None:
        return found.end()
    end = text.end_of_value(opening) if not _next_object(text) else -1
    if end > 0:
        return end
    limit = _next_object(text)
    if limit:
        return close(text.text[:limit], text.at, opening) or limit
    return len(text.text) if end == -1 else end


def _next_object(text: _Text) -> int:
    """The line behind `at` that begins an object where none can be inside another; 0 if there is none."""
    for found in _LINE_BEGINS_OBJECT.finditer(text.text, text.at):
        before = text.text[max(text.at, found.start() - 100) : found.start()].rstrip()[-1:]
        if before and before not in b":,[":
            return found.start()
    return 0
