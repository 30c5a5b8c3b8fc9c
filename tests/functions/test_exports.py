"""The exports function over HTTP: who may, what is refused, and how it is said."""

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from infra.local.traffic import Fault
from shared.accounts.customers import add_site, get_site
from shared.accounts.keys import create_key, revoke_key
from shared.errors import Conflict
from tests.world import BUCKET, SITE, THEIR_SITE, World


def body(**changes: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {
        "name": "Nightly",
        "site_ids": [SITE],
        "interval": "daily",
        "connector_type": "cloud_storage",
        "connector_config": {"storage_uri": f"gs://{BUCKET}/waybill", "export_images": True},
    }
    return whole | changes


@pytest.fixture
def theirs(world: World) -> str:
    """Another customer, with a site and a key; returns the key."""
    world.onboard("globex", "globex")
    add_site(world.cloud.db, id=THEIR_SITE, customer="globex", name="Theirs")
    return create_key(world.cloud.db, customer="globex", scopes=["exports"])


def test_an_export_is_made_and_shown_as_it_stands(world: World) -> None:
    made = world.request("POST", "/v1/exports", body(timezone="Europe/Paris", at="03:30"))
    assert made.status == 201
    shown = world.request("GET", f"/v1/exports/{made.body['id']}")
    assert (shown.status, shown.body) == (200, made.body)
    assert shown.body["state"] == "ACTIVE"
    assert shown.body["account"] == world.acme.account
    assert shown.body["created"] == "2026-11-22T09:17:00.000Z"
    assert shown.body["next_window_start"] == "2026-11-22T09:17:00Z"
    assert shown.body["next_due"] == "2026-11-23T02:30:00Z"
    assert {field: shown.body[field] for field in body()} == body()


def test_every_config_is_kept_as_a_version(world: World) -> None:
    export = world.export()
    (version,) = world.cloud.db.collection(f"exports/{export}/versions").stream()
    fields = version.to_dict() or {}
    assert fields["config"]["name"] == "Nightly"
    assert fields["user"] in world.key


@pytest.mark.parametrize("path", ["/v1/exports", "/v1/exports/"])
def test_a_path_is_answered_with_and_without_a_slash(world: World, path: str) -> None:
    assert world.request("POST", path, body()).status == 201
    assert len(world.request("GET", path).body["exports"]) == 1


@pytest.mark.parametrize("headers", ["Token {}", "Bearer {}", "token {}", "X-Auth-Token"])
def test_a_key_is_taken_in_each_of_its_forms(world: World, headers: str) -> None:
    if headers == "X-Auth-Token":
        sent = {"X-Auth-Token": world.key}
    else:
        sent = {"Authorization": headers.format(world.key)}
    assert world.request("GET", "/v1/exports", headers=sent).status == 200


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Token",
        "Token wb_0123456789abcdef_" + "x" * 43,
        "Token wb_x_y",
        "Basic {key}",
        "Token {key}x",
        "Token ../{key}",
    ],
)
def test_without_a_known_key_nothing_is_said(world: World, header: str) -> None:
    answer = world.request("GET", "/v1/exports", headers={"Authorization": header.format(key=world.key)})
    assert answer.status == 401
    assert world.key not in str(answer.body)
    assert answer.body["title"] == "Authentication is needed"


def test_a_revoked_key_opens_nothing(world: World) -> None:
    revoke_key(world.cloud.db, world.key.split("_")[1])
    assert world.request("GET", "/v1/exports").status == 401


def test_a_key_without_the_scope_is_told_which(world: World) -> None:
    key = create_key(world.cloud.db, customer="acme", scopes=["batches"])
    answer = world.request("GET", "/v1/exports", key=key)
    assert (answer.status, "'exports'" in answer.body["detail"]) == (403, True)


def test_a_key_is_kept_as_a_hash_only(world: World) -> None:
    secret = world.key.rpartition("_")[2]
    for document in world.cloud.db.collection("api_keys").stream():
        assert secret not in str(document.to_dict())


def test_a_key_of_one_customer_sees_and_changes_nothing_of_anothers(world: World, theirs: str) -> None:
    export = world.export()
    world.work_order("WO_1")
    window = {"start": "2026-11-22T09:00:00Z", "end": "2026-11-22T09:17:00Z"}
    run = world.request("POST", f"/v1/exports/{export}:backfill", window)
    before = {each.reference.path: each.to_dict() for each in world.cloud.db.collection("exports").stream()}
    paths = [
        ("GET", f"/v1/exports/{export}"),
        ("GET", f"/v1/exports/{export}/runs"),
        ("GET", f"/v1/exports/{export}/runs/{run.body['run_id']}"),
        ("POST", f"/v1/exports/{export}:run"),
        ("POST", f"/v1/exports/{export}:backfill"),
    ]
    for method, path in paths:
        answer = world.request(method, path, {} if method == "POST" else None, key=theirs)
        assert answer.status == 404, path
        assert answer.body["detail"] == f"there is no export {export}"
    assert world.request("GET", "/v1/exports", key=theirs).body["exports"] == []
    token = base64.urlsafe_b64encode(export.encode()).decode()
    assert world.request("GET", f"/v1/exports?page_token={token}", key=theirs).status == 400
    after = {each.reference.path: each.to_dict() for each in world.cloud.db.collection("exports").stream()}
    assert after == before
    assert len(world.audit(export)) == 1


