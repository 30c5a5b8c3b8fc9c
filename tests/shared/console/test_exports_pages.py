"""The console's pages of exports: what they show, what they do, and what they keep."""

import dataclasses
import re
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from werkzeug.test import run_wsgi_app

from shared.console.export_form import INPUTS
from shared.console.pages import exports
from shared.delivery.base import Step, Steps
from shared.delivery.connectors import CONNECTORS
from shared.errors import Retry
from shared.gcp.documents import fields_of
from tests.console import Browser, Seen
from tests.shared.exports.nights import asked, due, live, nightly, refuse, shown
from tests.subjects.documents_read import documents_read
from tests.world import BUCKET, SITE, World, environ, framework

HOSTILE = (
    "\"><script>alert(1)</script><img src=x onerror=alert(1)> & 'x' "
    "\u202egnp.exe\u2066\u2067 \U0001f6a7\U0001f468\u200d\U0001f469\u200d\U0001f467",
    pytest.param("x" * 200, marks=pytest.mark.slow),
)
"""Names with markup, with text that runs from right to left and emoji, and without a space."""

URI = f"gs://{BUCKET}/waybill"


@pytest.fixture
def browser(world: World) -> Browser:
    signed_in = Browser(world)
    signed_in.sign_in()
    return signed_in


def made(browser: Browser, **fields: Any) -> Seen:
    """Make an export by the form; the page that it leads to."""
    form = browser.get("/console/exports/new").form("/console/exports/new")
    filled = {"name": "Nightly", "site_ids": [SITE], "connector_config__storage_uri": URI, **fields}
    return browser.send(form, **filled)


def configs(world: World) -> list[dict[str, Any]]:
    answer = world.request("GET", "/v1/exports?state=all")
    exports: list[dict[str, Any]] = answer.body["exports"]
    return exports


# --- the form


def test_an_export_is_made_by_the_form_and_its_page_is_shown(browser: Browser) -> None:
    page = made(browser, timezone="Europe/Paris", at="03:30", interval="weekly", notify="a@acme.example")
    [export] = configs(browser.world)
    assert page.path == f"/console/exports/{export['id']}"
    assert "The export was made." in page.text
    assert export["connector_config"] == {"storage_uri": URI, "export_images": False}
    values = export["timezone"], export["at"], export["interval"], export["notify"], export["site_ids"]
    assert values == ("Europe/Paris", "03:30", "weekly", ["a@acme.example"], [SITE])


def test_a_form_that_is_sent_twice_makes_one_export(browser: Browser) -> None:
    form = browser.get("/console/exports/new").form("/console/exports/new")
    filled: dict[str, Any] = {"name": "Nightly", "site_ids": [SITE], "connector_config__storage_uri": URI}
    first, second = (browser.send(form, **filled) for _ in range(2))
    assert first.path == second.path
    assert len(configs(browser.world)) == 1


def test_what_is_wrong_is_said_at_its_field_and_nothing_that_was_typed_is_lost(browser: Browser) -> None:
    page = made(
        browser,
        name="Mine & <b>",
        at="99:99",
        connector_config__storage_uri="s3://bucket",
        notify="a@acme.example\nnobody",
        start="2026-12-01T10:00",
    )
    assert page.status == 422
    form = page.form("/console/exports/new")
    assert [form.fields[name] for name in ("name", "at", "start", "site_ids", "notify")] == [
        ["Mine & <b>"],
        ["99:99"],
        ["2026-12-01T10:00"],
        [SITE],
        ["a@acme.example\nnobody"],
    ]
    assert form.fields["connector_config.storage_uri"] == ["s3://bucket"]
    for key in ("at", "notify", "connector_config.storage_uri"):
        assert f'id="{key}-problem"' in page.html, key
        assert f'href="#{key}"' in page.html, key
    assert "must be a time of day such as 02:30; got '99:99'" in page.text
    assert configs(browser.world) == []


