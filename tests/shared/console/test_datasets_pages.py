"""The console's pages of datasets: what they show and draw, what they do, and whose datasets they are."""

import re
from typing import Any

import pytest
from google.cloud import firestore

from shared.accounts.keys import create_key
from shared.console import drawing
from shared.console.pages import datasets as pages
from shared.datasets import browsing
from shared.datasets.request import SAMPLE_STATES
from shared.gcp.documents import fields_of
from tests.console import Browser, Form, Seen
from tests.shared.datasets.test_browsing import made, many
from tests.subjects.documents_read import documents_read
from tests.subjects.small_dataset import Datasets
from tests.world import BUCKET, OTHER_SITE, SITE, World

HOSTILE = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)> & 'x'",
    "\u202egnp.exe\u2066\u2067",
    "\U0001f6a7\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "x" * 200,
)


@pytest.fixture
def datasets(world: World) -> Datasets:
    made = Datasets(world)
    made.key = create_key(world.cloud.db, customer="acme", scopes=["datasets", "exports"])
    return made


@pytest.fixture
def browser(world: World, datasets: Datasets) -> Browser:
    signed_in = Browser(world)
    signed_in.sign_in(datasets.key)
    return signed_in


def damage(label: str = "crack", **more: Any) -> dict[str, Any]:
    regions = [
        {"label": label, "box": [4, 5, 20.5, 30]},
        {"label": "rust", "polygon": [[1, 2], [11.5, 2], [11.5, 22]]},
    ]
    return {"damage": {"value": "cracked", "confidence": 0.75, "regions": regions, **more}}


def samples_page(datasets: Datasets, id: str) -> str:
    return f"/console/datasets/{id}/versions/{datasets.got(f'/{id}')['current_version_id']}"


# --- one dataset


def test_a_dataset_is_made_by_the_form_once(browser: Browser, datasets: Datasets) -> None:
    form = browser.get("/console/datasets/new").form("/console/datasets/new")
    filled: dict[str, Any] = {"dataset_name": "Meters", "site_ids": [SITE], "task_names": "damage\nstate"}
    first, second = (browser.send(form, **filled, dataset_type="3") for _ in range(2))
    [found] = datasets.got()["datasets"]
    assert first.path == second.path == f"/console/datasets/{found['dataset_id']}"
    assert "The dataset was made." in first.text
    assert "data-live" in first.html
    made = found["dataset_type"], found["site_ids"], found["task_names"]
    assert made == (3, [SITE], ["damage", "state"])
    datasets.settled()
    assert "data-live" not in browser.get(first.path).html


def test_what_is_wrong_is_said_at_its_field_and_nothing_typed_is_lost(
    browser: Browser, datasets: Datasets
) -> None:
    form = browser.get("/console/datasets/new").form("/console/datasets/new")
    typed: dict[str, Any] = {
        "dataset_name": HOSTILE[1],
        "other_site_ids": "no-site",
        "description": HOSTILE[0],
    }
    page = browser.send(form, **typed)
    assert page.status == 400
    kept = page.form("/console/datasets/new").fields
    assert {name: kept[name] for name in typed} == {name: [each] for name, each in typed.items()}
    assert 'id="dataset_name-problem"' in page.html
    page = browser.send(form, **{**typed, "dataset_name": "Meters"})
    assert "there is no site 'no-site' of yours" in page.text
    assert datasets.got()["datasets"] == []


def test_a_stale_form_says_so_and_loses_nothing(browser: Browser, datasets: Datasets) -> None:
    id = datasets.create("Meters")
    form = browser.get(f"/console/datasets/{id}/edit").form("/edit")
    datasets.send("PUT", f"/{id}", {"description": "theirs"})
    page = browser.send(form, description="mine", dataset_name="Doors")
    assert (page.status, "was changed meanwhile, and nothing was saved yet" in page.text) == (412, True)
    assert "Description theirs" in page.text
    shown = datasets.got(f"/{id}")
    assert (shown["dataset_name"], shown["description"]) == ("Meters", "theirs")
    again = page.form("/edit")
    assert (again.fields["description"], again.fields["dataset_name"]) == (["mine"], ["Doors"])
    page = browser.send(again)
    assert "The changes were saved." in page.text
    shown = datasets.got(f"/{id}")
    assert (shown["dataset_name"], shown["description"]) == ("Doors", "mine")


