"""The pages that a link of a mail can lead to. Pure functions; for people, in a browser."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from shared.outbox import rendering

STYLE = (
    ":root{color-scheme:light dark}"
    "body{font-family:system-ui,sans-serif;line-height:1.5;max-width:48rem;margin:2rem auto;padding:0 1rem}"
    "td,th{text-align:left;padding:.25rem 1.5rem .25rem 0;overflow-wrap:anywhere}"
)

_DIGEST = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()

POLICY = (
    f"default-src 'none'; style-src 'sha256-{_DIGEST}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What a page may do: have its one style, and nothing else.
https://www.w3.org/TR/CSP3/#framework-directive-source-list"""


@dataclass(frozen=True)
class Listed:
    """A file that can be downloaded: its document's id, its name, its rows if they are known, and bytes."""

    id: str
    name: str
    rows: int | None
    bytes: int


def files(listed: Sequence[Listed], count: int) -> str:
    """The files of a link, of `count` in all."""
    values = {"title": "Your files", "files": listed, "count": count}
    return rendering.render("files.html", {**values, "style": STYLE})


def says(title: str, *sentences: str) -> str:
    """What happened, and what to do."""
    return rendering.render("page.html", {"title": title, "sentences": sentences, "style": STYLE})
