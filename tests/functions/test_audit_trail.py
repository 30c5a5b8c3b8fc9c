"""Who did it: each route that can change something leaves an entry with its key and the thing."""

import importlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

from infra.local.traffic import Fault
from shared import audit_trail
from shared.accounts.keys import create_key
from shared.audit_trail import Actor
from shared.gcp.documents import fields_of, moment_in
from shared.http.routes import PUBLIC, Route, Routes, template
from tests.shared.exports.nights import due, refuse, work_on
from tests.subjects.by_email import by_email, only, work
from tests.subjects.small_dataset import Datasets
from tests.subjects.small_job import Jobs
from tests.world import BUNDLE, SITE, Answer, World

MORNING = datetime(2026, 11, 23, 2, tzinfo=UTC)
WINDOW = {"start": "2026-11-20T00:00:00Z", "end": "2026-11-21T00:00:00Z"}

Change = Callable[[World], tuple[Answer, str, str]]
"""Makes what a route needs, and calls it; returns the answer, the key, and what was changed, as a path."""


def routes() -> dict[str, Route]:
    """The routes that may change something of a customer, of every HTTP function."""
    found = {}
    for name, function in BUNDLE.functions.items():
        if function.topic is None:
            several = getattr(importlib.import_module(f"functions.{name}.main"), "ROUTES", ())
            for each in (several,) if isinstance(several, Routes) else several:
                for route in each.routes:
                    if route.method != "GET" and route.scope != PUBLIC:
                        found[f"{route.method} {template(route.path)}"] = route
    return found


def entries(world: World, customer: str = "acme") -> list[dict[str, Any]]:
    found = [fields_of(each) for each in world.cloud.db.collection(audit_trail.COLLECTION).stream()]
    return [each for each in found if each["customer"] == customer]


# --- exports


def new_export(world: World) -> tuple[Answer, str, str]:
    body = {
        "name": "Nightly",
        "site_ids": [SITE],
        "interval": "daily",
        "connector_type": "cloud_storage",
        "connector_config": {"storage_uri": "gs://acme-bi/waybill"},
    }
    answer = world.request("POST", "/v1/exports", body)
    return answer, world.key, f"exports/{answer.body['id']}"


def of_export(method: str, what: str = "", body: Any = None, state: str = "ACTIVE") -> Change:
    def change(world: World) -> tuple[Answer, str, str]:
        id = world.export(start="2026-11-22T09:00:00Z")
        world.cloud.db.document(f"exports/{id}").update({"state": state})
        return world.request(method, f"/v1/exports/{id}{what}", body), world.key, f"exports/{id}"

    return change


def new_run(what: str, body: Any = None) -> Change:
    def change(world: World) -> tuple[Answer, str, str]:
        id = world.export(start="2026-11-22T09:00:00Z")
        answer = world.request("POST", f"/v1/exports/{id}:{what}", body)
        return answer, world.key, f"exports/{id}/runs/{answer.body['run_id']}"

    return change


def cancel_run(world: World) -> tuple[Answer, str, str]:
    path = new_run("run")(world)[2]
    return world.request("POST", f"/v1/{path}:cancel"), world.key, path


def retry_run(world: World) -> tuple[Answer, str, str]:
    id = world.export()
    refuse(world)
    work_on(world, 1)
    world.run_due(due(1))
    path = f"exports/{id}/runs/{only(world, id)['run_id']}"
    return world.request("POST", f"/v1/{path}:retry"), world.key, path


def of_mail(what: str) -> Change:
    def change(world: World) -> tuple[Answer, str, str]:
        work(world)
        id = by_email(world)
        world.run_due(MORNING)
        run = f"exports/{id}/runs/{only(world, id)['run_id']}"
        mail = world.request("GET", f"/v1/{run}/mails").body["mails"][0]["id"]
        answer = world.request("POST", f"/v1/{run}/mails/{mail}:{what}")
        return answer, world.key, f"{run}/mails/{mail}"

    return change


# --- batches and work orders


def new_batch(world: World) -> tuple[Answer, str, str]:
    answer = world.request("POST", f"/v0.2/batches?site_id={SITE}", {"filename": "a.zip"})
    return answer, world.key, f"batches/{answer.body['batch_id']}"


def cancel_batch(world: World) -> tuple[Answer, str, str]:
    id = world.batch()
    return world.request("DELETE", f"/v0.2/batches/{id}"), world.key, f"batches/{id}"


def new_work_order(world: World) -> tuple[Answer, str, str]:
    answer = world.request("POST", f"/v0.2/work-orders?site_id={SITE}", {"name": "WO_1"})
    return answer, world.key, f"work_orders/{answer.body['id']}"


