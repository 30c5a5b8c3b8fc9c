"""The first page: what waits for somebody with the action beside it, what runs, what is due, thirty days."""

import re
from datetime import timedelta
from typing import Any

import pytest

from shared.accounts.keys import create_key
from shared.exports import export as exports
from shared.exports.statistics import path as day_path
from shared.gcp.documents import fields_of
from tests.console import Browser, Seen
from tests.shared.exports.nights import due, fix, nightly, refuse, work_on
from tests.subjects.documents_read import documents_read
from tests.subjects.small_job import Jobs
from tests.world import World

HOSTILE = '<script>alert(1)</script>"><b>\u202egpj.exe 🔑'
LONG = "x" * 200


@pytest.fixture
def browser(world: World) -> Browser:
    browser = Browser(world)
    browser.sign_in()
    return browser


def suspend(world: World, name: str = "Nightly") -> str:
    export = nightly(world, name=name)
    why = {"error": f"The bucket of {name} is gone.", "next_action": f"Make that of {name} again."}
    world.cloud.db.document(f"exports/{export}").update({"state": exports.SUSPENDED, "suspended": why})
    return export


def brought(world: World, day: str, **sums: int) -> None:
    world.cloud.db.document(day_path("acme", day)).set(sums)


def table(page: Seen) -> list[list[str]]:
    """The days of the table beside the charts, the newest first."""
    rows = re.findall(r"<tr><td>(\d{4}-\d\d-\d\d)</td>(.*?)</tr>", page.html)
    return [[day, *re.findall(r">([\d,]+)<", cells)] for day, cells in rows]


def test_where_there_is_nothing_the_page_shows_the_first_step_and_its_call(browser: Browser) -> None:
    page = browser.get("/console")
    assert page.status == 200
    assert page.links["Make an export"] == "/console/exports/new"
    assert "curl -X POST" in page.text
    assert "/v1/exports" in page.text


def test_a_suspended_export_has_its_cause_and_its_actions_beside_it(world: World, browser: Browser) -> None:
    export = suspend(world)
    page = browser.get("/console")
    assert "The bucket of Nightly is gone." in page.text
    assert "What to do: Make that of Nightly again." in page.text
    assert page.links["Test"] == f"/console/exports/{export}/test"
    assert page.form("/resume").action == f"/console/exports/{export}/resume"


@pytest.mark.slow
def test_a_failed_run_can_be_retried_from_here(world: World, browser: Browser) -> None:
    export = nightly(world)
    refuse(world)
    work_on(world, 1)
    world.run_due(due(1))
    browser.sign_in()  # the clock went on for more than a session lasts
    page = browser.get("/console")
    assert "storage.objects.create" in page.text
    [run] = world.cloud.db.collection(f"exports/{export}/runs").stream()
    assert page.form("/retry").action == f"/console/exports/{export}/runs/{run.id}/retry"
    assert f"/console/exports/{export}/runs/{run.id}" in page.links.values()
    assert table(page)[0] == ["2026-11-23", "0", "0", "0", "1"]
    fix(world)
    world.wait(timedelta(minutes=1))
    retried = world.request("POST", f"/v1/exports/{export}/runs/{run.id}:retry")
    assert retried.status == 200
    world.drain()
    page = browser.get("/console")
    assert "Nothing does." in page.text
    assert table(page)[0] == ["2026-11-23", "1", "0", "1", "0"]


def test_thirty_days_are_bars_and_a_table(world: World, browser: Browser) -> None:
    nightly(world)
    brought(world, "2026-11-22", records=1_000, images=20, completed=3, failed=1)
    brought(world, "2026-11-01", records=500)
    brought(world, "2026-10-01", records=7)
    page = browser.get("/console")
    rows = table(page)
    assert (len(rows), rows[0]) == (30, ["2026-11-22", "1,000", "20", "3", "1"])
    assert [row for row in rows if row[1] == "500"] == [["2026-11-01", "500", "0", "0", "0"]]
    assert page.html.count("<rect ") == 5
    assert 'aria-label="Records of 30 days: 1,500 records"' in page.html
    assert 'aria-label="Runs of 30 days: 3 completed, 1 failed"' in page.html
    assert "22 Nov: 1,000 records" in page.html
    assert "style=" not in page.html, "the policy would not let it through"