def test_the_fields_follow_the_connector_and_the_format_and_keep_what_was_typed(browser: Browser) -> None:
    form = browser.get("/console/exports/new").form("/console/exports/new")
    form.action += "/preview"
    typed: dict[str, Any] = {
        "name": "Nightly",
        "site_ids": [SITE],
        "connector_config__storage_uri": URI,
        "interval": "hourly",
    }
    page = browser.send(form, **typed, connector_type="sftp", file_format="csv", export_type="inputs")
    assert (page.status, configs(browser.world)) == (200, [])
    assert "bom" in page.html
    assert "The photographs, texts and numbers of every work order" in page.text
    form = page.form("/console/exports/new")
    assert {"connector_config.host", "connector_config.password"} <= form.fields.keys()
    form.action += "/preview"
    page = browser.send(form, connector_config__host="sftp.example.com", connector_type="email")
    form = page.form("/console/exports/new")
    assert "connector_config.password" not in form.fields
    assert form.fields["connector_config.emails"] == [""]
    form.action += "/preview"
    form = browser.send(form, connector_type="cloud_storage").form("/console/exports/new")
    assert form.fields["connector_config.storage_uri"] == [URI]
    assert form.fields["connector_config.host"] == ["sftp.example.com"]
    kept = {
        name: form.fields[name] for name in ("name", "site_ids", "interval", "file_format", "export_type")
    }
    assert kept == {
        "name": ["Nightly"],
        "site_ids": [SITE],
        "interval": ["hourly"],
        "file_format": ["csv"],
        "export_type": ["inputs"],
    }
    assert browser.send(form).status == 200
    assert configs(browser.world)[0]["connector_config"] == {"storage_uri": URI, "export_images": False}


@pytest.mark.ours_only("names the very moment, which needs a clock that stands")
def test_the_next_windows_are_shown_while_the_rest_is_still_missing(browser: Browser) -> None:
    form = browser.get("/console/exports/new").form("/console/exports/new")
    form.action += "/preview"
    page = browser.send(form, timezone="Europe/Paris", at="03:30")
    assert "By the clocks of Europe/Paris" in page.text
    assert page.text.count("23 Nov 2026, 03:30") == 1
    assert page.html.count("<tr>") == 6
    page = browser.send(form, timezone="Europe/Pris")
    assert "Time zone: there is no timezone 'Europe/Pris'" in page.text
    page = browser.send(form, interval="every N minutes", minutes="7")
    assert "How often: N must divide 1440" in page.text


def test_every_field_of_every_connector_is_in_the_form(world: World) -> None:
    """A connector, or a field of one, that is added is added here, too."""
    assert INPUTS.keys() == CONNECTORS.keys()
    for name, connector in CONNECTORS.items():
        stored = {connector.secret and "secret"}
        assert {each.name for each in INPUTS[name]} == connector.config.model_fields.keys() - stored


@pytest.mark.slow
def test_a_secret_is_stored_and_shown_on_no_page(browser: Browser) -> None:
    place = {"host": "sftp.example.com", "username": "acme", "host_key": HOST_KEY, "path": "in"}
    sftp: dict[str, Any] = {f"connector_config__{name}": value for name, value in place.items()}
    sftp |= {"connector_type": "sftp", "connector_config__password": "hunter-2"}
    form = browser.get("/console/exports/new?connector_type=sftp").form("/console/exports/new")
    wrong = browser.send(form, name="", site_ids=[SITE], **sftp)
    assert (wrong.status, "hunter-2" in wrong.html) == (422, False)
    page = browser.send(form, name="By SFTP", site_ids=[SITE], **sftp)
    [export] = configs(browser.world)
    secret = export["connector_config"]["secret"]
    edit = browser.get(f"{page.path}/edit")
    for seen in (page, edit, browser.get(f"{page.path}/history")):
        assert seen.status == 200
        assert "hunter-2" not in seen.html
    saved = browser.send(edit.form("/edit"), connector_config__path="out")
    assert saved.path == page.path
    [export] = configs(browser.world)
    assert (export["connector_config"]["path"], export["connector_config"]["secret"]) == ("out", secret)


HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"


# --- editing


@pytest.mark.slow
def test_an_edit_changes_what_was_changed_in_the_form_and_nothing_else(browser: Browser) -> None:
    sent = {"timezone": "Europe/Paris", "start": "2026-11-23T08:00:00", "notify": ["a@acme.example"]}
    export = nightly(browser.world, **sent, file_format="csv", bom=True, interval="every 30 minutes")
    before = shown(browser.world, export)
    page = browser.get(f"/console/exports/{export}/edit")
    assert page.form("/edit").fields["start"] == ["2026-11-23T08:00"]
    assert browser.send(page.form("/edit")).path == f"/console/exports/{export}"
    assert shown(browser.world, export) == before
    browser.send(page.form("/edit"), name="Every hour", interval="hourly", bom=None)
    after = shown(browser.world, export)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"name", "interval", "bom", "version", "next_windows", "next_due"}


@pytest.mark.slow
def test_a_start_that_has_begun_stays_where_the_timezone_of_the_form_changes(browser: Browser) -> None:
    world = browser.world
    export = nightly(world, start="2026-11-22T00:00:00Z")
    live(world, 1, 1)
    browser.sign_in()
    page = browser.get(f"/console/exports/{export}/edit")
    saved = browser.send(page.form("/edit"), timezone="Europe/Paris")
    assert saved.path == f"/console/exports/{export}", saved.text
    after = shown(world, export)
    assert (after["start"], after["timezone"]) == ("2026-11-22T00:00:00Z", "Europe/Paris")


def test_a_stale_form_says_what_was_changed_keeps_what_was_typed_and_can_be_saved_over(
    browser: Browser,
) -> None:
    export = nightly(browser.world)
    form = browser.get(f"/console/exports/{export}/edit").form("/edit")
    sent = {"at": "04:00", "connector_config": {"storage_uri": f"{URI}/elsewhere"}}
    assert browser.world.request("PATCH", f"/v1/exports/{export}", sent).status == 200
    page = browser.send(form, name="Mine <b>")
    assert page.status == 412
    assert "This export was changed meanwhile, and nothing was saved yet" in page.text
    assert "At 02:00 04:00" in page.text
    assert f"Bucket and folder {URI} {URI}/elsewhere" in page.text
    assert shown(browser.world, export)["name"] == "Nightly"
    stale = page.form("/edit")
    assert [stale.fields[name] for name in ("name", "at")] == [["Mine <b>"], ["02:00"]]
    assert "Save over version 2" in stale.buttons
    browser.send(stale, at="05:00")
    after = shown(browser.world, export)
    assert (after["name"], after["at"], after["version"]) == ("Mine <b>", "05:00", 3)


@pytest.mark.slow
def test_a_stale_form_that_is_filled_in_further_stays_stale(browser: Browser) -> None:
    export = nightly(browser.world)
    form = browser.get(f"/console/exports/{export}/edit").form("/edit")
    assert browser.world.request("PATCH", f"/v1/exports/{export}", {"at": "04:00"}).status == 200
    action = form.action
    form.action += "/preview"
    previewed = browser.send(form, name="Mine").form("/edit")
    assert (previewed.action, previewed.fields["version"]) == (action, ["1"])
    assert browser.send(previewed).status == 412
    wrong = browser.send(form := previewed, at="99:99")
    assert wrong.status == 412
    assert browser.send(form, version="x").status == 412


def test_an_edit_that_is_sent_twice_is_done_once(browser: Browser) -> None:
    export = nightly(browser.world)
    form = browser.get(f"/console/exports/{export}/edit").form("/edit")
    first, second = (browser.send(form, name="New") for _ in range(2))
    assert (first.status, second.status, first.path) == (200, 200, second.path)
    assert shown(browser.world, export)["version"] == 2


