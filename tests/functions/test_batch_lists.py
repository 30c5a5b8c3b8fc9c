"""Lists of batches and of a batch's errors: what filters find, what a page reads, and the failed folders."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import pytest
import requests
from google.cloud import firestore

from shared.accounts.keys import create_key
from shared.batches import batch as batches
from shared.batches import errors_file
from shared.batches.batch import Batch, Progress
from shared.batches.problems import Problem, problem
from shared.gcp.documents import fields_of
from shared.work.attempts import HEARTBEAT_SECONDS
from tests.archives import File, zipped
from tests.subjects.documents_read import documents_read
from tests.world import OTHER_SITE, SITE, World, jpeg

OURS = pytest.mark.ours_only("looks at what our Firestore reads")
OTHER_FOLDER = "É" * 60


def listed(world: World, query: str = "", **more: Any) -> list[dict[str, Any]]:
    """All pages of a list of batches."""
    found: list[dict[str, Any]] = []
    token = ""
    while True:
        answer = world.request("GET", f"/v0.2/batches?page_token={token}&{query}", **more)
        assert answer.status == 200, answer
        found += answer.body["batches"]
        token = answer.body["next_page_token"]
        if not token:
            return found


def make(world: World, site: str = SITE, **body: Any) -> str:
    answer = world.request("POST", f"/v0.2/batches?site_id={site}", body)
    assert answer.status == 201, answer
    id: str = answer.body["id"]
    return id


# --- batches


def test_the_batches_of_all_sites_are_listed_newest_first_and_no_one_elses(world: World) -> None:
    made = []
    for site in (SITE, OTHER_SITE, SITE):
        made.append(make(world, site))
        world.wait(timedelta(seconds=1))
    theirs = world.stranger()
    key = create_key(world.cloud.db, customer="globex", scopes=["batches"])
    assert [each["id"] for each in listed(world, "all_sites=true&page_size=2")] == made[::-1]
    assert listed(world, "all_sites=true", key=key) == []
    assert [each["id"] for each in listed(world, f"site_id={SITE}")] == [made[2], made[0]]
    assert world.request("GET", "/v0.2/batches?all_sites=true", key=theirs).status == 403


def test_a_call_that_names_a_site_lists_no_other(world: World) -> None:
    for path in (
        f"/v0.2/batches?site_id={SITE}&all_sites=true",
        f"/sites/{SITE}/v0.2/batches?all_sites=TRUE",
    ):
        answer = world.request("GET", path)
        assert answer.status == 400
        assert answer.body["errors"][0]["field"] == "all_sites"


def test_batches_are_found_by_their_status(world: World) -> None:
    waiting, gone = make(world), make(world, OTHER_SITE)
    assert world.request("DELETE", f"/v0.2/batches/{gone}").status == 204
    both = "all_sites=true&status="
    assert [each["id"] for each in listed(world, f"{both}CANCELLED")] == [gone]
    assert [each["id"] for each in listed(world, f"{both}WAITING_FOR_UPLOAD")] == [waiting]
    assert listed(world, f"site_id={SITE}&status=CANCELLED") == []
    answer = world.request("GET", "/v0.2/batches?all_sites=true&status=PENDING")
    assert answer.status == 400
    assert answer.body["errors"][0]["field"] == "status"


def seed(world: World, number: int) -> None:
    """That many batches that are under way, each with slices, of which one has a progress."""
    document = fields_of(world.cloud.db.document(f"batches/{make(world)}").get())
    document |= {
        "state": "PROCESSING",
        "plans": {"import": "p"},
        "counted": asdict(Progress(work_orders_done=7)),
    }
    batch = world.cloud.db.batch()
    for each in range(number):
        path = f"batches/00000000-0000-4000-8000-{each:012}"
        batch.create(world.cloud.db.document(path), document)
        batch.create(world.cloud.db.document(f"{path}/pieces/p.1"), {"plan": "p", "status": "OPEN"})
    batch.commit()


@OURS
def test_a_page_of_batches_reads_a_page_however_many_there_are_and_no_slices(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed(world, 20)
    read = documents_read(monkeypatch)
    for query in ("all_sites=true", f"site_id={SITE}", "all_sites=true&status=PROCESSING"):
        read.clear()
        answer = world.request("GET", f"/v0.2/batches?page_size=5&{query}")
        assert len(answer.body["batches"]) == 5
        assert answer.body["batches"][-1]["work_orders_done"] == 7
        assert len(read) <= 5 + 10, read


@pytest.mark.slow
def test_a_list_knows_how_far_a_batch_is_once_it_has_shown_life(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its slices are counted when its document is written anyhow; once it has ended that is exact."""
    monkeypatch.setattr("shared.batches.importing.CHUNK_ORDERS", 1)
    monkeypatch.setattr("shared.work.attempts.HEARTBEAT_SECONDS", 0)
    seen: list[Progress] = []
    counted = batches.counted

    def counting(cloud: Any, batch: Batch) -> Any:
        found = counted(cloud, batch)
        seen.append(Progress(**found["counted"]))
        return found

    monkeypatch.setattr(batches, "counted", counting)
    names = ("WO_1", "WO_2", "WO_BAD")
    files = [File(f"{name}/{'roof' if name == 'WO_BAD' else 'meter'}.jpg", jpeg(name)) for name in names]
    id = world.import_archive(zipped(files))["id"]
    assert [(each.work_orders_done, each.work_orders_failed) for each in seen if each] == [
        (1, 0),
        (2, 0),
        (2, 1),
    ]
    held = batches.get(world.cloud, id)
    assert held is not None
    assert held.counted == seen[-1]
    [shown] = listed(world, f"site_id={SITE}")
    assert (shown["work_orders_done"], shown["work_orders_failed"], shown["errors"]) == (2, 1, 1)
    assert HEARTBEAT_SECONDS >= 45, "how often the document of a batch is written"


