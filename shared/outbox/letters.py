"""The facts that mails are about, and the letters made of them, as text and as HTML. Pure functions.

Each letter is one template in `templates/`, which extends `letter.txt` or `letter.html`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

from shared.outbox import rendering
from shared.outbox.rendering import one_line

MAX_SUBJECT = 150
"""Characters of a subject; programs show some 70, and a header's line takes 998 bytes.
https://www.rfc-editor.org/rfc/rfc5322#section-2.1.1"""

MAX_FACT = 1_000
"""Characters of any other fact, an error's sentence for one."""


@dataclass(frozen=True)
class Letter:
    """A letter to one recipient: its subject, and its body in both forms."""

    subject: str
    text: str
    html: str


@dataclass(frozen=True)
class Link:
    """The URL of what the letter is about, which is a secret, and until when it works."""

    url: str
    expires: datetime


@dataclass(frozen=True)
class Export:
    """An export is ready. The window's bounds as `2026-11-23T00:00:00Z`."""

    export_name: str
    export_type: str
    file_format: str
    window_start: str
    window_end: str
    timezone: str
    rows: int
    bytes: int
    files: int
    export: str
    run: str


@dataclass(frozen=True)
class Failed:
    """A run of an export failed: why, and what would help, each in a sentence."""

    export_name: str
    window_start: str
    window_end: str
    timezone: str
    error: str
    next_action: str
    export: str
    run: str


@dataclass(frozen=True)
class Suspended(Failed):
    """An export was suspended, since it failed at this window again and again."""


@dataclass(frozen=True)
class Waiting(Failed):
    """A run of an export waits for something outside: `error` says for what."""


@dataclass(frozen=True)
class Undelivered(Failed):
    """A run of an export reached some of its recipients, and not others: `error` says whom, and why."""


@dataclass(frozen=True)
class Batch:
    """A batch has ended. `site` is its name; `error` why it failed, `filename` what the archive was called,
    where that is known."""

    batch: str
    filename: str | None
    site: str
    status: str
    work_orders_done: int
    work_orders_failed: int
    images: int
    bytes: int
    errors: int
    warnings: int
    error: str | None


@dataclass(frozen=True)
class Job:
    """A job has ended: `reason` says how, in a sentence. `does` is import or export; `files` how many files
    the letter's link leads to."""

    job: str
    name: str
    does: str
    item_type: str
    status: str
    reason: str
    processed: int
    rejected: int
    files: int


Facts = Export | Failed | Suspended | Waiting | Undelivered | Batch | Job

KINDS: Mapping[str, type[Facts]] = {
    "export": Export,
    "failed": Failed,
    "suspended": Suspended,
    "waiting": Waiting,
    "undelivered": Undelivered,
    "batch": Batch,
    "job": Job,
}
"""The facts of each letter, by its name, which is its template's."""


def parse(kind: str, facts: Mapping[str, Any]) -> Facts:
    """The facts of a letter, each text on one line and bounded. ValueError names what is missing or too
    many."""
    of = KINDS.get(kind)
    if of is None:
        raise ValueError(f"there are no letters of the kind {kind!r}; there are {', '.join(KINDS)}")
    names = {each.name for each in fields(of)}
    if names != set(facts):
        raise ValueError(f"a letter of the kind {kind} does not take {sorted(names ^ set(facts))} so")
    return of(**{name: _bounded(name, value) for name, value in facts.items()})


def kept(kind: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts as a document stores them; ValueError as `parse`."""
    return asdict(parse(kind, facts))


def write(facts: Facts, url: str, link: Link | None) -> Letter:
    """The letter about these facts. `url` is where Waybill answers, without a slash at its end."""
    [letter] = [name for name, kind in KINDS.items() if kind is type(facts)]
    values = {"facts": facts, "url": url, "link": link}
    text = rendering.get(f"{letter}.jinja", html=False).make_module({**values, "form": "letter.txt"})
    html = rendering.get(f"{letter}.jinja", html=True).render({**values, "form": "letter.html"})
    return Letter(one_line(vars(text)["subject"], MAX_SUBJECT), str(text), html)


def _bounded(name: str, value: Any) -> Any:
    return one_line(value, MAX_FACT) if isinstance(value, str) else value