# --- the list


def test_the_empty_list_shows_the_first_step_and_its_call(browser: Browser) -> None:
    page = browser.get("/console/exports")
    assert page.links["Make an export"] == "/console/exports/new"
    assert "curl -X POST" in page.text


def test_filters_stand_in_the_address_and_find_what_they_name(browser: Browser) -> None:
    nightly(browser.world, name="To a bucket")
    browser.world.export(name="By mail", connector_type="email", connector_config={"emails": ["a@b.example"]})
    page = browser.get("/console/exports")
    assert {"To a bucket", "By mail"} <= page.links.keys()
    found = browser.send(page.form("/console/exports"), connector_type="email")
    assert "connector_type=email" in found.path
    assert "By mail" in found.links
    assert "To a bucket" not in found.links
    assert found.form("/console/exports").fields["connector_type"] == ["email"]
    none = browser.get("/console/exports?outcome=FAILED&state=all")
    assert "No export is found by these filters" in none.text
    assert browser.get("/console/exports?outcome=x").status == 400


@pytest.mark.slow
def test_the_list_shows_the_state_the_next_run_and_the_last_outcome(browser: Browser) -> None:
    export = nightly(browser.world)
    page = browser.get("/console/exports")
    assert "Active" in page.text
    assert "none yet" in page.text
    live(browser.world, 1, 1)
    browser.sign_in()
    page = browser.get("/console/exports")
    assert "24 Nov 2026, 02:00" in page.text
    assert "Completed" in page.text
    asked(browser.world, export, "pause")
    assert "24 Nov 2026, 02:00" not in browser.get("/console/exports").text


