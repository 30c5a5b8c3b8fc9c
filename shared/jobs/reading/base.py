"""What readers and their users share: positions, layouts, records and problems."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from shared.errors import WaybillError
from shared.workorders.envelope import RECORD_BYTES

BLOCK_BYTES = 4 * 2**20
"""How much is read from an object at once."""

MAX_RECORD_BYTES = RECORD_BYTES
"""The longest record, in bytes of UTF-8: what an item may have at rest."""

MAX_COLUMNS = 10_000
"""The most columns of a CSV file."""

MAX_DEPTH = 100
"""How many objects and arrays may stand inside each other in a record."""

MAX_DIGITS = 4_300
"""The longest integer. Python refuses to parse longer ones, because that takes quadratic time.
https://docs.python.org/3/library/stdtypes.html#integer-string-conversion-length-limitation"""

ERROR_FIELD = "waybill_error"
"""The column or field of a rejected record that holds the reason. Readers drop it."""

RECORD_FIELD = "waybill_record"
"""The field that holds the text of a rejected record that was not a JSON object."""

Form = Literal["csv", "json_array", "json_object", "json_lines"]
Encoding = Literal["utf-8", "utf-16-le", "utf-16-be"]

Read = Callable[[int, int], bytes]
"""Gives the bytes of the object from a first offset up to, and without, a second."""


class Unreadable(WaybillError):
    """The file as a whole cannot be read. The text says what was found and what to do."""


class Broken(WaybillError):
    """Nothing behind the last record can be read. The text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where the next record begins.

    offset  the byte in the object
    line    the line, counted from 1
    record  how many records were read before it
    """

    offset: int
    line: int
    record: int


@dataclass(frozen=True, slots=True)
class Layout:
    """How a file is read.

    start         where the first record begins
    delimiter     between the fields of a CSV file; None in JSON
    columns       the names of a CSV file's columns, without `waybill_error`; empty in JSON
    header        the header row as it came, without its line end; empty where there is none
    error_column  the index of the column `waybill_error` in each row of a CSV file; None where there is none
    multiline     in JSON Lines: a record may take several lines
    says          how the file is read, in a sentence for people
    """

    form: Form
    encoding: Encoding
    start: Position
    delimiter: str | None
    columns: tuple[str, ...]
    header: str
    error_column: int | None
    multiline: bool
    says: str


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a record. `field` is empty where no field is to blame; `message` says what to do."""

    field: str
    message: str


@dataclass(frozen=True, slots=True)
class Record:
    """One record, good or bad: exactly one of `value` and `problem` is None.

    line    the line on which it begins, counted from 1
    number  counted from 1
    raw     its text in UTF-8, as it came, without what separates it from the next; of a record longer than
            MAX_RECORD_BYTES only the beginning
    end     where the next record begins
    """

    line: int
    number: int
    raw: bytes
    value: dict[str, Any] | None
    problem: Problem | None
    end: Position


TOO_LONG = Problem(
    "",
    f"The record is longer than {MAX_RECORD_BYTES // 2**20} MiB: shorten its longest field, or leave it out.",
)
"""What is wrong with a record that is not read because of its length."""

SHOWN_BYTES = 4096
"""How much is kept of a record that is too long, or that cannot be read to its end."""

_CUT = '…"…'
# No row and no JSON can end so: what was cut is not taken for a record when it is sent again.


def beginning(text: bytes, at: int) -> bytes:
    """What is kept of a record that begins at `at` and is too long."""
    return (text[at : at + SHOWN_BYTES].decode("utf-8", "ignore") + _CUT).encode()
