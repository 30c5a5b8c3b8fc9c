"""Keys in a browser, and signing in by a mailed link."""

import re
from email import message_from_bytes
from email.policy import default
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.console import Console, Opens, Visitor, sign_in
from tests.browser.seed import MARKUP
from tests.subjects.processes import until

pytestmark = pytest.mark.slow

KEY = re.compile(r"^wb_([0-9a-f]{16})_[A-Za-z0-9_-]{43}$")


def keys(console: Console) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = console.ask("GET", "/v1/keys?page_size=500")["keys"]
    return found


def shown(page: Page) -> str:
    """The key that a page shows once."""
    field = page.get_by_label("The key", exact=True)
    expect(field).to_have_value(KEY)
    return field.input_value()


@pytest.mark.parametrize("scripts", [True, False])
def test_a_key_is_made_shown_once_used_and_revoked(console: Console, visitor: Visitor, scripts: bool) -> None:
    page = visitor.open("/console/keys/new", scripts=scripts)
    name = f"{MARKUP[:60]} {scripts}"
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Make the key").click()
    expect(page.locator("#scopes-problem")).to_be_visible()
    expect(page.get_by_label("Name")).to_have_value(name)
    page.get_by_label("exports", exact=True).check()
    page.get_by_role("button", name="Make the key").click()
    key = shown(page)
    page.get_by_role("link", name="I have copied it").click()
    assert key not in page.content()
    row = page.locator("tr", has_text=key.split("_")[1])
    expect(row).to_contain_text(name)
    assert row.locator("b, script").count() == 0
    theirs = visitor.open("/console/sign-in", signed_in=False, scripts=scripts)
    sign_in(theirs, key)
    expect(theirs.get_by_role("navigation", name="Pages")).to_contain_text("Exports")
    expect(theirs.get_by_role("navigation", name="Pages")).not_to_contain_text("Datasets")
    row.get_by_role("link", name=re.compile("Revoke")).click()
    page.get_by_role("button", name="Revoke it").click()
    expect(row).to_contain_text("Revoked")
    theirs.reload()
    expect(theirs).to_have_url(re.compile("/console/sign-in"))


def test_a_double_click_makes_one_key_and_shows_it(console: Console, open_page: Opens) -> None:
    before = len(keys(console))
    page = open_page("/console/keys/new")
    page.get_by_label("jobs").check()
    page.get_by_role("button", name="Make the key").dblclick()
    shown(page)
    assert len(keys(console)) == before + 1


def test_going_back_and_loading_anew_make_no_other_key(console: Console, open_page: Opens) -> None:
    page = open_page("/console/keys/new")
    page.get_by_label("jobs").check()
    page.get_by_role("button", name="Make the key").click()
    key = shown(page)
    count = len(keys(console))
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text(f"has made the key {key.split('_')[1]} already")
    assert len(keys(console)) == count


def test_a_key_is_made_by_the_keyboard_alone(console: Console, open_page: Opens) -> None:
    page = open_page("/console/keys/new")
    page.get_by_label("Name").focus()
    page.keyboard.type("By hand")
    for _ in range(3):
        page.keyboard.press("Tab")
    expect(page.get_by_label("jobs")).to_be_focused()
    page.keyboard.press("Space")
    while not page.get_by_role("button", name="Make the key").evaluate("at => at === document.activeElement"):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    key = shown(page)
    field = page.get_by_label("The key", exact=True)
    field.focus()
    page.keyboard.press("Control+a")
    assert page.evaluate("getSelection().toString()") == key


def test_a_mailed_link_signs_in_once_by_its_button(console: Console, visitor: Visitor) -> None:
    page = visitor.open("/console/sign-in", signed_in=False)
    before = {*console.outbox.glob("*.eml")}
    page.get_by_label("Your address for mail").fill(console.ids["address"])
    page.get_by_role("button", name="Mail me a link").click()
    expect(page.get_by_role("status")).to_contain_text("If this address may sign in")
    until(lambda: {*console.outbox.glob("*.eml")} - before, "the link is mailed")
    [mail] = {*console.outbox.glob("*.eml")} - before
    body = message_from_bytes(mail.read_bytes(), policy=default).get_body(("plain",))
    assert body is not None
    [link] = re.findall(r"https?://\S+/console/by-mail/\S+", str(body.get_content()))
    scanner = visitor.open(link.removeprefix(console.url), signed_in=False, scripts=False)
    expect(scanner.get_by_role("button", name="Sign in")).to_be_visible()
    page.goto(link)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    scanner.get_by_role("button", name="Sign in").click()
    expect(scanner.get_by_role("main")).to_contain_text("You are not signed in")


def test_an_address_that_may_not_is_told_the_same_and_mailed_nothing(
    console: Console, open_page: Opens
) -> None:
    before = {*console.outbox.glob("*.eml")}
    page = open_page("/console/sign-in", signed_in=False)
    page.get_by_label("Your address for mail").fill("eve@evil.example")
    page.get_by_role("button", name="Mail me a link").click()
    expect(page.get_by_role("status")).to_contain_text("If this address may sign in")
    assert {*console.outbox.glob("*.eml")} == before
