"""The pages of batches: what they show and do, whoever asks, whatever names hold, however often one sends."""

import re
from datetime import timedelta
from html import escape
from typing import Any

import orjson
import pytest
import requests

from shared.accounts.keys import create_key
from shared.batches import batch as batches
from shared.batches import errors_file
from shared.batches.problems import problem
from shared.gcp.documents import fields_of
from tests.archives import File, zipped
from tests.console import Browser, Seen
from tests.subjects.documents_read import documents_read
from tests.world import OTHER_SITE, SITE, World, jpeg

HOSTILE = [
    '"><script>alert(1)</script><img src=x onerror=alert(1)> '
    "\u202eexe.piz\u202c \u05d0\u05d1 👩\u200d🔧 {{ 7 * 7 }}",
    pytest.param("x" * 200, marks=pytest.mark.slow),
]
"""Names with markup, with text that runs from right to left and emoji, and without a space."""


@pytest.fixture
def browser(world: World) -> Browser:
    made = Browser(world)
    made.sign_in()
    return made


def make(browser: Browser, **fields: Any) -> tuple[str, Seen]:
    """Make a batch with the form, and return its id and its page."""
    page = browser.get("/console/batches/new")
    shown = browser.send(page.form("/batches/new"), **{"site_id": SITE, **fields})
    assert shown.status == 200, shown.text
    found = re.fullmatch(r"/console/batches/([0-9a-f-]{36})", shown.path)
    assert found, shown.path
    return found[1], shown


def url_of(world: World, id: str) -> str:
    url: str = world.shown(id)["upload_url"]
    return url


# --- the list


@pytest.mark.slow
def test_an_empty_list_shows_the_first_step_and_the_call_for_it(browser: Browser) -> None:
    page = browser.get("/console/batches")
    assert page.status == 200
    assert "No batches yet" in page.text
    assert page.links["Make a batch"] == "/console/batches/new"
    assert f"curl -X POST 'http://waybill.example/v0.2/batches?site_id={SITE}'" in page.text.replace('"', "'")


@pytest.mark.slow
def test_the_list_has_the_batches_of_all_sites_and_filters_in_its_address(
    browser: Browser, world: World
) -> None:
    for site, name in ((SITE, "north.zip"), (OTHER_SITE, "south.zip")):
        make(browser, site_id=site, filename=name)
        world.wait(timedelta(seconds=1))
    page = browser.get("/console/batches")
    assert re.search("south.zip South Waiting for upload .* north.zip North", page.text)
    assert 'data-live="5"' in page.html
    [form] = [each for each in page.forms if each.action == "/console/batches"]
    page = browser.send(form, site_id=OTHER_SITE)
    assert "south.zip" in page.text
    assert "north.zip" not in page.text
    page = browser.get("/console/batches?status=COMPLETED")
    assert "No batch is like this." in page.text
    assert 'value="COMPLETED" selected' in page.html


@pytest.mark.slow
def test_a_list_whose_batches_have_ended_does_not_move(browser: Browser, world: World) -> None:
    world.import_archive(zipped([File("WO_1/meter.jpg", jpeg("1"))]))
    page = browser.get("/console/batches")
    assert "Completed 1 of 1" in page.text
    assert "data-live" not in page.html