def of_work_order(method: str, what: str = "", body: Any = None) -> Change:
    def change(world: World) -> tuple[Answer, str, str]:
        id = world.work_order("WO_1", photographs=0).id
        path = f"/v0.2/work-orders/{id}{what}?site_id={SITE}"
        return world.request(method, path, body), world.key, f"work_orders/{id}"

    return change


def send_results(world: World) -> tuple[Answer, str, str]:
    order = world.work_order("WO_1", photographs=1)
    item = order.work_item("meter")
    assert item is not None
    result = {
        "input_id": item.input[0].id,
        "task_name": "serial",
        "analyzed_value": 7,
        "is_conformity_validated": True,
    }
    path = f"/v0.2/work-orders/{order.id}/results?site_id={SITE}"
    answer = world.request("POST", path, {"results": [result]})
    return answer, world.key, f"work_orders/{order.id}"


# --- jobs


def of_jobs(path: str, **given: Any) -> Change:
    def change(world: World) -> tuple[Answer, str, str]:
        jobs = Jobs(world)
        answer = jobs.send(f"/ls/api/batch/{path}", **given)
        made = answer.body.get("jobId")
        return answer, jobs.key, f"jobs/{made}" if made else f"uploads/{answer.body['uploadId']}"

    return change


EXPORT = {"itemType": "Technician", "contentType": "text/plain", "filters": "0"}
IMPORT = {
    "data": {"itemType": "Technician", "contentType": "text/plain"},
    "files": {"file": ("some.csv", b"id\n1\n", "text/plain")},
}


def cancel_job(world: World) -> tuple[Answer, str, str]:
    jobs = Jobs(world)
    id = jobs.begin_import(b"id\n1\n")
    return jobs.send("/ls/api/batch/cancel", data={"jobId": id}), jobs.key, f"jobs/{id}"


def revoke_job(world: World) -> tuple[Answer, str, str]:
    jobs = Jobs(world)
    jobs.imported(b"id\n1\n")
    id = jobs.exported()["jobId"]
    return jobs.send("/ls/api/batch/revoke", data={"jobId": id}), jobs.key, f"jobs/{id}"


def put_item_type(world: World) -> tuple[Answer, str, str]:
    jobs = Jobs(world)
    answer = jobs.send("/ls/api/itemTypes/Technician", "PUT", json={"required": ["name"]})
    return answer, jobs.key, "item_types/Technician"


# --- datasets


def new_dataset(world: World) -> tuple[Answer, str, str]:
    datasets = Datasets(world)
    body = {"dataset_name": "Meters", "dataset_type": 0, "site_ids": [SITE]}
    answer = datasets.send("POST", "", body)
    return answer, datasets.key, f"datasets/{answer.body['dataset_id']}"


def of_dataset(method: str, what: str = "", body: Any = None) -> Change:
    def change(world: World) -> tuple[Answer, str, str]:
        datasets = Datasets(world)
        id = datasets.create()
        answer = datasets.send(method, f"/{id}{what}", body)
        task = (answer.body or {}).get("task_id") if what else None
        return answer, datasets.key, f"dataset_tasks/{task}" if task else f"datasets/{id}"

    return change


def cancel_task(world: World) -> tuple[Answer, str, str]:
    datasets = Datasets(world)
    id = datasets.create()
    task = datasets.begin(id)
    answer = datasets.send("DELETE", f"/{id}/export-tasks/{task}")
    return answer, datasets.key, f"dataset_tasks/{task}"


def by_keys(world: World) -> str:
    return create_key(world.cloud.db, customer="acme", scopes=["keys"])


def new_key(world: World) -> tuple[Answer, str, str]:
    key = by_keys(world)
    answer = world.request("POST", "/v1/keys", {"scopes": ["keys"]}, key=key)
    return answer, key, f"api_keys/{answer.body['id']}"


def revoke_key(world: World) -> tuple[Answer, str, str]:
    key, id = by_keys(world), world.key.split("_")[1]
    return world.request("POST", f"/v1/keys/{id}:revoke", key=key), key, f"api_keys/{id}"


TEXT = {"inputs": [{"name": "meter", "data": {"type": "text", "value": "7"}}]}
CONFIG = "/v1/exports/{export}"
RUN = f"{CONFIG}/runs/{{run}}"
ORDER = "/v0.2/work-orders/{work_order}"
BATCH = "/ls/api/batch"
DATASETS = "/v2/{project_id}/datasets"

