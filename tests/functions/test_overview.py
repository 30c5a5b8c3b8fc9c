"""`GET /v1/overview`: what is due, runs, failed, or waits for somebody, and what to do about it."""

from datetime import timedelta
from typing import Any

import pytest

from shared.exports import export as exports
from shared.exports.overview import SHOWN
from shared.gcp.documents import fields_of
from tests.shared.exports.nights import due, fix, go_on, nightly, refuse, work_on
from tests.subjects.by_email import only
from tests.world import World


def overview(world: World, **more: Any) -> dict[str, Any]:
    answer = world.request("GET", "/v1/overview", **more)
    assert answer.status == 200, answer
    found: dict[str, Any] = answer.body
    return found


def there(world: World, **more: Any) -> dict[str, list[str]]:
    """The ids in each list that has any."""
    found = overview(world, **more)
    return {
        name: [each.get("run_id") or each["export_id"] for each in entries]
        for name, entries in found.items()
        if name != "more" and entries
    }


def test_what_is_due_next_comes_first(world: World) -> None:
    later, sooner = nightly(world, at="05:00"), nightly(world, name="<b>Sooner</b>")
    paused = nightly(world)
    assert world.request("POST", f"/v1/exports/{paused}:pause").status == 200
    assert there(world) == {"due": [sooner, later]}
    assert overview(world)["due"][0] == {
        "export_id": sooner,
        "export_name": "<b>Sooner</b>",
        "next_window_start": "2026-11-22T09:17:00.000Z",
        "next_due": "2026-11-23T02:00:00.000Z",
    }


@pytest.mark.slow
def test_a_run_is_pending_then_running_then_gone(world: World) -> None:
    first, second = nightly(world), nightly(world)
    work_on(world, 1)
    world.tick(due(1))
    world.step()  # the tick
    world.step()  # begins the windows
    found = there(world)
    assert (len(found["running"]), len(found["pending"])) == (1, 1), found
    [entry] = overview(world)["running"]
    assert entry["export_id"] in (first, second)
    assert entry["window"] == {"start": "2026-11-22T09:17:00Z", "end": "2026-11-23T00:00:00Z"}
    assert (entry["status"], entry["export_name"], entry["started"] is None) == ("RUNNING", "Nightly", False)
    world.drain()
    go_on(world)
    assert set(there(world)) == {"due"}


def test_a_failed_run_says_what_to_do_and_is_gone_once_its_window_is_exported(world: World) -> None:
    export = nightly(world)
    refuse(world)
    work_on(world, 1)
    world.run_due(due(1))
    run = only(world, export)["run_id"]
    [entry] = overview(world)["failed"]
    assert (entry["run_id"], entry["export_id"]) == (run, export)
    assert "does not have the permission storage.objects.create" in entry["error"]
    assert entry["next_action"].startswith("Grant storage.objects.create")
    assert entry["failed"] == "2026-11-23T02:00:00.000Z"
    method, path = entry["call"].split()
    fix(world)
    assert world.request(method, path).status == 200
    world.drain()
    assert set(there(world)) == {"due"}


def test_a_suspended_export_says_what_to_do(world: World) -> None:
    export = nightly(world)
    why = {"error": "The bucket is gone.", "next_action": "Make it again."}
    world.cloud.db.document(f"exports/{export}").update({"state": exports.SUSPENDED, "suspended": why})
    [entry] = overview(world)["suspended"]
    assert entry == {
        "export_id": export,
        "export_name": "Nightly",
        **why,
        "call": f"POST /v1/exports/{export}:resume",
    }
    method, path = entry["call"].split()
    assert world.request(method, path).status == 200
    assert set(there(world)) == {"due"}


def test_a_run_that_waits_says_for_what_and_since_when(world: World) -> None:
    export = nightly(world)
    work_on(world, 1)
    world.tick(due(1))
    world.step()
    world.step()
    [run] = world.cloud.db.collection(f"exports/{export}/runs").stream()
    run.reference.update({"waits_for": "Your server does not answer.", "since": due(1), "waiting": True})
    [entry] = overview(world)["waiting"]
    assert (entry["waits_for"], entry["waits_since"]) == (
        "Your server does not answer.",
        "2026-11-23T02:00:00.000Z",
    )
    assert "tried again by itself" in entry["next_action"]
    assert there(world)["running"] == [run.id]


def test_the_failed_windows_of_a_deleted_export_wait_for_nobody(world: World) -> None:
    export = nightly(world)
    refuse(world)
    work_on(world, 1)
    world.run_due(due(1))
    assert "failed" in there(world)
    assert world.request("DELETE", f"/v1/exports/{export}").status == 204
    assert there(world) == {}


def test_each_list_has_its_first_entries_and_says_where_there_are_more(world: World) -> None:
    export = nightly(world)
    template = fields_of(world.cloud.db.document(f"exports/{export}").get())
    batch = world.cloud.db.batch()
    for number in range(SHOWN):
        at = template["next_due"] + timedelta(minutes=number)
        batch.set(world.cloud.db.document(f"exports/{number:08}"), {**template, "next_due": at})
    batch.commit()
    found = overview(world)
    assert len(found["due"]) == SHOWN
    assert [name for name, more in found["more"].items() if more] == ["due"]


@pytest.mark.slow
def test_another_customers_exports_and_runs_are_in_no_list(world: World) -> None:
    theirs = world.stranger()
    nightly(world)
    refuse(world)
    work_on(world, 1)
    world.run_due(due(1))
    assert there(world, key=theirs) == {}
    assert set(there(world)) == {"due", "failed"}
