"""Signing in and out in a browser, and what becomes of a session that ends."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.console import Console, Opens, Visitor, sign_in

pytestmark = pytest.mark.slow

WRONG = "wb_0123456789abcdef_" + "x" * 43


def path_of(page: Page) -> str:
    """Where the page is, below the host."""
    return "/" + page.url.split("/", 3)[3]


@pytest.mark.parametrize("scripts", [True, False])
def test_a_key_leads_where_one_wanted_to_go(console: Console, open_page: Opens, scripts: bool) -> None:
    page = open_page("/console/exports?state=PAUSED", signed_in=False, scripts=scripts)
    assert path_of(page).startswith("/console/sign-in?next=")
    sign_in(page, console.ids["key"])
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    assert path_of(page) == "/console/exports?state=PAUSED"


@pytest.mark.parametrize("key", [WRONG, "nonsense", "revoked"])
def test_a_wrong_key_says_so_and_is_not_shown_again(console: Console, open_page: Opens, key: str) -> None:
    key = console.ids["revoked_key"] if key == "revoked" else key
    page = open_page("/console/sign-in", signed_in=False)
    sign_in(page, key)
    field = page.get_by_label("Key", exact=True)
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_have_value("")
    assert key not in page.content()
    page.goto(f"{console.url}/console")
    assert path_of(page).startswith("/console/sign-in")


def test_the_cookie_is_out_of_reach_of_scripts(console: Console, open_page: Opens) -> None:
    page = open_page("/console")
    assert page.evaluate("document.cookie") == ""
    [cookie] = [each for each in page.context.cookies() if "session" in str(each.get("name"))]
    assert (cookie.get("httpOnly"), cookie.get("sameSite"), cookie.get("path")) == (True, "Lax", "/console")
    assert console.ids["key"].split("_")[2] not in str(cookie.get("value"))


def test_what_was_shown_is_not_shown_again_after_signing_out(console: Console, visitor: Visitor) -> None:
    page = visitor.open("/console/sign-in", signed_in=False)
    sign_in(page, console.ids["key"])
    page.goto(f"{console.url}/console/exports/{console.ids['export']}")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Nightly")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(re.compile("/console/sign-in"))
    page.go_back()
    page.wait_for_url(re.compile("/console/sign-in"))
    assert "Nightly" not in page.content()


def test_a_revoked_key_ends_its_sessions(console: Console, open_page: Opens) -> None:
    made = console.ask("POST", "/v1/keys", {"name": "Of a test", "scopes": ["exports"]})
    page = open_page("/console/sign-in", signed_in=False)
    sign_in(page, made["key"])
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    console.ask("POST", f"/v1/keys/{made['id']}:revoke")
    page.reload()
    assert path_of(page).startswith("/console/sign-in")


@pytest.mark.parametrize("scripts", [True, False])
def test_a_form_that_came_after_the_session_is_kept(
    console: Console, visitor: Visitor, scripts: bool
) -> None:
    page = visitor.open("/console/sign-in", signed_in=False, scripts=scripts)
    sign_in(page, console.ids["key"])
    page.goto(f"{console.url}/console/exports/{console.ids['export_paused']}")
    page.get_by_role("button", name="Resume", exact=True).wait_for()
    second = page.context.new_page()
    second.goto(f"{console.url}/console")
    second.get_by_role("button", name="Sign out").click()
    second.wait_for_url(re.compile("/console/sign-in"))
    page.get_by_role("button", name="Resume", exact=True).click()
    expect(page.get_by_role("main")).to_contain_text("Nothing was done yet")
    sign_in(page, console.ids["key"])
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    assert path_of(page).partition("?")[0] == f"/console/exports/{console.ids['export_paused']}"
    console.ask("POST", f"/v1/exports/{console.ids['export_paused']}:pause")


def test_signing_in_by_the_keyboard_alone(console: Console, open_page: Opens) -> None:
    page = open_page("/console/sign-in", signed_in=False)
    expect(page.get_by_label("Key", exact=True)).to_be_focused()
    page.keyboard.type(console.ids["key"])
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the page")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()
