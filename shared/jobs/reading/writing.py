"""Files made of a file's own records: those that were rejected, and those that were not read."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from shared.formats.csv import guarded_behind
from shared.jobs.reading.base import BLOCK_BYTES, ERROR_FIELD, RECORD_FIELD, Layout, Position, Read
from shared.jobs.reading.csv_rows import cells_of, patterns

_LINE_BREAK = re.compile(rb"[\r\n]+")
_LAST_FIELD = re.compile(rb',?\s*"' + ERROR_FIELD.encode() + rb'"\s*:\s*"(?:[^"\\]|\\.)*+"\s*\}\s*\Z')
# It cannot match inside a text, where quotes are escaped, nor in an inner object, behind which `}` stands.


def write_back(layout: Layout, rejected: Iterable[tuple[bytes, str, int]]) -> Iterator[bytes]:
    """A file of rejected records in the form they came in, in UTF-8: each with `waybill_error`, the reason.

    `rejected` has the raw record, the reason, and the line it came from.
    """
    if layout.form == "csv":
        yield from _csv(layout, rejected)
        return
    array = layout.form == "json_array"
    begun = False
    for raw, reason, line in rejected:
        content = _with_error(raw, _reason(reason, line), one_line=not array)
        if array:
            yield (b",\n" if begun else b"[\n") + content
        else:
            yield content + b"\n"
        begun = True
    if array:
        yield b"\n]\n" if begun else b"[]\n"


def _reason(reason: str, line: int) -> str:
    return f"Line {line:,}: {reason}"


def _csv(layout: Layout, rejected: Iterable[tuple[bytes, str, int]]) -> Iterator[bytes]:
    assert layout.delimiter is not None
    delimiter = layout.delimiter
    between = delimiter.encode()
    if layout.header:
        yield _without_error(layout, layout.header.encode()) + between + ERROR_FIELD.encode() + b"\r\n"
    for raw, reason, line in rejected:
        said = _reason(reason, line)
        if not layout.header:
            said = f"{ERROR_FIELD}: {said}"
        # The reason can quote what came in. The record itself is as it came.
        said = guarded_behind(said)
        quoted = b'"' + said.replace('"', '""').encode() + b'"'
        yield _without_error(layout, raw) + between + quoted + b"\r\n"


def _without_error(layout: Layout, raw: bytes) -> bytes:
    """A row without the reason it was rejected for before."""
    if layout.error_column is None or layout.delimiter is None:
        return raw
    found = patterns(layout.delimiter).row.match(raw)
    if found is None or found.end() != len(raw):
        return raw
    try:
        cells = cells_of(raw.decode(), layout.delimiter)
    except UnicodeDecodeError:
        return raw
    if len(cells) != len(layout.columns) + 1:
        return raw
    del cells[layout.error_column]
    special = re.compile(f'["\r\n{re.escape(layout.delimiter)}]')
    return layout.delimiter.join(
        '"' + cell.replace('"', '""') + '"' if special.search(cell) else cell for cell in cells
    ).encode()


def _with_error(raw: bytes, reason: str, one_line: bool) -> bytes:
    said = json.dumps(reason, ensure_ascii=False).encode("utf-8", "replace")
    field = b'"' + ERROR_FIELD.encode() + b'":' + said
    try:
        value: Any = json.loads(raw.decode(), parse_constant=_refuse, parse_int=str, parse_float=str)
        if isinstance(value, dict) and ERROR_FIELD in value:
            raw = _without_field(raw)
            value.pop(ERROR_FIELD)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        text = json.dumps(raw.decode("utf-8", "replace"), ensure_ascii=False).encode()
        return b'{"' + RECORD_FIELD.encode() + b'":' + text + b"," + field + b"}"
    # Line breaks stand between tokens alone: in a text they are escaped.
    body = _LINE_BREAK.sub(b" ", raw.strip()[:-1].rstrip()) if one_line else raw.strip()[:-1].rstrip()
    return body + (b"," if value else b"") + field + b"}"


def _refuse(name: str) -> Any:
    raise ValueError(name)


def _without_field(raw: bytes) -> bytes:
    """ValueError where it cannot be written as JSON again."""
    found = _LAST_FIELD.search(raw)
    if found is not None:
        return raw[: found.start()] + b"}"
    value = json.loads(raw)
    value.pop(ERROR_FIELD)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def rest(layout: Layout, read: Read, size: int, position: Position) -> Iterator[bytes]:
    """What is left of the file from a position, in the same form and encoding, with its header."""
    if layout.start.offset:
        yield read(0, layout.start.offset)
    at = position.offset
    # What stood between the last record and the next one.
    for text in {"json_array": ",", "json_lines": "\r\n"}.get(layout.form, ""):
        between = text.encode(layout.encoding)
        if read(at, min(size, at + len(between))) == between:
            at += len(between)
    if layout.form == "json_array" and at >= size:
        yield "]".encode(layout.encoding)
    while at < size:
        end = min(size, at + BLOCK_BYTES)
        yield read(at, end)
        at = end
