"""The pages that a link of a mail can lead to. Pure functions; for people, in a browser."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from shared.outbox import rendering
from shared.outbox.letters import About

STYLE = """
:root { color-scheme: light dark;
  --line: #d0d7de; --soft: #57606a; --page: #f3f5f7; --card: #fff; --link: #0b5cad }
@media (prefers-color-scheme: dark) {
  :root { --line: #3d444d; --soft: #9da7b1; --page: #0d1117; --card: #161b22; --link: #79b8ff }
}
* { box-sizing: border-box }
body { margin: 0; padding: 16px 8px; background: var(--page);
  font: 16px/1.5 -apple-system, "Segoe UI", Roboto, Helvetica, Arial, sans-serif }
main { max-width: 800px; margin: 0 auto; background: var(--card); border: 1px solid var(--line);
  border-radius: 8px; overflow: hidden; overflow-wrap: break-word }
header { padding: 18px 24px 20px; color: #fff }
header p { margin: 0 0 4px; font-weight: bold; font-size: 15px }
.success { background: #1a7f37 }
.warning { background: #9a5b00 }
.failure { background: #c4262e }
h1 { margin: 0; font-size: 24px; line-height: 1.3 }
section { padding: 24px }
section > :first-child { margin-top: 0 }
section > :last-child { margin-bottom: 0 }
footer { padding: 12px 24px; border-top: 1px solid var(--line); font-size: 13px; font-weight: bold }
a { color: var(--link) }
.small { font-size: 13px; color: var(--soft) }
dl { margin: 0 0 24px; border-top: 1px solid var(--line) }
dl div { display: flex; gap: 16px; padding: 7px 0; border-bottom: 1px solid var(--line) }
dt { flex: 0 0 30% }
dd { flex: 1; min-width: 0; margin: 0; font-weight: bold }
table { width: 100%; margin: 0 0 20px; border-collapse: collapse }
th, td { padding: 8px 16px 8px 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top;
  white-space: nowrap }
th { font-size: 13px; color: var(--soft) }
th:first-child, td:first-child { width: 100%; white-space: normal; overflow-wrap: anywhere }
.number { text-align: right; font-variant-numeric: tabular-nums }
.number:last-child { padding-right: 0 }
@media (max-width: 540px) {
  header, section, footer { padding-left: 16px; padding-right: 16px }
  thead, td.number:empty { display: none }
  tr { display: block; padding: 8px 0; border-bottom: 1px solid var(--line) }
  td, td:first-child { display: block; padding: 0; border: 0 }
  td.number { display: inline; margin-right: 16px; font-size: 14px; color: var(--soft) }
  td.number::before { content: attr(data-label) " " }
}
"""

_DIGEST = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()

POLICY = (
    f"default-src 'none'; style-src 'sha256-{_DIGEST}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What a page may do: have its one style, and nothing else.
https://www.w3.org/TR/CSP3/#framework-directive-source-list"""

SUCCESS, WARNING, FAILURE = "success", "warning", "failure"
"""What a page is about, by its colour; the word beside it says the same."""


@dataclass(frozen=True)
class Listed:
    """A file that can be downloaded: its document's id, its name, its rows if they are known, and bytes."""

    id: str
    name: str
    rows: int | None
    bytes: int


def files(about: About, expires: datetime, listed: Sequence[Listed], count: int) -> str:
    """The files of a link, of `count` in all, and until when it works."""
    sentences = []
    if count > len(listed):
        sentences.append(f"There are {count:,} files. The first {len(listed):,} are listed.")
    rows = [("Files", f"{count:,}"), ("The link works until", _moment(expires, about.timezone))]
    values = {"files": listed, "about": about, "rows": rows}
    return _page("files.html", SUCCESS, "Ready", "Your files are ready", sentences, values)


def says(
    tone: str,
    status: str,
    title: str,
    *sentences: str,
    about: About | None = None,
    ended: datetime | None = None,
) -> str:
    """What happened, and what to do; of a link whose files are known also what they are, and until when it
    worked."""
    rows = [("The link worked until", _moment(ended, about.timezone))] if about and ended else []
    return _page("page.html", tone, status, title, sentences, {"about": about, "rows": rows})


def _page(
    template: str, tone: str, status: str, title: str, sentences: Sequence[str], values: dict[str, object]
) -> str:
    shown = {"tone": tone, "status": status, "title": title, "sentences": sentences, "style": STYLE}
    return rendering.render(template, {**shown, **values})


def _moment(at: datetime, timezone: str) -> str:
    return f"{rendering.local(at, timezone)}, {rendering.clock(timezone)}"