# --- the errors of a batch


def fill(world: World, id: str, problems: Sequence[Problem], *, slice_id: str = "000001") -> Batch:
    """Write a batch's errors as an import does."""
    batch = batches.get(world.cloud, id)
    assert batch is not None
    writes = world.cloud.db.batch()
    for path, fields in errors_file.documents(batch, slice_id, 0, problems).items():
        writes.create(world.cloud.db.document(path), fields)
    writes.commit()
    return batch


def page(world: World, id: str, query: str = "", token: str = "") -> tuple[list[dict[str, Any]], str | None]:
    answer = world.request("GET", f"/v0.2/batches/{id}/errors/list?page_token={token}&{query}")
    assert answer.status == 200, answer
    return answer.body["errors"], answer.body["next_page_token"]


def pages(world: World, id: str, query: str = "") -> list[dict[str, Any]]:
    found, token = page(world, id, query)
    for _ in range(1_000):
        if token is None:
            return found
        more, token = page(world, id, query, token)
        found += more
    raise AssertionError("the pages have no end")


FOUND = [
    problem("FILE_OUTSIDE_FOLDER", file="stray.jpg"),
    *(
        each
        for number in range(12)
        for each in (
            problem("UNKNOWN_TASK_GROUP", work_order=f"WO_{number:03}", file="roof.jpg"),
            problem("MISSING_PARAMETER", work_order=f"WO_{number:03}"),
        )
    ),
    problem("BLURRED", work_order="WO_OK", file="meter.jpg"),
    problem("EMPTY_FILE", work_order=OTHER_FOLDER, file="<script>alert(1)</script>.jpg"),
]


@pytest.mark.parametrize(
    "bytes",
    [1_500, *(pytest.param(each, marks=pytest.mark.slow) for each in (300, errors_file.DOCUMENT_BYTES))],
)
def test_pages_have_every_error_once_in_the_order_of_the_file(
    world: World, monkeypatch: pytest.MonkeyPatch, bytes: int
) -> None:
    monkeypatch.setattr(errors_file, "DOCUMENT_BYTES", bytes)
    id = make(world)
    fill(world, id, FOUND)
    for size in (4, 7, 500):
        assert pages(world, id, f"page_size={size}") == world.errors(id)


