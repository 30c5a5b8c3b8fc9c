"""`/v0.2/batches` over HTTP: exact statuses and bodies, who may, where, and what is said of the rest."""

import json
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
import requests

from infra.local.traffic import Fault
from shared.accounts.customers import add_site
from shared.accounts.keys import create_key, revoke_key
from shared.batches.api import CLIENT
from shared.gcp.documents import fields_of
from shared.http.bodies import BODY_BYTES
from tests.archives import File, zipped
from tests.conftest import START
from tests.world import OTHER_SITE, SITE, THEIR_SITE, Answer, World, jpeg

BATCHES = "/v0.2/batches"
ARCHIVE = zipped([File("WO_1/meter-1.jpg", jpeg("1")), File("WO_2/meter-1.jpg", jpeg("2"))])
UNKNOWN = "0f0e0d0c-0b0a-4908-8706-050403020100"


@pytest.fixture
def world(world: World) -> World:
    """As ever, but the key has a site of its own, as customers' keys have."""
    world.key = key(world, site=SITE)
    return world


@pytest.fixture
def theirs(world: World) -> str:
    """Another customer, with a site; returns their key."""
    world.onboard("globex", "globex")
    add_site(world.cloud.db, id=THEIR_SITE, customer="globex", name="Theirs", task_groups=["meter"])
    return key(world, customer="globex", site=THEIR_SITE)


def key(world: World, **changes: Any) -> str:
    return create_key(world.cloud.db, **{"customer": "acme", "scopes": ["batches"], "site": None, **changes})


def make(world: World, body: Any = None, **more: Any) -> dict[str, Any]:
    answer = world.request("POST", BATCHES, body, **more)
    assert answer.status == 201, answer
    made: dict[str, Any] = answer.body
    return made


def told(answer: Answer, status: int) -> str:
    """What an answer that refuses says; it has `detail`, and is JSON, whatever it is about."""
    assert answer.status == status, answer
    assert answer.headers["Content-Type"] == "application/json"
    assert set(answer.body) - {"errors"} == {"detail", "request_id"}
    detail: str = answer.body["detail"]
    assert detail
    return detail


def kept(world: World, id: str) -> dict[str, Any]:
    return fields_of(world.cloud.db.document(f"batches/{id}").get())


# --- what is answered


@pytest.mark.ours_only("names the very moment, which needs a clock that stands")
@pytest.mark.parametrize(
    ("body", "filename"),
    [
        (None, None),
        (b"", None),
        (b"  \n", None),
        ({}, None),
        ({"filename": "name"}, "name"),
        ({"filename": "Zoë's 山 \u2028.zip"}, "Zoë's 山 \u2028.zip"),
        ({"filename": None, "size": None}, None),
        ({"filename": "a.zip", "size": 1_000, "notify": ["zoe@acme.example"]}, "a.zip"),
    ],
)
@pytest.mark.parametrize("path", [BATCHES, f"{BATCHES}/"])
def test_a_batch_is_made(world: World, path: str, body: Any, filename: str | None) -> None:
    answer = world.request("POST", path, body)
    assert answer.status == 201, answer
    made = answer.body
    assert uuid.UUID(made["batch_id"]).version == 4
    url = made["upload_url"]
    assert url.startswith(f"{world.suite.control_url}/upload/storage/v1/b/waybill-local-uploads/o?")
    assert made == {
        "id": made["batch_id"],
        "batch_id": made["batch_id"],
        "upload_url": url,
        "status": "WAITING_FOR_UPLOAD",
        "site_id": SITE,
        "filename": filename,
        "code_page": None,
        "size": body.get("size") if isinstance(body, dict) else None,
        "origin": None,
        "create_date": made["create_date"],
        "expire_date": made["create_date"].replace("-22T", "-29T"),
        "finish_date": None,
        "work_orders_total": None,
        "work_orders_done": 0,
        "work_orders_failed": 0,
        "images": 0,
        "bytes": 0,
        "errors": 0,
        "warnings": 0,
        "codes": {},
        "error": None,
        "mails_not_sent": [],
    }
    assert made["create_date"].startswith("2026-11-22T09:17:00.")
    got = world.request("GET", f"{path.rstrip('/')}/{made['id']}")
    assert (got.status, got.body) == (200, made)
    assert kept(world, made["id"])["user"] in world.key


