"""Signing in to the console, and what is refused to whoever is not signed in."""

import re
from datetime import timedelta

import flask
import pytest

from shared.accounts.keys import create_key, revoke_key
from shared.console import sessions
from shared.errors import TooSlow
from shared.http.sent import LATE, of_the_unknown
from tests.console import Browser
from tests.world import World, environ

AWAY = "/console?days=7"
"""A page with a query, for whoever is led back."""


@pytest.fixture
def browser(world: World) -> Browser:
    return Browser(world)


def signed_out(browser: Browser) -> bool:
    return browser.get("/console").path.startswith("/console/sign-in")


def test_whoever_is_not_signed_in_is_led_to_sign_in_and_back(browser: Browser) -> None:
    page = browser.get(AWAY)
    assert page.path == "/console/sign-in?next=%2Fconsole%3Fdays%3D7"
    landed = browser.send(page.form("/console/sign-in"), key=browser.world.key, follows=False)
    assert (landed.status, landed.headers["Location"]) == (303, AWAY)
    assert "Overview" in browser.get(AWAY).text


@pytest.mark.parametrize(
    "away", ["https://evil.example", "//evil.example", "/console//evil.example", "/v1", ""]
)
def test_nobody_is_led_to_another_site(browser: Browser, away: str) -> None:
    page = browser.get("/console/sign-in")
    landed = browser.send(page.form("/console/sign-in"), key=browser.world.key, next=away, follows=False)
    assert landed.headers["Location"] == "/console"


def test_a_wrong_key_is_said_at_its_field_and_is_not_shown_again(browser: Browser) -> None:
    wrong = browser.world.key[:-1] + ("A" if browser.world.key[-1] != "A" else "B")
    page = browser.sign_in(wrong)
    assert page.status == 401
    assert "the key is not valid: check that it is complete and not revoked" in page.text
    assert wrong not in page.html
    assert signed_out(browser)


def test_wrong_keys_of_an_address_are_slowed(browser: Browser) -> None:
    seen = [browser.sign_in(f"wb_{number:016x}_{'A' * 43}").status for number in range(21)]
    assert seen == [401] * 20 + [429]


def test_an_address_whose_forms_do_not_arrive_is_slowed_and_nobody_who_is_signed_in(browser: Browser) -> None:
    browser.sign_in()
    stranger = Browser(browser.world)
    for _ in range(int(LATE.burst)):
        with pytest.raises(TooSlow), of_the_unknown(flask.Request(environ("/"))):
            raise TooSlow
    assert stranger.sign_in().status == 429
    form = stranger.get("/console/sign-in").form("/console/sign-in")
    form.action = "/console/exports/new"
    assert stranger.send(form).status == 429
    assert browser.send(browser.get("/console").form("/console/sign-out")).status == 200


def test_the_session_cookie_is_out_of_reach_of_scripts_and_other_sites(browser: Browser) -> None:
    page = browser.get("/console/sign-in")
    landed = browser.send(page.form("/console/sign-in"), key=browser.world.key, follows=False)
    cookie = landed.headers["Set-Cookie"]
    assert cookie.startswith("waybill_session=")
    assert {"HttpOnly", "SameSite=Lax", "Path=/console"} <= set(cookie.split("; "))
    assert browser.world.key.split("_")[2] not in cookie


def test_a_session_dies_with_its_key(browser: Browser) -> None:
    key = create_key(browser.world.cloud.db, customer="acme", scopes=["exports"])
    browser.sign_in(key)
    assert not signed_out(browser)
    revoke_key(browser.world.cloud.db, key.split("_")[1])
    assert signed_out(browser)


def test_a_session_lasts_twelve_hours(browser: Browser) -> None:
    browser.sign_in()
    browser.world.wait(sessions.LIFE - timedelta(seconds=1))
    assert not signed_out(browser)
    browser.world.wait(timedelta(seconds=1))
    assert signed_out(browser)


def test_after_signing_out_a_copy_of_the_cookie_opens_nothing(browser: Browser) -> None:
    browser.sign_in()
    copy = dict(browser.cookies)
    page = browser.send(browser.get("/console").form("/console/sign-out"))
    assert "You have signed out." in page.text
    browser.cookies = copy
    assert signed_out(browser)


@pytest.mark.parametrize("part", range(4))
def test_a_forged_cookie_opens_nothing(browser: Browser, part: int) -> None:
    browser.sign_in()
    parts = browser.cookies[sessions.COOKIE].split(".")
    parts[part] = re.sub("[0-9a-f]$", lambda last: "1" if last[0] == "0" else "0", parts[part])
    browser.cookies[sessions.COOKIE] = ".".join(parts)
    assert signed_out(browser)


