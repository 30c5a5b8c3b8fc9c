"""json: a record a line. Records come as lines, so they are passed through as they are.

https://github.com/ndjson/ndjson-spec
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shared.formats.base import Column, Style


@dataclass(frozen=True)
class JsonLines:
    """A format; see `base.Format`."""

    name: str = "json"
    description: str = "JSON Lines: a record a line, as JSON."
    extension: str = "jsonl"
    content_type: str = "application/x-ndjson"
    max_rows: int | None = None
    joinable: bool = True
    has_date_format: bool = False
    has_bom: bool = False
    separator: bytes = b""
    suffix: bytes = b""

    def prefix(self, columns: Sequence[Column], style: Style) -> bytes:
        """Nothing."""
        return b""

    def records(self, columns: Sequence[Column], style: Style, put: Callable[[bytes], None]) -> "_Lines":
        """Begin a piece. It holds every field of a record, also those that are no column."""
        return _Lines(put)


class _Lines:
    def __init__(self, put: Callable[[bytes], None]) -> None:
        self._put = put
        self.size = 0

    def size_with(self, lines: bytes) -> int:
        return self.size + len(lines)

    def write(self, lines: bytes) -> None:
        if lines:
            self._put(lines)
            self.size += len(lines)

    def close(self) -> None:
        pass


FORMAT = JsonLines()