def test_a_batch_is_made_once_though_the_answer_to_its_making_is_lost(world: World) -> None:
    world.suite.traffic.arm("firestore.Commit", Fault("reset_after"))
    made = make(world)
    assert [each.id for each in world.cloud.db.collection("batches").stream()] == [made["id"]]


def test_a_batch_that_has_ended_is_shown_with_what_came_of_it(world: World) -> None:
    shown = world.import_archive(ARCHIVE)
    assert {name: shown[name] for name in shown if "date" not in name} == {
        "id": shown["id"],
        "batch_id": shown["id"],
        "status": "COMPLETED",
        "site_id": SITE,
        "filename": None,
        "code_page": None,
        "size": None,
        "origin": None,
        "work_orders_total": 2,
        "work_orders_done": 2,
        "work_orders_failed": 0,
        "images": 2,
        "bytes": len(jpeg("1")) + len(jpeg("2")),
        "errors": 0,
        "warnings": 0,
        "codes": {},
        "error": None,
        "mails_not_sent": [],
    }
    assert START <= datetime.fromisoformat(shown["finish_date"]) < world.suite.clock.now()


def test_a_batch_is_cancelled_with_204_and_nothing_and_stays_so(world: World) -> None:
    id = make(world)["id"]
    for path in (f"{BATCHES}/{id}", f"{BATCHES}/{id}/"):
        answer = world.request("DELETE", path)
        assert (answer.status, answer.body) == (204, b"")
    assert world.shown(id)["status"] == "CANCELLED"
    assert world.shown(id)["finish_date"] is not None


def test_cancelling_what_has_ended_changes_nothing(world: World) -> None:
    shown = world.import_archive(ARCHIVE)
    assert world.request("DELETE", f"{BATCHES}/{shown['id']}").status == 204
    assert world.shown(shown["id"]) == shown


def uploaded(world: World, made: dict[str, Any]) -> None:
    world.upload(made["upload_url"], ARCHIVE)
    world.suite.pubsub.deliver_due(world.push)


def ended(world: World, made: dict[str, Any]) -> None:
    world.upload(made["upload_url"], ARCHIVE)
    world.drain()


def failed(world: World, made: dict[str, Any]) -> None:
    world.upload(made["upload_url"], b"no zip")
    world.drain()


def cancelled(world: World, made: dict[str, Any]) -> None:
    world.request("DELETE", f"{BATCHES}/{made['id']}")


def expired(world: World, made: dict[str, Any]) -> None:
    world.wait(timedelta(days=8))
    world.run_due()


@pytest.mark.parametrize("happens", [uploaded, ended, failed, cancelled, expired])
def test_the_upload_url_is_gone_everywhere_once_it_is_of_no_use(
    world: World, happens: Callable[[World, dict[str, Any]], None]
) -> None:
    made = make(world)
    secret = made["upload_url"].rpartition("upload_id=")[2]
    assert kept(world, made["id"])["upload_url"] == made["upload_url"]
    happens(world, made)
    assert world.shown(made["id"])["status"] != "WAITING_FOR_UPLOAD"
    for path in (f"{BATCHES}/{made['id']}", BATCHES, f"{BATCHES}/{made['id']}/errors"):
        answer = world.request("GET", path)
        assert (answer.status, secret in str(answer.body), "upload_url" in str(answer.body)) == (
            200,
            False,
            False,
        )
    assert secret not in str(kept(world, made["id"]))


def test_the_errors_file_is_sent_as_a_file(world: World) -> None:
    shown = world.import_archive(zipped([File("stray.txt", b"x"), File("WO/meter.jpg", jpeg("1"))]))
    path = f"{BATCHES}/{shown['id']}/errors"
    for form, kind in (("jsonl", "application/x-ndjson"), ("csv", "text/csv; charset=utf-8")):
        answer = world.request("GET", f"{path}?format={form}")
        assert answer.headers["Content-Type"] == kind
        name = f'attachment; filename="{shown["id"]}-errors.{form}"'
        assert answer.headers["Content-Disposition"] == name
    assert world.request("GET", path).body == world.request("GET", f"{path}/?format=jsonl").body
    detail = told(world.request("GET", f"{path}?format=xml"), 400)
    assert detail == "format: must be jsonl or csv; got 'xml'"


def test_the_client_is_served_to_anyone(world: World) -> None:
    for path in (f"{BATCHES}/upload.py", f"/sites/{SITE}{BATCHES}/upload.py"):
        answer = world.request("GET", path, headers={"Accept": "*/*"})
        assert (answer.status, answer.body) == (200, CLIENT.read_bytes())
        assert answer.headers["Content-Type"] == "text/x-python; charset=utf-8"


