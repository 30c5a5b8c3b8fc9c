"""What is looked at on every page is found where it is wrong, and not where it is right."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route

from tests.browser import looking
from tests.browser.looking import NARROW, WIDE, Watch, faults_in_all_views, inaccessible, unreadable, views

pytestmark = pytest.mark.slow

URL = "http://127.0.0.1:1/"
"""Nothing listens there: each request is answered by the test."""

HEAD = (
    '<!DOCTYPE html><html lang="en"><title>A page</title><meta name="viewport" content="width=device-width">'
)

GOOD = f"""{HEAD}<link rel="stylesheet" href="/good.css"><main><h1>Good</h1>
<p>Some text with {"Pneumonoultramicroscopicsilicovolcanoconiosis" * 4}.</p>
<div class="scrolls" tabindex="0"><table><tr><td>{"wide " * 60}</td></tr></table></div>
<span class="heard">Only for screen readers</span></main>"""

STYLE = """
body { font: 16px/1.5 sans-serif; color: #111; background: #fff; }
p { overflow-wrap: anywhere; }
.scrolls { overflow-x: auto; } .scrolls td { white-space: nowrap; }
.heard { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
"""

Files = Mapping[str, tuple[str, str]]
"""Content type and text of each file, by its path."""

Shows = Callable[..., tuple[Page, Watch]]


@pytest.fixture
def shows(browser: Browser) -> Iterator[Shows]:
    """Shows a page, with its files and its content security policy."""
    contexts: list[BrowserContext] = []

    def show(page: str, files: Files | None = None, policy: str = "default-src 'self'") -> tuple[Page, Watch]:
        context = browser.new_context(viewport={"width": NARROW, "height": 800})
        contexts.append(context)
        watch = Watch(context, URL)
        answers = {"": ("text/html", page), "good.css": ("text/css", STYLE), **(files or {})}

        def answer(route: Route) -> None:
            found = answers.get(route.request.url.removeprefix(URL))
            if found is None:
                route.fulfill(status=404, body="")
                return
            kind, text = found
            route.fulfill(
                content_type=f"{kind}; charset=utf-8", headers={"Content-Security-Policy": policy}, body=text
            )

        context.route("**/*", answer)
        shown = context.new_page()
        shown.goto(URL)
        return shown, watch

    yield show
    for context in contexts:
        context.close()


def test_a_good_page_has_no_fault(shows: Shows) -> None:
    page, watch = shows(GOOD)
    assert inaccessible(page) == []
    for view in views(page):
        assert unreadable(page) == [], view
    assert watch.faults() == []
    assert watch.weight() == len(GOOD.encode()) + len(STYLE.encode())


def test_the_views_are_two_widths_in_two_schemes(shows: Shows) -> None:
    page, _ = shows(GOOD)
    seen = [
        (*view, page.evaluate("[innerWidth, matchMedia('(prefers-color-scheme: dark)').matches]"))
        for view in views(page)
    ]
    assert seen == [
        (width, scheme, [width, scheme == "dark"]) for width in (WIDE, NARROW) for scheme in ("light", "dark")
    ]


@pytest.mark.parametrize(
    ("body", "style", "told"),
    [
        ("<p>" + "wide " * 60, "p { white-space: nowrap; }", "the page is "),
        ("<p>" + "cut " * 60, "p { overflow: hidden; white-space: nowrap; }", "cut: "),
        ("<p>" + "cut " * 60, "p { overflow: hidden; height: 20px; }", "cut: "),
        (
            "<p>" + "cut " * 60,
            "p { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }",
            "cut: ",
        ),
        ("<div><p>" + "x" * 30, "p { width: 9px; overflow-wrap: normal; }", "spilled: "),
        ("<p>one text</p><p>other text</p>", "p + p { margin-top: -40px; }", "covered: "),
        (
            "<table><tr><td>records</td></tr></table>",
            "td { width: 9px; overflow-wrap: anywhere; }",
            "broken: ",
        ),
    ],
)
def test_what_cannot_be_read_is_found(shows: Shows, body: str, style: str, told: str) -> None:
    page, _ = shows(
        f'{HEAD}<link rel="stylesheet" href="/its.css">{body}', {"its.css": ("text/css", STYLE + style)}
    )
    assert any(each.startswith(told) for each in unreadable(page)), unreadable(page)


def test_who_cannot_use_it_is_found_under_a_strict_policy(shows: Shows) -> None:
    pale = ("text/css", "p { color: #aaa; background: #fff; }")
    page, watch = shows(
        f'{HEAD}<link rel="stylesheet" href="/its.css"><p>Pale</p><input><img src="/x.svg">',
        {"its.css": pale, "x.svg": ("image/svg+xml", '<svg xmlns="http://www.w3.org/2000/svg"/>')},
        policy="default-src 'none'; style-src 'self'; img-src 'self'",
    )
    found = [each.partition(" ")[0] for each in inaccessible(page)]
    assert sorted(found) == ["color-contrast", "image-alt", "label"]
    assert [each.partition(" ")[0] for each in inaccessible(page, ["color-contrast"])] == ["color-contrast"]
    assert watch.faults() == []


def test_a_fault_of_one_view_is_told_with_it_and_seen_on_its_screenshot(
    shows: Shows, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(looking, "SCREENSHOTS", tmp_path)
    pale = f"{STYLE} @media (max-width: 500px) and (prefers-color-scheme: dark) {{ p {{ color: #aaa; }} }}"
    page, _ = shows(GOOD, {"good.css": ("text/css", pale)})
    [told] = faults_in_all_views(page, "pale")
    assert told.startswith("390 px, dark: color-contrast")
    assert [each.name for each in tmp_path.iterdir()] == ["pale-390-dark.png"]
    faults_in_all_views(page, "all", screenshots=True)
    assert len([*tmp_path.glob("all-*.png")]) == 4


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ('<img alt="x" src="http://elsewhere.example/x.svg">', "GET http://elsewhere.example/x.svg leaves"),
        ("<p style='color: red'>inline", "the console says: Applying inline style violates"),
        ("<script>document.title = 'x'</script>", "the console says: Executing inline script violates"),
        ('<script src="/fails.js"></script>', "a script fails: "),
        ('<script src="/complains.js"></script>', "the console says: not well"),
        ('<img alt="x" src="/none.svg">', "GET http://127.0.0.1:1/none.svg was answered 404"),
    ],
)
def test_what_goes_wrong_is_noted(shows: Shows, body: str, told: str) -> None:
    scripts = {
        "fails.js": ("text/javascript", "nothing.there()"),
        "complains.js": ("text/javascript", "console.error('not well')"),
    }
    page, watch = shows(HEAD + body, scripts)
    page.wait_for_load_state("networkidle")
    assert any(each.startswith(told) for each in watch.faults()), watch.faults()


def test_photographs_weigh_nothing(shows: Shows) -> None:
    body = '<img alt="x" src="/a.jpg"><img alt="y" src="/b.svg">'
    drawing = f'<svg xmlns="http://www.w3.org/2000/svg"><!-- {"y" * 100} --></svg>'
    files = {"a.jpg": ("image/jpeg", "x" * 1000), "b.svg": ("image/svg+xml", drawing)}
    page, watch = shows(HEAD + body, files)
    page.wait_for_load_state("networkidle")
    assert watch.weight() == len(HEAD + body) + len(drawing)
