"""Exports in a browser: made, edited, paused, run, backfilled and deleted, with scripts and without, by mouse
and by keyboard."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.console import Console, Opens, Visitor
from tests.browser.seed import NAMES
from tests.subjects.processes import until

pytestmark = pytest.mark.slow

FORM = "/console/exports/new"
HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ2f0Ul0vYq5bX2m0mH6Zk1dPqv3Yk0tq0e2v3y4Zk1d"


FOCUSED = """() => {
  const at = document.activeElement
  const label = at.labels?.[0]?.innerText || ""
  return [at.name || "", at.innerText || "", label, getComputedStyle(at).outlineStyle]
}"""
"""What has the focus: its name, text and label, and how it is outlined."""


def made(console: Console, **changes: Any) -> str:
    """An export of its own for a test, made by another client."""
    body = {
        "name": "Of a test",
        "site_ids": [console.ids["site"]],
        "interval": "daily",
        "connector_type": "cloud_storage",
        "connector_config": {"storage_uri": "gs://acme-bi/waybill"},
        "start": "2026-01-01T00:00:00Z",
    }
    id: str = console.ask("POST", "/v1/exports", body | changes)["id"]
    return id


def shown(console: Console, export: str) -> dict[str, Any]:
    found: dict[str, Any] = console.ask("GET", f"/v1/exports/{export}")
    return found


def id_in(page: Page) -> str:
    """Waits for the page of an export, and returns its id."""
    page.wait_for_url(re.compile(r"/console/exports/[0-9a-f-]{36}$"))
    return page.url.rpartition("/")[2]


def press(page: Page, name: str) -> None:
    """Press a button or follow a link of the page's own."""
    main = page.get_by_role("main")
    main.get_by_role("button", name=name, exact=True).or_(
        main.get_by_role("link", name=name, exact=True)
    ).first.click()


def test_an_export_is_made_in_one_form_that_follows_what_is_chosen(
    console: Console, open_page: Opens
) -> None:
    page = open_page(FORM)
    page.get_by_label("Name", exact=True).fill("To their server")
    page.get_by_label("North").check()
    page.get_by_label("Connector").select_option("sftp")
    page.get_by_label("Server", exact=True).fill("127.0.0.1")
    expect(page.get_by_label("Bucket and folder")).to_have_count(0)
    page.get_by_label("Time zone").fill("America/New_York")
    expect(page.locator("#next-windows")).to_contain_text("America/New_York")
    expect(page.locator("#next-windows tbody tr")).to_have_count(5)
    page.get_by_label("At", exact=True).fill("04:30")
    expect(page.locator("#next-windows tbody tr").first).to_contain_text("04:30")
    page.get_by_label("User name").fill("waybill")
    page.get_by_label("Password").fill("correct horse")
    page.get_by_label("Directory").fill("in")
    press(page, "Make the export")
    wrong = page.get_by_label("The server's public key")
    expect(wrong).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_role("alert")).to_be_visible()
    assert "correct horse" not in page.content()
    expect(page.get_by_label("Name", exact=True)).to_have_value("To their server")
    wrong.fill(HOST_KEY)
    page.get_by_label("Password").fill("correct horse")
    press(page, "Make the export")
    found = shown(console, id_in(page))
    assert (found["name"], found["connector_type"], found["timezone"], found["at"]) == (
        "To their server",
        "sftp",
        "America/New_York",
        "04:30",
    )
    expect(page.get_by_role("status")).to_contain_text("The export was made")


def test_without_scripts_a_button_shows_the_fields(console: Console, open_page: Opens) -> None:
    page = open_page(FORM, scripts=False)
    page.get_by_label("Name", exact=True).fill("To a mailbox")
    page.get_by_label("South").check()
    page.get_by_label("Connector").select_option("email")
    page.get_by_label("Format", exact=True).select_option("csv")
    press(page, "Show its fields")
    expect(page.get_by_label("Name", exact=True)).to_have_value("To a mailbox")
    expect(page.get_by_label("South")).to_be_checked()
    page.get_by_label("Addresses", exact=True).fill("ann@acme.example")
    press(page, "Make the export")
    found = shown(console, id_in(page))
    assert (found["connector_type"], found["file_format"]) == ("email", "csv")
    assert found["connector_config"] == {"emails": ["ann@acme.example"]}


