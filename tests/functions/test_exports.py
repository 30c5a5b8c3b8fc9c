"""The exports function over HTTP: who may, what is refused, and how it is said."""

import base64
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from infra.local.traffic import Fault
from shared.accounts.customers import add_site, get_site
from shared.accounts.keys import create_key, revoke_key
from shared.errors import Conflict
from shared.gcp.documents import TRANSACTION_ATTEMPTS
from tests.outside import Outside
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


CALLS = ("run", "backfill", "pause", "resume", "test")
"""What is asked of an export by `POST /v1/exports/{id}:…`."""


@pytest.fixture
def theirs(world: World) -> str:
    """Another customer, with a site and a key; returns the key."""
    world.onboard("globex", "globex")
    add_site(world.cloud.db, id=THEIR_SITE, customer="globex", name="Theirs")
    return create_key(world.cloud.db, customer="globex", scopes=["exports"])


@pytest.mark.ours_only("names the very moment, which needs a clock that stands")
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


@pytest.mark.parametrize("path", ["/v1/exports", "/v1/exports/", "//v1/exports", "/v1//exports"])
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
    secret = world.key.split("_", 2)[2]
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
        ("GET", f"/v1/exports/{export}/history"),
        ("PATCH", f"/v1/exports/{export}"),
        ("DELETE", f"/v1/exports/{export}"),
        *(("POST", f"/v1/exports/{export}:{call}") for call in CALLS),
        *(("POST", f"/v1/exports/{export}/runs/{run.body['run_id']}:{call}") for call in ("cancel", "retry")),
    ]
    for method, path in paths:
        answer = world.request(method, path, {} if method in ("POST", "PATCH") else None, key=theirs)
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
        ({"start": "2026-11-22T09:10:00", "end": "2026-11-22T09:00:00Z"}, "end"),
        ({"start": "2026-11-22", "end": "2026-11-22T09:30:00"}, "end"),
        ({"start": "1700000000", "end": "2026-11-22T09:00:00Z"}, "start"),
        ({"start": None, "end": "2026-11-22T09:00:00Z"}, "start"),
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


@pytest.mark.parametrize(
    ("timezone", "sent", "window"),
    [
        ("UTC", ("2026-11-22T08:00:00", "2026-11-22T09:00"), ("2026-11-22T08:00", "2026-11-22T09:00")),
        # In summer time until 25 October; 02:30 came twice, and the first counts.
        ("Europe/Paris", ("2026-10-24", "2026-10-25 02:30"), ("2026-10-23T22:00", "2026-10-25T00:30")),
        # On 24 April 00:30 did not exist.
        (
            "Africa/Cairo",
            ("2026-04-24T00:30:00", "2026-04-24T02:00:00"),
            ("2026-04-23T22:00", "2026-04-23T23:00"),
        ),
    ],
)
def test_a_backfill_takes_local_times_as_a_config_does(
    world: World, timezone: str, sent: tuple[str, str], window: tuple[str, str]
) -> None:
    export = world.export(timezone=timezone)
    asked = dict(zip(("start", "end"), sent, strict=True))
    answer = world.request("POST", f"/v1/exports/{export}:backfill", asked)
    start, end = (f"{each}:00Z" for each in window)
    assert (answer.status, answer.body.get("window")) == (201, {"start": start, "end": end})


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
    shown = world.request("GET", f"{path}/{run['run_id']}").body
    assert {field: shown[field] for field in run} == run


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
    ("query", "problems"),
    [
        ("stat=ENDED", {"stat": "there is no such query parameter: did you mean `state`?"}),
        ("State=ENDED", {"State": "there is no such query parameter: did you mean `state`?"}),
        ("pageSize=5", {"pageSize": "there is no such query parameter: did you mean `page_size`?"}),
        (
            "limit=5&state=all",
            {
                "limit": "there is no such query parameter; there are `page_size`, `page_token`, `state`, "
                "`connector_type`, `export_type`, `outcome`"
            },
        ),
        ("state=ENDED&state=ACTIVE", {"state": "is given 2 times: give it once"}),
        ("x=1&stat=", None),
    ],
)
def test_a_query_parameter_that_there_is_not_is_refused_with_the_nearest_that_there_is(
    world: World, query: str, problems: dict[str, str] | None
) -> None:
    answer = world.request("GET", f"/v1/exports?{query}")
    assert answer.status == 400, answer
    found = {each["field"]: each["message"] for each in answer.body["errors"]}
    assert found == problems if problems else [*found] == ["x", "stat"]


