"""The templates of letters and pages: files in `templates/`, rendered by Jinja2.

What goes into HTML is escaped, and a name that a template does not know is an error.
https://jinja.palletsprojects.com/en/stable/api/#autoescaping
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template, select_autoescape
from markupsafe import Markup

MAX_NAME = 80
"""Characters of a name or a file's name inside a letter."""

MAX_SENTENCE = 400
"""Characters of one error's sentence, or of what helps, where a letter has several."""

_API_VERB = re.compile(r",? (?:with|by) `?:[a-z-]+`?")
"""How our sentences name a call, as in "with :backfill": words for whoever calls the API."""

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


def file_name(text: str) -> str:
    """A text as far as a file's name may have it, without an extension; empty where nothing is left."""
    kept = "".join(each if each.isalnum() or each in "-_." else "-" for each in text)
    return kept[:MAX_NAME].strip("-.")


def listed(names: Sequence[str]) -> str:
    """Some names in one text: `North, South and East`."""
    *others, last = [one_line(each, MAX_NAME) for each in names] or [""]
    return f"{', '.join(others)} and {last}" if others else last


def breakable(name: str) -> Markup:
    """A file's name as HTML, in which a line may end behind each `/`, `_`, `-` and `.`."""
    return Markup("<wbr>").join(re.split(r"(?<=[/_.-])(?=.)", one_line(name, MAX_SENTENCE)))


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


def clock(timezone: str) -> str:
    """Whose clocks show a time: `Europe/Paris time`."""
    return timezone if timezone == "UTC" else f"{timezone} time"


def period(about: Any) -> str:
    """A period as people read it, from its `window_start` and `window_end`, on the clocks of its `timezone`.

    Where the clocks change in it, or show one of its bounds twice, the offsets from UTC stand beside the
    times.
    """
    zone = ZoneInfo(about.timezone)
    start, end = (
        datetime.fromisoformat(bound).astimezone(zone) for bound in (about.window_start, about.window_end)
    )
    if not start.timestamp():  # what runs once without a start exports everything so far
        return f"up to {local(end, about.timezone)}"
    with_offsets = start.utcoffset() != end.utcoffset() or _comes_twice(start) or _comes_twice(end)
    first, last = (
        f"{local(at, about.timezone)} (UTC{_offset(at)})" if with_offsets else local(at, about.timezone)
        for at in (start, end)
    )
    return f"{first} to {last}"


def _comes_twice(at: datetime) -> bool:
    """Whether the clocks show this time twice, since they are set back."""
    return at.utcoffset() != at.replace(fold=1 - at.fold).utcoffset()


def _offset(at: datetime) -> str:
    return f"{at:%z}"[:3] + ":" + f"{at:%z}"[3:5]


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
        "clock": clock,
        "listed": listed,
        "breakable": breakable,
        "sentence": lambda text: one_line(text, MAX_SENTENCE),
        "plain": lambda text: _API_VERB.sub("", text),
        "number": "{:,}".format,
        "size": size,
        "local": local,
        "period": period,
    }
    return made