# --- lists


def test_batches_are_listed_newest_first_by_pages(world: World) -> None:
    made = []
    for number in range(5):
        made.append(make(world, {"filename": f"{number}.zip"})["id"])
        world.wait(timedelta(minutes=1))
    make(world, headers={"Authorization": f"Token {key(world, site=OTHER_SITE)}"})
    for path in (BATCHES, f"{BATCHES}/"):
        whole = world.request("GET", path)
        assert [each["id"] for each in whole.body["batches"]] == made[::-1]
        assert whole.body["next_page_token"] is None
    seen, token = [], ""
    while token is not None:
        page = world.request("GET", f"{BATCHES}?page_size=2&page_token={token}")
        assert page.status == 200, page
        seen.append([each["id"] for each in page.body["batches"]])
        token = page.body["next_page_token"]
    assert seen == [made[:2:-1], made[2:0:-1], made[:1]]


@pytest.mark.parametrize(
    "query",
    [
        "page_size=0",
        "page_size=501",
        "page_size=-1",
        "page_size=x",
        "page_size=",
        "page_size=1.0",
        "page_size=" + "9" * 5_000,
        "page_size=²",
        "page_token=x",
        "page_token=!",
        "page_token=Li4vYXBpX2tleXM",
        "page_token=é",
    ],
)
def test_a_page_that_cannot_be_is_refused(world: World, query: str) -> None:
    detail = told(world.request("GET", f"{BATCHES}?{query}"), 400)
    assert detail.startswith(query.partition("=")[0])


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        (
            "limit=5",
            "limit: there is no such query parameter; there are "
            "`page_size`, `page_token`, `status`, `all_sites`, `site_id`",
        ),
        ("siteId=x", "siteId: there is no such query parameter: did you mean `site_id`?"),
    ],
)
def test_calls_that_are_ours_alone_refuse_other_query_parameters(
    world: World, query: str, detail: str
) -> None:
    batch = world.batch()
    assert told(world.request("GET", f"{BATCHES}?{query}"), 400) == detail
    assert told(world.request("GET", f"{BATCHES}/{batch}/errors?fromat=csv"), 400) == (
        "fromat: there is no such query parameter: did you mean `format`?"
    )


@pytest.mark.parametrize(
    "path", [f"/{BATCHES}", f"//{BATCHES}/", f"/sites/{SITE}/{BATCHES}", f"//sites/{SITE}//v0.2/batches"]
)
def test_an_endpoint_with_a_final_slash_is_answered(world: World, path: str) -> None:
    site = "" if "/sites/" in path else f"?site_id={SITE}"
    made = world.request("POST", f"{path}{site}", {"filename": "a.zip"})
    assert (made.status, made.body["site_id"]) == (201, SITE)
    shown = world.request("GET", f"{path.rstrip('/')}/{made.body['id']}")
    assert (shown.status, shown.body) == (200, made.body)


@pytest.mark.parametrize(
    ("more", "why"),
    [(0, "body: is not UTF-8 text: see byte 5"), (1024 * 1024, "body: is larger than 1048576 bytes")],
)
def test_an_archive_that_is_sent_to_the_wrong_place_is_told_the_right_one(
    world: World, more: int, why: str
) -> None:
    archive = b"PK\x03\x04\x9c" + b"x" * more
    answer = world.request("POST", f"{BATCHES}?site_id={SITE}", archive)
    assert (
        told(answer, 400) == f"{why}. An archive is not sent here: PUT it to the `upload_url` of the answer."
    )
    assert world.request("GET", f"{BATCHES}?site_id={SITE}").body["batches"] == []


def test_calls_that_programs_of_others_make_pass_other_query_parameters_over(world: World) -> None:
    made = world.request("POST", f"{BATCHES}?trace=1&site_id={SITE}", {"filename": "a.zip"})
    assert made.status == 201
    assert world.request("GET", f"{BATCHES}/{made.body['id']}?verbose=true").body == made.body
    assert world.request("DELETE", f"{BATCHES}/{made.body['id']}?verbose=true").status == 204


