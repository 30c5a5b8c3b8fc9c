"""The console's pages of jobs: what they show, what they do, and whose jobs they are."""

import re
from datetime import timedelta
from typing import Any

import pytest
import requests

from shared.accounts.keys import create_key
from shared.console.pages import jobs as pages
from shared.gcp.documents import fields_of
from shared.jobs.api import ExportForm, ImportForm
from tests.console import HOST, Browser, Form, Seen
from tests.subjects.documents_read import documents_read
from tests.subjects.small_job import Jobs
from tests.world import World

HOSTILE = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)> & 'x'",
    "\u202egnp.exe\u2066\u2067",
    "\U0001f6a7\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "x" * 200,
)

CSV = b"id,name\r\n1,Ada\r\n2\r\n3,Eve\r\n"


@pytest.fixture
def jobs(world: World) -> Jobs:
    return Jobs(world)


@pytest.fixture
def browser(world: World, jobs: Jobs) -> Browser:
    signed_in = Browser(world)
    signed_in.sign_in(jobs.key)
    return signed_in


def upload(browser: Browser, form: Form, content: bytes, **changes: str) -> Seen:
    """Send a form with a file, as a browser does."""
    fields = {name: values[-1] for name, values in form.fields.items() if name not in ("file", "template")}
    files = {"file": ("C:\\data.csv", content, "text/csv"), "template": ("", b"", "application/octet-stream")}
    made = requests.Request("POST", HOST, data={**fields, **changes}, files=files).prepare()
    assert isinstance(made.body, bytes)
    headers = {"Content-Type": made.headers["Content-Type"], "Origin": HOST}
    return browser._go("POST", form.action, made.body, True, headers)


def listed(jobs: Jobs) -> list[dict[str, Any]]:
    answer = jobs.send("/ls/api/batch/jobs", "GET")
    found: list[dict[str, Any]] = answer.body["jobs"]
    return found


# --- imports


def test_a_file_is_imported_by_the_form_and_its_rejected_records_are_shown(
    browser: Browser, jobs: Jobs
) -> None:
    form = browser.get("/console/jobs/import").form("/console/jobs/import")
    page = upload(browser, form, CSV, jobName=HOSTILE[0], itemType="Technician")
    [job] = listed(jobs)
    assert page.path == f"/console/jobs/{job['jobId']}"
    assert "The job was begun." in page.text
    assert "data-live" in page.html
    jobs.ended(job["jobId"])
    page = browser.get(page.path)
    assert "2 of 3 records were imported, and 1 rejected." in page.text
    assert "data-live" not in page.html
    assert HOSTILE[0] in page.text
    row = page.text[page.text.index("Rejected records") :]
    assert "2 line 3 The row has 1 field, and the header has 2 fields" in row
    assert [each["name"] for each in jobs.items()] == ["Ada", "Eve"]
    link = page.links["Download the rejected records"]
    assert b"waybill_error" in jobs.download(link)


def test_a_form_that_is_sent_twice_makes_one_job(browser: Browser, jobs: Jobs) -> None:
    form = browser.get("/console/jobs/import").form("/console/jobs/import")
    first, second = (upload(browser, form, CSV, itemType="Technician") for _ in range(2))
    assert (first.path, len(listed(jobs))) == (second.path, 1)
    form = browser.get("/console/jobs/export").form("/console/jobs/export")
    first, second = (browser.send(form, itemType="Technician") for _ in range(2))
    assert (first.path, len(listed(jobs))) == (second.path, 2)


def test_a_job_that_is_rejected_says_why_and_leads_to_another_one(browser: Browser, jobs: Jobs) -> None:
    form = browser.get("/console/jobs/import").form("/console/jobs/import")
    page = upload(browser, form, CSV, itemType="9", jobName="Mine & <b>", contentType="application/json")
    assert "It was rejected" in page.text
    assert "itemType: must begin with a letter" in page.text
    again = browser.get(page.links["Begin another one with these fields"]).form("/console/jobs/import")
    kept = [again.fields[name] for name in ("jobName", "itemType", "contentType")]
    assert kept == [["Mine & <b>"], ["9"], ["application/json"]]