def test_a_call_without_query_parameters_refuses_any_and_does_nothing(world: World) -> None:
    export = world.export()
    path = f"/v1/exports/{export}"
    calls: list[tuple[str, str, Any]] = [
        ("GET", path, None),
        ("GET", "/v1/options", None),
        ("POST", "/v1/exports", body()),
        ("PATCH", path, {"name": "Other"}),
        ("DELETE", path, None),
        *(("POST", f"{path}:{call}", None) for call in CALLS),
    ]
    for method, asked, sent in calls:
        answer = world.request(method, f"{asked}?dry_run=true", sent)
        has = "there are `skip`" if asked.endswith(":resume") else "this call has none"
        assert (answer.status, answer.body["errors"]) == (
            400,
            [{"field": "dry_run", "message": f"there is no such query parameter; {has}"}],
        ), (method, asked)
    shown = world.request("GET", path).body
    assert (shown["name"], shown["state"], world.audit(export)) == ("Nightly", "ACTIVE", [])
    assert len(world.request("GET", "/v1/exports").body["exports"]) == 1
    assert world.request("GET", "/v1/openapi.json?x=1").status == 200


def test_a_field_that_there_is_not_is_refused_with_the_nearest_that_there_is(world: World) -> None:
    sent = body(intervall="daily", colour="green", connector_config={"storageUri": "gs://acme-bi/x"})
    answer = world.request("POST", "/v1/exports", sent)
    assert {each["field"]: each["message"] for each in answer.body["errors"]} == {
        "intervall": "there is no such field: did you mean `interval`?",
        "colour": "there is no such field",
        "connector_config.storage_uri": "is needed",
        "connector_config.storageUri": "there is no such field: did you mean `storage_uri`?",
    }
    export = world.export()
    window = {"begin": "2026-11-22T08:00:00Z", "ends": "2026-11-22T09:00:00Z", "start": "2026-11-22T08:00Z"}
    answer = world.request("POST", f"/v1/exports/{export}:backfill", window)
    assert {each["field"]: each["message"] for each in answer.body["errors"]} == {
        "begin": "there is no such field",
        "ends": "there is no such field: did you mean `end`?",
        "end": "is needed",
    }
    answer = world.request("PATCH", f"/v1/exports/{export}", {"connector_config": {"export_image": True}})
    assert answer.body["errors"] == [
        {
            "field": "connector_config.export_image",
            "message": "there is no such field: did you mean `export_images`?",
        }
    ]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/exports/not-a-uuid", 404),
        ("GET", "/v1/exports/00000000-0000-4000-8000-000000000000", 404),
        ("PUT", "/v1/exports", 405),
        ("POST", "/v1//nothing", 404),
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
    with pytest.raises(Conflict, match="cannot be changed"):
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


# --- the life of an export, over HTTP; what becomes of its runs is in tests/shared/exports/test_lifecycle.py

MORNING = datetime(2026, 11, 23, 2, tzinfo=UTC)


def test_the_history_of_a_config_is_newest_first_and_paged(world: World) -> None:
    export = world.export()
    other = create_key(world.cloud.db, customer="acme", scopes=["exports"])
    for minutes, name in ((5, "Second"), (6, "Third")):
        world.wait(timedelta(minutes=minutes))
        world.request("PATCH", f"/v1/exports/{export}", {"name": name}, key=other)
    path = f"/v1/exports/{export}/history"
    first = world.request("GET", f"{path}?page_size=2").body
    second = world.request("GET", f"{path}?page_size=2&page_token={first['next_page_token']}").body
    assert second["next_page_token"] is None
    history = first["history"] + second["history"]
    assert [(each["version"], each["config"]["name"], each["created"][:16]) for each in history] == [
        (3, "Third", "2026-11-22T09:28"),
        (2, "Second", "2026-11-22T09:22"),
        (1, "Nightly", "2026-11-22T09:17"),
    ]
    assert [each["user"] for each in history] == [other.split("_")[1]] * 2 + [world.key.split("_")[1]]
    shown = world.request("GET", f"/v1/exports/{export}").body
    assert history[0]["config"] == {field: shown[field] for field in history[0]["config"]}