CHANGES: dict[str, Change] = {
    "POST /v1/exports": new_export,
    f"PATCH {CONFIG}": of_export("PATCH", body={"name": "Renamed"}),
    f"DELETE {CONFIG}": of_export("DELETE"),
    f"POST {CONFIG}:pause": of_export("POST", ":pause"),
    f"POST {CONFIG}:resume": of_export("POST", ":resume", state="PAUSED"),
    f"POST {CONFIG}:run": new_run("run"),
    f"POST {CONFIG}:backfill": new_run("backfill", WINDOW),
    f"POST {CONFIG}:test": of_export("POST", ":test", state="SUSPENDED"),
    f"POST {CONFIG}:retry-failed": of_export("POST", ":retry-failed"),
    f"POST {CONFIG}:revoke-links": of_export("POST", ":revoke-links", {}),
    f"POST {RUN}:cancel": cancel_run,
    f"POST {RUN}:retry": retry_run,
    f"POST {RUN}/mails/{{mail}}:revoke": of_mail("revoke"),
    f"POST {RUN}/mails/{{mail}}:resend": of_mail("resend"),
    "POST /v1/keys": new_key,
    "POST /v1/keys/{key}:revoke": revoke_key,
    "POST /v0.2/batches": new_batch,
    "DELETE /v0.2/batches/{batch}": cancel_batch,
    "POST /v0.2/work-orders": new_work_order,
    f"PATCH {ORDER}": of_work_order("PATCH", body={"tags": ["new"]}),
    f"DELETE {ORDER}": of_work_order("DELETE"),
    f"POST {ORDER}/analyze": of_work_order("POST", "/analyze", TEXT),
    f"POST {ORDER}/results": send_results,
    f"POST {BATCH}/import": of_jobs("import", **IMPORT),
    f"POST {BATCH}/export": of_jobs("export", data=EXPORT),
    f"POST {BATCH}/cancel": cancel_job,
    f"POST {BATCH}/revoke": revoke_job,
    f"POST {BATCH}/upload-url": of_jobs("upload-url"),
    "PUT /ls/api/itemTypes/{type}": put_item_type,
    f"POST {DATASETS}": new_dataset,
    f"PUT {DATASETS}/{{dataset_id}}": of_dataset("PUT", body={"dataset_name": "Renamed"}),
    f"DELETE {DATASETS}/{{dataset_id}}": of_dataset("DELETE"),
    f"POST {DATASETS}/{{dataset_id}}/versions": of_dataset("POST", "/versions"),
    f"POST {DATASETS}/{{dataset_id}}/export-tasks": of_dataset(
        "POST", "/export-tasks", {"path": "gs://acme-bi/sets/1/"}
    ),
    f"DELETE {DATASETS}/{{dataset_id}}/export-tasks/{{task_id}}": cancel_task,
}

READS = {
    "POST /ls/api/batch/status",
    "POST /ls/api/oauth2/tokenInfo",
    "POST /v1/exports:preview",
    f"POST {CONFIG}:preview",
}
"""Routes that change nothing: their clients look with POST, or send a config to be looked at."""

LONG = {
    f"POST {RUN}:retry",
    f"POST {RUN}/mails/{{mail}}:revoke",
    f"POST {RUN}/mails/{{mail}}:resend",
    f"POST {BATCH}/revoke",
}
"""What needs a whole run or job before."""


def test_each_route_that_can_change_something_is_tried_here() -> None:
    assert set(CHANGES) | READS == set(routes())


@pytest.mark.parametrize(
    "action", [pytest.param(each, marks=pytest.mark.slow if each in LONG else ()) for each in CHANGES]
)
def test_a_change_has_an_entry_with_its_key_and_its_thing(world: World, action: str) -> None:
    answer, key, thing = CHANGES[action](world)
    assert answer.status < 300, answer
    request = answer.headers["X-Request-Id"]
    found = {each["thing"]: each for each in entries(world) if each["request"] == request}
    assert thing in found, f"{action} left no entry about {thing}: {entries(world)}"
    assert {each["action"] for each in found.values()} == {action}
    assert {each["key"] for each in found.values()} == {key.split("_")[1]}


# --- what an entry is


def listed(world: World, query: str = "", **more: Any) -> list[dict[str, Any]]:
    answer = world.request("GET", f"/v1/audit{query}", **more)
    assert answer.status == 200, answer
    found: list[dict[str, Any]] = answer.body["entries"]
    return found


def test_an_entry_names_the_fields_that_were_sent_and_never_their_values(world: World) -> None:
    id = world.export()
    world.wait(timedelta(seconds=1))
    place = {"storage_uri": "gs://acme-bi/private-place"}
    answer = world.request("PATCH", f"/v1/exports/{id}", {"name": "Private name", "connector_config": place})
    [entry, made] = listed(world)
    assert entry == {
        "time": entry["time"],
        "key": world.key.split("_")[1],
        "action": "PATCH /v1/exports/{export}",
        "thing": f"exports/{id}",
        "fields": ["connector_config", "name"],
        "request_id": answer.headers["X-Request-Id"],
    }
    assert made["action"] == "POST /v1/exports"
    assert not [each for each in entries(world) if "rivate" in repr(each)]


