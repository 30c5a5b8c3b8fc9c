"""The console's pages of runs: their list, and one with its steps, its files and its mails."""

from datetime import timedelta

import pytest

from infra.local.traffic import Fault
from shared.console.pages.exports import PAGE_SIZE
from shared.gcp.documents import fields_of
from tests.console import Browser
from tests.shared.exports.nights import asked, due, fix, live, nightly, refuse
from tests.subjects.by_email import ANN, BOB, by_email, clicked, only, sent_to, token_of, work
from tests.subjects.documents_read import documents_read
from tests.world import World


@pytest.fixture
def browser(world: World) -> Browser:
    return Browser(world)


def home(export: str) -> str:
    return f"/console/exports/{export}/runs"


def test_a_run_shows_its_steps_its_files_and_their_checksums(browser: Browser) -> None:
    export = nightly(browser.world)
    live(browser.world, 1, 1)
    [run] = browser.world.audit(export)
    [file] = run["files"]
    browser.sign_in()
    page = browser.get(home(export))
    assert "Completed 1 1 0" in page.text
    page = browser.get(f"{home(export)}/{run['run_id']}")
    assert page.text.count("Done") == 7
    for said in (file["name"], file["crc32c"], run["manifest"], "Deliver the manifest", run["destination"]):
        assert said in page.text, said
    assert "data-live" not in page.html
    assert "Cancel It has ended." in page.text
    assert "Retry Only a run that failed can be retried." in page.text


def test_a_run_under_way_moves_and_can_be_cancelled_once(browser: Browser) -> None:
    export = nightly(browser.world)
    browser.world.wait(timedelta(hours=1))
    first = asked(browser.world, export, "run")["run_id"]
    window = {"start": "2026-11-22T09:00:00Z", "end": "2026-11-22T09:10:00Z"}
    second = asked(browser.world, export, "backfill", window)["run_id"]
    browser.sign_in()
    page = browser.get(home(export))
    assert 'id="runs" data-live="5"' in page.html
    assert "a free slot, or an earlier run of this export" in page.text
    page = browser.get(f"{home(export)}/{second}")
    assert "Pending waits for: a free slot" in page.text
    form = page.form("/cancel")
    assert "The run was cancelled." in browser.send(form).text
    again = browser.send(form)
    assert (again.status, "Cancelled" in again.text) == (200, True)
    assert {each["run_id"]: each["status"] for each in browser.world.audit(export)} == {
        first: "RUNNING",
        second: "CANCELLED",
    }
    found = browser.get(f"{home(export)}?status=CANCELLED")
    assert found.html.count('<td class="name">') == 1
    assert "No run has this status" in browser.get(f"{home(export)}?status=FAILED").text


@pytest.mark.slow
def test_a_run_that_failed_says_why_and_is_retried_once(browser: Browser) -> None:
    world, export = browser.world, nightly(browser.world)
    refuse(world)
    live(world, 1, 1)
    run = only(world, export)
    browser.sign_in()
    page = browser.get(f"{home(export)}/{run['run_id']}")
    assert run["error"] in page.text
    assert run["next_action"] in page.text
    assert "Deliver the files Failed" in page.text
    fix(world)
    form = page.form("/retry")
    assert "The run goes on." in browser.send(form).text
    assert browser.send(form).status == 200
    world.drain()
    assert only(world, export)["status"] == "COMPLETED"
    refused = browser.send(form, once="another")
    assert refused.status == 409
    assert "only a run that FAILED can be retried" in refused.text


@pytest.mark.slow
def test_a_run_that_waits_says_for_what(browser: Browser) -> None:
    world, export = browser.world, nightly(browser.world)
    busy = Fault("error", status=429)
    world.suite.traffic.arm("storage.objects.rewrite", busy, resource="/waybill/", times=1_000)
    world.work_order("WO_1", photographs=0)
    world.tick(due(1))
    world.drain()
    run = only(world, export)
    browser.sign_in()
    for path in (home(export), f"{home(export)}/{run['run_id']}", f"/console/exports/{export}"):
        assert run["waits_for"] in browser.get(path).text, path


@pytest.mark.slow
def test_the_mails_of_a_run_are_shown_and_their_links_withdrawn_and_sent_again(browser: Browser) -> None:
    world = browser.world
    work(world)
    export = by_email(world)
    world.run_due(due(1))
    clicked(world, token_of(world, ANN))
    run = only(world, export)["run_id"]
    browser.sign_in()
    page = browser.get(f"{home(export)}/{run}")
    assert ANN in page.text
    assert "Mozilla/5.0" in page.text
    mails = world.request("GET", f"/v1/exports/{export}/runs/{run}/mails").body["mails"]
    mail = next(each["id"] for each in mails if each["address"] == ANN)
    page = browser.send(page.form(f"{mail}/revoke"))
    assert "The links of the mail were withdrawn" in page.text
    assert [clicked(world, token_of(world, each)).status for each in (ANN, BOB)] == [410, 302]
    assert not [form for form in page.forms if form.action.endswith(f"{mail}/revoke")]
    form = page.form(f"{mail}/resend")
    assert "The mail is sent again." in browser.send(form).text
    assert browser.send(form).status == 409
    world.drain()
    assert sent_to(world) == [ANN, ANN, BOB]
    assert clicked(world, token_of(world, ANN)).status == 302
    page = browser.send(browser.get(f"/console/exports/{export}").form("/revoke-links"), recipient=BOB)
    assert "The links were withdrawn" in page.text
    assert [clicked(world, token_of(world, each)).status for each in (ANN, BOB)] == [302, 410]


