"""The pages of work orders: their list, one with its photographs, results and history, and corrections."""

import io
import re
from collections.abc import Mapping
from html import escape
from typing import Any

import pytest
from PIL import Image as pillow

from shared.accounts.keys import create_key
from shared.console.pages import work_orders
from shared.workorders import store
from shared.workorders.record import DataConformity, JobConformity
from shared.workorders.store import Photograph
from tests.console import Browser, Seen
from tests.world import OTHER_SITE, SITE, World, jpeg

HOSTILE = [
    '"><script>alert(1)</script><img src=x onerror=alert(1)> '
    "\u202evitagen\u202c \u05d0\u05d1 👩\u200d🔧 {{ 7 * 7 }}",
    pytest.param("x" * 200, marks=pytest.mark.slow),
]
"""Texts with markup, that run from right to left, with emoji, and without a space."""


@pytest.fixture
def browser(world: World) -> Browser:
    made = Browser(world)
    made.sign_in()
    return made


def create(world: World, name: str = "WO_1", photographs: int = 1, **more: Any) -> str:
    """A work order with photographs, each with a check's finding and a result."""
    taken = [
        Photograph(
            "meter",
            f"meter-{number}.jpg",
            jpeg(f"{name} {number}"),
            data_conformity=(DataConformity("blur", "BLURRED", "warning"),),
            job_conformity=(JobConformity("reading", 7, None, None, "the number on the meter", True),),
        )
        for number in range(photographs)
    ]
    return store.create(world.cloud, world.site, name, photographs=taken, **more).id


def address(id: str, more: str = "", site: str = SITE) -> str:
    return f"/console/work-orders/{id}{more}?site_id={site}"


def input_of(world: World, id: str) -> Mapping[str, Any]:
    shown = world.request("GET", f"/v0.2/work-orders/{id}?site_id={SITE}").body
    found: Mapping[str, Any] = shown["work_items"][0]["input"][0]
    return found


# --- the list


@pytest.mark.slow
def test_an_empty_site_shows_the_first_step_and_the_call_for_it(browser: Browser) -> None:
    page = browser.get("/console/work-orders")
    assert "No work orders yet" in page.text
    assert page.links["Make a batch"] == f"/console/batches/new?site_id={SITE}"
    assert f"curl -X POST 'http://waybill.example/v0.2/work-orders?site_id={SITE}'" in page.text


@pytest.mark.slow
def test_the_list_is_of_a_site_and_filters_in_its_address(browser: Browser, world: World) -> None:
    for name in ("WO_1", "WO_2", "OTHER"):
        create(world, name)
    page = browser.get("/console/work-orders")
    assert {"WO_1", "WO_2", "OTHER"} <= set(page.links)
    form = page.form("/console/work-orders")
    page = browser.send(form, name_prefix="WO_")
    assert {"WO_1", "WO_2"} <= set(page.links)
    assert "OTHER" not in page.links
    assert "No work orders yet" in browser.send(form, site_id=OTHER_SITE).text
    assert "No work order is like this." in browser.send(form, name_prefix="none").text
    assert browser.get(f"/console/work-orders?site_id={SITE}&name=WO_2").links["WO_2"].startswith("/console")


@pytest.mark.slow
def test_the_list_goes_on(browser: Browser, world: World) -> None:
    for number in range(51):
        create(world, f"WO_{number:02}", photographs=0)
    first = browser.get("/console/work-orders?name_prefix=WO")
    rest = browser.get(first.links["Next page"])
    assert "WO_49" in first.links
    assert "WO_50" not in first.links
    assert "WO_50" in rest.links


# --- one


def test_a_work_order_shows_its_photographs_checks_results_and_history(
    browser: Browser, world: World
) -> None:
    id = create(world, metadata={"floor": 3}, parameters={"kind": "fibre"}, tags=["urgent"])
    path = f"/v0.2/work-orders/{id}?site_id={SITE}"
    assert world.request("PATCH", path, {"tags": ["urgent", "north"]}).status == 200
    page = browser.get(address(id))
    photograph = input_of(world, id)
    assert f'src="/console/photographs/{SITE}/{photograph["id"]}.jpg?width=320"' in page.html
    assert re.search("meter Blurred blur reading 7 Conforms the number on the meter Correct", page.text)
    assert "urgent north" in page.text
    assert '"floor": 3' in page.text
    assert '"kind": "fibre"' in page.text
    assert "PATCH /v0.2/work-orders/{work_order} tags" in page.text
    assert world.key.split("_")[1] in page.text
    assert f"curl 'http://waybill.example/v0.2/work-orders/{id}?site_id={SITE}'" in page.text


