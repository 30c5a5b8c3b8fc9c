"""The console's own script, on pages of the test's own: sections that are fetched anew, previews, and forms
that are sent once."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, Route, expect

from infra.local.processes import REPOSITORY

pytestmark = pytest.mark.slow

URL = "http://127.0.0.1:1/"
"""Nothing listens there: each request is answered by the test."""

SCRIPT = (REPOSITORY / "shared/console/assets/console.js").read_text()

HEAD = '<!doctype html><html lang="en"><title>A page</title><script src="/console.js" type="module"></script>'

SETTLED = """async () => {
  const { port1, port2 } = new MessageChannel()
  await fetch("/settled")
  await new Promise(then => { port1.onmessage = then; port2.postMessage("") })
}"""
"""Until what the page asked before is answered, and the answer was worked on."""


class Server:
    """Answers a page's requests with `status` and `body`, and keeps them. The page's clock stands until a
    test moves it."""

    def __init__(self, browser: Browser) -> None:
        self._context: BrowserContext = browser.new_context()
        self._context.route("**/*", self._answer)
        self.page: Page = self._context.new_page()
        self.page.clock.install(time=0)
        self.asked: list[Request] = []
        self.status = 200
        self.body = ""

    def show(self, body: str) -> Page:
        """Open a page of this content; it is also what is answered from now on."""
        self.body = body
        self.page.goto(URL)
        self.page.clock.pause_at(3_600_000)
        self.page.locator("html.scripted").wait_for()
        self.pass_by(0)
        self.asked.clear()
        return self.page

    def pass_by(self, seconds: int) -> None:
        """Time goes by, and what is asked then is answered. At 0 a bit of a second does."""
        for _ in range(seconds or 1):
            self.page.clock.run_for(1000 if seconds else 1)
            self.page.evaluate(SETTLED)

    def close(self) -> None:
        self._context.close()

    def _answer(self, route: Route) -> None:
        if route.request.url == URL + "console.js":
            route.fulfill(content_type="text/javascript", body=SCRIPT)
            return
        if route.request.url == URL + "settled":
            route.fulfill(body="")
            return
        self.asked.append(route.request)
        route.fulfill(status=self.status, content_type="text/html; charset=utf-8", body=HEAD + self.body)


@pytest.fixture
def server(browser: Browser) -> Iterator[Server]:
    server = Server(browser)
    yield server
    server.close()


def section(count: int, live: bool = True) -> str:
    return (
        f'<p id="still">Still {count}</p><section id="moves"{" data-live" if live else ""}>'
        f'<p>{count} of 9</p><a href="#x">A link</a>'
        "<details><summary>More</summary><p>Inside</p></details></section>"
    )


def test_a_live_section_is_fetched_anew_while_it_is_live(server: Server) -> None:
    page = server.show(section(1))
    page.get_by_text("More").click()
    page.get_by_role("link").focus()
    server.body = section(2)
    server.pass_by(5)
    expect(page.get_by_text("2 of 9")).to_be_visible()
    expect(page.get_by_text("Inside")).to_be_visible()
    expect(page.get_by_role("link")).to_be_focused()
    expect(page.get_by_text("Still 1")).to_be_visible()
    server.body = section(3, live=False)
    server.pass_by(5)
    expect(page.get_by_text("3 of 9")).to_be_visible()
    server.asked.clear()
    server.pass_by(60)
    assert server.asked == []


def test_it_is_not_taken_from_under_whoever_types_in_it(server: Server) -> None:
    page = server.show('<section id="moves" data-live><input aria-label="Note"></section>')
    page.get_by_label("Note").fill("half a sen")
    server.pass_by(5)
    assert server.asked == []
    expect(page.get_by_label("Note")).to_have_value("half a sen")
    page.get_by_label("Note").blur()
    server.pass_by(5)
    assert len(server.asked) == 1


def test_a_server_that_fails_is_asked_less_often_until_it_answers(server: Server) -> None:
    page = server.show(section(1))
    server.status = 503
    server.pass_by(5)
    assert len(server.asked) == 1
    server.pass_by(9)
    assert len(server.asked) == 1, "it was asked again within ten seconds"
    server.status, server.body = 200, section(2)
    server.pass_by(1)
    expect(page.get_by_text("2 of 9")).to_be_visible()


FORM = '<form method="post" action="/made"><button>Make</button></form>'


def test_a_form_is_sent_once_until_one_comes_back_to_its_page(server: Server) -> None:
    page = server.show(FORM)
    server.status = 204  # the browser stays where it is, as it does until a slow answer comes
    for _ in range(3):
        page.get_by_role("button").click()
        server.pass_by(1)
    assert [each.method for each in server.asked] == ["POST"]
    page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    page.get_by_role("button").click()
    server.pass_by(1)
    assert [each.method for each in server.asked] == ["POST", "POST"]


def test_a_preview_follows_what_is_typed_and_leaves_it(server: Server) -> None:
    def form(shown: str) -> str:
        return (
            '<form method="post" action="/made" data-preview="/preview" data-shows="windows">'
            f'<input name="at" aria-label="At"></form><section id="windows">{shown}</section>'
        )

    page = server.show(form("none"))
    server.body = form("five windows")
    page.get_by_label("At").press_sequentially("02:30")
    assert server.asked == []
    server.pass_by(1)
    expect(page.get_by_text("five windows")).to_be_visible()
    expect(page.get_by_label("At")).to_have_value("02:30")
    expect(page.get_by_label("At")).to_be_focused()
    [asked] = server.asked
    assert (asked.method, asked.url, asked.post_data) == ("POST", URL + "preview", "at=02%3A30")
