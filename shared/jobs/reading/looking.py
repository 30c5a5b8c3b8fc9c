"""Finds out how a file is to be read, from its first block."""

import re

from shared.jobs.reading.base import (
    BLOCK_BYTES,
    ERROR_FIELD,
    MAX_COLUMNS,
    Encoding,
    Layout,
    Position,
    Read,
    Unreadable,
)
from shared.jobs.reading.blocks import Blocks, lines_in
from shared.jobs.reading.csv_rows import cells_of, patterns
from shared.jobs.reading.json_records import close
from shared.jobs.reading.strict_json import parse

DELIMITERS = (",", ";", "\t")

_MAGIC = (
    (b"PK\x03\x04", "a zip archive or an Excel workbook"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook (.xls)"),
    (b"\x1f\x8b", "compressed with gzip"),
    (b"BZh", "compressed with bzip2"),
    (b"\xfd7zXZ\0", "compressed with xz"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"\x28\xb5\x2f\xfd", "compressed with Zstandard"),
    (b"%PDF", "a PDF document"),
    (b"PAR1", "a Parquet file"),
    (b"\xff\xfe\0\0", "text in UTF-32"),
    (b"\0\0\xfe\xff", "text in UTF-32"),
)
_LOOKED_AT_ROWS = 100
_LOOKED_AT_BYTES = 2**16
_EVIDENT_JSON = re.compile(rb'\s*(?:\{\s*"|\[\s*[\{\]]|\{\s*\})')
_QUOTED = re.compile(rb'"(?:[^"]++|"")*+"?')
_LINE_END = re.compile(rb"\r\n|\r|\n")
_SEP = re.compile(rb"sep=(.)[ ,;\t]*(?:\r\n|\r|\n|\Z)", re.IGNORECASE)
_NAMES = {"utf-8": "UTF-8", "utf-16-le": "UTF-16 (LE)", "utf-16-be": "UTF-16 (BE)"}
_MAX_SHOWN = 40


def look(read: Read, size: int, *, csv: bool, header_row: bool) -> Layout:
    """How this file is read. `csv`: what the customer says it is; else it is JSON.

    Unreadable where the file as a whole cannot be read.
    """
    advice = "save it as CSV (UTF-8)" if csv else "save it as JSON in UTF-8"
    head = read(0, min(size, BLOCK_BYTES))
    for magic, what in _MAGIC:
        if head.startswith(magic):
            raise Unreadable(f"The file is {what}: {advice}.")
    encoding, mark = _encoding(head, advice)
    blocks = Blocks(read, size, encoding, mark)
    text = blocks.next()
    if not text.strip() and blocks.ended:
        raise Unreadable("The file is empty: send a file that holds at least one record.")
    if csv:
        return _csv(text, blocks, mark, header_row)
    return _json(text, blocks, mark)


def _encoding(head: bytes, advice: str) -> tuple[Encoding, int]:
    """The encoding, and how many bytes its byte order mark takes."""
    if head.startswith(b"\xef\xbb\xbf"):
        return "utf-8", 3
    if head.startswith(b"\xff\xfe"):
        return "utf-16-le", 2
    if head.startswith(b"\xfe\xff"):
        return "utf-16-be", 2
    if b"\0" in head[:4]:
        zeros = [index for index, byte in enumerate(head[:4]) if byte == 0]
        if len(zeros) == 3:
            raise Unreadable(f"The file is text in UTF-32: {advice}.")
        if zeros in ([1], [1, 3]):
            return "utf-16-le", 0
        if zeros in ([0], [0, 2]):
            return "utf-16-be", 0
    return "utf-8", 0


def _decoded(raw: bytes, before: bytes, mark: int, encoding: Encoding) -> str:
    try:
        text = raw.decode()
    except UnicodeDecodeError as wrong:
        if encoding != "utf-8":
            raise Unreadable(
                "The file begins as UTF-16 and then is not: save it as UTF-8, and send it again."
            ) from wrong
        at = len(before) + wrong.start
        line = 1 + lines_in(before + raw[: wrong.start])
        raise Unreadable(
            f"The file is neither UTF-8 nor UTF-16: byte {mark + at + 1:,}, on line {line:,}, is "
            f"0x{raw[wrong.start]:02X}. Save it as UTF-8 (in Excel: “CSV UTF-8”)."
        ) from wrong
    if "\0" in text:
        line = 1 + lines_in(before + raw[: raw.index(b"\0")])
        raise Unreadable(
            f"The file is not text: line {line:,} holds a NUL byte. Save it as CSV or JSON in UTF-8."
        )
    return text


def _csv(text: bytes, blocks: Blocks, mark: int, header_row: bool) -> Layout:
    if _EVIDENT_JSON.match(text):
        raise Unreadable(
            "The file is JSON, but contentType says that it is CSV: send contentType `application/json`."
        )
    named = _SEP.match(text)
    at = named.end() if named else 0
    while found := re.compile(rb" *(?:\r\n|\r|\n)").match(text, at):
        at = found.end()
    if at == len(text):
        raise Unreadable("The file is empty: send a file that holds at least one record.")
    if named:
        delimiter = named[1].decode("utf-8", "replace")
        if not delimiter.isascii() or delimiter in ' "\r\n':
            raise Unreadable("The line `sep=` names no delimiter that a CSV file can have: use `sep=;`.")
        how = "as its first line says"
    else:
        delimiter, how = _delimiter(text[at : at + _LOOKED_AT_BYTES])
    first = patterns(delimiter).row.match(text, at)
    line = 1 + lines_in(text[:at])
    what = "header" if header_row else "first row"
    stop = _LINE_END.search(text, at)
    if first is None or (first.end() == len(text) and not blocks.ended):
        _decoded(text[at : stop.start() if stop else at + _MAX_SHOWN], text[:at], mark, blocks.encoding)
        if first is None and not patterns(delimiter).cut.match(text, at):
            raise Unreadable(
                f"The quotes of the {what}, on line {line:,}, do not match: put a field that holds quotes "
                "into quotes, and write each quote inside it twice."
            )
        raise Unreadable(
            f"The {what}, on line {line:,}, does not end within {BLOCK_BYTES // 2**20} MiB: check its quotes "
            "and its line ends."
            if not blocks.ended
            else f"A quote in the {what}, on line {line:,}, is never closed: close it, or remove it."
        )
    raw = first[0]
    row = _decoded(raw, text[:at], mark, blocks.encoding)
    cells = cells_of(row, delimiter)
    if len(cells) > MAX_COLUMNS:
        raise Unreadable(
            f"The {what} has {len(cells):,} columns, and at most {MAX_COLUMNS:,} are read: split the file."
        )
    error_column: int | None = None
    if header_row:
        names = [cell.strip() for cell in cells]
        _check(names, line)
        if ERROR_FIELD in names:
            error_column = names.index(ERROR_FIELD)
            del names[error_column]
        if not names:
            raise Unreadable(f"The only column of the file is {ERROR_FIELD}: add the columns of the records.")
        end = first.end()
        end += 2 if text[end : end + 2] == b"\r\n" else 1
        end = min(end, len(text))
    else:
        if len(cells) > 1 and cells[-1].startswith(f"{ERROR_FIELD}: "):
            error_column = len(cells) - 1
        names = [f"column{index + 1}" for index in range(len(cells) - (error_column is not None))]
        end = at
    between = "a tab" if delimiter == "\t" else f"`{delimiter}`"
    header = "a header row" if header_row else "no header row"
    if len(cells) == 1 and not named:
        says = f"Read as CSV in {_NAMES[blocks.encoding]}, with a single column and {header}."
    else:
        says = (
            f"Read as CSV in {_NAMES[blocks.encoding]}, with {between} between fields, {how}, and {header}."
        )
    return Layout(
        form="csv",
        encoding=blocks.encoding,
        start=Position(mark + blocks.width(text[:end]), 1 + lines_in(text[:end]), 0),
        delimiter=delimiter,
        columns=tuple(names),
        header=row if header_row else "",
        error_column=error_column,
        multiline=False,
        says=says,
    )


def _check(names: list[str], line: int) -> None:
    seen: dict[str, int] = {}
    for index, name in enumerate(names, 1):
        if not name:
            raise Unreadable(
                f"Column {index:,} has no name in the header, on line {line:,}: name it or remove it."
            )
        if name in seen:
            raise Unreadable(
                f"The columns {seen[name]:,} and {index:,} of the header, on line {line:,}, are both named "
                f"“{_cut(name)}”: rename one of them."
            )
        seen[name] = index


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "…"


def _delimiter(head: bytes) -> tuple[str, str]:
    """The delimiter that most rows have as often as the first, and how it was found."""
    rows = [row for row in _LINE_END.split(_QUOTED.sub(b"", head)) if row.strip(b" ")]
    if len(rows) > 1 and len(head) == _LOOKED_AT_BYTES:
        rows.pop()  # it may be cut
    rows = rows[:_LOOKED_AT_ROWS]
    best, best_score = ",", (0, 0)
    for delimiter in DELIMITERS:
        byte = delimiter.encode()
        count = rows[0].count(byte) if rows else 0
        if count:
            score = (sum(row.count(byte) == count for row in rows), count)
            if score > best_score:
                best, best_score = delimiter, score
    alike, count = best_score
    if len(rows) <= 1:
        return best, f"which stands {count:,} times in the first row"
    return best, f"which stands {count:,} times in {alike:,} of the first {len(rows):,} rows"


def _json(text: bytes, blocks: Blocks, mark: int) -> Layout:
    found = re.compile(rb"[ \t\r\n]*").match(text)
    assert found is not None
    at = found.end()
    first = text[at : at + 1]
    line = 1 + lines_in(text[:at])
    start = Position(mark + blocks.width(text[:at]), line, 0)
    stop = _LINE_END.search(text, at)
    whole_line = text[at : stop.start() if stop else len(text)]
    if first not in (b"[", b"{"):
        shown_text = _cut(_decoded(whole_line, text[:at], mark, blocks.encoding))
        raise Unreadable(
            f"The file is not JSON: it begins with “{shown_text}” where `[` or `{{` must stand. If it is "
            "CSV, send contentType `text/plain`."
        )
    name = _NAMES[blocks.encoding]
    if first == b"[":
        start = Position(mark + blocks.width(text[: at + 1]), line, 0)
        return _layout("json_array", blocks.encoding, start, False, f"Read as a JSON array in {name}.")
    end = close(text, at, b"{")
    if end is not None and blocks.ended and not text[end:].strip():
        return _layout("json_object", blocks.encoding, start, True, f"Read as one JSON object in {name}.")
    multiline = _takes_lines(text, at, end, whole_line, blocks.encoding)
    how = "one after another, on any number of lines" if multiline else "one on each line"
    return _layout(
        "json_lines", blocks.encoding, start, multiline, f"Read as JSON objects, {how}, in {name}."
    )


def _layout(form: str, encoding: Encoding, start: Position, multiline: bool, says: str) -> Layout:
    return Layout(form, encoding, start, None, (), "", None, multiline, says)  # type: ignore[arg-type]


def _takes_lines(text: bytes, at: int, end: int | None, first_line: bytes, encoding: Encoding) -> bool:
    """Whether records take several lines: the first object does, and no line among the first is a record."""
    if parse(first_line.rstrip(), encoding, 1)[1] is None:
        return False
    if end is not None and parse(text[at:end], encoding, 1)[1] is None and _LINE_END.search(text, at, end):
        return True
    lines = _LINE_END.split(text[at : at + _LOOKED_AT_BYTES])[:_LOOKED_AT_ROWS]
    return not any(each.startswith(b"{") and parse(each.rstrip(), encoding, 1)[1] is None for each in lines)