@pytest.mark.slow
def test_a_key_that_may_not_see_the_audit_trail_is_told_so(world: World) -> None:
    browser = Browser(world)
    browser.sign_in(create_key(world.cloud.db, customer="acme", scopes=["batches"]))
    page = browser.get(address(create(world)))
    assert page.status == 200
    assert "is shown to keys with the scope exports" in page.text


@pytest.mark.slow
def test_a_work_order_of_many_photographs_is_shown_in_pages_that_are_small(
    browser: Browser, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = create(world, photographs=70)
    page = browser.get(address(id))
    assert page.html.count("<img ") == work_orders.INPUTS_SHOWN
    assert len(page.html) < 60_000
    assert "1 to 30 of 70" in page.text
    last = browser.get(browser.get(page.links["Next inputs"]).links["Next inputs"])
    assert last.html.count("<img ") == 10
    assert "61 to 70 of 70" in last.text
    assert "Next inputs" not in last.links
    for bad in ("-1", "x", "9" * 5_000, "70", "²"):
        assert "1 to 30 of 70" in browser.get(address(id) + f"&from={bad}").text


@pytest.mark.slow
def test_long_metadata_are_cut(browser: Browser, world: World) -> None:
    id = create(world, metadata={f"field {number}": "x" * 100 for number in range(1_000)})
    page = browser.get(address(id))
    assert len(page.html) < 60_000
    assert "This is the beginning of" in page.text


@pytest.mark.slow
def test_a_text_and_a_number_are_shown_as_they_are(browser: Browser, world: World) -> None:
    id = create(world, photographs=0)
    inputs = [
        {"name": "meter", "data": {"type": "number", "value": 1234.5}},
        {"name": "door", "data": {"type": "text", "value": "<b>A-17</b>"}},
    ]
    path = f"/v0.2/work-orders/{id}/analyze?site_id={SITE}"
    assert world.request("POST", path, {"inputs": inputs}).status == 200
    page = browser.get(address(id))
    assert "1234.5" in page.text
    assert "&lt;b&gt;A-17&lt;/b&gt;" in page.html
    assert "<img " not in page.html


# --- photographs


@pytest.mark.slow
def test_photographs_are_their_owners_alone(browser: Browser, world: World) -> None:
    id = create(world)
    where = f"/console/photographs/{SITE}/{input_of(world, id)['id']}.jpg"
    mine = browser.get(where)
    assert (mine.status, mine.headers["Content-Type"]) == (200, "image/jpeg")
    assert mine.headers["X-Content-Type-Options"] == "nosniff"
    assert mine.headers["Cache-Control"].startswith("private")
    assert mine.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    world.onboard("globex", "globex")
    stranger = Browser(world)
    stranger.sign_in(create_key(world.cloud.db, customer="globex", scopes=["batches"]))
    assert stranger.get(where).status == 404
    assert Browser(world).get(where).path.startswith("/console/sign-in")
    unscoped = Browser(world)
    unscoped.sign_in(create_key(world.cloud.db, customer="acme", scopes=["exports"]))
    assert unscoped.get(where).status == 403
    assert browser.get(where.replace(".jpg", ".html")).status == 404
    assert browser.get(f"{where}?width=321").status == 400
    assert browser.get(f"/console/photographs/..%2Fglobex/{SITE}").status == 404


@pytest.mark.slow  # starts a child that decodes
def test_a_thumbnail_is_small(browser: Browser, world: World) -> None:
    whole = io.BytesIO()
    pillow.effect_noise((1_000, 800), 90).save(whole, "JPEG")
    name = f"acme/{SITE}/0f0e0d0c-0b0a-4908-8706-050403020100.jpg"
    world.cloud.objects.create(world.cloud.settings.images_bucket, name, whole.getvalue(), "image/jpeg")
    seen = browser.get(f"/console/photographs/{name.partition('/')[2]}?width=320")
    assert (seen.status, seen.headers["Content-Type"]) == (200, "image/jpeg")
    assert int(seen.headers["Content-Length"]) < 60_000


# --- correcting


def correcting(browser: Browser, id: str) -> Seen:
    return browser.get(browser.get(address(id)).links["Correct reading"])


@pytest.mark.slow
def test_a_value_is_corrected(browser: Browser, world: World) -> None:
    id = create(world)
    page = correcting(browser, id)
    form = page.form("/correct")
    assert (form.fields["kind"], form.fields["value"]) == (["number"], ["7"])
    shown = browser.send(form, value="8.5", message="Misread")
    assert "The value is corrected." in shown.text
    assert re.search("reading 7 8.5 corrected .* Conforms Misread", shown.text)
    [held] = input_of(world, id)["job_conformity"]
    assert (held["corrected_value"], held["message"]) == (8.5, "Misread")
    date = held["corrected_date"]
    assert browser.send(form, value="8.5", message="Misread").status == 200, "a double click"
    assert date <= input_of(world, id)["job_conformity"][0]["corrected_date"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "value", "kept"),
    [("yes", "", True), ("no", "", False), ("none", "x", None), ("text", "12", "12"), ("number", "-3", -3)],
)
def test_a_value_can_be_of_each_kind(
    browser: Browser, world: World, kind: str, value: str, kept: Any
) -> None:
    id = create(world)
    assert browser.send(correcting(browser, id).form("/correct"), kind=kind, value=value).status == 200
    [held] = input_of(world, id)["job_conformity"]
    assert held["corrected_value"] == kept
    assert type(held["corrected_value"]) is type(kept)


