"""export-runs: one row a run that ended, as its audit event says."""

from datetime import UTC, datetime
from typing import Any

from google.cloud import firestore

from shared.exports import audit
from shared.window import floor_minute
from tests.shared.sources.reading import MINUTE, ended_run, rows, since
from tests.world import OTHER_SITE, SITE, World


def ids(found: list[dict[str, Any]]) -> list[str]:
    return [row["run_id"] for row in found]


def statuses(found: list[dict[str, Any]]) -> list[str]:
    return [row["status"] for row in found]


def test_a_row_has_the_events_keys_in_order_and_what_it_lacks_is_null(world: World) -> None:
    ended_run(world, "a-run")
    [row] = rows(world, "export-runs", since(world))
    assert list(row) == list(audit.KEYS)
    assert {name: value for name, value in row.items() if value is not None} == {
        "recipients": [{"name": "Zoë", "address": "zoe@acme.example"}],
        "operations": ["CLOUD_STORAGE"],
        "window": {"start": "2026-11-21T00:00:00Z", "end": "2026-11-22T00:00:00Z"},
        "run_id": "a-run",
        "status": "COMPLETED",
        "rows": 3,
        "timestamp": "2026-11-22T09:17:00.123Z",
        "files": [],
    }
    assert list(row["window"]) == ["start", "end"]
    assert list(row["recipients"][0]) == ["address", "name"], "a map of Firestore's has no order: ours has"


def test_the_rows_are_the_events_that_the_audit_shows(world: World) -> None:
    world.work_order("WO_1")
    good = world.export()
    bad = world.export(connector_config={"storage_uri": "gs://nowhere-at-all/waybill"})
    start = floor_minute(world.suite.clock.now())
    world.run_due(datetime(2026, 11, 23, 2, tzinfo=UTC))
    events = [event for export in (good, bad) for event in world.audit(export)]
    assert sorted(statuses(events)) == ["COMPLETED", "FAILED"]
    found = rows(world, "export-runs", since(world, start))
    assert sorted(found, key=str) == sorted(events, key=str)
    assert [list(row) for row in found] == [list(event) for event in events]


def test_a_run_of_this_source_delivers_the_runs_before_it(world: World) -> None:
    other = world.export()
    world.run_due(datetime(2026, 11, 23, 2, tzinfo=UTC))
    audit = world.export(export_type="export-runs", start="2026-11-22T00:00:00Z")
    world.run_due(datetime(2026, 11, 24, 2, tzinfo=UTC))
    assert world.records() == list(reversed(world.audit(other)))[:1]
    assert statuses(world.audit(audit)) == ["COMPLETED", "COMPLETED"]


def test_it_is_of_the_runs_that_name_one_of_the_sites_each_once(world: World) -> None:
    for id, sites in (("mine", [SITE]), ("other", [OTHER_SITE]), ("both", [OTHER_SITE, SITE])):
        ended_run(world, id, sites=sites)
    ended_run(world, "theirs", customer="umbrella")
    both = since(world, sites=[SITE, OTHER_SITE])
    assert ids(rows(world, "export-runs", both)) == ["both", "mine", "other"]
    mine = since(world, both.window.start)
    assert ids(rows(world, "export-runs", mine)) == ["both", "mine"]


def test_a_run_that_is_tried_again_stands_in_each_window_with_what_it_was_then(world: World) -> None:
    path = ended_run(world, "a-run", status="FAILED")
    failed = since(world)
    again = {"state": "RUNNING", "audit": firestore.DELETE_FIELD}
    world.cloud.db.document(path).update(again)
    under_way = since(world, failed.window.end)
    ended_run(world, "a-run", status="COMPLETED")
    completed = since(world, under_way.window.end)
    world.wait(3 * MINUTE)
    found = [statuses(rows(world, "export-runs", each)) for each in (failed, under_way, completed)]
    assert found == [["FAILED"], [], ["COMPLETED"]]
    assert statuses(rows(world, "export-runs", since(world, failed.window.start))) == ["COMPLETED"]


def test_one_that_failed_and_is_under_way_again_at_the_windows_end_is_not_in_it(world: World) -> None:
    path = ended_run(world, "a-run", status="FAILED")
    world.cloud.db.document(path).update({"state": "PENDING", "audit": firestore.DELETE_FIELD})
    assert rows(world, "export-runs", since(world)) == []
