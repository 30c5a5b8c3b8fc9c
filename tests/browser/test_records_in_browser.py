"""Jobs and datasets in a browser: begun, made, looked at, filtered and deleted."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.console import Console, Opens
from tests.browser.seed import MARKUP, NAMES
from tests.subjects.processes import until

pytestmark = pytest.mark.slow

LIVE_MS = 40_000
"""How long work may take whose functions are started for it."""

ROWS = f'number,name,level\nB-1,Ada,3\nB-2,,1\nB-3,"{MARKUP.replace(chr(34), chr(34) * 2)}",two\n'


@pytest.mark.parametrize("scripts", [True, False])
def test_a_file_is_imported_and_its_rejected_rows_are_shown_and_downloaded(
    console: Console, open_page: Opens, scripts: bool
) -> None:
    page = open_page("/console/jobs", scripts=scripts)
    page.get_by_role("link", name="Import records").click()
    page.get_by_label("Name", exact=False).first.fill("From a browser")
    page.get_by_label("Item type").fill("Technician")
    page.get_by_label("File", exact=True).set_input_files(
        {"name": "new.csv", "mimeType": "text/csv", "buffer": ROWS.encode()}
    )
    page.get_by_role("button", name="Begin the import").dblclick()
    page.wait_for_url(re.compile(r"/console/jobs/[0-9a-f-]{36}"))
    job = page.locator("#job")
    if scripts:
        expect(job).to_contain_text("Completed", timeout=LIVE_MS)
    else:
        until(lambda: page.reload() and "Completed" in job.inner_text(), "the job has ended")
    rows = page.locator("main tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.nth(0)).to_contain_text("B-2")
    expect(rows.nth(1)).to_contain_text("<b>bold</b><script>document")
    assert rows.locator("b, script, img").count() == 0
    with page.expect_download() as rejected:
        page.get_by_role("link", name=re.compile("Download .*rejected", re.IGNORECASE)).click()
    assert "B-2" in rejected.value.path().read_text()


@pytest.mark.parametrize("kind", ["markup", "long"])
def test_a_hostile_name_of_a_job_is_text(console: Console, open_page: Opens, kind: str) -> None:
    page = open_page(f"/console/jobs/{console.ids[f'job_{kind}']}")
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_contain_text(NAMES[kind][:100])
    assert heading.locator("b, img, script").count() == 0
    assert page.title() != "stolen"


def test_a_query_that_is_refused_can_be_mended_and_sent_again(open_page: Opens) -> None:
    page = open_page("/console/jobs/export")
    page.get_by_label("Query").fill("drop table Technician")
    page.get_by_role("button", name="Begin the export").click()
    expect(page.get_by_role("alert")).to_contain_text("It was rejected", timeout=LIVE_MS)
    page.get_by_role("link", name="Begin another one with these fields").click()
    page.get_by_label("Query").fill("select name from Technician")
    page.get_by_role("button", name="Begin the export").click()
    expect(page.locator("#job")).to_contain_text("Completed", timeout=LIVE_MS)


def test_samples_are_shown_with_their_boxes_and_filtered(console: Console, open_page: Opens) -> None:
    ids = console.ids
    page = open_page(f"/console/datasets/{ids['dataset']}")
    page.get_by_role("link", name="Look at the samples").click()
    first = page.locator("li.sample", has_text="DS-").first
    photograph = first.locator("img")
    photograph.scroll_into_view_if_needed()
    assert photograph.evaluate("async each => { await each.decode(); return each.naturalWidth }") == 320
    boxes = first.locator("svg rect")
    expect(boxes).to_have_count(2)
    over, under = boxes.first.bounding_box(), photograph.bounding_box()
    assert over is not None
    assert under is not None
    assert under["x"] <= over["x"] <= over["x"] + over["width"] <= under["x"] + under["width"] + 1
    page.get_by_label("Work order").fill("DS-07")
    page.get_by_role("button", name="Filter").click()
    page.wait_for_url(re.compile("DS-07"))
    expect(page.locator("li.sample")).to_have_count(1)
    page.go_back()
    assert page.locator("li.sample").count() > 1
    main = page.get_by_role("main")
    expect(main).to_contain_text(MARKUP[:40])
    assert main.locator("li b, li script").count() == 0


def test_what_changed_between_two_versions_is_shown(console: Console, open_page: Opens) -> None:
    page = open_page(f"/console/datasets/{console.ids['dataset']}", scripts=False)
    page.get_by_role("link", name=re.compile("What changed up to")).first.click()
    expect(page.locator("li.sample")).to_have_count(1)
    expect(page.locator("li.sample")).to_contain_text("DS-NEW")


@pytest.mark.parametrize("scripts", [True, False])
def test_a_dataset_is_made_exported_and_deleted(console: Console, open_page: Opens, scripts: bool) -> None:
    name = f"Browser-{scripts}"
    page = open_page("/console/datasets/new", scripts=scripts)
    page.get_by_role("button", name="Make the dataset").click()
    if scripts:  # the browser asks for the name itself
        assert page.get_by_label("Name", exact=True).evaluate("each => each.validity.valueMissing")
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("South").check()
    page.get_by_label("Tasks whose results are labels").fill("reading")
    page.get_by_role("button", name="Make the dataset").click()
    page.wait_for_url(re.compile(r"/console/datasets/[0-9a-f]{32}"))
    expect(page.get_by_role("status")).to_contain_text("made")
    page.get_by_role("link", name="Export", exact=True).click()
    page.get_by_label("Path", exact=True).fill(f"gs://acme-bi/browser/{scripts}/")
    page.get_by_role("button", name="Begin the export").click()
    expect(page.locator("#dataset")).to_contain_text(f"gs://acme-bi/browser/{scripts}/")
    page.get_by_role("link", name="Delete").click()
    page.get_by_role("button", name="Delete the dataset").click()
    page.wait_for_url(re.compile(r"/console/datasets$"))
    expect(page.get_by_role("main").locator("table")).not_to_contain_text(name)
