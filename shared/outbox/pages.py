"""The pages that a link of a mail can lead to. Pure functions; for people, in a browser."""

import base64
import hashlib
import html
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from shared.outbox.letters import size

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
    """A file that can be downloaded: its document's id, its name, rows and bytes."""

    id: str
    name: str
    rows: int
    bytes: int


def files(listed: Sequence[Listed], count: int) -> str:
    """The files of a link, of `count` in all."""
    rows = "".join(
        f'<tr><td><a href="?{html.escape(urlencode({"file": each.id}))}">{html.escape(each.name)}</a></td>'
        f"<td>{each.rows:,}</td><td>{html.escape(size(each.bytes))}</td></tr>\n"
        for each in listed
    )
    more = "" if count <= len(listed) else f" The first {len(listed):,} are listed."
    return _page(
        "Your files",
        f"<p>There are {count:,} files.{more}</p>\n"
        f"<table>\n<tr><th>File</th><th>Rows</th><th>Size</th></tr>\n{rows}</table>",
    )


def says(title: str, *sentences: str) -> str:
    """What happened, and what to do."""
    return _page(title, "\n".join(f"<p>{html.escape(sentence)}</p>" for sentence in sentences))


def _page(title: str, body: str) -> str:
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="robots" content="noindex">
<title>{html.escape(title)} - Waybill</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{html.escape(title)}</h1>
{body}
</body>
</html>
"""