@pytest.mark.usefixtures("theirs")
@pytest.mark.parametrize("site", [THEIR_SITE, "00000000-0000-4000-8000-000000000000"])
def test_another_customers_site_looks_like_one_that_is_not(world: World, site: str) -> None:
    answer = world.request("POST", "/v1/exports", body(site_ids=[SITE, site]))
    assert answer.status == 400
    assert answer.body["errors"] == [{"field": "site_ids[1]", "message": f"there is no site {site} of yours"}]
    assert world.request("GET", "/v1/exports").body["exports"] == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"connector_config": {"storage_uri": "https://acme-bi"}}, "connector_config.storage_uri"),
        ({"connector_config": {"storage_uri": "gs://"}}, "connector_config.storage_uri"),
        ({"interval": "every 0 minutes"}, "interval"),
        ({"interval": "every 7 minutes"}, "interval"),
        ({"timezone": "Europe/Atlantis"}, "timezone"),
        ({"colour": "green"}, "colour"),
        ({"end": "2026-11-01T00:00:00Z"}, "end"),
        ({"interval": "once", "start": "2027-01-01T00:00:00Z"}, "end"),
        ({"interval": "every 1 minutes", "start": "2026-11-22T00:00:00Z"}, "start"),
        ({"start": "2020-01-01T00:00:00Z"}, "start"),
        ({"start": "0001-01-01T00:00:00+14:00", "interval": "once"}, "start"),
        ({"start": "9999-12-31T12:00:00Z"}, "start"),
        ({"end": "9999-12-31T23:59:00-10:00"}, "end"),
        ({"timezone": "localtime"}, "timezone"),
        ({"name": "x\u0000y"}, "name"),
        ({"connector_config": {"storage_uri": "gs://a..b/x"}}, "connector_config.storage_uri"),
        ({"connector_config": {"storage_uri": "gs://" + "a" * 64}}, "connector_config.storage_uri"),
        (
            {"connector_config": {"storage_uri": "gs://acme-bi/.well-known/acme-challenge/x"}},
            "connector_config.storage_uri",
        ),
    ],
)
def test_a_bad_config_is_refused_naming_the_field(world: World, changes: dict[str, Any], field: str) -> None:
    answer = world.request("POST", "/v1/exports", body(**changes))
    assert answer.status == 400
    assert [error["field"] for error in answer.body["errors"]] == [field]
    assert answer.body["detail"].startswith(f"{field}: ")
    assert answer.body["request_id"]
    assert list(world.cloud.db.collection("exports").stream()) == []


@pytest.mark.parametrize("sent", [b"{", b"[]", b'"x"', b"\xff", b"{" * 2_000_000])
def test_a_body_that_is_no_json_object_is_refused(world: World, sent: bytes) -> None:
    answer = world.request("POST", "/v1/exports", sent)
    assert (answer.status, answer.body["errors"][0]["field"]) == (400, "body")


@pytest.mark.parametrize(
    ("window", "field"),
    [
        ({}, "start"),
        ({"start": "2026-11-22T08:00:00Z"}, "end"),
        ({"start": "2026-11-22T09:00:00Z", "end": "2026-11-22T08:00:00Z"}, "end"),
        ({"start": "2026-11-22T08:00:30Z", "end": "2026-11-22T09:00:00Z"}, "start"),
        ({"start": "2026-11-22T08:00:00Z", "end": "2026-11-23T09:00:00Z"}, "end"),
        ({"start": "2026-11-22T08:00:00", "end": "2026-11-22T09:00:00Z"}, "start"),
        ({"start": 12, "end": "2026-11-22T09:00:00Z"}, "start"),
        ({"start": "0001-01-01T00:00:00+14:00", "end": "2026-11-22T09:00:00Z"}, "start"),
        ({"start": "9999-12-31T23:59:00-10:00", "end": "2026-11-22T09:00:00Z"}, "start"),
        ({"start": "2026-11-22T08:00:00Z", "end": "2026-11-22T09:00:00Z", "site": "x"}, "site"),
    ],
)
def test_a_bad_backfill_is_refused_naming_the_field(world: World, window: dict[str, Any], field: str) -> None:
    export = world.export()
    answer = world.request("POST", f"/v1/exports/{export}:backfill", window)
    assert answer.status == 400
    assert answer.body["errors"][0]["field"] == field
    assert world.audit(export) == []