# --- what is refused


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b"{", ["body"]),
        (b"[]", ["body"]),
        (b'"name"', ["body"]),
        (b"null", ["body"]),
        (b"\xff", ["body"]),
        (b" " * (BODY_BYTES + 1), ["body"]),
        ({"filename": 7}, ["filename"]),
        ({"filename": "x" * 256}, ["filename"]),
        ({"size": 0}, ["size"]),
        ({"size": -1}, ["size"]),
        ({"size": 1.5}, ["size"]),
        ({"size": "large"}, ["size"]),
        ({"size": 50 * 1024**3 + 1}, ["size"]),
        ({"size": 2**63}, ["size"]),
        ({"notify": "zoe@acme.example"}, ["notify"]),
        ({"notify": ["zoe"]}, ["notify[0]"]),
        ({"notify": ["zoe@acme.example", "a@b\r\nBcc: c@d"]}, ["notify[1]"]),
        ({"notify": ["zoe@acme.example"] * 51}, ["notify"]),
        ({"files": []}, ["files"]),
        ({"filename": [], "size": {}, "nonsense": 1}, ["filename", "size", "nonsense"]),
    ],
)
def test_a_wrong_body_is_refused_naming_each_field(world: World, body: Any, fields: list[str]) -> None:
    answer = world.request("POST", BATCHES, body)
    detail = told(answer, 400)
    assert [each["field"] for each in answer.body["errors"]] == fields
    assert all(each["message"] and f"{each['field']}: " in detail for each in answer.body["errors"])
    assert list(world.cloud.db.collection("batches").stream()) == []
    assert world.suite.traffic.calls("storage.uploads.start") == []


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"{BATCHES}/{UNKNOWN}", 404),
        ("DELETE", f"{BATCHES}/{UNKNOWN}", 404),
        ("GET", f"{BATCHES}/{UNKNOWN}/errors", 404),
        ("GET", f"{BATCHES}/../customers", 404),
        ("GET", f"{BATCHES}/acme", 404),
        ("DELETE", BATCHES, 405),
        ("PUT", f"{BATCHES}/{UNKNOWN}", 405),
        ("POST", f"{BATCHES}/{UNKNOWN}", 405),
        ("PATCH", BATCHES, 405),
        ("GET", "/v0.2", 404),
        ("GET", "/v0.2/nothing", 404),
        ("GET", f"/v0.2//batches/{UNKNOWN}", 404),
    ],
)
def test_what_is_not_there_is_said_in_detail(world: World, method: str, path: str, status: int) -> None:
    told(world.request(method, path), status)


CALLS = [
    ("POST", BATCHES),
    ("GET", BATCHES),
    ("GET", f"{BATCHES}/{{id}}"),
    ("DELETE", f"{BATCHES}/{{id}}"),
    ("GET", f"{BATCHES}/{{id}}/errors"),
    ("GET", f"{BATCHES}/{{id}}/errors?format=csv"),
]
"""Every call that needs a key."""


# --- keys


@pytest.mark.parametrize("form", ["Token {}", "Bearer {}", "token {}", "X-Auth-Token"])
@pytest.mark.parametrize(("method", "path"), CALLS)
def test_a_key_is_taken_in_each_of_its_forms(world: World, form: str, method: str, path: str) -> None:
    id = make(world)["id"]
    header = {form: world.key} if form == "X-Auth-Token" else {"Authorization": form.format(world.key)}
    assert world.request(method, path.format(id=id), headers=header).status in (200, 201, 204)


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_without_a_good_key_with_the_scope_nothing_is_said_or_done(
    world: World, method: str, path: str
) -> None:
    id = make(world)["id"]
    before = kept(world, id)
    for headers in ({"Accept": "*/*"}, {"Authorization": "Token"}, {"Authorization": "Token "}):
        detail = told(world.request(method, path.format(id=id), headers=headers), 401)
        assert detail == "Authentication credentials not provided."
    wrong = [f"Token {world.key[:-1]}", f"Token {world.key}x", f"Basic {world.key}", "Token wb_x_y"]
    for header in wrong:
        told(world.request(method, path.format(id=id), headers={"Authorization": header}), 401)
    exports_only = key(world, scopes=["exports"], site=SITE)
    assert "'batches'" in told(world.request(method, path.format(id=id), key=exports_only), 403)
    revoke_key(world.cloud.db, world.key.split("_")[1])
    told(world.request(method, path.format(id=id)), 401)
    assert kept(world, id) == before
    assert len(list(world.cloud.db.collection("batches").stream())) == 1


