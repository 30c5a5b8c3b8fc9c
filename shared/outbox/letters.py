"""What mails say, as text and as HTML. Pure functions of a mail's facts.

The HTML is plain: no pictures, no style sheets, no colours of its own, so that it is legible in the dark and
in programs that show little.
"""

import html
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

SUBJECT_LONGEST = 150
"""Characters of a subject; programs show some 70, and a header's line takes 998 bytes.
https://www.rfc-editor.org/rfc/rfc5322#section-2.1.1"""

NAME_LONGEST = 80
"""Characters of a name or a file's name inside a letter."""

FACT_LONGEST = 1_000
"""Characters of any other fact, an error's sentence for one."""

RULE = "border:1px solid #888;border-radius:4px;padding:8px 16px;text-decoration:none;display:inline-block"
FONT = "font-family:system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;font-size:16px;line-height:1.5"

_TURNS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""They turn the direction of what follows: a name that holds one could show as another.
https://www.unicode.org/reports/tr9/#Directional_Formatting_Characters"""


@dataclass(frozen=True)
class Letter:
    """A letter to one recipient: its subject, and its body in both forms."""

    subject: str
    text: str
    html: str


@dataclass(frozen=True)
class Link:
    """Where what the letter tells of can be had, a secret, and until when."""

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


Facts = Export | Failed | Suspended | Waiting | Batch

KINDS: Mapping[str, type[Facts]] = {
    "export": Export,
    "failed": Failed,
    "suspended": Suspended,
    "waiting": Waiting,
    "batch": Batch,
}
"""What there are letters about."""


def parse(kind: str, facts: Mapping[str, Any]) -> Facts:
    """The facts of a kind of letter, each text a line and bounded; ValueError naming what is missing or too
    many."""
    of = KINDS.get(kind)
    if of is None:
        raise ValueError(f"there are no letters of the kind {kind!r}; there are {', '.join(KINDS)}")
    names = {each.name for each in fields(of)}
    if names != set(facts):
        raise ValueError(f"a letter of the kind {kind} does not take {sorted(names ^ set(facts))} so")
    return of(**{name: _bounded(name, value) for name, value in facts.items()})