QUERIES = [
    ("code=MISSING_PARAMETER", {"MISSING_PARAMETER"}, 12),
    ("level=warning", {"BLURRED"}, 1),
    ("level=error&code=BLURRED", set(), 0),
    ("work_order_prefix=WO_00", {"UNKNOWN_TASK_GROUP", "MISSING_PARAMETER"}, 20),
    ("work_order_prefix=WO_011&code=UNKNOWN_TASK_GROUP", {"UNKNOWN_TASK_GROUP"}, 1),
    ("work_order_prefix=W", {"UNKNOWN_TASK_GROUP", "MISSING_PARAMETER", "BLURRED"}, 25),
    ("work_order_prefix=E%CC%81%C3%89", {"EMPTY_FILE"}, 1),
    ("work_order_prefix=wo", set(), 0),
    ("work_order_prefix=" + "%C3%89" * 60, {"EMPTY_FILE"}, 1),
    ("work_order_prefix=" + "%C3%89" * 61, set(), 0),
]
"""Filters, the codes of what they find, and how many those are."""


@pytest.mark.slow
@pytest.mark.parametrize("searchable", [True, False])
def test_errors_are_found_by_code_level_and_folder(
    world: World, monkeypatch: pytest.MonkeyPatch, searchable: bool
) -> None:
    """Those of a batch from before they could be found, too: its documents are looked through."""
    monkeypatch.setattr(errors_file, "DOCUMENT_BYTES", 300)
    id = make(world)
    fill(world, id, FOUND)
    if not searchable:
        reference = world.cloud.db.document(f"batches/{id}")
        reference.update({"searchable": firestore.DELETE_FIELD})
    for query, codes, number in QUERIES:
        found = pages(world, id, f"{query}&page_size=7")
        assert ({each["code"] for each in found}, len(found)) == (codes, number), query


@pytest.mark.slow
@OURS
@pytest.mark.parametrize(
    "query", ["", "code=EMPTY_FILE", "level=warning", "work_order_prefix=LAST", "work_order_prefix=073"]
)
def test_a_page_of_10_000_errors_reads_a_page(
    world: World, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    monkeypatch.setattr(errors_file, "DOCUMENT_BYTES", 20_000)
    id = make(world)
    many = [problem("MISSING_PARAMETER", work_order=f"{number:05}") for number in range(10_000)]
    fill(world, id, [*many, problem("EMPTY_FILE", work_order="LAST"), problem("BLURRED", work_order="LAST")])
    read = documents_read(monkeypatch)
    found, _ = page(world, id, f"{query}&page_size=20")
    assert found
    assert len(read) <= 20 + 10, read


@pytest.mark.slow
@OURS
def test_a_filter_that_is_found_in_vain_reads_a_page_and_has_a_next_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errors_file, "DOCUMENT_BYTES", 100)
    id = make(world)
    same = "ABCDEFGHIJKLMNOP"  # as long as the longest beginning that documents are found by
    fill(world, id, [problem("EMPTY_FILE", work_order=f"{same}{number}") for number in range(60)])
    read = documents_read(monkeypatch)
    found, token = page(world, id, f"work_order_prefix={same}59&page_size=5")
    assert (found, bool(token)) == ([], True)
    assert len(read) <= 5 + 10, read
    assert len(pages(world, id, f"work_order_prefix={same}59&page_size=5")) == 1


def test_other_filters_are_refused(world: World) -> None:
    id = make(world)
    for query in ("code=NONE", "level=info", "work_order_prefix=", "order=code", "page_size=0"):
        answer = world.request("GET", f"/v0.2/batches/{id}/errors/list?{query}")
        assert answer.status == 400, query
        assert answer.body["errors"][0]["field"] == query.partition("=")[0]


def test_a_token_is_good_for_its_batch_and_its_filters(world: World) -> None:
    id, other = make(world), make(world)
    for each in (id, other):
        fill(world, each, FOUND)
    _, token = page(world, id, "page_size=1&level=error")
    for path in (
        f"{id}/errors/list?level=warning",
        f"{other}/errors/list?level=error",
        f"{id}/errors/list?x",
    ):
        answer = world.request("GET", f"/v0.2/batches/{path.replace('?x', '?')}&page_token={token}")
        assert answer.status == 400
        assert "other filters" in answer.body["detail"]
    for bad in ("x", "%00", "Li4vLi4", "A" * 500):
        answer = world.request("GET", f"/v0.2/batches/{id}/errors/list?page_token={bad}")
        assert answer.status == 400