def test_a_cookie_for_the_session_of_another_key_opens_nothing(browser: Browser) -> None:
    browser.sign_in()
    mine = browser.cookies[sessions.COOKIE].split(".")
    other = create_key(browser.world.cloud.db, customer="acme", scopes=["exports"]).split("_")[1]
    settings = browser.world.cloud.settings
    signed = f"{mine[0]}.{other}.{mine[2]}"
    browser.cookies[sessions.COOKIE] = (
        f"{signed}.{sessions._mac(settings, int(mine[2]), f'session {signed}')}"
    )
    assert signed_out(browser)


@pytest.mark.parametrize("csrf", ["", "1." + "0" * 64, "x"])
def test_a_form_without_its_proof_does_nothing(browser: Browser, csrf: str) -> None:
    browser.sign_in()
    page = browser.send(browser.get("/console").form("/console/sign-out"), csrf=csrf)
    assert (page.status, "Nothing was done" in page.text) == (403, True)
    assert not signed_out(browser)


def test_the_proof_of_another_session_does_nothing(browser: Browser) -> None:
    other = Browser(browser.world)
    other.sign_in()
    theirs = other.get("/console").form("/console/sign-out").fields["csrf"]
    browser.sign_in()
    assert browser.send(browser.get("/console").form("/console/sign-out"), csrf=theirs).status == 403
    assert not signed_out(browser)


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}]
)
def test_a_form_from_another_site_does_nothing(browser: Browser, headers: dict[str, str]) -> None:
    browser.sign_in()
    page = browser.send(browser.get("/console").form("/console/sign-out"), headers=headers)
    assert (page.status, "by a page of another site" in page.text) == (403, True)
    assert not signed_out(browser)


def test_what_is_sent_after_the_session_ended_is_kept_over_signing_in(browser: Browser) -> None:
    browser.sign_in()
    form = browser.get("/console").form("/console/sign-out")
    form.fields |= {"name": ["Nightly <b>"], "sites": ["a", "b"]}
    browser.world.wait(sessions.LIFE)
    form.action = "/console/exports/new"
    page = browser.send(form)
    assert (page.status, "nothing of it is lost" in page.text) == (401, True)
    signed_in = browser.send(page.form("/console/sign-in"), key=browser.world.key)
    again = signed_in.form("/console/exports/new")
    assert (again.fields["name"], again.fields["sites"]) == (["Nightly <b>"], ["a", "b"])
    assert again.fields["csrf"] != form.fields["csrf"]
    assert len(again.fields["csrf"]) == len(again.fields["once"]) == 1


def test_what_another_site_sends_is_not_kept_over_signing_in(browser: Browser) -> None:
    form = browser.get("/console/sign-in").form("/console/sign-in")
    form.action = "/console/exports/new"
    assert browser.send(form, headers={"Origin": "https://evil.example"}, name="x").status == 403


def test_every_page_may_load_from_us_alone(browser: Browser) -> None:
    for path in ("/console/sign-in", "/console/nothing"):
        headers = browser.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert (headers["X-Frame-Options"], headers["Cache-Control"]) == ("DENY", "no-store")
        assert headers["X-Content-Type-Options"] == "nosniff"


def test_styles_and_scripts_are_kept_by_browsers(browser: Browser) -> None:
    found = re.findall(r'(?:href|src)="(/console/assets/[^"]+)"', browser.get("/console/sign-in").html)
    assert len(found) == 3
    for each in found:
        asset = browser.get(each)
        assert (asset.status, "immutable" in asset.headers["Cache-Control"]) == (200, True)


@pytest.mark.parametrize("name", ["__init__.py", "..%2Fsite.py", "none.css"])
def test_nothing_else_of_the_code_is_handed_out(browser: Browser, name: str) -> None:
    assert browser.get(f"/console/assets/0/{name}").status == 404


def test_a_page_that_there_is_not_says_so(browser: Browser) -> None:
    page = browser.get("/console/nothing")
    assert (page.status, "there is nothing at /console/nothing" in page.text) == (404, True)


def test_a_button_that_was_pressed_after_the_session_ended_can_be_gone_on_with(
    browser: Browser, world: World
) -> None:
    export = world.export()
    browser.sign_in()
    pressed = browser.get(f"/console/exports/{export}").form("/pause")
    del browser.cookies["waybill_session"]
    asked = browser.send(pressed)
    assert asked.status == 401
    assert "Nothing was done yet" in asked.text
    wrong = browser.send(asked.form("/console/sign-in"), key="wb_nonsense")
    assert "Nothing was done yet" in wrong.text
    signed_in = browser.send(wrong.form("/console/sign-in"), key=world.key)
    paused = browser.send(signed_in.form("Go on"))
    assert paused.path == f"/console/exports/{export}"
    assert "The export is paused" in paused.text
