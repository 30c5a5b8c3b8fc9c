"""The templates of letters and pages: files in `templates/`, rendered by Jinja2.

What goes into HTML is escaped, and a name that a template does not know is an error.
https://jinja.palletsprojects.com/en/stable/api/#autoescaping
"""

import re
import unicodedata
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template, select_autoescape

MAX_NAME = 80
"""Characters of a name or a file's name inside a letter."""

_TURNS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""They turn the direction of what follows: a name that holds one could show as another.
https://www.unicode.org/reports/tr9/#Directional_Formatting_Characters"""


def get(name: str, *, html: bool) -> Template:
    """The template in the file of that name, to be rendered as HTML or as text."""
    return _environment(html).get_template(name)


def render(name: str, values: Mapping[str, Any]) -> str:
    """The HTML that a template makes of these values."""
    return get(name, html=True).render(values)


def one_line(text: str, longest: int) -> str:
    """A text on one line: what controls a terminal, a header or the direction of reading is a space, and
    what is too long is cut."""
    plain = "".join(
        " " if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or _TURNS.match(c) else c for c in text
    )
    plain = " ".join(plain.split())
    return plain if len(plain) <= longest else plain[: longest - 1] + "…"


def size(count: int) -> str:
    """Bytes as people read them."""
    amount = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 999.95 or unit == "GB":
            break
        amount /= 1000
    return f"{count:,} {'byte' if count == 1 else 'bytes'}" if unit == "bytes" else f"{amount:,.1f} {unit}"


def local(at: datetime, timezone: str) -> str:
    """A moment as people read it: `23 November 2026, 00:00`."""
    there = at.astimezone(ZoneInfo(timezone))
    return f"{there.day} {there:%B %Y, %H:%M}"


@cache
def _environment(html: bool) -> Environment:
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=select_autoescape(enabled_extensions=(), default=html),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {
        "name": lambda text: one_line(text, MAX_NAME),
        "number": "{:,}".format,
        "size": size,
        "local": local,
        "period": _period,
    }
    return made


def _period(facts: Any) -> str:
    """The period of an export, from the bounds of its window."""
    start, end = (datetime.fromisoformat(bound) for bound in (facts.window_start, facts.window_end))
    until = local(end, facts.timezone)
    # What runs once without a start exports everything so far.
    return f"{local(start, facts.timezone)} to {until}" if start.timestamp() else f"up to {until}"