@pytest.mark.slow
def test_no_token_of_a_link_is_on_a_page(browser: Browser) -> None:
    work(browser.world)
    export = by_email(browser.world)
    browser.world.run_due(due(1))
    browser.sign_in()
    page = browser.get(f"{home(export)}/{only(browser.world, export)['run_id']}")
    assert token_of(browser.world, ANN) not in page.html


@pytest.mark.slow
def test_errors_with_markup_are_text(browser: Browser) -> None:
    world, export = browser.world, nightly(browser.world)
    live(world, 1, 1)
    run = only(world, export)["run_id"]
    hostile = "<img src=x onerror=alert(1)>\u202e&" + "x" * 200
    event = {"audit.error": hostile, "audit.next_action": hostile, "audit.status": "FAILED"}
    world.cloud.db.document(f"exports/{export}/runs/{run}").update(event)
    browser.sign_in()
    for path in (home(export), f"{home(export)}/{run}", f"/console/exports/{export}"):
        page = browser.get(path)
        assert (page.status, "<img" in page.html, hostile[:40] in page.text) == (200, False, True), path


@pytest.mark.slow
def test_nothing_of_another_customers_run_is_shown_or_done(browser: Browser) -> None:
    world, export = browser.world, nightly(browser.world)
    world.wait(timedelta(hours=1))
    run = asked(world, export, "run")["run_id"]
    browser.sign_in()
    cancel = browser.get(f"{home(export)}/{run}").form("/cancel")
    stranger = Browser(world)
    token = stranger.sign_in(world.stranger()).forms[0].fields["csrf"]
    assert stranger.get(home(export)).status == 404
    assert stranger.get(f"{home(export)}/{run}").status == 404
    assert stranger.send(cancel, csrf=token).status == 404
    mails = f"{home(export)}/{run}/mails/{'0' * 32}"
    for action in (f"{mails}/revoke", f"{mails}/resend", f"{home(export)}/{run}/retry"):
        cancel.action = action
        assert stranger.send(cancel, csrf=token).status == 404, action
    assert only(world, export)["status"] == "RUNNING"


@pytest.mark.slow
@pytest.mark.parametrize("run", ["x", "s" + "0" * 32, "..%2F..", "<b>"])
def test_a_run_that_there_is_not_is_not_found(browser: Browser, run: str) -> None:
    export = nightly(browser.world)
    browser.sign_in()
    page = browser.get(f"{home(export)}/{run}")
    assert (page.status, "<b>" in page.html) == (404, False)


@pytest.mark.ours_only("looks at what our Firestore reads")
@pytest.mark.slow
def test_pages_with_many_runs_read_their_size_and_ten_documents(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, export = browser.world, nightly(browser.world)
    live(world, 1, 1)
    document = world.cloud.db.document(f"exports/{export}/runs/{only(world, export)['run_id']}")
    fields = fields_of(document.get())
    delivering = {**fields, "state": "DELIVERING"}
    del delivering["audit"]
    batch = world.cloud.db.batch()
    for number in range(10_000):
        kept = delivering if number % 2 else fields
        reference = world.cloud.db.document(f"exports/{export}/runs/s{number:032}")
        moved = timedelta(days=-number)
        times = {name: fields[name] + moved for name in ("due", "window_start", "window_end")}
        if number >= 100:  # no page shows these: they have what queries look at, and nothing else
            kept = {name: fields[name] for name in ("customer", "state", "origin")}
        batch.set(reference, {**kept, **times})
        if number % 2 and number < 60:
            file = {"name": "f", "site_id": None, "rows": 1, "bytes": 1, "crc32c": "AAAAAA=="}
            batch.set(reference.collection("files").document("1"), file)
        if number % 400 == 399:
            batch.commit()
            batch = world.cloud.db.batch()
    batch.commit()
    browser.sign_in()
    read = documents_read(monkeypatch)
    page = browser.get(home(export))
    assert page.html.count('<td class="name">') == PAGE_SIZE
    assert len(read) <= PAGE_SIZE + 10, read
    for path, most in (
        (page.links["Next page"], PAGE_SIZE + 10),
        (f"/console/exports/{export}", 5 + 10),
        (f"/console/exports/{export}/backfill", 31 + 10),
    ):
        read.clear()
        page = browser.get(path)
        assert page.status == 200
        assert len(read) <= most, (path, read)
        assert len(page.html) < 60_000
