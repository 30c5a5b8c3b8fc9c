"""Signing in by a link in a mail: for whom, how often, how long; and what a scanner or a stranger gets."""

import re
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from shared.accounts import by_mail
from shared.accounts.keys import create_key, revoke_key
from shared.console import links
from shared.errors import Conflict, Invalid, NotFound
from tests.console import Browser, Seen
from tests.shared.outbox.post import recipient
from tests.subjects.letters import HOSTILE
from tests.world import World

ANN = "Ann@acme.example"
LINK = re.compile(r"/console/by-mail/[0-9a-f]{32}_[A-Za-z0-9_-]{43}")


@pytest.fixture
def browser(world: World) -> Browser:
    return Browser(world)


@pytest.fixture
def ann(world: World) -> str:
    """The id of the key that an address may sign in as."""
    id = world.key.split("_")[1]
    by_mail.allow(world.cloud, ANN, id)
    return id


def ask(browser: Browser, address: str = ANN, **headers: str) -> Seen:
    page = browser.get("/console/sign-in")
    return browser.send(page.form("/by-mail"), address=address, headers=headers)


def mailed(world: World) -> list[str]:
    """The links that were mailed, the oldest first."""
    world.drain()
    assert not world.failures, world.failures[0]
    found = []
    for each in world.suite.sendgrid.sent:
        in_text, in_html, *more = LINK.findall(str(each["content"]))
        assert {in_html, *more} == {in_text}
        found.append(in_text)
    return found


def link(browser: Browser) -> str:
    ask(browser)
    return mailed(browser.world)[-1]


def press(browser: Browser, path: str) -> Seen:
    return browser.send(browser.get(path).form("/by-mail/"))


def signed_in(browser: Browser) -> bool:
    return not browser.get("/console").path.startswith("/console/sign-in")


def test_a_link_signs_in_as_its_key_once(world: World, browser: Browser, ann: str) -> None:
    answer = ask(browser, ANN.upper())
    assert (answer.status, answer.path) == (200, "/console/sign-in")
    assert "a link to do so is on its way there" in answer.text
    [path] = mailed(world)
    assert [recipient(each) for each in world.suite.sendgrid.sent] == [ANN]
    assert press(browser, path).path == "/console"
    assert "acme" in browser.get("/console").text
    [session] = world.cloud.db.collection("console_sessions").stream()
    assert session.get("key") == ann
    again = Browser(world)
    refused = press(again, path)
    assert (refused.status, signed_in(again)) == (401, False)
    assert "works once, within 15 minutes" in refused.text


def test_whoever_opens_a_link_without_pressing_its_button_uses_nothing_up(
    world: World, browser: Browser, ann: str
) -> None:
    path = link(browser)
    for _ in range(3):
        scanner = Browser(world)
        page = scanner.get(path)
        assert (page.status, page.headers["Cache-Control"]) == (200, "no-store")
        assert not signed_in(scanner)
        assert "acme" not in page.html.lower()
    assert press(browser, path).path == "/console"


def test_a_button_counts_only_in_the_browser_that_was_shown_it(
    world: World, browser: Browser, ann: str
) -> None:
    path = link(browser)
    form = browser.get(path).form("/by-mail/")
    other = Browser(world)
    other.get("/console/sign-in")
    assert other.send(form).status == 403, "another browser's"
    assert browser.send(form, csrf=None).status == 403
    assert browser.send(form, headers={"Origin": "https://evil.example"}).status == 403
    assert browser.send(form).path == "/console"


def calls(world: World, address: str) -> tuple[str, Counter[str]]:
    """What a browser is answered that asks for an address, and what the services were asked meanwhile."""
    browser = Browser(world)
    page = browser.get("/console/sign-in")
    world.suite.traffic.forget()
    answer = browser.send(page.form("/by-mail"), address=address, follows=False)
    kinds = Counter(each.kind for each in world.suite.traffic.calls())
    shown = browser.get(answer.headers["Location"]).html
    fresh = re.sub(r'name="(csrf|once)" value="[^"]*"', "", shown)
    return f"{answer.status} {answer.headers['Location']} {sorted(answer.headers)} {fresh}", kinds


def test_nobody_finds_out_by_asking_which_addresses_may_sign_in(
    world: World, ann: str, capsys: pytest.CaptureFixture[str]
) -> None:
    known, stranger = calls(world, ANN), calls(world, "bob@acme.example")
    assert known == stranger
    assert len(mailed(world)) == 1
    assert not world.failures
    revoke_key(world.cloud.db, ann)
    links.forget()
    assert calls(world, ANN) == stranger
    assert len(mailed(world)) == 1
    asked = [each.to_dict() for each in world.cloud.db.collection("console_asked").stream()]
    assert asked, "who may not sign in costs a write, too"
    assert "bob" not in str(asked)


def test_a_link_expires_after_fifteen_minutes(world: World, browser: Browser, ann: str) -> None:
    first = link(browser)
    world.wait(by_mail.LINK_LIFE - timedelta(seconds=5))
    assert press(browser, first).path == "/console"
    second = Browser(world)
    path = link(second)
    world.wait(by_mail.LINK_LIFE)
    assert press(second, path).status == 401


def end_by(how: str, world: World, key: str) -> None:
    if how == "revoked":
        revoke_key(world.cloud.db, key)
    else:
        by_mail.withdraw(world.cloud, ANN)
    if how == "allowed again":
        by_mail.allow(world.cloud, ANN, key)