def test_runs_are_paged_newest_first(world: World) -> None:
    export = world.export(interval="every 1 minutes")
    for _ in range(3):
        world.run_due(world.suite.clock.now().replace(second=0, microsecond=0) + timedelta(minutes=1))
    path = f"/v1/exports/{export}/runs"
    first = world.request("GET", f"{path}?page_size=2").body
    second = world.request("GET", f"{path}?page_size=2&page_token={first['next_page_token']}").body
    ends = [run["window"]["end"] for run in first["runs"] + second["runs"]]
    assert ends == ["2026-11-22T09:20:00Z", "2026-11-22T09:19:00Z", "2026-11-22T09:18:00Z"]
    assert second["next_page_token"] is None
    (run,) = second["runs"]
    assert world.request("GET", f"{path}/{run['run_id']}").body == run


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("page_size=0", "page_size"),
        ("page_size=501", "page_size"),
        ("page_size=x", "page_size"),
        ("page_token=!", "page_token"),
        ("page_token=Z29uZQ", "page_token"),
        ("page_token=YS9i", "page_token"),
        ("page_token=Li4", "page_token"),
        ("page_token=X194X18", "page_token"),
    ],
)
def test_a_bad_page_is_refused(world: World, query: str, field: str) -> None:
    answer = world.request("GET", f"/v1/exports?{query}")
    assert (answer.status, answer.body["errors"][0]["field"]) == (400, field)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/exports/not-a-uuid", 404),
        ("GET", "/v1/exports/00000000-0000-4000-8000-000000000000", 404),
        ("PUT", "/v1/exports", 405),
        ("POST", "/v1//exports", 404),
    ],
)
def test_what_is_not_there_is_told_as_problem_details(
    world: World, method: str, path: str, status: int
) -> None:
    answer = world.request(method, path)
    assert (answer.status, answer.body["status"]) == (status, status)
    assert set(answer.body) == {"type", "title", "status", "detail", "request_id"}


def test_a_failure_of_ours_says_nothing_of_its_inside(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "")
    answer = world.request("GET", "/v1/exports")
    assert answer.status == 500
    assert "GOOGLE_CLOUD_PROJECT" not in str(answer.body)
    assert answer.body["request_id"] in answer.body["detail"]


def test_an_id_that_firestore_keeps_to_itself_is_no_run(world: World) -> None:
    export = world.export()
    for run in ("__abcdef__", "..........", "0123456789"):
        assert world.request("GET", f"/v1/exports/{export}/runs/{run}").status == 404


@pytest.mark.parametrize("call", ["create", "run", "backfill"])
def test_a_lost_answer_to_a_commit_is_a_success_and_done_once(world: World, call: str) -> None:
    export = world.export()
    world.wait(timedelta(minutes=3))
    window = {"start": "2026-11-22T08:00:00Z", "end": "2026-11-22T09:00:00Z"}
    world.suite.traffic.arm("firestore.Commit", Fault("reset_after"))
    if call == "create":
        assert world.request("POST", "/v1/exports", body()).status == 201
        assert len(world.request("GET", "/v1/exports").body["exports"]) == 2
        return
    sent = window if call == "backfill" else None
    assert world.request("POST", f"/v1/exports/{export}:{call}", sent).status == 201
    assert len(world.audit(export)) == 1


def test_a_slug_is_one_customers_and_stays(world: World) -> None:
    with pytest.raises(Conflict, match="acme"):
        world.onboard("globex", "acme")
    with pytest.raises(Conflict, match="keeps it"):
        world.onboard("acme", "other")
    assert world.onboard("acme", "acme").account == world.acme.account


def test_a_site_that_is_another_customers_by_now_is_not_exported(world: World) -> None:
    export = world.export()
    world.onboard("globex", "globex")
    world.cloud.db.document(f"sites/{SITE}").update({"customer": "globex"})
    moved = get_site(world.cloud.db, SITE, "globex")
    world.work_order("SECRET", site=moved)
    world.run_due(datetime(2026, 11, 23, 2, tzinfo=UTC))
    (event,) = world.audit(export)
    assert (event["status"], event["error"]) == ("FAILED", f"The site {SITE} is no longer yours.")
    assert world.landed() == {}


def test_a_known_id_with_another_secret_opens_nothing(world: World) -> None:
    id = world.key.split("_")[1]
    assert world.request("GET", "/v1/exports", key=f"wb_{id}_{'x' * 43}").status == 401
