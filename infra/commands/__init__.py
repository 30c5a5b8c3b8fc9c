"""The operators' commands, a module each. The first line of a module's docstring is its help, all of it its
`--help`; `arguments` tells the parser what it takes, and `run` does it.

They use what `shared/` can do and hold no logic of their own. Which project they act on, a laptop's or one at
Google, the usual environment variables say.
"""

import argparse
import os
import re
import socket
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from shared.gcp.clients import Cloud
from shared.gcp.clients import connect as _connect
from shared.settings import Settings

ANSWER_SECONDS = 5
"""How long a server on this machine may take to answer at all."""

_ON_A_LAPTOP = "On a laptop, while `make up` runs: set -a; . .local/env; set +a"

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
    return text


def say(text: str = "") -> None:
    """Tell the operator: one line or more on standard output."""
    sys.stdout.write(f"{text}\n")


def show_key(key: str, *, signs: bool) -> None:
    """Show a key that was just made, and what it is to a client that signs requests with it."""
    say("The new key, which is shown this once:")
    say(key)
    if signs:
        _, id, secret = key.split("_", 2)
        say(f"To sign requests with it: the access key is {id}, the secret key is {secret}.")


def table(title: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows under their title, each column as wide as its widest cell; an empty text where a cell is None."""
    cells = [tuple(title), *(tuple("" if each is None else str(each) for each in row) for row in rows)]
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
