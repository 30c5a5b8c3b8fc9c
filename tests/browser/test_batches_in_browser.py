"""Batches in a browser: made, uploaded over a line that breaks off, and what became of them."""

import random
import re
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Page, Request, expect

from tests.archives import File, zipped
from tests.browser.console import Console, Opens, Visitor
from tests.browser.seed import LONG, MARKUP, NAMES
from tests.world import jpeg

pytestmark = pytest.mark.slow

LIVE_MS = 60_000
"""How long a batch may take to be imported by functions that are started for it."""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three work orders in 21 MB, which is three chunks."""
    rest = random.Random(7)
    made = tmp_path_factory.mktemp("archives") / "monday.zip"
    made.write_bytes(
        zipped(
            [
                File(f"UP_{number}/meter.jpg", jpeg(f"up {number}") + rest.randbytes(7_000_000), method=0)
                for number in range(3)
            ]
        )
    )
    return made


def made(page: Page, filename: str = "monday.zip") -> str:
    """Make a batch by the form that is shown, and return its id."""
    page.get_by_label("Site").select_option(label="South")
    page.get_by_label("Name of the archive").fill(filename)
    page.get_by_role("button", name="Make the batch").click()
    page.wait_for_url(re.compile(r"/console/batches/[0-9a-f-]{36}$"))
    return page.url.rpartition("/")[2]


def hold_second_chunk(console: Console) -> None:
    """The second chunk of an upload takes long to be taken."""
    fault = {
        "kind": "storage.uploads.chunk",
        "action": "delay",
        "seconds": 20,
        "nth": 2,
        "resource": "-uploads/",
    }
    answer = requests.post(f"{console.control}/_suite/faults", json=fault, timeout=10)
    assert answer.ok, answer.text


def goes_on(request: Request) -> bool:
    """Whether a request sends bytes of an archive, but not its first."""
    return re.match(r"bytes [1-9]\d+-", request.headers.get("content-range", "")) is not None


@pytest.fixture(autouse=True)
def no_faults(console: Console) -> None:
    requests.delete(f"{console.control}/_suite/faults", timeout=10)


def test_an_archive_is_uploaded_with_a_pause_and_a_reload(
    console: Console, open_page: Opens, archive: Path
) -> None:
    page = open_page("/console/batches/new")
    batch = made(page)
    hold_second_chunk(console)
    page.get_by_label("Choose the archive").set_input_files(archive)
    expect(page.locator("#upload-numbers")).to_contain_text(re.compile(r"(8\.4|[1-9]\d\.\d) MB of 21\.0 MB"))
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#upload-said")).to_contain_text("Paused")
    page.reload()
    expect(page.locator("#upload-said")).to_contain_text("monday.zip")
    other = archive.with_name("other.zip")
    other.write_bytes(b"another archive" * 2_000_000)
    page.get_by_label("Choose the archive").set_input_files(other)
    expect(page.locator("#upload-said")).to_contain_text("This is not the file whose upload was begun")
    page.get_by_label("Choose the archive").set_input_files(archive)
    status = page.locator("#batch")
    expect(status).to_contain_text("Completed", timeout=LIVE_MS)
    expect(status).to_contain_text("3 of 3")
    found = console.ask("GET", f"/v0.2/batches/{batch}")
    assert (found["status"], found["work_orders_done"]) == ("COMPLETED", 3)


def test_an_upload_goes_on_after_its_window_was_closed(
    console: Console, open_page: Opens, archive: Path
) -> None:
    page = open_page("/console/batches/new")
    batch = made(page, "closed.zip")
    hold_second_chunk(console)
    page.get_by_label("Choose the archive").set_input_files(archive)
    expect(page.locator("#upload-numbers")).to_contain_text(re.compile(r"(8\.4|[1-9]\d\.\d) MB of"))
    later = page.context.new_page()
    page.close()
    requests.delete(f"{console.control}/_suite/faults", timeout=10)
    later.goto(f"{console.url}/console/batches/{batch}")
    # Whether the second chunk counts is up to Cloud Storage; the first does.
    with later.expect_request(lambda each: each.method == "PUT" and goes_on(each), timeout=LIVE_MS):
        later.get_by_label("Choose the archive").set_input_files(archive)
    expect(later.locator("#batch")).to_contain_text("Completed", timeout=LIVE_MS)


def test_without_scripts_a_batch_is_made_and_the_page_says_how_to_upload(
    console: Console, open_page: Opens
) -> None:
    page = open_page("/console/batches/new", scripts=False)
    batch = made(page)
    # Playwright's own look at text leaves out <noscript>.
    assert "Uploading in the browser needs JavaScript" in page.get_by_role("main").inner_text()
    assert console.ask("GET", f"/v0.2/batches/{batch}")["upload_url"] not in page.content()
    page.get_by_role("main").get_by_role("link", name="Cancel this batch").click()
    page.get_by_role("button", name="Cancel the batch").click()
    expect(page.locator("#batch")).to_contain_text("Cancel")
    assert console.ask("GET", f"/v0.2/batches/{batch}")["status"].startswith("CANCEL")


def test_errors_are_filtered_and_downloaded(console: Console, visitor: Visitor) -> None:
    batch = console.ids["batch_errors"]
    page = visitor.open(f"/console/batches/{batch}")
    page.get_by_role("link", name="Look at the errors").click()
    rows = page.locator("main tbody tr")
    everything = rows.count()
    page.get_by_label("Folder begins with").fill("WO_JSON")
    page.get_by_role("button", name="Filter").click()
    page.wait_for_url(re.compile("work_order_prefix=WO_JSON"))
    assert 0 < rows.count() < everything
    expect(rows.first).to_contain_text("WO_JSON")
    page.go_back()
    assert rows.count() == everything
    with page.expect_download() as csv:
        page.get_by_role("link", name="CSV", exact=True).click()
    assert "UNKNOWN_TASK_GROUP" in csv.value.path().read_text()
    with page.expect_download() as folders:
        page.get_by_role("link", name="Failed folders' names").click()
    assert "WO_WRONG_07" in folders.value.path().read_text().splitlines()


def test_names_of_an_archive_are_text(console: Console, visitor: Visitor) -> None:
    page = visitor.open(f"/console/batches/{console.ids['batch_errors']}/errors?level=error")
    main = page.get_by_role("main")
    for name in (MARKUP.replace("/", "|"), LONG):
        expect(main).to_contain_text(name[:60])
    assert main.locator("td b, td script, td i, td img").count() == 0
    assert page.title() != "stolen"


@pytest.mark.parametrize("kind", NAMES)
def test_a_work_order_of_a_hostile_name_is_text(console: Console, open_page: Opens, kind: str) -> None:
    page = open_page(
        f"/console/work-orders/{console.ids[f'work_order_{kind}']}?site_id={console.ids['site']}"
    )
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_contain_text(NAMES[kind][:100])
    assert heading.locator("b, img, script").count() == 0
    assert page.title() != "stolen"


def test_a_photograph_is_shown_and_a_value_corrected(console: Console, open_page: Opens) -> None:
    page = open_page(f"/console/work-orders/{console.ids['work_order_emoji']}?site_id={console.ids['site']}")
    photograph = page.get_by_role("img").first
    expect(photograph).to_be_visible()
    assert photograph.evaluate("async each => { await each.decode(); return each.naturalWidth }") == 320
    page.get_by_role("link", name=re.compile("Correct")).first.click()
    page.get_by_label(re.compile("^Value")).fill("4321")
    page.get_by_label("Why").fill(MARKUP)
    page.get_by_role("button", name="Correct it").click()
    expect(page.locator("article").first).to_contain_text("4321")
    expect(page.locator("article").first).to_contain_text(MARKUP)
    expect(page.get_by_role("main")).to_contain_text("corrected")