def kept(kind: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts as a document keeps them; ValueError as `parse`."""
    return asdict(parse(kind, facts))


def write(facts: Facts, url: str, link: Link | None) -> Letter:
    """The letter that tells these. `url` is where Waybill answers, without a slash at its end."""
    match facts:
        case Export():
            draft = _export(facts, link)
        case Suspended():
            draft = _suspended(facts, url)
        case Waiting():
            draft = _waiting(facts, url)
        case Failed():
            draft = _failed(facts, url)
        case Batch():
            draft = _batch(facts, url)
    return Letter(one_line(draft.subject, SUBJECT_LONGEST), _text(draft), _html(draft))


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


def local(at: datetime, zone: ZoneInfo) -> str:
    """A moment as people read it: `23 November 2026, 00:00`."""
    there = at.astimezone(zone)
    return f"{there.day} {there:%B %Y, %H:%M}"


@dataclass(frozen=True)
class _Draft:
    """A letter before it is put in a form: what it says, then facts by their names, then what to do."""

    subject: str
    says: Sequence[str]
    facts: Sequence[tuple[str, str]]
    link: tuple[str, str] | None = None
    then: Sequence[str] = ()
    calls: Sequence[tuple[str, str]] = ()


def _export(facts: Export, link: Link | None) -> _Draft:
    period = _period(facts)
    name = _name(facts.export_name)
    none = not facts.files
    says = [f"Your export {name} is ready."]
    if none:
        says = [f"Your export {name} ran. There was nothing to export, so there is no file."]
    then = []
    if link is not None:
        until = f"{local(link.expires, ZoneInfo(facts.timezone))} ({facts.timezone})"
        then = [
            f"The link is good for seven days, until {until}. Whoever has it can download the data: "
            "pass it on with care.",
            "When it has expired, ask who manages this export to send it again.",
        ]
    return _Draft(
        subject=f"{name}: {'nothing to export' if none else 'your export is ready'} ({period})",
        says=says,
        facts=[
            ("Period", f"{period} ({facts.timezone})"),
            ("Data", facts.export_type),
            ("Format", facts.file_format),
            ("Rows", f"{facts.rows:,}"),
            ("Files", f"{facts.files:,}"),
            ("Size", size(facts.bytes)),
        ],
        link=("Download", link.url) if link is not None else None,
        then=then,
    )


def _failed(facts: Failed, url: str) -> _Draft:
    period = _period(facts)
    name = _name(facts.export_name)
    export = f"{url}/v1/exports/{facts.export}"
    return _Draft(
        subject=f"{name}: an export failed ({period})",
        says=[f"Your export {name} failed for the period below. Nothing more of it is delivered for now."],
        facts=_failure(facts),
        then=[
            "When what is wrong is mended, have it tried again (with your key). After changing where the "
            "export goes, or what it holds, make the second call for the same period instead: a run that is "
            "tried again keeps what it began with.",
        ],
        calls=[("POST", f"{export}/runs/{facts.run}:retry"), ("POST", f"{export}:backfill")],
    )


def _waiting(facts: Waiting, url: str) -> _Draft:
    name = _name(facts.export_name)
    return _Draft(
        subject=f"{name}: an export has waited for an hour",
        says=[
            f"Your export {name} cannot go on with the period below. It is tried again and again, and goes "
            "on by itself as soon as it can.",
            "Your other exports run meanwhile.",
        ],
        facts=[
            ("Period", f"{_period(facts)} ({facts.timezone})"),
            ("It waits for", facts.error),
            ("What to do", facts.next_action),
            ("Run", facts.run),
        ],
        then=["If you do not want to wait, cancel it (with your key):"],
        calls=[("POST", f"{url}/v1/exports/{facts.export}/runs/{facts.run}:cancel")],
    )


def _suspended(facts: Suspended, url: str) -> _Draft:
    name = _name(facts.export_name)
    export = f"{url}/v1/exports/{facts.export}"
    return _Draft(
        subject=f"{name}: suspended, it needs you",
        says=[
            f"Your export {name} failed for the period below each time that it was due. It is suspended: "
            "nothing is exported until it is resumed.",
            "Nothing is lost. When it is resumed, every period that waits is exported, oldest first.",
        ],
        facts=_failure(facts),
        then=[
            "When what is wrong is mended, test the connection, which resumes the export if it passes, or "
            "resume it yourself (with your key):"
        ],
        calls=[("POST", f"{export}:test"), ("POST", f"{export}:resume")],
    )


_ENDS = {
    "COMPLETED": ("taken in", "All of it was taken in."),
    "COMPLETED_WITH_ERRORS": ("taken in, with errors", "It was taken in, but for what its errors name."),
    "FAILED": ("failed", "It failed: what was not taken in before is not taken in."),
    "EXPIRED": ("expired", "No archive was uploaded in time, so it has expired. Make another batch."),
}


def _batch(facts: Batch, url: str) -> _Draft:
    name = _name(facts.filename or facts.batch)
    short, sentence = _ENDS.get(facts.status, (facts.status, f"Its status is {facts.status}."))
    counts = [
        ("Work orders taken in", f"{facts.work_orders_done:,}"),
        ("Work orders with errors", f"{facts.work_orders_failed:,}"),
        ("Photographs", f"{facts.images:,} ({size(facts.bytes)})"),
        ("Errors", f"{facts.errors:,}"),
        ("Warnings", f"{facts.warnings:,}"),
    ]
    listed = bool(facts.errors or facts.warnings)
    return _Draft(
        subject=f"{name}: {short} ({_name(facts.site)})",
        says=[f"Your batch {name} for the site {_name(facts.site)} has ended. {sentence}"],
        facts=[
            ("Batch", facts.batch),
            ("Status", facts.status),
            *([("Why", facts.error)] if facts.error else []),
            *(counts if facts.status != "EXPIRED" else []),
        ],
        then=["What is wrong, file by file, with what to do, as CSV (with your key):"] if listed else [],
        calls=[("GET", f"{url}/v0.2/batches/{facts.batch}/errors?format=csv")] if listed else [],
    )


def _failure(facts: Failed) -> list[tuple[str, str]]:
    return [
        ("Period", f"{_period(facts)} ({facts.timezone})"),
        ("What happened", facts.error),
        ("What to do", facts.next_action),
        ("Run", facts.run),
    ]


def _period(facts: Export | Failed) -> str:
    zone = ZoneInfo(facts.timezone)
    start, end = (datetime.fromisoformat(bound) for bound in (facts.window_start, facts.window_end))
    if not start.timestamp():  # what runs once without a start exports everything so far
        return f"up to {local(end, zone)}"
    return f"{local(start, zone)} to {local(end, zone)}"


def _name(name: str) -> str:
    return one_line(name, NAME_LONGEST)


def _bounded(name: str, value: Any) -> Any:
    return one_line(value, FACT_LONGEST) if isinstance(value, str) else value


def _text(draft: _Draft) -> str:
    width = max((len(name) for name, _ in draft.facts), default=0) + 1
    blocks = [
        *draft.says,
        "\n".join(f"{name + ':':<{width}} {value}" for name, value in draft.facts),
        *([f"{draft.link[0]}:\n{draft.link[1]}"] if draft.link else []),
        *draft.then,
        *(["\n".join(f"    {method} {url}" for method, url in draft.calls)] if draft.calls else []),
        "-- \nWaybill",
    ]
    return "\n\n".join(blocks) + "\n"


def _html(draft: _Draft) -> str:
    e = html.escape
    rows = "\n".join(
        f'<tr><th scope="row" align="left" valign="top" style="padding:2px 16px 2px 0">{e(name)}</th>'
        f'<td valign="top" style="padding:2px 0">{e(value)}</td></tr>'
        for name, value in draft.facts
    )
    link = ""
    if draft.link:
        name, url = draft.link
        link = (
            f'<p><a href="{e(url)}" style="{RULE}"><strong>{e(name)}</strong></a></p>\n'
            f'<p style="font-size:13px;word-break:break-all">If the button does not work: {e(url)}</p>\n'
        )
    calls = "".join(
        f'<p style="word-break:break-all"><code>{e(method)} {e(url)}</code></p>\n'
        for method, url in draft.calls
    )
    paragraphs = "".join(f"<p>{e(says)}</p>\n" for says in draft.says)
    then = "".join(f"<p>{e(says)}</p>\n" for says in draft.then)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>{e(draft.subject)}</title>
</head>
<body style="{e(FONT)}">
{paragraphs}<table cellspacing="0" cellpadding="0">
{rows}
</table>
{link}{then}{calls}<p>Waybill</p>
</body>
</html>
"""
