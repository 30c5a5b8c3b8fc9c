"""Letters and pages in a real browser, as wide as a telephone, a mail program and a screen: no word is broken
and nothing has to be scrolled sideways.

Chromium renders each in a frame of that width, measures it there, and prints what it found.
"""

import html
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from shared.outbox import pages
from tests.browser import chromium
from tests.subjects.letters import HOSTILE, LETTERS, LONG, PAGES, letter, told

pytestmark = pytest.mark.slow

WIDTHS = (380, 600, 1200)

LONGEST_WORD = 25
"""Letters of a word that fits in the narrowest column. A longer one may be broken, rather than make the page
wider."""

MEASURE = r"""
const found = {}
for (const frame of document.querySelectorAll("iframe")) {
  const page = frame.contentDocument, broken = []
  const texts = page.createTreeWalker(page.body, NodeFilter.SHOW_TEXT)
  while (texts.nextNode()) {
    for (const token of texts.currentNode.data.matchAll(/\S+/g)) {
      if (token[0].includes("://")) continue
      for (const word of token[0].matchAll(/[\p{L}\p{N}]+/gu)) {
        const range = page.createRange(), start = token.index + word.index
        range.setStart(texts.currentNode, start)
        range.setEnd(texts.currentNode, start + word[0].length)
        const lines = new Set([...range.getClientRects()].map(each => Math.round(each.top)))
        if (word[0].length <= LONGEST_WORD && lines.size > 1) broken.push(word[0])
      }
    }
  }
  const root = page.documentElement, first = page.querySelector("main, body > table")
  found[frame.id] = {
    broken,
    words: page.body.innerText.length,
    scrolls: Math.max(root.scrollWidth, page.body.scrollWidth) - root.clientWidth,
    widest: first ? first.getBoundingClientRect().width : null,
    styled: getComputedStyle(page.querySelector("h1, td")).backgroundColor,
  }
}
const text = document.createElement("pre")
text.id = "found"
text.textContent = JSON.stringify(found)
document.body.replaceChildren(text)
"""

OLD_PAGE = (
    "<style>td,th{text-align:left;padding:.25rem 1.5rem .25rem 0;overflow-wrap:anywhere}</style>"
    "<h1>Your files</h1><table><tr><th>File</th><th>Rows</th><th>Size</th></tr>"
    f"<tr><td>{'work-orders-timeline_20261119T230000Z_' * 3}</td><td>1,234,567</td><td>912.3 MB</td></tr>"
    "</table>"
)

WIDE = "<h1>Wide</h1><table><tr><td style='white-space:nowrap'>" + "wide " * 100 + "</td></tr></table>"

NAMED = {"of long names": LONG, "of names to deceive": HOSTILE}
SHOWN = {
    **{f"letter {name}": letter(*of).html for name, of in LETTERS.items()},
    **{
        f"letter {name} {how}": letter(kind, told(facts, text), link).html
        for name, (kind, facts, link) in LETTERS.items()
        for how, text in NAMED.items()
    },
    **{f"page {name}": text for name, text in PAGES.items()},
}
"""What people are shown, by its name."""


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the browser found of each page at each width."""
    policy = f'<head><meta http-equiv="Content-Security-Policy" content="{html.escape(pages.POLICY)}">'
    frames = []
    for name, text in {**SHOWN, "old": OLD_PAGE, "wide": WIDE}.items():
        whole = text.replace("<head>", policy) if name.startswith("page") else text
        attributes = f'srcdoc="{html.escape(whole)}" style="height:900px;border:0;width'
        frames += [f'<iframe id="{name} {width}" {attributes}:{width}px"></iframe>' for width in WIDTHS]
    file = tmp_path_factory.mktemp("browser") / "all.html"
    script = f"const LONGEST_WORD = {LONGEST_WORD}\nwindow.onload = () => {{{MEASURE}}}"
    file.write_text(f"<!DOCTYPE html><meta charset=utf-8><body>{''.join(frames)}<script>{script}</script>")
    shown = _dump(file)
    [found] = re.findall('<pre id="found">(.*?)</pre>', shown, re.DOTALL)
    result: dict[str, Any] = json.loads(html.unescape(found))
    return result


def _dump(file: Path) -> str:
    options = ["--headless", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={file.parent}"]
    done = subprocess.run(
        [chromium.program(), *options, *chromium.flags(), "--dump-dom", file.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", SHOWN)
def test_no_word_is_broken_and_nothing_is_scrolled_sideways(
    measured: dict[str, Any], name: str, width: int
) -> None:
    found = measured[f"{name} {width}"]
    assert found["words"] > 30, found
    assert found["broken"] == [], found
    assert found["scrolls"] == 0, found
    assert found["widest"] <= width, found


@pytest.mark.parametrize("width", WIDTHS)
def test_the_policy_of_pages_lets_them_have_their_style(measured: dict[str, Any], width: int) -> None:
    assert measured[f"page files {width}"]["widest"] == min(800, width - 16), "as wide as the style says"


def test_the_browser_finds_what_is_broken_or_too_wide(measured: dict[str, Any]) -> None:
    assert "Rows" in measured["old 380"]["broken"], measured["old 380"]
    assert measured["wide 600"]["scrolls"] > 100, measured["wide 600"]