def test_an_edit_makes_a_version_only_where_it_selects_otherwise(
    browser: Browser, datasets: Datasets
) -> None:
    id = datasets.create("Meters")
    tasks = datasets.world.cloud.db.collection("dataset_tasks")
    form = browser.get(f"/console/datasets/{id}/edit").form("/edit")
    browser.send(form, description="new")
    assert len(list(tasks.stream())) == 1
    form = browser.get(f"/console/datasets/{id}/edit").form("/edit")
    browser.send(form, site_ids=[SITE, OTHER_SITE])
    assert (len(list(tasks.stream())), datasets.got(f"/{id}")["site_ids"]) == (2, [SITE, OTHER_SITE])


@pytest.mark.slow
def test_a_version_an_export_and_its_cancel(browser: Browser, datasets: Datasets) -> None:
    datasets.work_order("WO-1", [{"results": damage()}])
    id = datasets.create(dataset_type=1)
    home = f"/console/datasets/{id}"
    datasets.work_order("WO-2", [{"results": damage("dent")}])
    form = browser.get(home).form(f"{home}/versions")
    for _ in range(2):
        assert "A version is being made." in browser.send(form).text
    datasets.settled()
    assert len(list(datasets.world.cloud.db.collection("dataset_tasks").stream())) == 2
    form = browser.get(f"{home}/export").form("/export")
    wrong = browser.send(form, path="s3://x/", search_conditions="[", train_sample_ratio="0.8")
    assert (wrong.status, 'id="search_conditions-problem"' in wrong.html) == (400, True)
    wrong = browser.send(form, path="s3://x/", train_sample_ratio="2")
    assert (wrong.status, 'id="train_sample_ratio-problem"' in wrong.html) == (400, True)
    filled: dict[str, Any] = {
        "path": f"gs://{BUCKET}/one/",
        "annotation_format": "COCO",
        "search_conditions": '[{"sample_dir": "WO-1/"}]',
    }
    for _ in range(2):
        assert "The export was begun." in browser.send(form, **filled).text
    page = browser.get(home)
    assert "data-live" in page.html
    datasets.settled()
    [task] = datasets.got(f"/{id}/export-tasks")["export_tasks"]
    assert (task["status"], task["total_sample_count"]) == ("SUCCESSED", 1)
    assert "Succeeded 1 of 1" in browser.get(home).text
    late = browser.send(page.form(f"{home}/tasks/"))
    assert (late.status, "Nothing was done" in late.text) == (409, True)
    browser.send(browser.get(f"{home}/export").form("/export"), path=f"gs://{BUCKET}/two/")
    page = browser.send(browser.get(home).form(f"{home}/tasks/"))
    assert "The task was cancelled." in page.text


def test_a_dataset_is_deleted_after_a_question(browser: Browser, datasets: Datasets) -> None:
    id = datasets.create("Meters")
    form = browser.get(browser.get(f"/console/datasets/{id}").links["Delete"]).form("/delete")
    assert "The dataset was deleted." in browser.send(form).text
    again = browser.send(form)
    assert (again.path, "was deleted" in again.text) == ("/console/datasets", False)
    assert browser.get(f"/console/datasets/{id}").status == 404


# --- samples