@pytest.mark.ours_only("looks at what our Firestore reads")
@pytest.mark.parametrize("count", [30, pytest.param(10_000, marks=pytest.mark.slow)])
def test_a_page_of_the_list_reads_its_size_and_ten_documents(
    browser: Browser, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    world = browser.world
    fields = fields_of(world.cloud.db.document(f"exports/{nightly(world)}").get())
    batch = world.cloud.db.batch()
    for number in range(count):
        document = world.cloud.db.document(f"exports/00000000-0000-4000-8000-{number:012}")
        shown = number >= count - 100  # no page shows the others: they have what queries look at
        kept = fields if shown else {name: fields[name] for name in ("customer", "state")}
        batch.set(document, {**kept, "created": fields["created"] + timedelta(seconds=number)})
        if number % 400 == 399:
            batch.commit()
            batch = world.cloud.db.batch()
    batch.commit()
    size = min(exports.PAGE_SIZE, count // 3)
    monkeypatch.setattr(exports, "PAGE_SIZE", size)
    read = documents_read(monkeypatch)
    path = "/console/exports"
    for _ in range(2):
        read.clear()
        page = browser.get(path)
        assert page.html.count('<td class="name">') == size
        assert len(read) <= size + 10, read
        assert len(page.html) < 60_000
        path = page.links["Next page"]


# --- what can be done


def test_actions_that_are_not_possible_say_why(browser: Browser) -> None:
    export = nightly(browser.world)
    page = browser.get(f"/console/exports/{export}")
    assert "Resume It is active." in page.text
    page = browser.send(page.form("/pause"))
    assert "The export is paused." in page.text
    assert "Pause It is paused." in page.text
    page = browser.send(browser.get(f"/console/exports/{export}/delete").form("/delete"))
    assert "The export was deleted." in page.text
    assert page.text.count("It was deleted.") == 7
    assert [form.action for form in page.forms] == ["/console/sign-out"]


def test_deleting_asks_first_and_a_second_time_does_no_harm(browser: Browser) -> None:
    export = nightly(browser.world, name="Do <not>")
    question = browser.get(f"/console/exports/{export}/delete")
    assert "Delete Do <not>?" in question.text
    assert shown(browser.world, export)["state"] == "ACTIVE"
    assert [browser.send(question.form("/delete")).status for _ in range(2)] == [200, 200]
    assert shown(browser.world, export)["state"] == "DELETED"


def test_a_refused_action_says_why_on_the_page_of_the_export(browser: Browser) -> None:
    export = nightly(browser.world)
    page = browser.get(f"/console/exports/{export}")
    seen = browser.send(page.form("/run"))
    assert seen.status == 409
    assert "Nothing was done" in seen.text
    assert "holds no whole minute before" in seen.text
    assert "Nightly" in seen.text


def test_a_run_by_hand_that_is_asked_for_twice_is_begun_once(browser: Browser) -> None:
    export = nightly(browser.world)
    browser.world.wait(timedelta(hours=1))
    form = browser.get(f"/console/exports/{export}").form("/run")
    first, second = (browser.send(form) for _ in range(2))
    assert first.path == second.path
    assert first.path.startswith(f"/console/exports/{export}/runs/h")
    assert len(browser.world.audit(export)) == 1


@pytest.mark.slow
def test_resuming_says_what_was_left_out_and_leads_to_its_backfill(browser: Browser) -> None:
    world, export = browser.world, nightly(browser.world)
    asked(world, export, "pause")
    world.move_to(due(3))
    browser.sign_in()
    page = browser.send(browser.get(f"/console/exports/{export}").form("Resume"))
    assert "A part was left out" in page.text
    backfill = browser.get(page.links["Backfill it"])
    assert backfill.form("/backfill").fields["start"] == ["2026-11-22T09:17:00Z"]
    run = browser.send(backfill.form("/backfill"))
    assert run.path.startswith(f"/console/exports/{export}/runs/h")
    assert shown(world, export)["state"] == "ACTIVE"


def test_skipping_the_open_window_is_an_action_of_a_paused_export(browser: Browser) -> None:
    export = nightly(browser.world)
    asked(browser.world, export, "pause")
    browser.world.wait(timedelta(hours=1))
    page = browser.get(f"/console/exports/{export}")
    skip = next(form for form in page.forms if "Resume, and skip the open window" in form.buttons)
    browser.send(skip)
    assert shown(browser.world, export)["next_window_start"] == "2026-11-23T00:00:00Z"


def test_a_left_out_part_that_an_address_makes_up_is_not_shown(browser: Browser) -> None:
    export = nightly(browser.world)
    for since in ("<b>", "2026-99-01T00:00:00Z", ""):
        query = urlencode({"left_out_since": since, "left_out_before": "2026-11-22T00:00:00Z"})
        page = browser.get(f"/console/exports/{export}?{query}")
        assert (page.status, "left out" in page.text) == (200, False)


@pytest.mark.slow
def test_the_connection_test_shows_each_step(browser: Browser) -> None:
    export = nightly(browser.world)
    page = browser.get(f"/console/exports/{export}/test")
    assert page.html.count('<tr class="step">') == 0
    page = browser.send(page.form("/test"))
    assert "The test passed" in page.text
    assert page.html.count('<tr class="step">') == 8
    refuse(browser.world)
    page = browser.send(page.form("/test"))
    assert "The test failed" in page.text
    assert "storage.objects.create Failed" in page.text


def while_tested_by(
    monkeypatch: pytest.MonkeyPatch, test: Callable[[Steps], None]
) -> Callable[[Browser, str], Iterator[str]]:
    """Has connections be tested by this; returns what sends the form, and gives its page while it comes."""

    def tested(*_: Any) -> list[Step]:
        steps = Steps()
        test(steps)
        return steps

    connector = dataclasses.replace(CONNECTORS["cloud_storage"], test=tested)
    monkeypatch.setitem(CONNECTORS, "cloud_storage", connector)

    def send(browser: Browser, export: str) -> Iterator[str]:
        form = browser.get(f"/console/exports/{export}/test").form("/test")
        body = urlencode([(name, value) for name, values in form.fields.items() for value in values])
        headers = [
            ("Cookie", "; ".join(f"{name}={value}" for name, value in browser.cookies.items())),
            ("Content-Type", "application/x-www-form-urlencoded"),
        ]
        sent = environ(form.action, method="POST", headers=headers, data=body.encode())
        pieces, status, _ = run_wsgi_app(framework("console"), sent, buffered=False)
        assert status == "200 OK"
        return (piece.decode() for piece in pieces)

    return send


def test_the_steps_of_a_connection_test_come_one_by_one(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = threading.Event()

    def test(steps: Steps) -> None:
        steps.append(Step("first", "passed", "It was found."))
        assert seen.wait(30), "the first step was not shown before the second was known"
        steps.append(Step("second", "failed", "It was not found."))

    pieces = while_tested_by(monkeypatch, test)(browser, nightly(browser.world))
    before = ""
    while "It was found." not in before:
        before += next(pieces)
    assert "It was not found." not in before
    seen.set()
    after = "".join(pieces)
    assert "It was not found." in after
    assert "The test failed" in after


def test_a_connection_test_that_ends_in_the_middle_says_why(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def test(steps: Steps) -> None:
        steps.append(Step("first", "passed", "It was found."))
        raise Retry("the bucket answers nothing")

    page = "".join(while_tested_by(monkeypatch, test)(browser, nightly(browser.world)))
    assert "The test could not be ended" in page
    assert "the bucket answers nothing: try again" in page


@pytest.mark.slow
def test_failed_windows_are_retried_from_the_page_of_the_export(browser: Browser) -> None:
    world, export = browser.world, nightly(browser.world)
    refuse(world)
    live(world, 1, 1)
    browser.sign_in()
    page = browser.get(f"/console/exports/{export}")
    assert "1 window failed" in page.text
    world.grant(BUCKET, world.acme)
    page = browser.send(page.form("/retry-failed"))
    assert "Its failed windows are retried" in page.text
    assert 'data-live="5"' in page.html
    world.drain()
    assert world.audit(export)[0]["status"] == "COMPLETED"


def test_the_history_shows_each_version_as_what_it_changed(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "PAGE_SIZE", 3)
    export = nightly(browser.world)
    path = f"/v1/exports/{export}"
    for number in range(4):
        assert browser.world.request("PATCH", path, {"name": f"Name <{number}>"}).status == 200
    page = browser.get(f"/console/exports/{export}/history")
    versions = re.findall(r"Version ([0-9]+)</h2>", page.html)
    assert versions == ["5", "4", "3"]
    assert "Name Name <2> Name <3>" in page.text
    assert "Name Name <0> Name <1>" in page.text, "the last of a page is compared with the next one's first"
    page = browser.get(page.links["Next page"])
    assert "Version 1" in page.text
    assert page.text.count("The export was made.") == 1


# --- backfill


@pytest.mark.slow
@pytest.mark.ours_only("names the very moment, which needs a clock that stands")
def test_the_calendar_shows_which_days_are_exported_and_leads_to_backfills(browser: Browser) -> None:
    world, export = browser.world, nightly(browser.world)
    live(world, 1, 2)
    browser.sign_in()
    page = browser.get(f"/console/exports/{export}/backfill")
    said = dict(re.findall(r'aria-label="([0-9]+) November 2026: ([a-z ]+)"', page.html))
    assert (said["21"], said["22"], said["23"], said["24"]) == (
        "not exported",
        "partly exported",
        "exported",
        "not exported",
    )
    assert "25" not in said
    day = browser.get(page.links["21"])
    form = day.form("/backfill")
    assert (form.fields["start"], form.fields["end"]) == (["2026-11-21T00:00"], ["2026-11-22T00:00"])
    first, second = (browser.send(form) for _ in range(2))
    assert first.path == second.path
    world.drain()
    page = browser.get(f"/console/exports/{export}/backfill?month=2026-11")
    assert "21 November 2026: exported" in page.html
    assert "/backfill?month=2026-10" in page.links["Month before"]
    assert "Month after" not in page.links


def test_a_backfill_that_is_refused_says_why_at_its_field(browser: Browser) -> None:
    export = nightly(browser.world)
    form = browser.get(f"/console/exports/{export}/backfill").form("/backfill")
    page = browser.send(form, start="2026-11-20T00:00", end="2027-01-01T00:00")
    assert page.status == 422
    assert "lies in the future" in page.text
    again = page.form("/backfill")
    assert (again.fields["start"], again.fields["end"]) == (["2026-11-20T00:00"], ["2027-01-01T00:00"])
    assert browser.world.audit(export) == []


@pytest.mark.slow
@pytest.mark.parametrize("month", ["2026-13", "0000-01", "9999-12", "<b>", "2026-1", "1970-01", "2199-12"])
def test_a_month_that_there_is_not_is_the_current_one(browser: Browser, month: str) -> None:
    export = nightly(browser.world)
    page = browser.get(f"/console/exports/{export}/backfill?{urlencode({'month': month})}")
    assert page.status == 200
    assert ("November 2026" in page.text) == (month != "2199-12")


# --- who, and what names may hold


@pytest.mark.parametrize("name", HOSTILE, ids=["markup", "long"])
def test_hostile_names_are_text_on_every_page(browser: Browser, name: str) -> None:
    export = nightly(browser.world, name=name)
    home = f"/console/exports/{export}"
    sub = ("", "/edit", "/history", "/runs", "/backfill", "/test", "/delete")
    for path in ("/console/exports", *(f"{home}{each}" for each in sub)):
        page = browser.get(path)
        assert page.status == 200, path
        assert name[:55] in page.text or path.endswith("/edit"), path
        for markup in ("<script>alert", "<img", "<b>"):
            assert markup not in page.html, path
    assert browser.get(f"{home}/edit").form("/edit").fields["name"] == [name]


@pytest.mark.slow
def test_nothing_of_another_customers_export_is_shown_or_done(browser: Browser) -> None:
    world = browser.world
    export, key = nightly(world, name="Ours alone"), world.stranger()
    before = shown(world, export)
    mine = browser.get(f"/console/exports/{export}")
    forms = [mine.form(part) for part in ("/pause", "/run")]
    home = f"/console/exports/{export}"
    forms += [browser.get(home + sub).form(sub) for sub in ("/delete", "/test", "/backfill", "/edit")]
    stranger = Browser(world)
    token = stranger.sign_in(key).forms[0].fields["csrf"]
    for sub in ("", "/edit", "/history", "/runs", "/backfill", "/test", "/delete"):
        page = stranger.get(home + sub)
        assert (page.status, "Ours alone" in page.html) == (404, False), sub
    for form in forms:
        seen = stranger.send(form, csrf=token)
        assert (seen.status, "Ours alone" in seen.html) == (404, False), form.action
        assert stranger.send(form).status == 403, form.action
    assert shown(world, export) == before
    assert "Ours alone" not in stranger.get("/console/exports").html


def test_forms_without_their_token_do_nothing(browser: Browser) -> None:
    export = nightly(browser.world)
    home = f"/console/exports/{export}"
    page = browser.get(home)
    for form in (page.form("/pause"), browser.get(f"{home}/delete").form("/delete")):
        for token in (None, "", "1.00"):
            assert browser.send(form, csrf=token).status == 403
    new = browser.get("/console/exports/new").form("/console/exports/new")
    assert browser.send(new, csrf=None, name="x").status == 403
    assert shown(browser.world, export)["state"] == "ACTIVE"
    assert len(configs(browser.world)) == 1
