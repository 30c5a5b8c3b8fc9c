"""The pages of keys: a key is shown once and revoked after a question, and no page shows or ends another
customer's."""

import html
import re
from datetime import timedelta
from typing import Any

import pytest

from shared.accounts.keys import MAX_NAME, create_key, identify, revoke_key
from shared.errors import Unauthenticated
from shared.gcp.documents import fields_of
from tests.console import Browser, Form, Seen
from tests.subjects.documents_read import documents_read
from tests.world import SITE, THEIR_SITE, World

KEY = re.compile(r"wb_[0-9a-f]{16}_[A-Za-z0-9_-]{43}")
HOSTILE = '<script>alert(1)</script>"><b>\u202egpj.exe 🔑'


@pytest.fixture
def own(world: World) -> str:
    """The key that the browser is signed in with."""
    return create_key(world.cloud.db, customer="acme", scopes=["exports", "batches", "keys"])


@pytest.fixture
def browser(world: World, own: str) -> Browser:
    browser = Browser(world)
    browser.sign_in(own)
    return browser


def id_of(key: str) -> str:
    return key.split("_")[1]


def make(browser: Browser, **fields: Any) -> Seen:
    return browser.send(browser.get("/console/keys/new").form("/console/keys/new"), **fields)


def number_of(world: World) -> int:
    return len(list(world.cloud.db.collection("api_keys").stream()))


def test_a_key_is_made_shown_once_and_opens_what_it_is_for(world: World, browser: Browser) -> None:
    page = make(browser, name="the van", scopes=["batches"], site=SITE)
    assert page.status == 200
    [key] = set(KEY.findall(page.html))
    assert page.headers["Cache-Control"] == "no-store"
    assert "Copy it now: it is shown this once" in page.text
    caller = identify(world.cloud.db, key)[0]
    assert (caller.customer, sorted(caller.scopes), caller.site) == ("acme", ["batches"], SITE)
    listed = browser.get("/console/keys")
    assert "the van" in listed.text
    assert not KEY.search(listed.html), "never again"
    assert not KEY.search(browser.get(f"/console/keys/{caller.key}/revoke").html)


def test_a_form_that_is_sent_twice_makes_one_key(world: World, browser: Browser) -> None:
    form = browser.get("/console/keys/new").form("/console/keys/new")
    before = number_of(world)
    first = browser.send(form, scopes=["batches"])
    again = browser.send(form, scopes=["batches"])
    assert number_of(world) == before + 1
    [key] = set(KEY.findall(first.html))
    assert again.status == 409
    assert f"has made the key {id_of(key)} already" in again.text
    assert not KEY.search(again.html)


def test_only_the_scopes_of_ones_own_key_are_offered_and_no_others_can_be_forged(
    world: World, browser: Browser
) -> None:
    page = browser.get("/console/keys/new")
    offered = re.findall(r'name="scopes" type="checkbox" value="([a-z]+)"', page.html)
    assert offered == ["exports", "batches", "keys"]
    before = number_of(world)
    forged = make(browser, scopes=["jobs"], name="mine")
    assert forged.status == 403
    assert "can give only scopes that it has" in forged.text
    assert forged.form("/console/keys/new").fields["name"] == ["mine"], "nothing is lost"
    assert number_of(world) == before


def test_what_is_wrong_is_said_at_its_field_and_what_was_typed_stays(world: World, browser: Browser) -> None:
    world.stranger()
    for fields, wrong in (
        ({"scopes": []}, "scopes-problem"),
        ({"scopes": ["everything"]}, "scopes-problem"),
        ({"scopes": ["batches"], "name": "x" * (MAX_NAME + 1)}, "name-problem"),
        ({"scopes": ["batches"], "site": THEIR_SITE}, "site-problem"),
    ):
        page = make(browser, **{"name": "kept", **fields})
        assert (page.status, f'id="{wrong}"' in page.html) == (400, True), fields
        sent = page.form("/console/keys/new").fields
        assert sent["name"] == [str(fields.get("name", "kept"))]
        assert sent["site"] == [str(fields.get("site", ""))]


def test_a_key_is_revoked_after_a_question(world: World, browser: Browser) -> None:
    question = browser.get(f"/console/keys/{id_of(world.key)}/revoke")
    assert "This cannot be undone" in question.text
    assert "this very key" not in question.text
    assert identify(world.cloud.db, world.key), "asking does nothing"
    done = browser.send(question.form("/revoke"))
    assert (done.path, "The key was revoked." in done.text) == ("/console/keys", True)
    with pytest.raises(Unauthenticated):
        identify(world.cloud.db, world.key)
    assert browser.send(question.form("/revoke")).path == "/console/keys", "a double click does no harm"
    assert "It is revoked already." in browser.get(f"/console/keys/{id_of(world.key)}/revoke").text


