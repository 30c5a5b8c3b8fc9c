"""csv: comma-separated values as RFC 4180 has them: a header, CRLF, UTF-8.
https://www.rfc-editor.org/rfc/rfc4180

A byte order mark stands before the header where the export's config asks for one: Excel reads a file without
one in the code page of the computer.
https://support.microsoft.com/en-us/office/8a935af5-3416-4edd-ba7e-3dfd2bc4a032

What is in a cell:
- null, and a field that the record lacks: nothing; an empty text is `""`, for those who tell them apart
- a number, true, false: as JSON writes it
- an object or an array, and whatever is in a column of type json: compact JSON text
- a moment: as the export's config says; see `base.DateFormat`
- a text in a column of type code: itself, since Waybill made it
- any other text: itself, but one that a spreadsheet would run has a `'` before it

Spreadsheets run a cell that begins with one of GUARDED; a `'` before it has them take it for text.
https://owasp.org/www-community/attacks/CSV_Injection
A spreadsheet of another locale separates cells by `;`, others by `|` or tabs. To it our quotes hold nothing
together: a cell begins behind each of these within a text, and behind each line break. A text with a formula
there has a `'` before it, too, and one before each such formula.
A text that begins with `'` gets one more. So nothing is lost: `unguarded` gives the value back.
JSON has the first character of such a formula as `\\uXXXX`, which is the same value to whoever reads JSON.
"""

import codecs
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from shared import exact
from shared.formats import moments
from shared.formats.base import MAX_SHEET_ROWS, Column, Style

GUARDED = frozenset("=+-@\t\r\n＝＋－＠\0'")
"""What a text may not begin with: the characters that OWASP names, their full-width forms, NUL (ASVS 1.2.10:
some readers drop it, and what stands behind it comes first), and the guard itself.
https://github.com/OWASP/ASVS"""

_RUN = "=+@＝＋－＠\0-"
# Of GUARDED, what begins a formula by itself.
_BEHIND = r"""([;|\t\r\n][" ]*)"""
# The beginning of a cell within a text. Quotes around nothing, and spaces, are passed over.
_BEGINS_GUARDED = re.compile(f" *[{_RUN}]|[{''.join(sorted(GUARDED - {'-'}))}]").match
_FORMULA_BEHIND = re.compile(f"{_BEHIND}(?=[{_RUN}])").search
_TO_GUARD_BEHIND = re.compile(f"{_BEHIND}(?=['{_RUN}])")
_GUARD_BEHIND = re.compile(f"{_BEHIND}'")
_FORMULA_IN_JSON = re.compile("([;|] *)([=+@＝＋－＠-])")

_END = b"\r\n"
_GROWTH = 2
_ESCAPE_BYTES = len(r"\u003d") - 1
_TO_QUOTE = re.compile(rb'[",\r\n]').search


@dataclass(frozen=True)
class Csv:
    """A format; see `base.Format`."""

    name: str = "csv"
    description: str = "Comma-separated values with a header; nested values as JSON text."
    extension: str = "csv"
    content_type: str = "text/csv; charset=utf-8"
    max_rows: int | None = MAX_SHEET_ROWS
    joinable: bool = True
    has_date_format: bool = True
    has_bom: bool = True
    separator: bytes = b""
    suffix: bytes = b""

    def prefix(self, columns: Sequence[Column], style: Style) -> bytes:
        """The header, behind a byte order mark where one is wanted."""
        return (codecs.BOM_UTF8 if style.bom else b"") + row(column.name for column in columns)

    def records(self, columns: Sequence[Column], style: Style, put: Callable[[bytes], None]) -> "_Rows":
        """Begin a piece. It holds the columns in their order, and no other field."""
        return _Rows([(column.name, _writer(column, style)) for column in columns], put)


def row(values: Iterable[Any]) -> bytes:
    """A row of values as JSON has them, with its CRLF."""
    return _joined([_cell(value) for value in values])


def guarded(text: str) -> str:
    """The text with a `'` before what a spreadsheet would run, or itself where there is nothing."""
    if _BEGINS_GUARDED(text) or _FORMULA_BEHIND(text):
        return "'" + guarded_behind(text)
    return text