@pytest.mark.slow
@pytest.mark.parametrize("value", ["", "twelve", "nan", "1e999", "1 2"])
def test_what_is_no_number_is_said_at_its_field_and_kept(browser: Browser, world: World, value: str) -> None:
    id = create(world)
    again = browser.send(correcting(browser, id).form("/correct"), value=value, message="Why")
    assert again.status == 422
    assert 'id="value-problem"' in again.html
    form = again.form("/correct")
    assert (form.fields["value"], form.fields["message"]) == ([value], ["Why"])
    assert input_of(world, id)["job_conformity"][0]["corrected_date"] is None


def test_a_stale_form_says_so_and_loses_nothing(browser: Browser, world: World) -> None:
    id = create(world)
    form = correcting(browser, id).form("/correct")
    correction = {"input_id": input_of(world, id)["id"], "task_name": "reading", "corrected_value": 9}
    path = f"/v0.2/work-orders/{id}?site_id={SITE}"
    assert world.request("PATCH", path, {"corrections": [correction]}).status == 200
    again = browser.send(form, value="8", message="Misread")
    assert again.status == 409
    assert "Somebody else corrected this value meanwhile" in again.text
    assert "Corrected to 9" in again.text
    kept = again.form("/correct")
    assert (kept.fields["value"], kept.fields["message"]) == (["8"], ["Misread"])
    assert input_of(world, id)["job_conformity"][0]["corrected_value"] == 9
    assert "The value is corrected." in browser.send(kept).text
    assert input_of(world, id)["job_conformity"][0]["corrected_value"] == 8


# --- whoever asks, and whatever names hold


@pytest.mark.parametrize("name", HOSTILE)
def test_texts_are_shown_as_text_in_place(browser: Browser, world: World, name: str) -> None:
    photograph = Photograph(
        "meter",
        "meter.jpg",
        jpeg("1"),
        {"note": name},
        job_conformity=(JobConformity(name[:128], name, None, None, name, False),),
    )
    made = store.create(
        world.cloud, world.site, "WO_1", metadata={name: name}, tags=[name], photographs=[photograph]
    )
    page = browser.get(address(made.id))
    [correct] = [to for text, to in page.links.items() if text.startswith("Correct ")]
    for seen in (page, browser.get("/console/work-orders"), browser.get(correct)):
        assert seen.status == 200
        assert escape(name[:30], quote=False) in seen.html.replace("&#34;", '"').replace("&#39;", "'")
        assert "<script>alert" not in seen.html
        assert "<img src=x" not in seen.html
    shown = browser.send(browser.get(correct).form("/correct"), kind="text", value=name)
    assert "The value is corrected." in shown.text


def test_other_customers_work_orders_are_not_there(browser: Browser, world: World) -> None:
    id = create(world)
    form = correcting(browser, id).form("/correct")
    stranger = Browser(world)
    world.stranger()
    stranger.sign_in(create_key(world.cloud.db, customer="globex", scopes=["batches", "exports"]))
    theirs = stranger.get("/console/work-orders").form("/console/sign-out").fields["csrf"]
    for path in (address(id), address(id, "/correct"), f"/console/work-orders?site_id={SITE}"):
        seen = stranger.get(path)
        assert seen.status == 404, path
        assert "reading" not in seen.text
    assert stranger.send(form, csrf=theirs[0]).status == 404
    assert browser.send(form, csrf="0" * 64).status == 403
    assert input_of(world, id)["job_conformity"][0]["corrected_date"] is None


@pytest.mark.slow
def test_a_work_order_without_its_site_says_what_is_missing(browser: Browser, world: World) -> None:
    page = browser.get(f"/console/work-orders/{create(world)}")
    assert page.status == 400
    assert "site_id" in page.text