@pytest.mark.slow
@pytest.mark.ours_only("looks at what our Firestore reads")
def test_a_page_of_the_list_reads_a_page(
    browser: Browser, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = world.cloud.db.batch()
    document = fields_of(world.cloud.db.document(f"batches/{make(browser)[0]}").get())
    for number in range(120):
        write.create(world.cloud.db.document(f"batches/00000000-0000-4000-8000-{number:012}"), document)
    write.commit()
    read = documents_read(monkeypatch)
    page = browser.get("/console/batches")
    assert page.html.count("/console/batches/00000000") >= 49
    assert len(read) <= 50 + 10
    assert len(page.html) < 60_000
    rest = browser.get(page.links["Next page"])
    assert rest.status == 200
    assert rest.links["First page"] == "/console/batches"


# --- making one


def test_a_batch_is_made_for_this_browser_and_leads_to_its_upload(browser: Browser, world: World) -> None:
    id, page = make(
        browser, filename="monday.zip", code_page="850", notify="zoe@acme.example\nbo@acme.example"
    )
    assert "The batch is made. Upload its archive now." in page.text
    kept = batches.get(world.cloud, id)
    assert kept is not None
    assert (kept.filename, kept.code_page, kept.site) == ("monday.zip", "cp850", SITE)
    assert kept.notify == ("zoe@acme.example", "bo@acme.example")
    assert kept.origin == world.cloud.settings.origin
    assert f'data-origin="{kept.origin}"' in page.html
    headers = {"Origin": kept.origin, "Content-Range": "bytes */*"}
    told = requests.put(url_of(world, id), headers=headers, timeout=10)
    assert told.headers["Access-Control-Allow-Origin"] == kept.origin


@pytest.mark.slow
def test_what_is_wrong_is_said_at_its_field_and_nothing_is_lost(browser: Browser, world: World) -> None:
    page = browser.get("/console/batches/new")
    again = browser.send(
        page.form("/batches/new"), site_id=OTHER_SITE, filename="a.zip", code_page="klingon", notify="none"
    )
    assert again.status == 422
    form = again.form("/batches/new")
    kept = {name: form.fields[name] for name in ("site_id", "filename", "code_page", "notify")}
    assert kept == {
        "site_id": [OTHER_SITE],
        "filename": ["a.zip"],
        "code_page": ["klingon"],
        "notify": ["none"],
    }
    assert 'id="code_page-problem"' in again.html
    assert 'id="notify-problem"' in again.html
    assert list(world.cloud.db.collection("batches").stream()) == []
    assert browser.send(form, code_page="", notify="").status == 200


def test_a_form_that_is_sent_twice_makes_one_batch(browser: Browser, world: World) -> None:
    form = browser.get("/console/batches/new").form("/batches/new")
    first, second = (browser.send(form, site_id=SITE) for _ in range(2))
    assert first.path == second.path
    assert len(list(world.cloud.db.collection("batches").stream())) == 1


@pytest.mark.slow
def test_a_form_without_its_proof_makes_nothing(browser: Browser, world: World) -> None:
    form = browser.get("/console/batches/new").form("/batches/new")
    for proof in (None, "", "0" * 64):
        assert browser.send(form, site_id=SITE, csrf=proof).status == 403
    assert list(world.cloud.db.collection("batches").stream()) == []


# --- the page of one, and its upload


def test_the_upload_page_may_call_cloud_storage_and_no_page_holds_the_upload_url(
    browser: Browser, world: World
) -> None:
    id, page = make(browser)
    policy = page.headers["Content-Security-Policy"]
    assert f"connect-src 'self' {world.suite.control_url};" in policy
    secret = url_of(world, id).partition("upload_id=")[2]
    for path in (f"/console/batches/{id}", "/console/batches", f"/console/batches/{id}/errors"):
        seen = browser.get(path)
        assert secret not in seen.html
        if path != f"/console/batches/{id}":
            assert "connect-src 'self';" in seen.headers["Content-Security-Policy"]


def ask(browser: Browser, id: str, page: Seen, **changes: Any) -> Seen:
    """What the page's script asks for."""
    [proof] = re.findall(r'data-csrf="([^"]+)"', page.html)
    form = page.form("/console/sign-out")
    form.action, form.fields = f"/console/batches/{id}/upload-url", {"csrf": [proof]}
    return browser.send(form, **changes)


@pytest.mark.slow
def test_its_script_is_told_the_upload_url_for_as_long_as_the_batch_waits(
    browser: Browser, world: World
) -> None:
    id, page = make(browser)
    told = ask(browser, id, page)
    assert told.headers["Content-Type"] == "application/json"
    assert told.headers["Cache-Control"] == "no-store"
    assert orjson.loads(told.html) == {"upload_url": url_of(world, id)}
    assert ask(browser, id, page, csrf="0" * 64).status == 403
    assert browser.get(f"/console/batches/{id}/upload-url").status == 405
    world.upload(url_of(world, id), zipped([File("WO_1/meter.jpg", jpeg("1"))]))
    world.drain()
    assert ask(browser, id, page).status == 409


@pytest.mark.slow
def test_without_scripts_the_page_says_so_and_shows_other_ways(browser: Browser) -> None:
    id, page = make(browser)
    without = re.findall("(?s)<noscript>(.*?)</noscript>", page.html)
    assert any("Uploading in the browser needs JavaScript" in each for each in without)
    assert f"python3 upload.py http://waybill.example archive.zip --batch {id} --wait" in page.text
    assert "curl -T archive.zip" in page.text
    assert re.search(r'<div id="upload" hidden ', page.html), "what needs scripts is shown by them"


@pytest.mark.slow
def test_a_batch_of_a_program_is_not_uploaded_to_from_a_browser(browser: Browser, world: World) -> None:
    id = world.batch()
    page = browser.get(f"/console/batches/{id}")
    assert "was made for programs" in page.text
    assert "upload.js" not in page.html
    assert "connect-src 'self';" in page.headers["Content-Security-Policy"]


@pytest.mark.slow
def test_the_page_shows_how_far_it_is_and_what_was_found(browser: Browser, world: World) -> None:
    archive = zipped([File("WO_1/meter.jpg", jpeg("1")), File("WO_BAD/roof.jpg", jpeg("2"))])
    id = world.import_archive(archive)["id"]
    page = browser.get(f"/console/batches/{id}")
    assert re.search("Status Completed with errors Work orders 2 of 2 Not imported 1", page.text)
    assert page.links["UNKNOWN_TASK_GROUP"] == f"/console/batches/{id}/errors?code=UNKNOWN_TASK_GROUP"
    assert "data-live" not in page.html
    assert "Upload the archive" not in page.text


@pytest.mark.slow
def test_a_batch_that_failed_says_why(browser: Browser, world: World) -> None:
    id = world.import_archive(b"no zip at all")["id"]
    page = browser.get(f"/console/batches/{id}")
    assert "The batch failed: ARCHIVE_NOT_A_ZIP" in page.text
    assert "The upload is not a zip archive." in page.text


@pytest.mark.slow
def test_a_batch_is_cancelled_after_a_question(browser: Browser, world: World) -> None:
    id, page = make(browser)
    asks = browser.get(page.links["Cancel this batch"])
    assert "Cancel this batch?" in asks.text
    assert world.shown(id)["status"] == "WAITING_FOR_UPLOAD"
    form = asks.form("/cancel")
    for _ in range(2):  # a double click
        done = browser.send(form)
        assert "The batch is cancelled." in done.text
    assert world.shown(id)["status"] == "CANCELLED"
    assert "There is nothing to cancel." in browser.get(f"/console/batches/{id}/cancel").text


# --- errors


def fill(world: World, id: str, number: int = 3) -> None:
    batch = batches.get(world.cloud, id)
    assert batch is not None
    found = [problem("EMPTY_FILE", work_order=f"WO_{each:05}", file="meter.jpg") for each in range(number)]
    found.append(problem("BLURRED", work_order="OTHER", file="door.jpg"))
    write = world.cloud.db.batch()
    for path, fields in errors_file.documents(batch, "000001", 0, found).items():
        write.create(world.cloud.db.document(path), fields)
    write.commit()


def test_errors_are_filtered_in_the_address_and_downloaded(browser: Browser, world: World) -> None:
    id, _ = make(browser)
    fill(world, id)
    page = browser.get(f"/console/batches/{id}/errors")
    assert page.text.count("EMPTY_FILE") >= 3
    assert "BLURRED" in page.text
    form = page.form("/errors")
    page = browser.send(form, level="error", work_order_prefix="WO_00001")
    assert "WO_00001" in page.text
    assert "WO_00002" not in page.text
    assert "BLURRED" not in page.text
    assert "work_order_prefix=WO_00001" in page.text, "as curl"
    assert "Nothing is like this." in browser.send(form, work_order_prefix="none").text
    for name, kind, content in (
        ("CSV", "text/csv; charset=utf-8", "WO_00002,meter.jpg,EMPTY_FILE,error,"),
        ("JSON Lines", "application/x-ndjson", '"work_order":"OTHER"'),
        ("Failed folders' names", "text/plain; charset=utf-8", "WO_00000\nWO_00001\nWO_00002\n"),
    ):
        got = browser.get(page.links[name])
        assert got.headers["Content-Type"] == kind
        assert got.headers["Content-Disposition"].startswith(f'attachment; filename="{id}-')
        assert content in got.html


@pytest.mark.slow
@pytest.mark.ours_only("looks at what our Firestore reads")
def test_a_page_of_10_000_errors_is_small_and_reads_a_page(
    browser: Browser, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    id, _ = make(browser)
    fill(world, id, 10_000)
    read = documents_read(monkeypatch)
    page = browser.get(f"/console/batches/{id}/errors?level=error")
    assert len(re.findall("<tr>", page.html)) == 1 + 50
    assert len(read) <= 50 + 10
    assert len(page.html) < 60_000
    assert "WO_00050" in browser.get(page.links["Next page"]).text


# --- whoever asks, and whatever names hold


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_shown_as_text_in_place(browser: Browser, world: World, name: str) -> None:
    id, page = make(browser, filename=name)
    batch = batches.get(world.cloud, id)
    assert batch is not None
    found = [problem("EMPTY_FILE", work_order=name, file=name)]
    for path, fields in errors_file.documents(batch, "000001", 0, found).items():
        world.cloud.db.document(path).create(fields)
    shown = escape(name, quote=False)
    for seen in (page, browser.get("/console/batches"), browser.get(f"/console/batches/{id}/errors")):
        assert seen.status == 200
        cut = shown if len(name) < 120 else f"{name[:119]}…"
        told = seen.html.replace("&#34;", '"').replace("&#39;", "'").replace("&gt;", ">")
        assert f">{cut.replace('&gt;', '>')}</bdi>" in told
        assert "<script>alert" not in seen.html
        assert "<img src=x" not in seen.html


def test_other_customers_batches_are_not_there(browser: Browser, world: World) -> None:
    id, _ = make(browser, filename="monday.zip")
    cancel = browser.get(f"/console/batches/{id}/cancel").form("/cancel")
    world.onboard("globex", "globex")
    stranger = Browser(world)
    stranger.sign_in(create_key(world.cloud.db, customer="globex", scopes=["batches"]))
    for path in ("", "/cancel", "/errors", "/errors.csv", "/errors.jsonl", "/failed-folders.txt"):
        seen = stranger.get(f"/console/batches/{id}{path}")
        assert seen.status == 404, path
        assert "monday" not in seen.html
    empty = stranger.get("/console/batches")
    assert "No batches yet" in empty.text
    theirs = empty.form("/console/sign-out").fields["csrf"]
    for action in ("cancel", "upload-url"):
        cancel.action = f"/console/batches/{id}/{action}"
        assert stranger.send(cancel, csrf=theirs[0]).status == 404
    assert world.shown(id)["status"] == "WAITING_FOR_UPLOAD"


@pytest.mark.slow
def test_a_key_without_the_scope_sees_no_batches(world: World) -> None:
    browser = Browser(world)
    browser.sign_in(create_key(world.cloud.db, customer="acme", scopes=["jobs"]))
    for path in ("/console/batches", "/console/batches/new", f"/console/batches/{world.batch()}"):
        seen = browser.get(path)
        assert seen.status == 403
        assert "batches" in seen.text


@pytest.mark.slow
def test_pages_have_no_code_or_style_inside(browser: Browser) -> None:
    id, _ = make(browser)
    for path in ("", "/new", f"/{id}", f"/{id}/errors", f"/{id}/cancel"):
        seen = browser.get(f"/console/batches{path}")
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", seen.html)
        assert all("src=" in each for each in re.findall("<script[^>]*>", seen.html))