def test_boxes_and_polygons_are_drawn_over_the_photograph(browser: Browser, datasets: Datasets) -> None:
    order = datasets.work_order("WO-1", [{"results": damage()}, {}])
    id = datasets.create(dataset_type=1)
    page = browser.get(samples_page(datasets, id))
    one = order.work_items[0].input[0]
    source = f"/console/datasets/photographs/{SITE}/{one.id}.jpg"
    assert f'<img src="{source}?width=320" alt="" loading="lazy" width="64" height="48">' in page.html
    assert page.html.count("<svg ") == 1, "what has no label has no drawing"
    assert '<svg viewBox="0 0 64 48"' in page.html
    assert '<rect x="4" y="5" width="20.5" height="30"/>' in page.html
    assert '<polygon points="1,2 11.5,2 11.5,22"/>' in page.html
    assert "crack by the analysis, 0.75" in page.text
    photograph = browser.get(source, follows=False)
    assert (photograph.status, photograph.headers["Content-Type"]) == (200, "image/jpeg")
    assert not re.search(r"""\sstyle=|<style""", page.html)


def test_a_drawing_is_bounded() -> None:
    corners = [[number, number / 3] for number in range(5_000)]
    label = {"name": "rust", "box": [0.123456, 1, 2, 3], "polygon": corners}
    sample = {"image": {"width": 4_000, "height": 3_000}, "labels": [label] * 100}
    drawn = drawing.of_sample(sample, ["crack", "rust"])
    assert drawn is not None
    assert (len(drawn.marks), drawn.left_out) == (drawing.MARKS, 100 - drawing.MARKS)
    assert {(mark.colour, mark.x) for mark in drawn.marks} == {(1, 0.1)}
    assert len(drawn.marks[0].points.split()) <= drawing.CORNERS
    assert drawing.of_sample({"image": {"width": None, "height": None}, "labels": [label]}, []) is None


@pytest.fixture
def varied(datasets: Datasets) -> str:
    datasets.work_order("WO-1", [{"results": damage(review="approved")}])
    datasets.work_order("WO-2", [{"results": damage("dent", confidence=0.3, hard=True)}])
    datasets.work_order("WO-3")
    return datasets.create(dataset_type=1)


def orders(page: Seen) -> list[str]:
    return sorted(re.findall(r"<strong><bdi>(WO-\d)</bdi></strong>", page.html))


FILTERED: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["WO-1", "WO-2", "WO-3"]),
    ({"label": "dent"}, ["WO-2"]),
    ({"label": "rust", "hard": "0"}, ["WO-1"]),
    ({"sample_state": "__NONE__"}, ["WO-3"]),
    ({"sample_state": "__ACCEPTED__"}, ["WO-1"]),
    ({"work_order": "WO-2"}, ["WO-2"]),
    ({"score": "0-0.5"}, ["WO-2"]),
    ({"time": "day", "label": "crack"}, ["WO-1"]),
    ({"search_conditions": '[{"hard": "1"}, {"sample_dir": "WO-3/"}]'}, ["WO-2", "WO-3"]),
]


def test_samples_are_filtered_by_the_form(browser: Browser, datasets: Datasets, varied: str) -> None:
    form = browser.get(samples_page(datasets, varied)).form("/versions/")
    for filters, expected in FILTERED:
        page = browser.send(form, **filters)
        assert (page.status, orders(page)) == (200, expected), filters


@pytest.mark.parametrize(
    ("filters", "expected"),
    [FILTERED[1], *(pytest.param(*each, marks=pytest.mark.slow) for each in FILTERED[2:])],
    ids=str,
)
def test_the_samples_that_a_page_shows_can_be_exported(
    browser: Browser, datasets: Datasets, varied: str, filters: dict[str, Any], expected: list[str]
) -> None:
    page = browser.send(browser.get(samples_page(datasets, varied)).form("/versions/"), **filters)
    form = browser.get(page.links["Export these"]).form("/export")
    browser.send(form, path=f"gs://{BUCKET}/these/")
    datasets.settled()
    [task] = datasets.got(f"/{varied}/export-tasks")["export_tasks"]
    assert task["total_sample_count"] == len(expected), task