def test_whoever_revokes_their_own_key_is_signed_out(world: World, browser: Browser, own: str) -> None:
    question = browser.get(f"/console/keys/{id_of(own)}/revoke")
    assert "You are signed in with this very key" in question.text
    done = browser.send(question.form("/revoke"))
    assert done.path == "/console/sign-in"
    assert "The key that you were signed in with was revoked." in done.text
    assert browser.get("/console/keys").path.startswith("/console/sign-in")


def test_another_customers_keys_are_not_shown_and_not_revoked(world: World, browser: Browser) -> None:
    theirs = world.stranger()
    for id in (id_of(theirs), "0" * 16, "__aaaaaaaaaaaa__"):
        assert browser.get(f"/console/keys/{id}/revoke").status == 404, id
        form = browser.get(f"/console/keys/{id_of(world.key)}/revoke").form("/revoke")
        form.action = f"/console/keys/{id}/revoke"
        assert browser.send(form).status == 404, id
    assert identify(world.cloud.db, theirs)
    assert id_of(theirs) not in browser.get("/console/keys").html


def test_forms_without_their_proof_do_nothing(world: World, browser: Browser) -> None:
    before = number_of(world)
    new = browser.get("/console/keys/new").form("/console/keys/new")
    revoke = browser.get(f"/console/keys/{id_of(world.key)}/revoke").form("/revoke")
    for form in (new, revoke):
        assert browser.send(form, scopes=["batches"], csrf=None).status == 403
        assert browser.send(form, scopes=["batches"], csrf="1.00").status == 403
        foreign = {"Origin": "https://evil.example"}
        assert browser.send(form, scopes=["batches"], headers=foreign).status == 403
    assert number_of(world) == before
    assert identify(world.cloud.db, world.key)


def test_a_key_without_the_scope_sees_no_keys(world: World) -> None:
    browser = Browser(world)
    browser.sign_in()
    assert "/console/keys" not in browser.get("/console").html
    for path in ("/console/keys", "/console/keys/new", f"/console/keys/{id_of(world.key)}/revoke"):
        assert browser.get(path).status == 403, path
    before = number_of(world)
    csrf = browser.get("/console").form("sign-out").fields["csrf"]
    forged = Form("/console/keys/new", "post", {"csrf": csrf, "scopes": ["batches"]})
    assert browser.send(forged).status == 403
    assert number_of(world) == before


def test_names_with_markup_are_text(world: World, browser: Browser) -> None:
    make(browser, name=HOSTILE, scopes=["batches"])
    for path in ("/console/keys", "/console/keys/new"):
        page = browser.get(path)
        assert "<script>alert" not in page.html
    listed = browser.get("/console/keys")
    assert html.escape(HOSTILE, quote=False).split()[0] in listed.html.replace("&#34;", '"')
    assert "<bdi>" in listed.html
    wrong = make(browser, name=HOSTILE + "\x01", scopes=["batches"])
    assert wrong.status == 400
    assert "<script>alert" not in wrong.html


def test_the_last_use_is_said_as_exactly_as_it_is_known(world: World, browser: Browser, own: str) -> None:
    create_key(world.cloud.db, customer="acme", scopes=["jobs"])
    text = browser.get("/console/keys").text
    assert ("within the hour" in text, "not yet" in text) == (True, True)
    world.wait(timedelta(hours=3))
    used = fields_of(world.cloud.db.document(f"api_keys/{id_of(world.key)}").get())["last_used"]
    text = browser.get("/console/keys").text
    assert f"{used:%d %b %Y, %H:%M}" in text, "that of the world's key, three hours ago"
    assert text.count("within the hour") >= 1, "that of the session's key, which shows the page"


def test_a_page_of_keys_reads_its_size_and_little_more(
    world: World, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(60):
        create_key(world.cloud.db, customer="acme", scopes=["jobs"])
    read = documents_read(monkeypatch)
    page = browser.get("/console/keys")
    assert len(read) <= 50 + 10, len(read)
    [following] = [to for text, to in page.links.items() if text == "Next page"]
    assert "First page" in browser.get(html.unescape(following)).text


def test_a_session_ends_with_its_key_while_the_form_is_filled_in(
    world: World, browser: Browser, own: str
) -> None:
    form = browser.get("/console/keys/new").form("/console/keys/new")
    revoke_key(world.cloud.db, id_of(own))
    before = number_of(world)
    answer = browser.send(form, scopes=["batches"])
    assert (answer.status, number_of(world)) == (401, before)
    assert not KEY.search(answer.html)
