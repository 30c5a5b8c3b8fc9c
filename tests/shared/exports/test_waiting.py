"""A run that waits for something outside, or waited so long that what it had planned is too old."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from infra.local.traffic import Fault
from shared.exports import runs
from shared.exports.runs import Run, WrittenPart
from shared.gcp.documents import fields_of
from shared.gcp.objects import Stored
from shared.sources.base import Part
from shared.sources.work_orders import WorkOrders
from shared.work.pieces import COMMIT_PIECES, QUEUED
from shared.workorders.images import LINE_BYTES
from tests.sftp_server import SftpServer, sftp
from tests.subjects.by_sftp import by_sftp
from tests.subjects.small_run import MORNING
from tests.world import BUCKET, SITE, World

__all__ = ["sftp"]

pytestmark = pytest.mark.cuts

OPS = "ops@acme.example"
WHOM = ("ada@acme.example", "bob@acme.example")
MINUTE = timedelta(minutes=1)
MANY = 2_000
"""How many pieces a plan has in a test of one that takes several commits."""


@pytest.fixture(autouse=True)
def loopback_allowed(world: World) -> None:
    world.allow_loopback()


def hourly(world: World, **more: Any) -> str:
    """Another export of the same customer, due each hour."""
    bucket = {"storage_uri": f"gs://{BUCKET}/hourly", "export_images": False}
    return world.export(
        **{"name": "Hourly", "interval": "hourly", "start": "2026-11-23T01:00Z", "connector_config": bucket}
        | more
    )


def minutes(world: World, count: int) -> None:
    """So many minutes, each with its tick and all that comes of it."""
    for _ in range(count):
        world.wait(MINUTE)
        world.tick()
        world.drain()


def path_of(world: World, export: str) -> str:
    return f"/v1/exports/{export}/runs/{world.audit(export)[0]['run_id']}"


def late(world: World, export: str) -> list[timedelta]:
    """How long after each due time the runs of an export had completed."""
    found = world.cloud.db.collection(f"exports/{export}/runs").stream()
    ended = [fields_of(each) for each in found]
    assert all(each["state"] == "COMPLETED" for each in ended), [each["state"] for each in ended]
    return [each["finished"] - each["due"] for each in ended]


@pytest.mark.slow
def test_a_server_that_is_away_keeps_no_other_export_of_its_customer_waiting(
    world: World, sftp: SftpServer
) -> None:
    world.work_order("WO_1")
    stuck = by_sftp(world, sftp, interval="hourly", start="2026-11-23T01:00Z", notify=[OPS])
    other = hourly(world)
    sftp.arm("connect", "drop_after", times=100_000)
    world.tick(MORNING)
    world.drain()
    first = world.request("GET", path_of(world, stuck)).body
    assert "the SFTP server 127.0.0.1" in first["waits_for"], first
    assert first["status"] == "DELIVERING"
    minutes(world, 1)
    assert world.request("GET", path_of(world, stuck)).body["waits_since"] == first["waits_since"]
    minutes(world, 50)
    assert world.suite.sendgrid.sent == []
    minutes(world, 150)
    assert max(late(world, other)) < 3 * MINUTE, late(world, other)
    assert len(late(world, other)) == 4
    states = [event["status"] for event in world.audit(stuck)]
    assert states == ["PENDING", "PENDING", "PENDING", "DELIVERING"], "its later windows wait for it"
    (letter,) = world.suite.sendgrid.sent
    assert "has waited for an hour" in letter["subject"], letter["subject"]
    assert "the SFTP server 127.0.0.1" in letter["content"][0]["value"]
    sftp.disarm()
    world.settle(sweeps=True)
    assert {event["status"] for event in world.audit(stuck)} == {"COMPLETED"}
    assert "waits_for" not in world.request("GET", path_of(world, stuck)).body


def test_a_bucket_that_answers_429_for_an_hour_keeps_no_other_export_waiting(world: World) -> None:
    world.work_order("WO_1")
    stuck, other = world.export(interval="hourly", start="2026-11-23T01:00Z"), hourly(world)
    throttled = Fault("error", status=429)
    world.suite.traffic.arm("storage.objects.rewrite", throttled, resource="/waybill/", times=1_000_000)
    world.tick(MORNING)
    world.drain()
    minutes(world, 2)
    (run, *_) = world.audit(stuck)
    assert f"the bucket {BUCKET} does not take it now (429" in run["waits_for"], run
    minutes(world, 60)
    world.suite.traffic.disarm()
    world.settle(sweeps=True)
    assert max(late(world, other)) < 3 * MINUTE, late(world, other)
    assert {event["status"] for event in world.audit(stuck)} == {"COMPLETED"}


@pytest.fixture
def waiting(world: World, sftp: SftpServer) -> str:
    """An export whose run waits in the middle of its delivery."""
    world.work_order("WO_1")
    export = by_sftp(world, sftp, end="2026-11-23T00:00:00Z")
    sftp.arm("connect", "drop_after", times=100_000)
    world.tick(MORNING)
    world.drain()
    minutes(world, 2)
    return export


def test_a_run_that_waits_can_be_cancelled_while_it_is_delivered(world: World, waiting: str) -> None:
    answer = world.request("POST", f"{path_of(world, waiting)}:cancel")
    assert (answer.status, answer.body["status"]) == (200, "CANCELLED"), answer
    world.settle(sweeps=True)
    assert world.audit(waiting)[0]["status"] == "CANCELLED"


def test_a_run_that_is_being_tried_right_now_cannot_be_cancelled(world: World, waiting: str) -> None:
    path = world.audit(waiting)[0]["run_id"]
    piece = world.cloud.db.document(f"exports/{waiting}/runs/{path}/pieces/deliver")
    piece.update({"holder": "somebody", "heartbeat": world.suite.clock.now()})
    answer = world.request("POST", f"{path_of(world, waiting)}:cancel")
    assert (answer.status, "tried right now" in answer.body["detail"]) == (409, True), answer


def test_an_export_whose_run_waits_can_be_deleted(world: World, waiting: str) -> None:
    assert world.request("DELETE", f"/v1/exports/{waiting}").status == 204
    assert world.audit(waiting)[0]["status"] == "CANCELLED"
    assert world.slots() == []


# --- too old to go on with


def failed_delivery(world: World) -> str:
    """An export whose run failed after it was pinned."""
    for number in range(2):
        world.work_order(f"WO_{number}")
    export = world.export(end="2026-11-23T00:00:00Z")
    world.suite.storage.revoke(BUCKET, world.acme.account, "storage.objects.create")
    world.run_due(MORNING)
    assert world.audit(export)[0]["status"] == "FAILED"
    return export


def retried(world: World, export: str, after: timedelta) -> dict[str, Any]:
    world.failures.clear()
    world.wait(after)
    world.grant(BUCKET, world.acme)
    assert world.request("POST", f"{path_of(world, export)}:retry").status == 200
    world.settle(sweeps=True)
    assert not world.failures, world.failures[0]
    return world.audit(export)[0]


@pytest.mark.parametrize(("days", "anew"), [(8, False), (31, True)])
def test_what_was_staged_is_delivered_for_a_month_and_then_written_anew(
    world: World, days: int, anew: bool
) -> None:
    export = failed_delivery(world)
    staged = {each.name for each in world.suite.storage.list("waybill-local-staging")}
    if anew:  # what the bucket's lifecycle does
        for name in staged:
            world.suite.storage.remove("waybill-local-staging", name)
    event = retried(world, export, timedelta(days=days))
    assert (event["status"], event["rows"], event["images"]) == ("COMPLETED", 2, 4), event
    assert sorted(record["name"] for record in world.records()) == ["WO_0", "WO_1"]
    (manifest,) = world.manifests()
    assert manifest["run"] == event["run_id"]
    (data,) = world.data_files()
    assert (f"_{event['run_id']}." in data) is not anew, "planned anew, it has names of its own"


def test_a_window_planned_eight_days_ago_is_planned_anew(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.work_order("WO_1")
    export = world.export(end="2026-11-23T00:00:00Z")
    world.suite.traffic.arm("storage.uploads.start", Fault("error", status=400), times=1_000_000)
    world.tick(MORNING)
    world.drain()
    run = f"exports/{export}/runs/{world.audit(export)[0]['run_id']}"
    for _ in range(80):
        minutes(world, 1)
        world.wait(timedelta(minutes=9))
        if world.audit(export)[0]["status"] == "FAILED":
            break
    before = fields_of(world.cloud.db.document(run).get())
    assert (before["state"], "totals" in before) == ("FAILED", False), before["state"]
    world.suite.traffic.disarm()
    event = retried(world, export, timedelta(days=8))
    assert (event["status"], event["rows"]) == ("COMPLETED", 1), event
    after = fields_of(world.cloud.db.document(run).get())
    assert after["read_time"] > before["read_time"]
    assert after["plans"]["write"] != before["plans"]["write"]


def test_a_file_that_an_older_plan_delivered_is_left_and_not_taken_for_the_new_one(world: World) -> None:
    world.work_order("WO_1", photographs=1)
    export = world.export(end="2026-11-23T00:00:00Z")
    world.tick(MORNING)
    while not world.data_files():
        assert world.step()
    world.suite.storage.revoke(BUCKET, world.acme.account, "storage.objects.create")
    world.drain()
    (event,) = world.audit(export)
    assert event["status"] == "FAILED", event
    (old,) = world.data_files().items()
    event = retried(world, export, timedelta(days=31))
    assert event["status"] == "COMPLETED", event
    landed = world.data_files()
    assert landed[old[0]] == old[1]
    (manifest,) = world.manifests()
    (listed,) = manifest["files"]
    assert listed["name"] in landed
    assert listed["name"] != old[0]


def test_the_mails_of_an_older_plan_are_not_sent_and_do_not_count(world: World) -> None:
    world.work_order("WO_1")
    export = world.export(
        connector_type="email", connector_config={"emails": list(WHOM)}, end="2026-11-23T00:00:00Z"
    )
    world.suite.traffic.arm("sendgrid.mail.send", Fault("error", status=400), times=2)
    world.run_due(MORNING)
    assert world.audit(export)[0]["status"] == "FAILED"
    event = retried(world, export, timedelta(days=31))
    assert (event["status"], event["mails_sent"], event["mails_not_sent"]) == ("COMPLETED", 2, []), event
    told = [each["personalizations"][0]["to"][0]["email"] for each in world.suite.sendgrid.sent]
    assert sorted(told) == sorted(WHOM)


def test_a_run_that_is_cancelled_while_its_mails_wait_sends_none(world: World) -> None:
    world.work_order("WO_1")
    export = world.export(
        connector_type="email", connector_config={"emails": list(WHOM)}, end="2026-11-23T00:00:00Z"
    )
    world.suite.traffic.arm("sendgrid.mail.send", Fault("error", status=429), times=1_000_000)
    world.tick(MORNING)
    world.drain()
    minutes(world, 20)
    assert "429" in world.request("GET", path_of(world, export)).body["waits_for"]
    answer = world.request("POST", f"{path_of(world, export)}:cancel")
    assert answer.body["status"] == "CANCELLED", answer
    world.suite.traffic.disarm()
    world.settle(sweeps=True)
    assert world.suite.sendgrid.sent == []
    mails = world.request("GET", f"{path_of(world, export)}/mails").body["mails"]
    assert [each["status"] for each in mails] == ["SKIPPED", "SKIPPED"], mails


# --- plans of any size


def plan_of(world: World, export: str, stage: str) -> int:
    pieces = world.cloud.db.collection(f"exports/{export}/runs/{world.audit(export)[0]['run_id']}/pieces")
    return sum(1 for each in pieces.stream() if each.get("stage") == stage and each.get("status") == QUEUED)


def hold_commits(world: World) -> None:
    """The last message wrote its pieces a hundred with a commit."""
    commits = world.suite.traffic.calls("firestore.Commit")
    assert MANY / COMMIT_PIECES <= len(commits) <= MANY / COMMIT_PIECES + 10


@pytest.mark.slow
def test_2000_parts_are_planned_in_commits_of_a_bounded_size(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.work_order("WO_1")
    export = world.export()
    monkeypatch.setattr(WorkOrders, "parts", lambda *_: [Part(SITE, MORNING, MORNING)] * MANY)
    world.tick(MORNING)
    while not world.audit(export) or world.audit(export)[0]["status"] == "PENDING":
        world.step()
    world.suite.traffic.forget()
    world.step()
    assert not world.failures, world.failures[0]
    assert plan_of(world, export, runs.WRITE) > MANY - 100
    hold_commits(world)


@pytest.mark.slow
def test_2000_slices_are_planned_in_commits_of_a_bounded_size(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.work_order("WO_1")
    export = world.export()
    monkeypatch.setenv("WAYBILL_SLICE_IMAGES", "1")
    listed = Stored("waybill-local-staging", "images", 1, MANY * LINE_BYTES, "AAAAAA==")

    def written(_: Any, run: Run) -> Iterator[WrittenPart]:
        yield WrittenPart("000000", SITE, 0, None, listed, None)

    monkeypatch.setattr(runs, "written_parts", written)
    world.tick(MORNING)
    while not world.audit(export) or world.audit(export)[0]["status"] in ("PENDING", "RUNNING"):
        world.suite.traffic.forget()
        assert world.step()
    assert not world.failures, world.failures[0]
    assert plan_of(world, export, runs.COPY) > MANY - 100
    hold_commits(world)