def test_names_and_errors_with_markup_are_text(world: World, browser: Browser) -> None:
    for name in (HOSTILE, LONG):
        suspend(world, name)
        nightly(world, name=name)
    page = browser.get("/console")
    assert page.status == 200
    assert "<script>alert" not in page.html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.html
    assert '"><b>' not in page.html.replace('"><bdi>', "")


def test_another_customers_are_not_shown(world: World) -> None:
    theirs = Browser(world)
    theirs.sign_in(world.stranger())
    suspend(world, "Ours alone")
    nightly(world, name="Ours alone")
    brought(world, "2026-11-22", records=1_234)
    page = theirs.get("/console")
    for text in ("Ours alone", "1,234"):
        assert text not in page.html


def test_each_key_sees_what_its_scopes_reach(world: World) -> None:
    suspend(world)
    seen = {}
    for scope in ("exports", "batches", "jobs", "datasets", "keys"):
        browser = Browser(world)
        browser.sign_in(create_key(world.cloud.db, customer="acme", scopes=[scope]))
        page = browser.get("/console")
        assert page.status == 200, scope
        seen[scope] = [
            title for title in ("Waits for somebody", "Jobs", "Exports of datasets") if title in page.text
        ]
    assert seen["exports"] == ["Waits for somebody"]
    assert "Jobs" in seen["jobs"]
    assert "Exports of datasets" in seen["datasets"]
    assert "Waits for somebody" not in [
        each for scope in ("jobs", "datasets", "keys") for each in seen[scope]
    ]


def test_batches_that_run_or_went_wrong_are_shown_with_how_far_they_are(
    world: World, browser: Browser
) -> None:
    ids = {}
    for state in ("PROCESSING", "FAILED", "COMPLETED_WITH_ERRORS", "COMPLETED", "WAITING_FOR_UPLOAD"):
        ids[state] = world.batch(filename=f"{HOSTILE} {state}.zip")
        world.cloud.db.document(f"batches/{ids[state]}").update({"state": state})
    page = browser.get("/console")
    shown = [state for state, id in ids.items() if f"/console/batches/{id}" in page.links.values()]
    assert shown == ["PROCESSING", "FAILED", "COMPLETED_WITH_ERRORS"]
    assert "0 work orders imported" in page.text
    assert "<script>alert" not in page.html


def test_jobs_that_run_or_failed_are_shown_with_why(world: World) -> None:
    jobs = Jobs(world)
    browser = Browser(world)
    browser.sign_in(jobs.key)
    assert "Nothing is under way, and nothing went wrong lately." in browser.get("/console").text
    fields = {"jobName": HOSTILE, "itemType": "Technician", "contentType": "application/json", "filters": "0"}
    id = jobs.send("/ls/api/batch/export", data=fields).body["jobId"]
    page = browser.get("/console")
    assert f"/console/jobs/{id}" in page.links.values()
    assert "<script>alert" not in page.html
    failed: dict[str, Any] = {"state": "FAILED", "open": False, "error": "The disk is full."}
    world.cloud.db.document(f"jobs/{id}").update(failed)
    assert "Failed" in browser.get("/console").text


def test_the_page_reads_as_much_however_many_there_are(
    world: World, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = fields_of(world.cloud.db.document(f"exports/{suspend(world)}").get())
    batch = world.cloud.db.batch()
    for number in range(200):
        state = ("ACTIVE", "SUSPENDED")[number % 2]
        batch.set(world.cloud.db.document(f"exports/{number:08}"), {**template, "state": state})
    batch.commit()
    read = documents_read(monkeypatch)
    page = browser.get("/console")
    assert page.status == 200
    assert len(read) <= 6 * 11 + 31 + 10, len(read)  # its key has no batches
    assert "There are more: the suspended exports" in page.text
    assert len(page.html) < 100_000