@pytest.mark.ours_only("names the very moment, which needs a clock that stands")
def test_a_cancelled_run_stays_in_the_audit_with_every_key(world: World) -> None:
    export = world.export()
    world.wait(timedelta(minutes=5))
    begun = world.request("POST", f"/v1/exports/{export}:run").body
    path = f"/v1/exports/{export}/runs/{begun['run_id']}"
    cancelled = world.request("POST", f"{path}:cancel")
    assert (cancelled.status, cancelled.body["status"]) == (200, "CANCELLED")
    assert list(cancelled.body) == list(begun)
    assert cancelled.body["timestamp"] == "2026-11-22T09:22:00.000Z"
    counted = ("rows", "file_count", "images", "bytes", "error", "next_action")
    assert [cancelled.body[key] for key in counted] == [0, 0, 0, 0, None, None]
    world.wait(timedelta(minutes=5))
    again = world.request("POST", f"{path}:cancel")
    assert (again.status, again.body) == (200, cancelled.body)
    assert world.audit(export) == [cancelled.body]
    retried = world.request("POST", f"{path}:retry")
    assert (retried.status, "CANCELLED" in retried.body["detail"]) == (409, True)


def test_the_list_leaves_out_what_is_at_its_end_unless_asked(world: World) -> None:
    made = {state: world.export(name=state) for state in ("ACTIVE", "PAUSED", "SUSPENDED", "DELETED")}
    made["ENDED"] = world.export(name="ENDED", interval="once")
    world.run_due()
    world.request("POST", f"/v1/exports/{made['PAUSED']}:pause")
    world.request("DELETE", f"/v1/exports/{made['DELETED']}")
    world.cloud.db.document(f"exports/{made['SUSPENDED']}").update({"state": "SUSPENDED"})

    def listed(query: str = "") -> list[str]:
        exports = world.request("GET", f"/v1/exports{query}").body["exports"]
        assert all(each["state"] == each["name"] for each in exports)
        return sorted(each["state"] for each in exports)

    assert listed() == ["ACTIVE", "PAUSED", "SUSPENDED"]
    assert listed("?state=all") == sorted(made)
    for state in made:
        assert listed(f"?state={state}") == [state]
    bad = world.request("GET", "/v1/exports?state=asleep")
    assert (bad.status, bad.body["errors"][0]["field"]) == (400, "state")


PLACES: dict[str, dict[str, Any]] = {
    "email": {"connector_config": {"emails": ["anna@acme.example"]}},
    "sftp": {
        "connector_config": {
            "host": "sftp.acme.example",
            "username": "waybill",
            "password": "hunter2",
            "host_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJHuzQYcKQGhsSPqBQvVUPbtKmxLkKvnfZ5zqQKqKZ6a",
            "path": "in",
        }
    },
}
"""What an export says of where it lands, by its connector, where that is not a bucket."""


def test_the_options_are_what_an_export_can_be_made_with(world: World) -> None:
    answer = world.request("GET", "/v1/options")
    assert answer.status == 200
    assert set(answer.body) == {
        "export_types",
        "file_formats",
        "intervals",
        "connector_types",
        "date_formats",
    }
    fields = {
        "export_types": "export_type",
        "file_formats": "file_format",
        "intervals": "interval",
        "connector_types": "connector_type",
    }
    for options, field in fields.items():
        assert answer.body[options]
        for option in answer.body[options]:
            changes = {field: option.replace("N", "30"), **PLACES.get(option, {})}
            made = world.request("POST", "/v1/exports", body(**changes))
            assert made.status == 201, (option, made)
    for option in answer.body["date_formats"]:
        made = world.request("POST", "/v1/exports", body(file_format="csv", date_format=option))
        assert made.status == 201, (option, made)
    assert world.request("GET", "/v1/options", headers={"Authorization": "Token x"}).status == 401


