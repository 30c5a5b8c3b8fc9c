"""Keys in a browser: made, shown once and revoked, by mouse and by keyboard; and signing in by mail."""

import re
from typing import Any

import pytest
import requests
from playwright.sync_api import Page, expect

from tests.browser.console import Console, Opens
from tests.browser.seed import EMOJI
from tests.subjects.processes import until

pytestmark = pytest.mark.slow

KEY = re.compile(r"^wb_([0-9a-f]{16})_[A-Za-z0-9_-]{43}$")
LINK = re.compile(r"/console/by-mail/[0-9a-f]{32}_[A-Za-z0-9_-]{43}")


def keys(console: Console) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = console.ask("GET", "/v1/keys?page_size=500")["keys"]
    return found


def opens(console: Console, key: str) -> int:
    """The status of a call with a key."""
    headers = {"Authorization": f"Token {key}"}
    return requests.get(f"{console.url}/v0.2/batches?all_sites=true", headers=headers, timeout=60).status_code


def shown(page: Page) -> str:
    """The key that a page shows once."""
    field = page.get_by_label("The key", exact=True)
    expect(field).to_have_value(KEY)
    return field.input_value()


@pytest.mark.parametrize("scripts", [True, False])
def test_a_key_is_made_and_revoked(console: Console, open_page: Opens, scripts: bool) -> None:
    page = open_page("/console/keys", scripts=scripts)
    page.get_by_role("link", name="Make a key").click()
    page.get_by_label("Name").fill(f"{EMOJI} {scripts}")
    page.get_by_label("batches").check()
    page.get_by_role("button", name="Make the key").click()
    key = shown(page)
    assert opens(console, key) == 200
    page.get_by_role("link", name="I have copied it").click()
    page.get_by_role("link", name=f"Revoke the key {EMOJI} {scripts}").click()
    page.get_by_role("button", name="Revoke it").click()
    expect(page.get_by_role("status")).to_contain_text("The key was revoked.")
    [made] = [each for each in keys(console) if each["id"] == key.split("_")[1]]
    assert (made["name"], made["revoked"], made["scopes"]) == (f"{EMOJI} {scripts}", True, ["batches"])
    assert key.split("_")[2] not in page.content()
    assert opens(console, key) == 401


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


@pytest.mark.parametrize("scripts", [True, False])
def test_a_link_in_a_mail_signs_in_once(console: Console, open_page: Opens, scripts: bool) -> None:
    before = set(links(console))
    page = open_page("/console/sign-in", signed_in=False, scripts=scripts)
    page.get_by_label("Your address for mail").fill(console.ids["address"])
    page.get_by_role("button", name="Mail me a link").click()
    expect(page.get_by_role("status")).to_contain_text("a link to do so is on its way there")
    until(lambda: bool(set(links(console)) - before), "a mail")
    [path] = set(links(console)) - before
    scanner = open_page(path, signed_in=False, scripts=scripts)
    expect(scanner.get_by_role("button", name="Sign in")).to_be_visible()
    page.goto(console.url + path)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    scanner.get_by_role("button", name="Sign in").click()
    expect(scanner.get_by_role("alert")).to_contain_text("this link is good no more")


def links(console: Console) -> list[str]:
    """The links that were mailed."""
    return [
        path
        for mail in console.outbox.rglob("*")
        if mail.is_file()
        for path in LINK.findall(mail.read_text())
    ]
