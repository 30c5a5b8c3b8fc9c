"""The facts that mails are about, and the letters made of them, as text and as HTML. Pure functions.

Each letter is one template in `templates/`, which extends `letter.txt` or `letter.html`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from typing import Any

from shared.outbox import rendering
from shared.outbox.rendering import one_line

MAX_SUBJECT = 150
"""Characters of a subject; programs show some 70, and a header's line takes 998 bytes.
https://www.rfc-editor.org/rfc/rfc5322#section-2.1.1"""

MAX_FACT = 1_000
"""Characters of any other fact, an error's sentence for one."""

MAX_LETTER_BYTES = 100_000
"""How large either form of a letter may be. Gmail cuts a message that is larger than 102 kB.
https://github.com/hteumeuleu/email-bugs/issues/41"""

MAX_SITES = 5
"""How many sites a letter names; it counts the others."""

MAX_CODES, MAX_PLACES = 6, 3
"""How many kinds of errors a letter about a batch names, and of each how many places."""

OWN_NAMES = ("export_name", "filename", "name", "item_type")
"""The facts that a customer's users name as they like. The names of customers and sites are operators'."""

_WEB_ADDRESS = re.compile(r"\S*(?:https?://|\bwww\.)\S*", re.IGNORECASE)

MAX_UNSENT = 10
"""How many recipients a letter names that were not mailed."""


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
class About:
    """What the files of a link are, for their page.

    what      `export`, `batch` or `job`
    sites     the names of the sites, as `some` makes them; none where it is of no site
    window_*  of an export the bounds of its window, else None
    timezone  whose clocks the page shows
    """

    what: str
    name: str
    customer: str
    sites: Sequence[str]
    window_start: str | None
    window_end: str | None
    timezone: str


@dataclass(frozen=True)
class _OfRun:
    """What each letter about a run names. The window's bounds as `2026-11-23T00:00:00Z`; `customer` is the
    customer's name, `sites` those of the sites, as `some` makes them."""

    customer: str
    sites: Sequence[str]
    export_name: str
    window_start: str
    window_end: str
    timezone: str
    export: str
    run: str


@dataclass(frozen=True)
class Export(_OfRun):
    """An export is ready."""

    export_type: str
    file_format: str
    rows: int
    bytes: int
    files: int


@dataclass(frozen=True)
class Failed(_OfRun):
    """A run of an export failed: why, and what would help, each in a sentence."""

    error: str
    next_action: str


@dataclass(frozen=True)
class Suspended(Failed):
    """An export was suspended, since it failed at this window again and again."""


@dataclass(frozen=True)
class Waiting(Failed):
    """A run of an export waits for something outside: `error` says for what."""


@dataclass(frozen=True)
class Undelivered(_OfRun):
    """A run of an export reached some of its recipients, and not others: `unsent` has the address (`place`)
    and the reason (`sentence`) of the first of `count`."""

    unsent: Sequence[Mapping[str, str]]
    count: int
    next_action: str


@dataclass(frozen=True)
class Batch:
    """A batch has ended. `customer` and `site` are names; `error` why it failed, `filename` what the archive
    was called, where that is known.

    problems  what is wrong, a code each: its `code` and `level` (`error` or `warning`); `count`, how often it
              was found; `action`, what to do; and the first `places`, each with the `place` in the archive
              and the `sentence`
    """

    customer: str
    site: str
    batch: str
    filename: str | None
    status: str
    work_orders_done: int
    work_orders_failed: int
    images: int
    bytes: int
    errors: int
    warnings: int
    error: str | None
    problems: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Job:
    """A job has ended: `reason` says how, in a sentence. `does` is import or export; `files` how many files
    the letter's link leads to."""

    customer: str
    job: str
    name: str
    does: str
    item_type: str
    status: str
    reason: str
    processed: int
    rejected: int
    files: int


@dataclass(frozen=True)
class SignIn:
    """Somebody asked for a link that signs in to the console. `customer` is the customer's name."""

    customer: str


Facts = Export | Failed | Suspended | Waiting | Undelivered | Batch | Job | SignIn

KINDS: Mapping[str, type[Facts]] = {
    "export": Export,
    "failed": Failed,
    "suspended": Suspended,
    "waiting": Waiting,
    "undelivered": Undelivered,
    "batch": Batch,
    "job": Job,
    "sign_in": SignIn,
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
    return of(**{name: _bounded(value) for name, value in facts.items()})


def kept(kind: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts as a document stores them; ValueError as `parse`."""
    return asdict(parse(kind, facts))


def for_outside(facts: Facts, most: int) -> Facts:
    """The facts as an address outside of the customer's own gets them: the names that the customer chose have
    at most `most` characters, and no text has a web address, which programs show as a link."""
    said = {each.name: _unlinked(getattr(facts, each.name)) for each in fields(facts)}
    named = {name: one_line(said[name], most) for name in OWN_NAMES if said.get(name)}
    return replace(facts, **{**said, **named})


def write(facts: Facts, url: str, link: Link | None) -> Letter:
    """The letter about these facts. `url` is where Waybill answers, without a slash at its end."""
    [letter] = [name for name, kind in KINDS.items() if kind is type(facts)]
    limits = {"max_codes": MAX_CODES, "max_places": MAX_PLACES, "max_unsent": MAX_UNSENT}
    values = {"facts": facts, "url": url, "link": link, **limits}
    text = rendering.get(f"{letter}.jinja", html=False).make_module({**values, "form": "letter.txt"})
    html = rendering.get(f"{letter}.jinja", html=True).render({**values, "form": "letter.html"})
    plain = re.sub("\n{3,}", "\n\n", str(text))
    return Letter(one_line(vars(text)["subject"], MAX_SUBJECT), plain, html)


def about(kind: str, facts: Mapping[str, Any]) -> About:
    """What the files are that a letter's link leads to. ValueError as `parse`, and for a letter without a
    link."""
    match parse(kind, facts):
        case Export() as of:
            window = (of.window_start, of.window_end, of.timezone)
            return About("export", of.export_name, of.customer, of.sites, *window)
        case Batch() as batch:
            name = batch.filename or batch.batch
            return About("batch", name, batch.customer, (batch.site,), None, None, "UTC")
        case Job() as job:
            return About("job", job.name, job.customer, (), None, None, "UTC")
    raise ValueError(f"a letter of the kind {kind} has no link")


def some(names: Sequence[str]) -> list[str]:
    """The first MAX_SITES of some names, and how many more there are."""
    more = len(names) - MAX_SITES
    return [*names[:MAX_SITES], *([f"{more:,} more"] if more > 0 else [])]


def _unlinked(value: Any) -> Any:
    """A fact without web addresses in its texts."""
    if isinstance(value, str):
        return _WEB_ADDRESS.sub("…", value)
    if isinstance(value, Mapping):
        return {name: _unlinked(each) for name, each in value.items()}
    return [_unlinked(each) for each in value] if isinstance(value, (list, tuple)) else value


def _bounded(value: Any) -> Any:
    """A fact with each text in it on one line."""
    if isinstance(value, str):
        return one_line(value, MAX_FACT)
    if isinstance(value, Mapping):
        return {name: _bounded(each) for name, each in value.items()}
    return [_bounded(each) for each in value] if isinstance(value, (list, tuple)) else value