def test_another_customer_sees_and_changes_nothing(world: World, theirs: str) -> None:
    waiting = make(world)
    ended = world.import_archive(zipped([File("stray.txt", b"x"), File("WO/meter.jpg", jpeg("1"))]))
    before = {each.id: each.to_dict() for each in world.cloud.db.collection("batches").stream()}
    for id in (waiting["id"], ended["id"]):
        unknown = told(world.request("GET", f"{BATCHES}/{UNKNOWN}", key=theirs), 404)
        for method, path in CALLS[2:]:
            detail = told(world.request(method, path.format(id=id), key=theirs), 404)
            assert detail == unknown.replace(UNKNOWN, id)
    assert world.request("GET", BATCHES, key=theirs).body == {"batches": [], "next_page_token": None}
    page = world.request("GET", f"{BATCHES}?page_size=1")
    token = page.body["next_page_token"]
    told(world.request("GET", f"{BATCHES}?page_token={token}", key=theirs), 400)
    assert {each.id: each.to_dict() for each in world.cloud.db.collection("batches").stream()} == before


# --- which site


def at(site: str) -> str:
    return f"https://api.{site}.waybill.example"


WAYS: dict[str, tuple[str | None, str, str, str | None]] = {
    # host, path prefix, query, the key's own site
    "host": (at(OTHER_SITE), "", "", None),
    "host in capitals, with a port": (f"https://API.{OTHER_SITE.upper()}.waybill.example:8443", "", "", None),
    "path": (None, f"/sites/{OTHER_SITE}", "", None),
    "query": (None, "", f"?site_id={OTHER_SITE}", None),
    "key": (None, "", "", OTHER_SITE),
    "host before all": (at(OTHER_SITE), f"/sites/{SITE}", f"?site_id={SITE}", SITE),
    "path before query and key": (None, f"/sites/{OTHER_SITE}", f"?site_id={SITE}", SITE),
    "query before key": (None, "", f"?site_id={OTHER_SITE}", SITE),
    "another host says nothing": ("https://waybill.example", "", "", OTHER_SITE),
    "an empty query says nothing": (None, "", "?site_id=", OTHER_SITE),
}


@pytest.mark.parametrize(("host", "path", "query", "own"), WAYS.values(), ids=WAYS)
def test_each_way_of_naming_the_site(
    world: World, host: str | None, path: str, query: str, own: str | None
) -> None:
    with_site = key(world, site=own)
    made = world.request("POST", f"{path}{BATCHES}{query}", key=with_site, base_url=host)
    assert (made.status, made.body.get("site_id")) == (201, OTHER_SITE), made
    assert kept(world, made.body["id"])["site_id"] == OTHER_SITE
    listed = world.request("GET", f"{path}{BATCHES}{query}", key=with_site, base_url=host)
    assert [each["id"] for each in listed.body["batches"]] == [made.body["id"]]
    for method, call in CALLS[2:]:
        call = call.format(id=made.body["id"])
        joined = call if not query else f"{call}{'&' if '?' in call else '?'}{query[1:]}"
        answer = world.request(method, f"{path}{joined}", key=with_site, base_url=host)
        assert answer.status in (200, 204), answer


WRONG_SITES = [
    THEIR_SITE,
    UNKNOWN,
    "nonsense",
    "a%2Fb",
    "a%2Fb%2Fc",
    "..",
    ".",
    "__all__",
    "%00",
    "x" * 2_000,
    "é",
]


@pytest.mark.parametrize("site", WRONG_SITES)
@pytest.mark.parametrize("way", ["path", "query"])
def test_a_site_that_is_not_theirs_is_not_there(world: World, theirs: str, way: str, site: str) -> None:
    id = make(world)["id"]
    prefix, query = (f"/sites/{site}", "") if way == "path" else ("", f"site_id={site}")
    for method, path in CALLS:
        called = path.format(id=id)
        called = f"{prefix}{called}" if not query else f"{called}{'&' if '?' in called else '?'}{query}"
        detail = told(world.request(method, called), 404)
        assert "globex" not in detail
    assert world.shown(id)["status"] == "WAITING_FOR_UPLOAD"
    assert len(list(world.cloud.db.collection("batches").stream())) == 1


@pytest.mark.parametrize("site", [THEIR_SITE, UNKNOWN])
def test_a_host_of_a_site_that_is_not_theirs_is_none_of_theirs(world: World, theirs: str, site: str) -> None:
    id = make(world)["id"]
    for method, path in CALLS:
        told(world.request(method, path.format(id=id), base_url=at(site)), 404)
    assert world.shown(id)["status"] == "WAITING_FOR_UPLOAD"


