"""The templates of the console: files in `templates/`, rendered by Jinja2. All that they are given is
escaped.

https://jinja.palletsprojects.com/en/stable/api/#autoescaping
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import orjson
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from shared.console import assets
from shared.outbox.rendering import size

_QUOTED = re.compile("“([^“”]*)”")
"""What our sentences quote."""

_PARTS = re.compile(r"(?<=[/_.-])")

MAX_PLACE = 2_000
"""Characters of the name of a file that a page shows; an object of Cloud Storage has at most 1,024."""

MAX_SHOWN = 300
"""Characters of a name that a page shows; what is longer is cut, and the whole is its title."""


def render(template: str, values: Mapping[str, Any]) -> str:
    """The HTML that a template makes of these values."""
    return _environment().get_template(template).render(values)


def pieces(template: str, values: Mapping[str, Any]) -> Iterator[str]:
    """The same in pieces, each as soon as it is made."""
    return _environment().get_template(template).generate(values)


def name(text: Any, most: int = MAX_SHOWN) -> Markup:
    """A text that somebody chose: isolated, so that its direction changes nothing beside it. What a sentence
    quotes is isolated from the sentence, too."""
    whole = str(text)
    if len(whole) <= most:
        return Markup("<bdi>{}</bdi>").format(_quoting(whole))
    return Markup('<bdi title="{}">{}…</bdi>').format(whole, _quoting(whole[: most - 1]))


def _quoting(text: str) -> Markup:
    parts = _QUOTED.split(text)
    quoted = Markup("“<bdi>{}</bdi>”")
    return Markup("").join(quoted.format(part) if at % 2 else part for at, part in enumerate(parts))


def place(text: str) -> Markup:
    """A long name such as a file's, which a line may end in behind each of its parts."""
    parts = _PARTS.split(text[:MAX_PLACE])
    return Markup("<bdi>{}</bdi>").format(Markup("<wbr>").join(parts))


def moment(at: str | datetime | None, missing: str = "–") -> Markup:
    """A moment as people read it, in UTC: `23 Nov 2026, 02:00`. Texts are as answers of the API have them."""
    if at is None or at == "":
        return escape(missing)
    when = (datetime.fromisoformat(at) if isinstance(at, str) else at).astimezone(UTC)
    text = f"{when.day} {when:%b %Y, %H:%M}"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        when.isoformat(timespec="seconds"), f"{when:%d %B %Y, %H:%M:%S} UTC", text
    )


def clock(at: str) -> Markup:
    """A moment as the clock of its own offset shows it, which the page names: `23 Nov 2026, 03:30`."""
    when = datetime.fromisoformat(at)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        at, f"{when:%A, %d %B %Y, %H:%M %Z}", f"{when.day} {when:%b %Y, %H:%M}"
    )


def since_1970(seconds: float) -> datetime:
    """The moment that many seconds after the beginning of 1970, UTC."""
    return datetime.fromtimestamp(seconds, UTC)


def lasting(seconds: float | None) -> str:
    """A duration as people read it: `4 min 10 s`."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, left = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {left} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def between(start: str | None, end: str | None) -> str:
    """How long it took from one moment to another one, both as answers of the API have them."""
    if not start or not end:
        return "–"
    return lasting((datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds())


TONES = {
    "good": {
        "ACTIVE",
        "COMPLETED",
        "DONE",
        "SENT",
        "SUCCESS",
        "SUCCEEDED",
        "DELIVERED",
        "PASSED",
        "OK",
        "READY",
    },
    "busy": {"RUNNING", "PENDING", "DELIVERING", "WRITING", "PROCESSING", "QUEUED", "INIT", "IN_PROGRESS"}
    | {"UPLOADED", "DUE", "ACCEPTED"},
    "warn": {"WAITING", "WAITING_FOR_UPLOAD", "COMPLETED_WITH_ERRORS", "PARTLY_COMPLETED", "PAUSED"}
    | {"CREATED", "UNKNOWN"},
    "bad": {"FAILED", "SUSPENDED", "REFUSED", "ERROR", "REJECTED"},
}
"""How states look; what is in none of these is quiet."""

NAVIGATION = (
    ("", "Overview", None),
    ("/exports", "Exports", "exports"),
    ("/batches", "Batches", "batches"),
    ("/work-orders", "Work orders", "batches"),
    ("/jobs", "Jobs", "jobs"),
    ("/datasets", "Datasets", "datasets"),
    ("/keys", "Keys", "keys"),
)
"""The pages that every page leads to: their paths, their names, and the scope that a key needs for them."""


def tone(state: str) -> str:
    """How a state looks."""
    return next((look for look, states in TONES.items() if state.upper() in states), "quiet")


def words(state: str) -> str:
    """A state as a word: `Partly completed` of PARTLY_COMPLETED."""
    return state.replace("_", " ").capitalize()


def with_query(path: str, query: Mapping[str, Any]) -> str:
    """A path with query parameters; those that are None or empty are left out."""
    kept = {each: value for each, value in query.items() if value not in (None, "")}
    return f"{path}?{urlencode(kept)}" if kept else path


def _as_json(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "name": name,
        "place": place,
        "moment": moment,
        "clock": clock,
        "since_1970": since_1970,
        "lasting": lasting,
        "size": size,
        "number": "{:,}".format,
        "words": words,
        "tone": tone,
        "as_json": _as_json,
    }
    made.globals |= {
        "NAVIGATION": NAVIGATION,
        "asset": assets.url,
        "between": between,
        "with_query": with_query,
    }
    return made