def test_a_form_that_is_refused_keeps_its_fields(browser: Browser, jobs: Jobs) -> None:
    browser.world.cloud.db.document("customers/acme").update({"jobs": 1})
    jobs.begin_import(CSV)
    form = browser.get("/console/jobs/export").form("/console/jobs/export")
    page = browser.send(form, sqlQuery="select 1 as n", jobName=HOSTILE[1])
    assert (page.status, "the limit jobs is 1" in page.text) == (429, True)
    kept = page.form("/console/jobs/export")
    assert (kept.fields["sqlQuery"], kept.fields["jobName"]) == (["select 1 as n"], [HOSTILE[1]])
    form = browser.get("/console/jobs/import").form("/console/jobs/import")
    page = upload(browser, form, CSV, itemType="Technician")
    assert (page.status, "the limit jobs is 1" in page.text) == (429, True)


def test_a_file_without_the_proof_of_its_form_is_not_read(browser: Browser, jobs: Jobs) -> None:
    form = browser.get("/console/jobs/import").form("/console/jobs/import")
    page = upload(browser, form, CSV, itemType="Technician", csrf="1." + "0" * 64)
    assert (page.status, listed(jobs)) == (403, [])
    assert browser.world.suite.storage.list(f"{browser.world.suite.project}-uploads") == []


def test_the_forms_have_the_fields_of_the_api() -> None:
    assert {*pages.FIELDS["import"], "file", "template", "uploadId"} == set(ImportForm.model_fields)
    assert set(pages.FIELDS["export"]) == set(ExportForm.model_fields)


# --- one job


def test_an_export_is_begun_by_the_form_and_downloaded(browser: Browser, jobs: Jobs) -> None:
    jobs.imported(b"id,name\n1,Ada\n2,Bob\n")
    form = browser.get("/console/jobs/export").form("/console/jobs/export")
    page = browser.send(form, itemType="Technician", filters='{"name": ["Ada"]}', jobName="Ada's")
    jobs.ended(page.path.rsplit("/", 1)[1])
    page = browser.get(page.path)
    assert jobs.download(page.links["Download the records"]) == b"id,name\r\n1,Ada\r\n"
    page = browser.send(page.form("/revoke"))
    assert "The links were withdrawn" in page.text
    assert "Download the records" not in page.links


def test_a_job_is_cancelled_by_its_button(browser: Browser, jobs: Jobs) -> None:
    job = jobs.begin_import(CSV)
    form = browser.get(f"/console/jobs/{job}").form("/cancel")
    page = browser.send(form)
    assert "What of the job was not processed is canceled." in page.text
    assert browser.send(form).status == 200, "a second click does no harm"
    jobs.ended(job)
    page = browser.get(f"/console/jobs/{job}")
    assert "Canceled" in page.text
    assert [each.action for each in page.forms if each.action.endswith("/cancel")] == []


def test_links_that_are_not_there_cannot_be_withdrawn(browser: Browser, jobs: Jobs) -> None:
    job = jobs.begin_import(CSV)
    form = browser.get(f"/console/jobs/{job}").form("/cancel")
    form.action = form.action.replace("/cancel", "/revoke")
    page = browser.send(form)
    assert (page.status, "has no links to be withdrawn" in page.text) == (409, True)


@pytest.mark.parametrize(
    "name",
    [HOSTILE[1], *(pytest.param(each, marks=pytest.mark.slow) for each in HOSTILE if each != HOSTILE[1])],
    ids=range(len(HOSTILE)),
)
def test_names_and_records_of_any_kind_are_text_in_their_place(
    browser: Browser, jobs: Jobs, name: str
) -> None:
    quoted = name.replace('"', '""')
    job = jobs.imported(f'id,name\n1,"{quoted}",more\n'.encode(), jobName=name, headerRow="true")["jobId"]
    for path in ("/console/jobs", f"/console/jobs/{job}"):
        page = browser.get(path)
        assert page.status == 200
        assert "<script>alert" not in page.html
        assert "<img" not in page.html
        assert " ".join(name.split())[:100] in page.text
        assert not re.search(r"""\sstyle=|\son[a-z]+=["']""", page.html)
    assert f"<bdi>{'x' * 200}</bdi>" in page.html or name != HOSTILE[-1]