def test_a_deleted_export_can_be_read_and_nothing_else(world: World) -> None:
    world.work_order("WO_1")
    export = world.export()
    world.run_due(MORNING)
    path = f"/v1/exports/{export}"
    (run,) = world.audit(export)
    answer = world.request("DELETE", path)
    assert (answer.status, answer.body) == (204, b"")
    assert world.request("DELETE", path).status == 204
    shown = world.request("GET", path)
    assert (shown.status, shown.body["state"], shown.body["next_due"]) == (200, "DELETED", None)
    assert len(world.request("GET", f"{path}/history").body["history"]) == 1
    assert world.audit(export) == [run]
    of_run = world.request("GET", f"{path}/runs/{run['run_id']}").body
    assert {field: of_run[field] for field in run} == run
    landed = world.landed()
    window = {"start": "2026-11-22T09:00:00Z", "end": "2026-11-22T10:00:00Z"}
    asked = [
        ("PATCH", path, {"name": "Renamed"}),
        *(("POST", f"{path}:{call}", window) for call in CALLS),
        *(("POST", f"{path}/runs/{run['run_id']}:{call}", None) for call in ("cancel", "retry")),
    ]
    for method, asked_path, sent in asked:
        refused = world.request(method, asked_path, sent)
        assert refused.status == 409, (asked_path, refused)
    world.run_due(MORNING + timedelta(days=1))
    assert world.request("GET", path).body == shown.body
    assert world.audit(export) == [run]
    assert world.landed() == landed


@pytest.mark.parametrize("call", ["pause", "resume"])
def test_what_has_ended_is_neither_paused_nor_resumed(world: World, call: str) -> None:
    export = world.export(interval="once")
    world.run_due()
    answer = world.request("POST", f"/v1/exports/{export}:{call}")
    assert (answer.status, "has ended" in answer.body["detail"]) == (409, True)


def test_resuming_says_what_was_left_out_as_backfill_takes_it(world: World) -> None:
    work_order = world.work_order("WO_1")
    export = world.export(start="2026-11-22T09:00:00Z")
    path = f"/v1/exports/{export}"
    assert world.request("POST", f"{path}:pause").body["state"] == "PAUSED"
    assert world.request("POST", f"{path}:pause").status == 200
    world.run_due(MORNING)
    resumed = world.request("POST", f"{path}:resume")
    assert (resumed.status, resumed.body["state"]) == (200, "ACTIVE")
    left_out = {"start": "2026-11-22T09:00:00Z", "end": "2026-11-23T00:00:00Z"}
    assert resumed.body["left_out"] == left_out
    assert resumed.body["next_window_start"] == left_out["end"]
    again = world.request("POST", f"{path}:resume")
    assert (again.status, again.body["left_out"]) == (200, None)
    assert world.request("POST", f"{path}:backfill", left_out).status == 201
    world.drain()
    assert [record["id"] for record in world.records()] == [work_order.id]
    world.run_due(MORNING + timedelta(days=1))
    assert world.audit(export)[0]["window"] == {"start": left_out["end"], "end": "2026-11-24T00:00:00Z"}


# --- Idempotency-Key


def keyed(world: World, idempotency: str, *, key: str | None = None) -> dict[str, str]:
    return {"Authorization": f"Token {key or world.key}", "Idempotency-Key": idempotency}


WINDOW = {"start": "2026-11-22T08:00:00Z", "end": "2026-11-22T09:00:00Z"}


class Repeated:
    """A POST that is sent with a key, and what it makes."""

    def __init__(self, world: World, call: str) -> None:
        self.world = world
        self.call = call
        self.export = world.export(start="2026-11-22T09:00:00Z")
        path = f"/v1/exports/{self.export}"
        self.path = "/v1/exports" if call == "create" else f"{path}:{call}"
        self.sent = {"create": body(name="Keyed"), "backfill": WINDOW}.get(call)
        if call == "retry":
            world.suite.storage.revoke(BUCKET, world.acme.account, "storage.objects.create")
            world.run_due(MORNING)
            (event,) = world.audit(self.export)
            self.path = f"{path}/runs/{event['run_id']}:retry"
        else:
            world.wait(timedelta(minutes=3))

    def send(self, key: str = "the key", sent: Any = None) -> Any:
        return self.world.request("POST", self.path, sent or self.sent, headers=keyed(self.world, key))

    def made(self) -> list[str]:
        """What there is of what it makes; of a retry, when its run was last touched."""
        if self.call == "create":
            exports = self.world.request("GET", "/v1/exports").body["exports"]
            return [each["id"] for each in exports if each["name"] == "Keyed"]
        if self.call == "retry":
            runs = self.world.cloud.db.collection_group("runs").stream()
            return [str(each.update_time) for each in runs]
        return [event["run_id"] for event in self.world.audit(self.export)]