def test_an_export_is_made_by_the_keyboard_alone(console: Console, open_page: Opens) -> None:
    page = open_page(FORM)
    typed = {"name": "By keyboard", "connector_config.storage_uri": "gs://acme-bi/keys"}
    before = ""
    for _ in range(60):
        page.keyboard.press("Tab")
        name, text, label, outline = page.evaluate(FOCUSED)
        # Within a field of a time the browser itself shows which part has the focus.
        assert outline != "none" or name == before, f"nothing shows that {name or text} has the focus"
        before = name
        if name in typed:
            page.keyboard.type(typed[name])
        elif label == "North":
            page.keyboard.press("Space")
        elif text == "Make the export":
            page.keyboard.press("Enter")
            break
    found = shown(console, id_in(page))
    assert (found["name"], found["site_ids"]) == ("By keyboard", [console.ids["site"]])


@pytest.mark.parametrize("scripts", [True, False])
def test_what_was_edited_elsewhere_meanwhile_is_not_overwritten_unseen(
    console: Console, open_page: Opens, scripts: bool
) -> None:
    export = made(console, name="Before")
    page = open_page(f"/console/exports/{export}/edit", scripts=scripts)
    page.get_by_label("Name", exact=True).fill("Mine")
    page.get_by_label("At", exact=True).fill("05:45")
    console.ask("PATCH", f"/v1/exports/{export}", {"name": "Theirs", "timezone": "Asia/Tokyo"})
    press(page, "Save")
    expect(page.get_by_role("main")).to_contain_text("changed meanwhile, and nothing was saved yet")
    expect(page.get_by_role("main")).to_contain_text("Theirs")
    expect(page.get_by_label("Name", exact=True)).to_have_value("Mine")
    expect(page.get_by_label("At", exact=True)).to_have_value("05:45")
    assert shown(console, export)["name"] == "Theirs"
    press(page, "Save over version 2")
    id_in(page)
    assert (shown(console, export)["name"], shown(console, export)["at"]) == ("Mine", "05:45")
    page.goto(f"{page.url}/history")
    expect(page.get_by_label("Version 3").locator("del").first).to_have_text("Theirs")
    expect(page.get_by_label("Version 3").locator("ins").first).to_have_text("Mine")


@pytest.mark.parametrize("scripts", [True, False])
def test_it_is_paused_and_resumed(console: Console, open_page: Opens, scripts: bool) -> None:
    export = made(console)
    page = open_page(f"/console/exports/{export}", scripts=scripts)
    press(page, "Pause")
    expect(page.get_by_role("status")).to_contain_text("paused")
    assert shown(console, export)["state"] == "PAUSED"
    press(page, "Resume")
    expect(page.get_by_role("status")).to_contain_text("goes on")
    assert shown(console, export)["state"] == "ACTIVE"


def test_a_double_click_begins_one_run_and_the_back_button_none(console: Console, open_page: Opens) -> None:
    export = made(console)
    page = open_page(f"/console/exports/{export}", scripts=False)
    page.get_by_role("button", name="Run now").dblclick()
    expect(page.get_by_role("status")).to_contain_text("The run was begun")
    page.go_back()
    page.go_forward()
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    assert len(console.ask("GET", f"/v1/exports/{export}/runs")["runs"]) == 1


def test_a_form_that_is_sent_again_after_going_back_does_nothing_more(
    console: Console, open_page: Opens
) -> None:
    export = made(console)
    page = open_page(f"/console/exports/{export}", scripts=False)
    once = page.locator("form[action$='/run'] input[name=once]").input_value()
    press(page, "Run now")
    expect(page.get_by_role("status")).to_contain_text("The run was begun")
    page.goto(f"{console.url}/console/exports/{export}")
    # A page that the browser kept as it was has the value of before.
    page.evaluate(
        "once => { document.querySelector(\"form[action$='/run'] input[name=once]\").value = once }", once
    )
    press(page, "Run now")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.wait_for_load_state()
    assert len(console.ask("GET", f"/v1/exports/{export}/runs")["runs"]) == 1


