"""The operators' commands, a module each. The first line of a module's docstring is its help, all of it its
`--help`; `arguments` tells the parser what it takes, and `run` does it.

They use what `shared/` can do and hold no logic of their own. Which project they act on, a laptop's or one at
Google, the usual environment variables say.
"""

import argparse
import json
import os
import re
import socket
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.gcp.clients import Cloud
from shared.gcp.clients import connect as _connect
from shared.outbox.rendering import one_line
from shared.settings import Settings

ANSWER_SECONDS = 5
"""How long a server on this machine may take to answer at all."""

_ON_A_LAPTOP = "On a laptop, while `make up` runs: set -a; . .local/env; set +a"

MAX_ID_BYTES = 1500
"""How long the id of a document may be. https://cloud.google.com/firestore/quotas#limits"""

_SURROGATE = re.compile("[\ud800-\udfff]")
_RESERVED = re.compile(r"\.\.?|__.*__")


class Problem(Exception):
    """What is wrong, in a sentence for the operator; the command has done nothing."""


def settings() -> Settings:
    """The settings of this environment; Problem where they cannot be read."""
    try:
        return Settings.from_env(os.environ)
    except KeyError as missing:
        raise Problem(f"{missing.args[0]}. {_ON_A_LAPTOP}") from missing
    except ValueError as wrong:
        raise Problem(str(wrong.args[0])) from wrong


def connect() -> Cloud:
    """The clients for this environment; Problem where its settings cannot be read, or where the suite or
    emulator that it names does not run: Google's clients try that for a minute."""
    settings()
    host = os.environ.get("FIRESTORE_EMULATOR_HOST", "")
    if host:
        name, _, port = host.rpartition(":")
        try:
            socket.create_connection((name.strip("[]"), int(port)), timeout=ANSWER_SECONDS).close()
        except (OSError, ValueError) as error:
            raise Problem(
                f"FIRESTORE_EMULATOR_HOST is set to {host}, where nothing answers. {_ON_A_LAPTOP}"
            ) from error
    return _connect()


def document_id(text: str) -> str:
    """An id as an argument: what can name a document. https://cloud.google.com/firestore/quotas#limits"""
    if not text or "/" in text or _RESERVED.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} cannot be an id: it must not hold a slash")
    # An argument that is not UTF-8 comes with surrogates. https://peps.python.org/pep-0383/
    if len(text.encode(errors="surrogateescape")) > MAX_ID_BYTES or _SURROGATE.search(text):
        raise argparse.ArgumentTypeError(
            f"{text[:40]!r} cannot be an id: it must be UTF-8 of at most {MAX_ID_BYTES} bytes"
        )
    return text


def say(text: str = "") -> None:
    """Tell the operator: one line or more on standard output."""
    sys.stdout.write(f"{text}\n")


@dataclass(frozen=True)
class Ago:
    """A time that is shown as how long ago it was."""

    time: datetime | None
    now: datetime

    def __str__(self) -> str:
        return f"{span(self.now - self.time)} ago" if self.time else "-"


@dataclass(frozen=True)
class Listing:
    """A list that a command shows: as a table, or as JSON.

    name     what JSON calls it
    columns  what JSON calls the values of a row; a table shows the names in capitals
    rows     texts, numbers, times, durations, and lists of texts; None shows as a dash
    heading  what stands above the table, with the count; None where the table stands alone
    notes    a sentence below each row, or an empty text
    left     how many more there are than rows
    """

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    heading: str | None = None
    notes: Sequence[str] = ()
    left: int = 0

    def text(self) -> str:
        """As a person reads it."""
        title = [column.replace("_", " ").upper() for column in self.columns]
        lines = table(title, [[_text(cell) for cell in row] for row in self.rows]).splitlines()
        if self.heading is None:
            return "\n".join(lines) if self.rows else "There are none."
        shown = [f"{self.heading}: {len(self.rows) + self.left}"]
        for number, line in enumerate(lines if self.rows else ()):
            shown.append(f"  {line}")
            if number and self.notes and self.notes[number - 1]:
                shown.append(f"    {_line(self.notes[number - 1])}")
        return "\n".join([*shown, *([f"  … and {self.left} more"] if self.left else ())])

    def json(self) -> dict[str, Any]:
        """As a program reads it: times in UTC, durations in seconds."""
        notes = self.notes or [""] * len(self.rows)
        rows = [
            {column: _plain(cell) for column, cell in zip(self.columns, row, strict=True)}
            | ({"note": note or None} if self.notes else {})
            for row, note in zip(self.rows, notes, strict=True)
        ]
        return {self.name: rows} | ({f"{self.name}_left_out": self.left} if self.heading else {})


def takes_json(parser: argparse.ArgumentParser) -> None:
    """Have a command that shows something take `--json`."""
    parser.add_argument("--json", action="store_true", help="show it as JSON, for a program")


def show(as_json: bool, *listings: Listing, **more: object) -> None:
    """Show lists as tables, one below the other, or all as one JSON object, in which `more` comes first."""
    if not as_json:
        say("\n\n".join(each.text() for each in listings))
        return
    made: dict[str, Any] = {name: _plain(value) for name, value in more.items()}
    for each in listings:
        made |= each.json()
    show_json(made)


def show_json(value: object) -> None:
    """Show a value as JSON."""
    say(json.dumps(value, indent=2, ensure_ascii=False))


def _line(text: str) -> str:
    """A text on one line, without what controls a terminal: a name can hold either."""
    return one_line(text, len(text))


def _text(cell: object) -> str:
    match cell:
        case None | () | []:
            return "-"
        case datetime():
            return second(cell)
        case timedelta():
            return span(cell)
        case list() | tuple():
            return ",".join(map(str, cell))
    return str(cell)


def _plain(cell: object) -> object:
    match cell:
        case Ago():
            return _plain(cell.time)
        case datetime():
            return cell.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        case timedelta():
            return round(cell.total_seconds())
        case list() | tuple():
            return [_plain(each) for each in cell]
    return cell


def show_key(key: str, *, signs: bool) -> None:
    """Show a key that was just made, and what it is to a client that signs requests with it."""
    say("The new key, which is shown this once:")
    say(key)
    if signs:
        _, id, secret = key.split("_", 2)
        say(f"To sign requests with it: the access key is {id}, the secret key is {secret}.")


def table(title: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows under their title, each on one line, each column as wide as its widest cell; an empty text where a
    cell is None."""
    cells = [tuple(title), *(tuple("" if each is None else _line(str(each)) for each in row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells)
    return "\n".join(line.rstrip() for line in lines)


def second(at: datetime | None) -> str:
    """A moment to the second, as `2026-11-23 02:00:07Z`; a dash where there is none."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ") if at else "-"


def span(time: timedelta) -> str:
    """A duration in its two largest units, as `2d 3h`, `5m 10s` or `7s`."""
    left = max(0, round(time.total_seconds()))
    parts: list[str] = []
    for unit, seconds in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        number, left = divmod(left, seconds)
        if number or parts or unit == "s":
            parts.append(f"{number}{unit}")
    return " ".join(parts[:2])