@pytest.mark.parametrize("call", ["create", "run", "backfill", "retry"])
def test_a_post_sent_twice_with_a_key_does_once_what_it_asks(world: World, call: str) -> None:
    repeated = Repeated(world, call)
    status = 200 if call == "retry" else 201
    first = repeated.send()
    assert first.status == status, first
    world.wait(timedelta(minutes=5))
    world.drain()  # a retry fails again meanwhile, and is not tried once more
    made = repeated.made()
    assert len(made) == 1
    second = repeated.send()
    assert second.status == status, second
    name = "id" if call == "create" else "run_id"
    assert second.body[name] == first.body[name]
    world.drain()
    assert repeated.made() == made
    other = repeated.send("another key")
    assert other.status == status, other
    world.drain()
    assert repeated.made() != made


@pytest.mark.parametrize("call", ["create", "run", "backfill", "retry"])
def test_a_post_whose_answer_was_lost_is_sent_again_and_done_once(world: World, call: str) -> None:
    repeated = Repeated(world, call)
    world.suite.traffic.arm("firestore.Commit", Fault("reset_after"))
    repeated.send()
    world.suite.traffic.disarm()
    world.tick()  # starts what waits, if the one whose answer was lost came no further
    world.drain()
    made = repeated.made()
    second = repeated.send()
    assert second.status == (200 if call == "retry" else 201), second
    world.drain()
    assert len(made) == 1
    assert repeated.made() == made
    if call == "run":
        assert second.body["window"] == {"start": "2026-11-22T09:00:00Z", "end": "2026-11-22T09:20:00Z"}


@pytest.mark.parametrize("call", ["create", "run", "backfill"])
def test_two_posts_of_one_key_at_once_make_one(world: World, call: str) -> None:
    repeated = Repeated(world, call)
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: repeated.send(), range(2)))
    assert [answer.status for answer in answers] == [201, 201], answers
    assert len(repeated.made()) == 1


@pytest.mark.parametrize(
    ("call", "other"),
    [("create", body(name="Other")), ("backfill", WINDOW | {"start": "2026-11-22T07:00:00Z"})],
)
def test_another_body_under_the_same_key_is_refused(world: World, call: str, other: dict[str, Any]) -> None:
    repeated = Repeated(world, call)
    assert repeated.send().status == 201
    refused = repeated.send(sent=other)
    assert (refused.status, "Idempotency-Key" in refused.body["detail"]) == (409, True)
    assert [refused.body["existing_id"]] == repeated.made()


def test_another_call_under_the_same_key_is_refused(world: World) -> None:
    export = world.export(start="2026-11-22T09:00:00Z")
    headers = keyed(world, "the key")
    assert world.request("POST", f"/v1/exports/{export}:backfill", WINDOW, headers=headers).status == 201
    assert world.request("POST", f"/v1/exports/{export}:run", WINDOW, headers=headers).status == 409
    assert len(world.audit(export)) == 1


def test_another_customers_same_key_is_their_own(world: World, theirs: str) -> None:
    ours = world.request("POST", "/v1/exports", body(), headers=keyed(world, "nightly"))
    sent = body(site_ids=[THEIR_SITE])
    made = world.request("POST", "/v1/exports", sent, headers=keyed(world, "nightly", key=theirs))
    assert (ours.status, made.status) == (201, 201)
    assert made.body["id"] != ours.body["id"]
    other = world.export()
    for export in (ours.body["id"], other):
        run = world.request("POST", f"/v1/exports/{export}:backfill", WINDOW, headers=keyed(world, "nightly"))
        assert run.status == 201
        assert len(world.audit(export)) == 1