def test_a_window_is_chosen_in_the_calendar_and_backfilled(console: Console, open_page: Opens) -> None:
    export = console.ids["export"]
    before = len(console.ask("GET", f"/v1/exports/{export}/runs")["runs"])
    page = open_page(f"/console/exports/{export}/backfill")
    press(page, "Month before")
    page.locator("table.month").get_by_role("link").first.click()
    expect(page.get_by_label("Window begins")).to_have_value(re.compile(r"-01T00:00"))
    press(page, "Backfill this window")
    expect(page.get_by_role("status")).to_contain_text("The run was begun")
    assert len(console.ask("GET", f"/v1/exports/{export}/runs")["runs"]) == before + 1


@pytest.mark.parametrize("scripts", [True, False])
def test_it_is_deleted_after_a_question(console: Console, open_page: Opens, scripts: bool) -> None:
    export = made(console, name="To be deleted")
    page = open_page(f"/console/exports/{export}", scripts=scripts)
    press(page, "Delete")
    expect(page.get_by_role("heading", level=1)).to_contain_text("To be deleted")
    press(page, "Keep it")
    id_in(page)
    assert shown(console, export)["state"] == "ACTIVE"
    press(page, "Delete")
    press(page, "Delete the export")
    expect(page.get_by_role("status")).to_contain_text("deleted")
    assert shown(console, export)["state"] == "DELETED"
    page.go_back()
    page.get_by_role("main").get_by_role("button").first.click()
    expect(page.get_by_role("main")).to_be_visible()
    assert shown(console, export)["state"] == "DELETED"


def test_the_connection_test_says_each_step(console: Console, open_page: Opens) -> None:
    page = open_page(f"/console/exports/{console.ids['export']}/test")
    press(page, "Test the connection")
    expect(page.get_by_role("main")).to_contain_text("The test passed")
    assert page.locator("tr.step").count() >= 4
    page = open_page(f"/console/exports/{console.ids['export_failing']}/test", scripts=False)
    press(page, "Test the connection")
    expect(page.get_by_role("main")).to_contain_text("acme-gone")


def test_a_link_is_withdrawn_and_a_mail_sent_again(console: Console, open_page: Opens) -> None:
    ids = console.ids
    page = open_page(f"/console/exports/{ids['export_mail']}/runs/{ids['run_mail']}")
    ann = page.get_by_label("Mail to ann@acme.example")
    ann.get_by_role("button", name=re.compile("Withdraw its links")).click()
    expect(ann.locator("summary")).to_contain_text("withdrawn")
    bob = page.get_by_label("Mail to bob@acme.example")
    expect(bob.locator("summary")).to_contain_text("works until")
    sent = len([*console.outbox.glob("*.eml")])
    bob.get_by_role("button", name=re.compile("Send again")).click()
    expect(page.get_by_role("status")).to_be_visible()
    until(lambda: len([*console.outbox.glob("*.eml")]) == sent + 1, "the mail is sent again")
    page.reload()
    expect(bob.locator("summary")).to_have_count(2)


@pytest.mark.parametrize("kind", NAMES)
def test_a_hostile_name_is_text_in_its_place(console: Console, visitor: Visitor, kind: str) -> None:
    export, name = console.ids[f"export_{kind}"], NAMES[kind]
    page = visitor.open(f"/console/exports/{export}")
    heading = page.get_by_role("heading", level=1)
    assert name in heading.inner_text().replace("\u2068", "").replace("\u2069", "")
    assert heading.locator("b, img, script").count() == 0
    assert page.title() != "stolen"
    page.goto(f"{console.url}/console/exports/{export}/edit")
    expect(page.get_by_label("Name", exact=True)).to_have_value(name)
    page.goto(f"{console.url}/console/exports")
    row = page.locator("tr", has=page.locator(f"a[href='/console/exports/{export}']"))
    while not row.count():  # it may be on a later page of the list
        with page.expect_navigation():
            page.get_by_role("link", name="Next page").click()
    expect(row).to_contain_text(name[:100])
    expect(row.locator("td")).to_have_count(page.locator("thead th").count())