@pytest.mark.slow
def test_the_failed_folders_are_named_once_each(world: World) -> None:
    archive = zipped(
        [
            File("WO_BAD/roof.jpg", jpeg("a")),
            File("WO_BAD/cellar.jpg", jpeg("b")),
            File("WO_GOOD/meter.jpg", jpeg("c")),
            File("WO_WARNED/parameters.json", b'{"unknown": 1}'),
            File("WO_WARNED/meter.jpg", jpeg("d")),
            File("a<b>&“c”/meter.jpg", jpeg("e")),
            File("stray.jpg", jpeg("f")),
        ]
    )
    id = world.import_archive(archive)["id"]
    answer = world.request("GET", f"/v0.2/batches/{id}/failed-folders")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{id}-failed-folders.txt"'
    assert answer.body.decode().splitlines() == ["a<b>&“c”", "WO_BAD"]


def test_anothers_errors_are_not_there(world: World) -> None:
    id = make(world)
    fill(world, id, FOUND)
    world.onboard("globex", "globex")
    key = create_key(world.cloud.db, customer="globex", scopes=["batches"])
    for path in ("errors/list", "failed-folders", "errors"):
        assert world.request("GET", f"/v0.2/batches/{id}/{path}", key=key).status == 404


# --- batches of a browser, and the same request twice


def test_a_batch_for_a_page_has_an_upload_url_that_the_page_can_use(world: World) -> None:
    origin = world.cloud.settings.origin
    answer = world.request("POST", f"/v0.2/batches?site_id={SITE}", {"origin": origin, "size": 1_000})
    assert (answer.status, answer.body["origin"], answer.body["size"]) == (201, origin, 1_000)
    told = requests.put(
        answer.body["upload_url"], headers={"Origin": origin, "Content-Range": "bytes */*"}, timeout=10
    )
    assert told.headers["Access-Control-Allow-Origin"] == origin
    none = world.request("POST", f"/v0.2/batches?site_id={SITE}")
    assert none.body["origin"] is none.body["size"] is None
    told = requests.put(
        none.body["upload_url"], headers={"Origin": origin, "Content-Range": "bytes */*"}, timeout=10
    )
    assert "Access-Control-Allow-Origin" not in told.headers


def test_no_other_sites_page_may_upload(world: World) -> None:
    for origin in ("https://evil.example", "*", "null", "", "http://waybill.example.evil.example"):
        answer = world.request("POST", f"/v0.2/batches?site_id={SITE}", {"origin": origin})
        assert answer.status == 400, origin
        assert answer.body["errors"][0]["field"] == "origin"
    assert listed(world, "all_sites=true") == []


def again(world: World, body: Any, key: str, site: str = SITE) -> Any:
    headers = {"Authorization": f"Token {world.key}", "Idempotency-Key": key}
    return world.request("POST", f"/v0.2/batches?site_id={site}", body, headers=headers)


@pytest.mark.slow
def test_the_same_request_twice_makes_one_batch(world: World) -> None:
    first, second = (again(world, {"filename": "a.zip"}, "once") for _ in range(2))
    assert (first.status, second.status) == (201, 201)
    assert first.body == second.body
    assert len(listed(world, "all_sites=true")) == 1
    assert again(world, {"filename": "a.zip"}, "twice").body["id"] != first.body["id"]
    assert again(world, {"filename": "a.zip"}, "once", OTHER_SITE).body["id"] != first.body["id"]
    other = again(world, {"filename": "b.zip"}, "once")
    assert (other.status, other.body["existing_id"]) == (409, first.body["id"])


def test_a_repeated_request_finds_its_batch_whatever_has_become_of_it(world: World) -> None:
    id = again(world, {}, "once").body["id"]
    assert world.request("DELETE", f"/v0.2/batches/{id}").status == 204
    assert again(world, {}, "once").body["status"] == "CANCELLED"
