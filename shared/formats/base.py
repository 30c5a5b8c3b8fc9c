"""What a format is: how records become a file, and whether files of it can be joined end to end."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol
from zoneinfo import ZoneInfo

ColumnType = Literal["text", "code", "integer", "number", "boolean", "moment", "json", "value"]

DateFormat = Literal["iso8601", "day/month/year", "month/day/year", "epoch"]
"""How a CSV file writes a moment."""

UTC = ZoneInfo("UTC")

MAX_SHEET_ROWS = 100_000
"""How many records a CSV file or a JSON array may hold (docs/contracts/exports.md)."""


class Column(NamedTuple):
    """A field of a record, and the type of its values. A value of any type may be null.

    text    what a person, or a customer's program, may have written
    code    text that Waybill made: an id, a checksum, one of a few words
    moment  text such as 2023-02-23T08:52:30.110425Z
    json    an object or an array
    value   a text, a number, true or false, which differs from record to record
    """

    name: str
    type: ColumnType


@dataclass(frozen=True)
class Style:
    """What an export's config says of how files are written: moments, in which time zone those that do not
    carry one, and whether a file begins with a byte order mark."""

    dates: DateFormat = "iso8601"
    zone: ZoneInfo = field(default=UTC)
    bom: bool = False


class Records(Protocol):
    """A file, or a piece of one, that is being written."""

    @property
    def size(self) -> int:
        """At most how many bytes it would have if it ended now, without the format's prefix and suffix."""
        ...

    def size_with(self, lines: bytes) -> int:
        """At most how many bytes it would have if it ended after these records."""
        ...

    def write(self, lines: bytes) -> None:
        """Add records: JSON Lines as orjson writes them, each with its newline, whole; none where empty."""
        ...

    def close(self) -> None:
        """Write what is still held. Nothing may be added after it. A piece without a record has no bytes."""
        ...


class Format(Protocol):
    """A way to write records.

    name          what an export's `file_format` says
    description   a sentence for whoever chooses
    extension     of a file's name, without a dot: `csv.gz`
    content_type  what a file says it is
    max_rows     how many records one file may hold, None where any number
    joinable         whether pieces can be joined to one file: prefix, piece, separator, piece, ..., suffix;
                  without, each piece is a file of its own
    has_date_format         whether the config may say how moments are written
    has_bom                 whether the config may ask for a byte order mark
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def description(self) -> str: ...  # noqa: D102
    @property
    def extension(self) -> str: ...  # noqa: D102
    @property
    def content_type(self) -> str: ...  # noqa: D102
    @property
    def max_rows(self) -> int | None: ...  # noqa: D102
    @property
    def joinable(self) -> bool: ...  # noqa: D102
    @property
    def has_date_format(self) -> bool: ...  # noqa: D102
    @property
    def has_bom(self) -> bool: ...  # noqa: D102

    def prefix(self, columns: Sequence[Column], style: Style) -> bytes:
        """What stands before the first piece; empty where nothing does."""
        ...

    @property
    def separator(self) -> bytes:
        """What stands between two pieces."""
        ...

    @property
    def suffix(self) -> bytes:
        """What stands behind the last piece."""
        ...

    def records(self, columns: Sequence[Column], style: Style, put: Callable[[bytes], None]) -> Records:
        """Begin a piece, whose bytes go to `put` as they come."""
        ...