def guarded_behind(text: str) -> str:
    """The text with a `'` before each formula, and before each `'`, that begins a cell within it."""
    return _TO_GUARD_BEHIND.sub(r"\1'", text)


def unguarded(cell: str) -> str:
    """The text of a cell that `guarded` made; any other text that does not begin with `'` is itself."""
    return _GUARD_BEHIND.sub(r"\1", cell[1:]) if cell.startswith("'") else cell


class _Rows:
    def __init__(
        self, cells: Sequence[tuple[str, Callable[[Any], bytes]]], put: Callable[[bytes], None]
    ) -> None:
        self._cells = cells
        self._put = put
        self.size = 0

    def size_with(self, lines: bytes) -> int:
        """A value at most doubles, where it is all quotes, but for what is escaped in JSON; beside it there
        is what stands around cells."""
        around = len(self._cells) + len(_END)
        escaped = _ESCAPE_BYTES * (lines.count(b";") + lines.count(b"|"))
        return self.size + _GROWTH * len(lines) + escaped + around * lines.count(b"\n")

    def write(self, lines: bytes) -> None:
        rows = []
        for line in lines.splitlines():
            value_of = exact.loads(line).get
            rows.append(_joined([cell(value_of(name)) for name, cell in self._cells]))
        content = b"".join(rows)
        if content:
            self._put(content)
            self.size += len(content)

    def close(self) -> None:
        pass


def _joined(cells: list[bytes]) -> bytes:
    # A row of one empty cell would be an empty line, which readers skip.
    return (b",".join(cells) or b'""') + _END


def _writer(column: Column, style: Style) -> Callable[[Any], bytes]:
    if column.type == "json":
        return _json
    if column.type == "code":
        return _code
    if column.type != "moment":
        return _cell
    match style.dates:
        case "iso8601":
            return _cell  # as they come
        case "epoch":
            return _epoch
        case "day/month/year":
            return partial(_local, "{0.day:02}/{0.month:02}/{0.year:04}", style.zone)
        case "month/day/year":
            return partial(_local, "{0.month:02}/{0.day:02}/{0.year:04}", style.zone)


def _cell(value: Any) -> bytes:
    if value is None:
        return b""
    if isinstance(value, str):
        return _text(value)
    return _json(value)


def _code(value: Any) -> bytes:
    if not value or not isinstance(value, str):
        return _cell(value)
    content = value.encode()
    return _quoted(content) if _TO_QUOTE(content) else content


def _text(text: str) -> bytes:
    if not text:
        return b'""'
    content = guarded(text).encode()
    return _quoted(content) if _TO_QUOTE(content) else content


def _json(value: Any) -> bytes:
    """It needs no `'`: of GUARDED, JSON text can only begin with a number's minus, which is harmless, and
    what begins a cell within it stands in a string, where it can be escaped."""
    if value is None:
        return b""
    content = exact.dumps(value)
    if not isinstance(value, (str, list, dict)):
        return content
    if b";" in content or b"|" in content:
        content = _FORMULA_IN_JSON.sub(_escaped, content.decode()).encode()
    return _quoted(content)


def _escaped(found: re.Match[str]) -> str:
    return f"{found[1]}\\u{ord(found[2]):04x}"


def _quoted(content: bytes) -> bytes:
    return b'"' + content.replace(b'"', b'""') + b'"'


def _epoch(value: Any) -> bytes:
    at = moments.parse(value)
    if at is None:
        return _cell(value)
    since = moments.microseconds(at)
    seconds, rest = divmod(abs(since), 1_000_000)
    return f"{'-' if since < 0 else ''}{seconds}{f'.{rest:06}' if rest else ''}".encode()


def _local(date: str, zone: ZoneInfo, value: Any) -> bytes:
    at = moments.parse(value)
    try:
        there = at and at.astimezone(zone)
    except OverflowError:  # not a year of the calendar there
        there = None
    if there is None:
        return _cell(value)
    return f"{date.format(there)} {there:%H:%M:%S}".encode()


FORMAT = Csv()