def test_the_rejected_records_have_pages(browser: Browser, jobs: Jobs) -> None:
    rows = b"".join(b"%d\n" % number for number in range(60))
    job = jobs.imported(b"id,name\n" + rows)["jobId"]
    path, seen = f"/console/jobs/{job}", []
    while path:
        page = browser.get(path)
        seen += re.findall(r'data-label="Record"><span>(\d+) ', page.html)
        path = page.links.get("Next page", "")
    assert seen == [str(number) for number in range(1, 61)]


# --- the list


def test_the_list_is_filtered_and_paged_by_its_address(
    browser: Browser, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "PAGE_SIZE", 3)
    for number in range(5):
        data = {"itemType": "T", "contentType": "text/plain", "jobName": f"Job {number}"}
        jobs.post("export", data=data)
        browser.world.wait(timedelta(seconds=1))
    jobs.begin_import(CSV, jobName="Job 5")

    def names(page: Seen) -> list[str]:
        return re.findall(r"Job \d", page.text)

    page = browser.get("/console/jobs")
    following = browser.get(page.links["Next page"])
    assert (names(page), names(following)) == (["Job 5", "Job 4", "Job 3"], ["Job 2", "Job 1", "Job 0"])
    assert following.links["First page"] == "/console/jobs"
    found = browser.send(page.form("/console/jobs"), kind="import")
    assert (found.path, names(found)) == ("/console/jobs?state=&kind=import", ["Job 5"])
    assert "No job is found by these filters" in browser.get("/console/jobs?state=Failed").text


def test_an_empty_list_teaches_the_first_step(browser: Browser) -> None:
    page = browser.get("/console/jobs")
    assert page.links["Import records"] == "/console/jobs/import"
    assert "-F file=@records.csv" in page.text


@pytest.mark.ours_only("looks at what our Firestore reads")
def test_a_page_of_the_list_reads_a_page(
    browser: Browser, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = fields_of(browser.world.cloud.db.document(f"jobs/{jobs.begin_import(CSV)}").get())
    batch = browser.world.cloud.db.batch()
    for number in range(40):
        batch.set(browser.world.cloud.db.document(f"jobs/00000000-0000-4000-8000-{number:012}"), template)
    batch.commit()
    read = documents_read(monkeypatch)
    page = browser.get("/console/jobs?state=Open&kind=import")
    assert page.html.count("<tr>") == pages.PAGE_SIZE + 1
    assert len(read) <= pages.PAGE_SIZE + 10, read


def test_another_customers_jobs_are_not_there(browser: Browser, jobs: Jobs) -> None:
    job = jobs.begin_import(CSV)
    form = browser.get(f"/console/jobs/{job}").form("/cancel")
    browser.world.onboard("globex", "globex")
    theirs = Browser(browser.world)
    theirs.sign_in(Jobs(browser.world, "globex").key)
    assert job not in theirs.get("/console/jobs").html
    assert theirs.get(f"/console/jobs/{job}").status == 404
    own = theirs.get("/console/jobs/export").form("/console/jobs/export")
    for action in ("/cancel", "/revoke"):
        sent = Form(form.action.replace("/cancel", action), "post", {"csrf": own.fields["csrf"]})
        assert theirs.send(sent).status == 404
    assert jobs.ended(job)["status"] == "Completed"


def test_a_key_without_the_scope_sees_no_job(browser: Browser) -> None:
    other = Browser(browser.world)
    other.sign_in(create_key(browser.world.cloud.db, customer="acme", scopes=["exports"]))
    for path in ("", "/import", "/export", "/0a7510ba-efe4-4d3e-bf74-1f5c6c52c40d"):
        assert other.get(f"/console/jobs{path}").status == 403, path