@pytest.mark.parametrize("key", ["", "x" * 256, "café", "a\tb"])
@pytest.mark.parametrize("call", ["create", "run", "backfill", "retry"])
def test_a_key_of_the_wrong_form_is_refused_and_nothing_is_made(world: World, call: str, key: str) -> None:
    repeated = Repeated(world, call)
    before = repeated.made()
    answer = repeated.send(key)
    assert (answer.status, [each["field"] for each in answer.body["errors"]]) == (400, ["Idempotency-Key"])
    assert repeated.made() == before


def test_the_longest_key_is_taken(world: World) -> None:
    repeated = Repeated(world, "create")
    assert repeated.send("x" * 255).status == repeated.send("x" * 255).status == 201
    assert len(repeated.made()) == 1


@pytest.mark.parametrize("call", ["pause", "resume", "edit", "delete", "cancel"])
def test_a_change_whose_answer_was_lost_is_there_and_can_be_sent_again(world: World, call: str) -> None:
    export = world.export(start="2026-11-22T09:00:00Z")
    path = f"/v1/exports/{export}"
    run = world.request("POST", f"{path}:run").body["run_id"]
    if call == "resume":
        world.request("POST", f"{path}:pause")
    method, asked, sent = {
        "edit": ("PATCH", path, {"name": "Renamed"}),
        "delete": ("DELETE", path, None),
        "cancel": ("POST", f"{path}/runs/{run}:cancel", None),
    }.get(call, ("POST", f"{path}:{call}", None))
    world.suite.traffic.arm("firestore.Commit", Fault("reset_after"))
    world.request(method, asked, sent)
    world.suite.traffic.disarm()
    again = world.request(method, asked, sent)
    assert again.status == (204 if call == "delete" else 200), again
    shown = world.request("GET", path).body
    states = {"pause": "PAUSED", "delete": "DELETED"}
    assert shown["state"] == states.get(call, "ACTIVE")
    assert shown["version"] == (2 if call == "edit" else 1)
    assert world.audit(export)[0]["status"] == ("CANCELLED" if call in ("cancel", "delete") else "RUNNING")


BUSY = "others are changing the same data at this moment: try again"


@pytest.mark.parametrize("call", ["delete", "pause", "run"])
def test_a_change_that_others_keep_out_is_answered_503_and_is_to_be_sent_again(
    world: World, call: str
) -> None:
    """A process that dies in the middle of a transaction keeps its locks for a minute."""
    export = world.export()
    world.wait(timedelta(minutes=3))
    asked = ("DELETE", "") if call == "delete" else ("POST", f":{call}")
    world.suite.traffic.arm("firestore.Commit", Fault("abort"), times=TRANSACTION_ATTEMPTS)
    answer = world.request(asked[0], f"/v1/exports/{export}{asked[1]}")
    assert (answer.status, answer.body["detail"]) == (503, BUSY)
    again = world.request(asked[0], f"/v1/exports/{export}{asked[1]}")
    assert again.status in (200, 201, 204), again


def test_a_single_write_that_met_a_transaction_is_answered_503(world: World) -> None:
    world.suite.traffic.arm("firestore.Commit", Fault("error", status=10))  # ABORTED
    answer = world.request("POST", "/v1/exports", body())
    assert (answer.status, answer.body["detail"]) == (503, BUSY)
    assert world.request("POST", "/v1/exports", body()).status == 201


def test_a_request_whose_transaction_expired_is_answered_503(world: World, outside: Outside) -> None:
    export = world.export()
    path = f"/v1/exports/{export}"
    outside.arm(0, "before")
    with outside.watching():
        assert world.request("PATCH", path, {"name": "Renamed"}).status == 200
    commit = 1 + outside.calls.index("Commit")
    outside.arm(commit, "before", lambda: world.wait(timedelta(seconds=61)))
    with outside.watching():
        answer = world.request("PATCH", path, {"name": "Named again"})
    assert (answer.status, answer.body["detail"]) == (503, BUSY)
    assert world.request("GET", path).body["name"] == "Renamed"
