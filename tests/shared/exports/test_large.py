"""Runs of many parts, at small scale: more than one compose takes, and an attempt a record."""

from datetime import UTC, datetime, timedelta

import pytest

from infra.local.traffic import Call
from shared.exports import runs
from shared.gcp.documents import fields_of
from shared.workorders.images import LINE_BYTES
from tests.world import SITE, World

MORNING = datetime(2026, 11, 23, 2, tzinfo=UTC)

PARTS = 70
"""More than 32, and more than twice that: the last group that is joined is not full."""


def in_order(world: World) -> list[str]:
    """The names of all work orders, by stamp and id."""
    documents = [(each.id, fields_of(each)) for each in world.cloud.db.collection("work_orders").stream()]
    return [fields["name"] for id, fields in sorted(documents, key=lambda d: (d[1]["update_date"], d[0]))]


def landed_once(world: World, export: str, rows: int) -> None:
    """One file, each row in it once and in order, and one event that says so."""
    (content,) = world.data_files().values()
    assert content.count(b"\n") == rows
    assert [record["name"] for record in world.records()] == in_order(world)
    assert len(set(in_order(world))) == rows
    (event,) = world.audit(export)
    assert (event["status"], event["rows"], event["file_count"]) == ("COMPLETED", rows, 1), event
    (manifest,) = world.manifests()
    assert [(each["rows"], each["bytes"]) for each in manifest["files"]] == [(rows, len(content))]


@pytest.mark.slow
def test_more_parts_than_one_compose_takes_become_one_file(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAYBILL_PART_RECORDS", "1")
    for number in range(PARTS):
        world.work_order(f"WO_{number}", photographs=0)
        world.wait(timedelta(minutes=10))
    export = world.export(start="2026-11-22T09:00:00Z")
    world.run_due(MORNING)
    landed_once(world, export, PARTS)
    (run,) = world.cloud.db.collection(f"exports/{export}/runs").stream()
    assert fields_of(run)["parts"] == PARTS
    staged = f"waybill-local-staging/acme/{export}/{run.id}/{SITE}"
    composed = [Call("storage.objects.compose", f"{staged}.{name}.jsonl") for name in ("0-0", "0-1", "0-2")]
    composed.append(Call("storage.objects.compose", f"{staged}.1-0.jsonl"))
    calls = world.suite.traffic.calls("storage.objects.compose")
    assert [Call(call.kind, call.resource) for call in calls] == composed


@pytest.mark.ours_only("several stamps in one millisecond need a clock that stands")
def test_an_attempt_that_has_time_for_one_record_leaves_the_rest_to_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAYBILL_ATTEMPT_SECONDS", "0")
    for number in range(10):  # without a wait: most of these have one stamp
        world.work_order(f"WO_{number}", photographs=2)
    stamps = [fields_of(each)["update_date"] for each in world.cloud.db.collection("work_orders").stream()]
    assert len(set(stamps)) < 10
    export = world.export(start="2026-11-22T09:00:00Z")
    world.run_due(MORNING)
    landed_once(world, export, 10)
    assert len(world.images()) == 20
    (run,) = world.cloud.db.collection(f"exports/{export}/runs").stream()
    written = list(runs.written_parts(world.cloud, runs.from_snapshot(run)))
    full = [part for part in written if part.rows]
    assert [part.rows for part in full] == [1] * 10
    assert [part.images.size for part in full if part.images] == [2 * LINE_BYTES] * 10
    # The time is looked at after each record, the last one, too: that leaves a part that finds nothing.
    assert [part.id for part in written] == ["000000", *(f"000000r{number:05}" for number in range(1, 11))]
