"""json-array: one JSON array of all records, each on a line of its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shared.formats.base import MAX_SHEET_ROWS, Column, Style

_BETWEEN = b",\n"


@dataclass(frozen=True)
class JsonArray:
    """A format; see `base.Format`."""

    name: str = "json-array"
    description: str = "One JSON array of all records."
    extension: str = "json"
    content_type: str = "application/json"
    max_rows: int | None = MAX_SHEET_ROWS
    joinable: bool = True
    has_date_format: bool = False
    has_bom: bool = False
    separator: bytes = _BETWEEN
    suffix: bytes = b"\n]\n"

    def prefix(self, columns: Sequence[Column], style: Style) -> bytes:
        """The bracket that opens."""
        return b"[\n"

    def records(self, columns: Sequence[Column], style: Style, put: Callable[[bytes], None]) -> "_Elements":
        """Begin a piece. It holds every field of a record, also those that are no column."""
        return _Elements(put)


class _Elements:
    def __init__(self, put: Callable[[bytes], None]) -> None:
        self._put = put
        self.size = 0

    def size_with(self, lines: bytes) -> int:
        """What stands between two records takes a byte more than a newline."""
        return self.size + len(lines) + lines.count(b"\n") * (len(_BETWEEN) - 1)

    def write(self, lines: bytes) -> None:
        if not lines:
            return
        # A newline only ends a record: inside JSON text it is escaped.
        elements = lines[:-1].replace(b"\n", _BETWEEN)
        if self.size:
            elements = _BETWEEN + elements
        self._put(elements)
        self.size += len(elements)

    def close(self) -> None:
        pass


FORMAT = JsonArray()
