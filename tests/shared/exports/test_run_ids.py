"""The ids of runs: those by hand and those of the schedule never meet, and older ones stay good."""

import hashlib
from datetime import UTC, datetime
from typing import Any

import pytest

from shared.exports import names
from shared.gcp.documents import fields_of
from shared.http.idempotency import Repeatable
from shared.window import Window
from tests.world import World

WINDOW = {"start": "2026-11-22T08:00:00Z", "end": "2026-11-22T09:00:00Z"}
MIDNIGHT = datetime(2026, 11, 23, tzinfo=UTC)


def test_no_key_of_a_request_names_the_run_of_a_window_to_come(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = world.export()
    start = datetime.fromisoformat(world.request("GET", f"/v1/exports/{export}").body["next_window_start"])
    scheduled = names.scheduled_run(export, Window(start, MIDNIGHT))
    digits = hashlib.sha256(f"{export}\n{names.stamp(start)}\n{names.stamp(MIDNIGHT)}".encode()).hexdigest()
    # As if somebody had found a key whose hash is the window's.
    monkeypatch.setattr(Repeatable, "id", lambda _, __, ___, length: digits[:length])
    by_hand = world.request(
        "POST",
        f"/v1/exports/{export}:backfill",
        WINDOW,
        headers={"Authorization": f"Token {world.key}", "Idempotency-Key": "found"},
    )
    assert by_hand.status == 201, by_hand
    world.tick(datetime(2026, 11, 23, 2, tzinfo=UTC))
    world.drain()
    assert [each["run_id"] for each in world.audit(export)] == [scheduled, by_hand.body["run_id"]]


def test_a_run_with_ten_digits_is_found_by_the_request_that_made_it_and_by_its_id(world: World) -> None:
    export = world.export()
    headers = {"Authorization": f"Token {world.key}", "Idempotency-Key": "monday"}

    def backfill(window: dict[str, str] = WINDOW) -> tuple[int, Any]:
        answer = world.request("POST", f"/v1/exports/{export}:backfill", window, headers=headers)
        return answer.status, answer.body.get("run_id")

    status, made = backfill()
    runs = world.cloud.db.collection(f"exports/{export}/runs")
    fields = fields_of(runs.document(made).get())
    old = hashlib.sha256(f"{export}\nmonday".encode()).hexdigest()[:10]
    runs.document(old).create(fields)
    runs.document(made).delete()
    assert backfill() == (status, old)
    assert backfill({**WINDOW, "start": "2026-11-22T07:00:00Z"})[0] == 409
    assert [each.id for each in runs.stream()] == [old]
    assert world.request("GET", f"/v1/exports/{export}/runs/{old}").body["run_id"] == old
    assert world.request("POST", f"/v1/exports/{export}/runs/{old}:cancel").status == 200
