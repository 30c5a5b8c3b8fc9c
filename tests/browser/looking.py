"""What is looked at on every page: what it asks for, what it weighs, what the browser complains of, who
cannot use it, and what cannot be read."""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Request, Response, WebError

from infra.local.processes import REPOSITORY

WIDE, NARROW = 1280, 390
"""Widths of a screen and of a telephone, in CSS pixels."""

HEIGHTS = {WIDE: 800, NARROW: 844}

MOST_BYTES = 100_000
"""What a page may weigh with all that it loads, but for photographs."""

LONGEST_WORD = 25
"""Letters of a word that fits in the narrowest column. A longer one may be broken."""

SCREENSHOTS = REPOSITORY / ".local" / "screenshots"

MEASURE = (Path(__file__).parent / "measure.js").read_text()

_PHOTOGRAPH = re.compile(r"image/(jpeg|png|webp|avif|gif|heic|bmp|tiff)")
_STATUS = re.compile(r"Failed to load resource: the server responded with a status of \d+")


class Watch:
    """Notes what the pages of a context do, from its beginning.

    url    where the pages come from; nothing else may be asked
    also   beginnings of other URLs that may be: where the browser uploads to
    """

    def __init__(self, context: BrowserContext, url: str, also: Sequence[str] = ()) -> None:
        self._origin = urlsplit(url)[:2]
        self._also = tuple(also)
        self.left: list[str] = []
        self.complaints: list[str] = []
        self.answers: list[Response] = []
        context.on("request", self._asked)
        context.on("response", self._answered)
        context.on("console", self._said)
        context.on("weberror", self._thrown)

    def faults(self) -> list[str]:
        """What went wrong, a sentence each: requests that left the host, errors and what the content security
        policy refused, and files of a page that are not there."""
        missing = [
            f"{each.request.method} {each.url} was answered {each.status}"
            for each in self.answers
            if each.status >= 400 and not each.request.is_navigation_request()
        ]
        return [*self.left, *self.complaints, *missing]

    def weight(self) -> int:
        """The bytes of all answers so far, unpacked, but for photographs."""
        return sum(len(each.body()) for each in self.answers if each.ok and not _is_photograph(each))

    def _asked(self, request: Request) -> None:
        where = urlsplit(request.url)
        if (
            where.scheme in ("data", "blob")
            or where[:2] == self._origin
            or request.url.startswith(self._also)
        ):
            return
        self.left.append(f"{request.method} {request.url} leaves the host")

    def _answered(self, answer: Response) -> None:
        self.answers.append(answer)

    def _said(self, message: ConsoleMessage) -> None:
        # The status of a page itself is the test's own matter; that of its files is told by `faults`.
        if message.type in ("error", "warning") and not _STATUS.match(message.text):
            self.complaints.append(f"the console says: {message.text}")

    def _thrown(self, error: WebError) -> None:
        self.complaints.append(f"a script fails: {error.error}")


def _is_photograph(answer: Response) -> bool:
    return _PHOTOGRAPH.match(answer.headers.get("content-type", "")) is not None


@cache
def _axe() -> str:
    return (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")


def inaccessible(page: Page, rules: Sequence[str] = ()) -> list[str]:
    """What axe-core finds serious or critical, a line each; of `rules` alone where some are named.

    It is evaluated by the debugger, to which the page's content security policy does not apply.
    """
    options: dict[str, object] = {"resultTypes": ["violations"]}
    if rules:
        options["runOnly"] = {"type": "rule", "values": list(rules)}
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(_axe())
    found = page.evaluate("options => axe.run(options)", options)
    return [
        f"{each['id']} ({each['impact']}): {each['help']}: {node['html'][:200]}"
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


def unreadable(page: Page) -> list[str]:
    """What cannot be read as the page stands, a line each: what must be scrolled sideways, text that is cut,
    spilled, covered by other text, or broken within a word."""
    found = page.evaluate(MEASURE, LONGEST_WORD)
    scrolls = found.pop("scrolls")
    told = [f"the page is {scrolls} pixels too wide"] if scrolls > 0 else []
    return [*told, *(f"{how}: {what}" for how, all in found.items() for what in dict.fromkeys(all))]


def views(page: Page) -> Iterator[tuple[int, str]]:
    """Show the page in each width and colour scheme, and yield the two: nothing is loaded anew."""
    for width in (WIDE, NARROW):
        page.set_viewport_size({"width": width, "height": HEIGHTS[width]})
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme="light" if scheme == "light" else "dark")
            yield width, scheme


def faults_in_all_views(page: Page, name: str, *, screenshots: bool = False) -> list[str]:
    """What is wrong with the page in any view, a line each. A screenshot is taken of each view with faults;
    with `screenshots`, of all."""
    faults = []
    for width, scheme in views(page):
        told = [*inaccessible(page, () if scheme == "light" else ["color-contrast"])]
        if scheme == "light":
            told += unreadable(page)
        if told or screenshots:
            SCREENSHOTS.mkdir(parents=True, exist_ok=True)
            page.screenshot(
                path=SCREENSHOTS / f"{name}-{width}-{scheme}.png", full_page=True, animations="disabled"
            )
        faults += [f"{width} px, {scheme}: {each}" for each in told]
    return faults