def test_an_entry_is_bounded_and_kept_for_400_days(world: World) -> None:
    names = [f"{number:03}" + "x" * 200 for number in range(500)]
    batch = world.cloud.db.batch()
    with audit_trail.acting(Actor("k", "pause", "r", tuple(names))):
        audit_trail.note(world.cloud.db, batch, "acme", "exports/e")
    batch.commit()
    [entry] = entries(world)
    assert entry["fields"] == [
        name[: audit_trail.MAX_FIELD_LENGTH] for name in names[: audit_trail.MAX_FIELDS]
    ]
    kept = moment_in(entry, "remove_after") - moment_in(entry, "time")
    assert abs(kept - timedelta(days=400)) < timedelta(seconds=1)


def test_an_edit_that_changes_nothing_and_a_request_that_is_refused_leave_no_entry(world: World) -> None:
    id = world.export()
    before = entries(world)
    assert world.request("PATCH", f"/v1/exports/{id}", {"name": "Nightly"}).status == 200
    assert world.request("PATCH", f"/v1/exports/{id}", {"name": 7}).status == 400
    assert world.request("POST", f"/v1/exports/{id}:resume").status == 200
    assert entries(world) == before


def test_a_change_that_fails_leaves_no_entry_and_one_whose_answer_was_lost_leaves_one(world: World) -> None:
    id = world.export()
    refused = Fault("error", status=grpc.StatusCode.PERMISSION_DENIED.value[0])
    for fault, there in ((refused, 0), (Fault("reset_after"), 1)):
        world.suite.traffic.arm("firestore.Commit", fault)
        world.request("POST", f"/v1/exports/{id}:pause")
        world.suite.traffic.disarm()
        state = world.request("GET", f"/v1/exports/{id}").body["state"]
        found = [each for each in entries(world) if each["action"].endswith(":pause")]
        assert (state, len(found)) == (("ACTIVE", "PAUSED")[there], there), fault


def test_what_functions_do_by_themselves_leaves_no_entry(world: World) -> None:
    work_on(world, 1)
    id = world.export()
    before = entries(world)
    world.run_due(due(1))
    assert only(world, id)["status"] == "COMPLETED"
    assert entries(world) == before


def test_a_request_has_an_entry_for_each_thing_that_it_changes(world: World) -> None:
    datasets = Datasets(world)
    datasets.create()
    assert sorted(each["thing"].partition("/")[0] for each in entries(world)) == ["dataset_tasks", "datasets"]


# --- the list


def test_another_customers_entries_are_never_seen(world: World) -> None:
    theirs = world.stranger()
    id = world.export()
    assert listed(world, key=theirs) == listed(world, f"?thing=exports/{id}", key=theirs) == []
    key = world.key.split("_")[1]
    assert listed(world, f"?key={key}", key=theirs) == []
    assert [each["thing"] for each in listed(world)] == [f"exports/{id}"]


def test_entries_are_filtered_by_thing_key_and_time(world: World) -> None:
    first = world.export(start="2026-11-20T09:00:00Z")
    world.wait(timedelta(seconds=1))
    second = world.export(name="Second")
    world.wait(timedelta(minutes=1))
    other = create_key(world.cloud.db, customer="acme", scopes=["exports"])
    run = world.request("POST", f"/v1/exports/{first}:run", key=other).body["run_id"]
    made, of_run = f"exports/{first}", f"exports/{first}/runs/{run}"
    at = listed(world)[0]["time"]

    def things(query: str) -> list[str]:
        return [each["thing"] for each in listed(world, query)]

    assert things("") == [of_run, f"exports/{second}", made]
    assert things(f"?thing={made}") == [of_run, made]
    assert things(f"?key={other.split('_')[1]}") == [of_run]
    assert things(f"?thing={made}&key={world.key.split('_')[1]}") == [made]
    assert things(f"?since={at}") == [of_run]
    assert things(f"?before={at}") == [f"exports/{second}", made]
    assert things(f"?thing={made}&before={at}") == [made]


@pytest.mark.parametrize(
    "query", ["?thing=exports", "?thing=a/b/c", "?key=", "?since=2026-11-20", "?until=1"]
)
def test_a_wrong_filter_is_refused(world: World, query: str) -> None:
    assert world.request("GET", f"/v1/audit{query}").status == 400


def test_entries_come_in_pages(world: World) -> None:
    made = [f"exports/{world.export(name=f'E {number}')}" for number in range(3)]
    seen, token = [], ""
    while token is not None:
        more = f"&page_token={token}" if token else ""
        body = world.request("GET", f"/v1/audit?page_size=2{more}").body
        seen += [each["thing"] for each in body["entries"]]
        token = body["next_page_token"]
    assert sorted(seen) == sorted(made)