@pytest.mark.parametrize("how", ["revoked", "withdrawn", "allowed again"])
def test_a_link_and_a_session_die_with_the_key_and_with_the_address(
    world: World, browser: Browser, ann: str, how: str
) -> None:
    unused, used = link(browser), link(browser)
    press(browser, used)
    assert signed_in(browser)
    end_by(how, world, ann)
    assert not signed_in(browser)
    assert press(browser, unused).status == 401
    with_key = Browser(world)
    with_key.sign_in(create_key(world.cloud.db, customer="acme", scopes=["exports"]))
    assert signed_in(with_key), "other sessions go on"


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for each in value.values():
            yield from strings(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from strings(each)
    else:
        yield str(value)


def test_who_reads_the_database_or_the_log_cannot_sign_in(
    world: World, browser: Browser, ann: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = link(browser)
    press(browser, path)
    browser.get(path)  # as somebody who is signed in
    press(browser, path)
    secret = path.rpartition("/")[2].partition("_")[2]
    logged = capsys.readouterr()
    assert secret not in logged.out + logged.err
    assert '"by_mail": true' in logged.out
    for collection in world.cloud.db.collections():
        for document in collection.stream():
            assert all(secret not in each for each in strings(document.to_dict())), document.reference.path
    mails = world.cloud.db.collection_group("mails").stream()
    assert all(secret not in each for mail in mails for each in strings(mail.to_dict()))


def test_an_address_gets_five_links_an_hour(world: World, ann: str) -> None:
    for _ in range(links.MOST_AN_HOUR + 2):
        links.forget()
        assert ask(Browser(world)).status == 200
    assert len(mailed(world)) == links.MOST_AN_HOUR
    world.wait(links.HOUR)
    links.forget()
    ask(Browser(world))
    assert len(mailed(world)) == links.MOST_AN_HOUR + 1


def test_who_asks_too_often_is_slowed_whether_the_address_may_sign_in_or_not(world: World, ann: str) -> None:
    for address in (ANN, "bob@acme.example"):
        links.forget()
        seen = [ask(Browser(world), address).status for _ in range(int(links.FOR_ONE.burst) + 1)]
        assert seen == [200] * int(links.FOR_ONE.burst) + [429]
        assert ask(Browser(world), address, **{"X-Forwarded-For": "203.0.113.9"}).status == 429, (
            "from elsewhere"
        )
        assert ask(Browser(world), "cyd@acme.example").status == 429, "for another"
        assert ask(Browser(world), "cyd@acme.example", **{"X-Forwarded-For": "203.0.113.9"}).status == 200


def test_a_mail_that_comes_too_late_or_for_nobody_is_not_sent(
    world: World, browser: Browser, ann: str
) -> None:
    ask(browser)
    world.wait(by_mail.LINK_LIFE)
    assert mailed(world) == []
    ask(browser)
    by_mail.withdraw(world.cloud, ANN)
    assert mailed(world) == []
    found = world.cloud.db.collection_group("mails").stream()
    why = sorted(f"{each.get('state')} {each.get('error')}" for each in found)
    assert why == [
        "SKIPPED It could not be sent within 15 minutes of being asked for.",
        "SKIPPED Its address may not sign in any more.",
    ]


@pytest.mark.parametrize(
    "address", ["", "no address", HOSTILE.replace("\x00", "") + "@x.example", "ö@acme.example", "a" * 400]
)
def test_what_is_no_address_is_said_at_its_field(world: World, browser: Browser, address: str) -> None:
    page = ask(browser, address)
    assert page.status == 400
    assert 'id="address-problem"' in page.html
    assert "<script>alert" not in page.html


def test_wrong_links_of_an_address_are_slowed(world: World, browser: Browser) -> None:
    path = f"/console/by-mail/{'0' * 32}_"
    form = browser.get(f"{path}{'A' * 43}").form("/by-mail/")
    seen = []
    for number in range(21):
        form.action = f"{path}{number:043}"
        seen.append(browser.send(form).status)
    assert seen == [401] * 20 + [429]


def test_an_address_is_allowed_for_one_key_that_is_good(world: World, ann: str) -> None:
    before = by_mail.allowed_of(world.cloud.db)
    assert by_mail.allow(world.cloud, ANN.lower(), ann) == before[0], "twice is once"
    other = create_key(world.cloud.db, customer="acme", scopes=["exports"]).split("_")[1]
    with pytest.raises(Conflict, match=f"signs in as the key {ann} of acme: withdraw it first"):
        by_mail.allow(world.cloud, ANN, other)
    revoke_key(world.cloud.db, other)
    with pytest.raises(Conflict, match=f"the key {other} is revoked"):
        by_mail.allow(world.cloud, "bob@acme.example", other)
    with pytest.raises(NotFound):
        by_mail.allow(world.cloud, "bob@acme.example", "0" * 16)
    with pytest.raises(Invalid):
        by_mail.allow(world.cloud, "nobody", ann)
    with pytest.raises(NotFound, match="is not allowed to sign in"):
        by_mail.withdraw(world.cloud, "bob@acme.example")
    assert by_mail.allowed_of(world.cloud.db, "globex") == []
    assert by_mail.allowed_of(world.cloud.db) == before