def test_a_batch_is_not_there_at_another_site_of_theirs_that_the_call_names(world: World) -> None:
    id = make(world)["id"]
    for method, path in CALLS[2:]:
        told(world.request(method, f"/sites/{OTHER_SITE}{path.format(id=id)}"), 404)
    other = key(world, site=OTHER_SITE)
    assert world.request("GET", f"{BATCHES}/{id}", key=other).status == 200


def test_without_any_site_it_is_said_how_to_name_one(world: World) -> None:
    bare = key(world)
    for method in ("POST", "GET"):
        answer = world.request(method, BATCHES, key=bare)
        assert "?site_id=" in told(answer, 400)
        assert answer.body["errors"][0]["field"] == "site_id"


# --- what fails, and what is logged


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_what_fails_on_our_side_says_so_in_detail(world: World, method: str, path: str) -> None:
    id = make(world)["id"]
    for kind in ("firestore.BatchGetDocuments", "firestore.RunQuery", "firestore.Commit"):
        world.suite.traffic.arm(kind, Fault("error", status=7), times=1_000)
    for kind in ("storage.uploads.start", "storage.uploads.cancel"):
        world.suite.traffic.arm(kind, Fault("error", status=403), times=1_000)
    answer = world.request(method, path.format(id=id))
    assert answer.body["request_id"] in told(answer, 500)


def test_an_upload_that_cannot_be_cancelled_now_is_cancelled_when_asked_again(world: World) -> None:
    made = make(world)
    world.suite.traffic.arm("storage.uploads.cancel", Fault("error", status=503))
    told(world.request("DELETE", f"{BATCHES}/{made['id']}"), 503)
    assert world.shown(made["id"])["status"] == "WAITING_FOR_UPLOAD"
    assert world.request("DELETE", f"{BATCHES}/{made['id']}").status == 204
    assert requests.put(made["upload_url"], data=ARCHIVE, timeout=60).status_code == 404


def test_an_upload_that_cannot_be_cancelled_says_so_and_gives_nothing_away(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    id = make(world)["id"]
    # Nobody listens there: then the client's error holds the whole URL.
    url = "http://127.0.0.1:1/upload/storage/v1/b/x/o?uploadType=resumable&upload_id=verysecret"
    world.cloud.db.document(f"batches/{id}").update({"upload_url": url})
    answer = world.request("DELETE", f"{BATCHES}/{id}")
    assert "try again" in told(answer, 503)
    assert kept(world, id)["state"] == "WAITING_FOR_UPLOAD"
    logged = capsys.readouterr().out
    assert '"severity": "WARNING"' in logged
    assert "verysecret" not in logged + str(answer.body)


@pytest.mark.parametrize("fault", [Fault("error", status=503), Fault("reset_before"), Fault("reset_after")])
def test_nothing_secret_is_logged_or_answered_whatever_fails(
    world: World, capsys: pytest.CaptureFixture[str], fault: Fault
) -> None:
    urls: list[str] = []

    def call(method: str, path: str, body: Any = None) -> None:
        answer = world.request(method, path, body)
        if answer.status >= 400:
            assert not any(url.rpartition("upload_id=")[2] in str(answer.body) for url in urls)

    urls.append(make(world, {"filename": "a.zip"})["upload_url"])
    world.upload(urls[0], zipped([File("WO/meter.jpg", jpeg("1")), File("BAD/meter.jpg", b"x")]))
    world.drain()
    for kind in (
        "storage.uploads.cancel",
        "storage.uploads.start",
        "storage.objects.get",
        "firestore.Commit",
    ):
        made = make(world)
        urls.append(made["upload_url"])
        world.suite.traffic.arm(kind, fault, times=1_000)
        for method, path in CALLS:
            call(method, path.format(id=made["id"]), {"filename": "b.zip"} if method == "POST" else None)
        requests.put(made["upload_url"], data=ARCHIVE, timeout=60)
        world.drain()
        world.suite.traffic.disarm()
        world.tick()
        world.drain()
    logged = capsys.readouterr().out
    assert "batch made" in logged
    assert len(urls) == 5
    for url in urls:
        assert url.rpartition("upload_id=")[2] not in logged
    assert world.key not in logged
    assert world.key.split("_", 2)[2] not in logged
    lines = [json.loads(line) for line in logged.splitlines()]
    assert all(line["severity"] and line["message"] for line in lines)