def test_a_filter_that_is_wrong_is_said_at_its_field(
    browser: Browser, datasets: Datasets, varied: str
) -> None:
    path = samples_page(datasets, varied)
    for field, value in (("score", "2"), ("time", HOSTILE[0]), ("search_conditions", "[")):
        changes: dict[str, Any] = {field: value}
        page = browser.send(browser.get(path).form("/versions/"), **changes)
        assert (page.status, f'id="{field}-problem"' in page.html) == (400, True), (field, page.text)
        assert page.form("/versions/").fields[field] == [value]
        assert "<script>alert" not in page.html
    assert browser.get(f"{path}?page_token=x").status == 400


def test_the_states_that_can_be_chosen_are_those_of_the_api() -> None:
    assert list(pages.STATE_NAMES) == ["", *SAMPLE_STATES]


def test_samples_have_pages_and_a_page_costs_what_it_shows(
    browser: Browser, datasets: Datasets, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = datasets.create()
    version = made(datasets, id, 7, many(300))
    path, seen = f"/console/datasets/{id}/versions/{version}", []
    for _ in range(3):
        read = documents_read(monkeypatch)
        page = browser.get(path)
        assert len(read) <= pages.SAMPLES + 10, read
        assert len(page.html) < 60_000
        seen += re.findall(r"meter_([0-9a-f]{12})\.jpg</bdi>", page.html)
        path = page.links["Next page"]
    assert seen == [f"{number:012x}" for number in range(3 * pages.SAMPLES)]


def test_a_page_without_a_sample_leads_on(
    browser: Browser, datasets: Datasets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browsing, "MAX_LOOKED_AT", 20)
    id = datasets.create()
    version = made(datasets, id, 7, many(30, lambda number: "rare" if number == 29 else "good"))
    page = browser.get(f"/console/datasets/{id}/versions/{version}?label=rare")
    assert "Go on with the next page" in page.text
    page = browser.get(page.links["Next page"])
    assert f"meter_{29:012x}.jpg" in page.text


@pytest.mark.parametrize(
    "name",
    [HOSTILE[1], *(pytest.param(each, marks=pytest.mark.slow) for each in HOSTILE if each != HOSTILE[1])],
    ids=range(len(HOSTILE)),
)
def test_names_of_any_kind_are_text_in_their_place(browser: Browser, datasets: Datasets, name: str) -> None:
    result = damage(name[:100], review=name[:40], labeler=name[:40])
    order = datasets.work_order(name[:100].replace("/", "-"), [{"results": result}])
    id = datasets.create(dataset_type=1, description=name)
    first = datasets.got(f"/{id}")["current_version_id"]
    datasets.correct(order, 0, "damage", name[:100])
    datasets.exported(id, version_format="CSV")
    second = datasets.got(f"/{id}")["current_version_id"]
    home = f"/console/datasets/{id}"
    for path in (home, f"{home}/edit", f"{home}/versions/{second}", f"{home}/versions/{first}/diff/{second}"):
        page = browser.get(path)
        assert page.status == 200, path
        assert "<script>alert" not in page.html
        assert "<img src=x" not in page.html
        assert not re.search(r"""\sstyle=|\son[a-z]+=["']""", page.html)
    assert " ".join(name[:100].split()) in page.text


# --- what changed


@pytest.mark.slow
def test_what_changed_is_shown_with_labels_before_and_now(browser: Browser, datasets: Datasets) -> None:
    order = datasets.work_order("WO-1", [{"results": {"state": {"value": "good"}}}])
    id = datasets.create(task_names=["state"])
    datasets.correct(order, 0, "state", "bad")
    datasets.work_order("WO-2")
    datasets.exported(id)
    page = browser.get(browser.get(f"/console/datasets/{id}").links["since the one before"])
    assert "From V001 to V002" in page.text
    assert "Added 1 Removed 0 With other labels 1" in page.text
    assert "Relabelled WO-1 meter Before: good bad by a person" in page.text
    assert "Added WO-2" in page.text


def test_changes_have_pages_that_are_bounded(
    browser: Browser, datasets: Datasets, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = datasets.create()
    first = made(datasets, id, 7, many(40))
    second = made(datasets, id, 8, many(40, lambda number: "bad"))
    monkeypatch.setattr(pages, "MAX_LOOKED_AT", 10)  # too many for counts
    path, seen = f"/console/datasets/{id}/versions/{first}/diff/{second}", []
    while path:
        read = documents_read(monkeypatch)
        page = browser.get(path)
        assert len(read) <= pages.CHANGES + 10, read
        assert "With other labels" not in page.text
        seen += re.findall(r"meter_([0-9a-f]{12})\.jpg</bdi>", page.html)
        path = page.links.get("Next page", "")
    assert seen == [f"{number:012x}" for number in range(40)]


# --- lists, and whose they are


def test_the_list_is_found_by_names_and_paged(
    browser: Browser, datasets: Datasets, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = fields_of(datasets.world.cloud.db.document(f"datasets/{datasets.create('Set')}").get())
    batch = datasets.world.cloud.db.batch()
    for number in range(60):
        fields = {**template, "name": f"Set-{number:02}", "created": firestore.SERVER_TIMESTAMP}
        batch.set(datasets.world.cloud.db.document(f"datasets/{number:032x}"), fields)
    batch.commit()
    page = browser.send(browser.get("/console/datasets").form("/console/datasets"), name_prefix="Set-")
    names = re.findall(r"Set-\d\d", page.text)
    read = documents_read(monkeypatch)
    following = browser.get(page.links["Next page"])
    assert len(read) <= pages.PAGE_SIZE + 10, read
    names += re.findall(r"Set-\d\d", following.text)
    assert names == [f"Set-{number:02}" for number in range(2 * pages.PAGE_SIZE)]
    assert "60 in all" in page.text
    assert "No dataset is found" in browser.get("/console/datasets?name_prefix=x").text


def test_an_empty_list_teaches_the_first_step(browser: Browser) -> None:
    page = browser.get("/console/datasets")
    assert page.links["Make a dataset"] == "/console/datasets/new"
    assert "/v2/acme/datasets" in page.text


def test_another_customers_datasets_and_photographs_are_not_there(
    browser: Browser, datasets: Datasets, varied: str
) -> None:
    path = samples_page(datasets, varied)
    photograph = re.findall(r'src="([^"]+)"', browser.get(path).html)[-1]
    assert browser.get(photograph).status == 200
    browser.world.stranger()
    theirs = Browser(browser.world)
    theirs.sign_in(create_key(browser.world.cloud.db, customer="globex", scopes=["datasets", "exports"]))
    assert varied not in theirs.get("/console/datasets").html
    home = f"/console/datasets/{varied}"
    version = path.rsplit("/", 1)[1]
    for each in (home, f"{home}/edit", f"{home}/export", f"{home}/delete", path, photograph):
        assert theirs.get(each).status == 404, each
    assert theirs.get(f"{path}/diff/{version}").status == 404
    csrf = theirs.get("/console/datasets/new").form("/new").fields["csrf"]
    for action in ("edit", "export", "versions", "tasks/0123456789abcdef0123456789abcdef/cancel"):
        sent = Form(f"{home}/{action}", "post", {"csrf": csrf, "dataset_name": ["Stolen"]})
        assert theirs.send(sent).status == 404, action
    theirs.send(Form(f"{home}/delete", "post", {"csrf": csrf}))
    assert datasets.got(f"/{varied}")["dataset_name"] == "Meters"


def test_a_key_without_the_scope_sees_no_dataset(browser: Browser, datasets: Datasets, varied: str) -> None:
    path = samples_page(datasets, varied)
    photograph = re.findall(r'src="([^"]+)"', browser.get(path).html)[-1]
    other = Browser(browser.world)
    other.sign_in(create_key(browser.world.cloud.db, customer="acme", scopes=["exports"]))
    for each in ("/console/datasets", f"/console/datasets/{varied}", path, photograph):
        assert other.get(each).status == 403, each
