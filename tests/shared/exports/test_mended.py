"""What breaks in mid-run: told once in a sentence, or tried again. Mended, exactly what was pinned lands."""

import json
from collections.abc import Callable
from datetime import timedelta

import pytest

from infra.local.pubsub import Delivery
from infra.local.traffic import Fault
from shared.delivery.cloud_storage import copying
from shared.exports import writing
from shared.gcp.documents import fields_of
from shared.work.engine import MAX_ATTEMPTS
from shared.workorders import store
from tests.kills import Start
from tests.outside import Killed
from tests.subjects.faults import GRPC, GRPC_FAULTS, HTTP_FAULTS, named
from tests.subjects.small_run import MORNING, Small, small, smalls
from tests.world import BUCKET, World

__all__ = ["small", "smalls"]

pytestmark = pytest.mark.cuts

HTTP = [
    "storage.uploads.start",
    "storage.uploads.chunk",
    "storage.objects.compose",
    "storage.objects.rewrite",
    "storage.objects.get",
    "storage.objects.get_media",
    "storage.batch",
    "iamcredentials.generateAccessToken",
    "metadata.token",
]
SOME = [(kind, fault) for kind in HTTP for fault in (Fault("error", status=503), Fault("reset_after"))] + [
    (kind, fault) for kind in GRPC for fault in (Fault("error", status=14), Fault("reset_after"))
]
"""For the quick tests; `make check` takes every fault on every kind."""


@pytest.mark.parametrize(("kind", "fault"), SOME, ids=named)
def test_a_call_that_fails_in_passing_is_tried_again(small: Small, kind: str, fault: Fault) -> None:
    fail_and_land(small, kind, fault, times=2)


@pytest.mark.slow
@pytest.mark.ours_only("goes back to an earlier state of the services")
@pytest.mark.parametrize("kind", [*HTTP, *GRPC])
def test_every_call_of_a_kind_may_fail_for_a_while(small: Small, kind: str) -> None:
    """From the second one on, in each way. What comes before its message is not done again for each."""
    start, nth = before_second(small, kind)
    for fault in HTTP_FAULTS if kind in HTTP else GRPC_FAULTS:
        for times in (2, 12):
            start.back()
            try:
                fail_and_land(small.again(start), kind, fault, nth=nth, times=times)
            except BaseException as error:
                error.add_note(f"{named(fault)}, {times} times")
                raise


def before_second(small: Small, kind: str) -> tuple[Start, int]:
    """Just before the message at which a call of a kind is made for the second time, or the only time; and
    its number among the calls of that kind from there (from 1)."""
    traffic = small.world.suite.traffic
    met: list[tuple[Start, int]] = []

    def calls() -> int:
        return sum(call.kind == kind for call in traffic.calls(kind))

    def push(delivery: Delivery) -> bool:
        met.append((Start(delivery, 0, 0, small.kept()), calls()))
        return small.world.push(delivery)

    small.kept()()  # this process has no token, either
    traffic.forget()
    small.run(push)
    nth = min(2, calls())
    assert nth, f"a run makes no call of the kind {kind}"
    start, before = next((start, before) for start, before in reversed(met) if before < nth)
    return start, nth - before


def fail_and_land(small: Small, kind: str, fault: Fault, *, nth: int = 2, times: int) -> None:
    """Let that many calls of a kind fail in a row; then time, redelivery and the sweep do their work."""
    small.world.suite.traffic.arm(kind, fault, nth=nth, times=times)
    small.run(small.world.push)
    small.world.suite.traffic.disarm()
    small.world.settle(sweeps=True)
    small.done_once()


Break = Callable[[World], None]


def no_bucket(world: World) -> None:
    world.suite.storage.delete_bucket(BUCKET)


def bucket_again(world: World) -> None:
    world.suite.storage.create_bucket(BUCKET)
    world.grant(BUCKET, world.acme)


def no_create(world: World) -> None:
    world.suite.storage.revoke(BUCKET, world.acme.account, "storage.objects.create")


def no_get(world: World) -> None:
    world.suite.storage.revoke(BUCKET, world.acme.account, "storage.objects.get")


def granted_again(world: World) -> None:
    world.grant(BUCKET, world.acme)


def disabled(world: World) -> None:
    world.suite.identity.disable_account(world.acme.account)


def enabled(world: World) -> None:
    world.suite.identity.disable_account(world.acme.account, disabled=False)


@pytest.mark.parametrize(
    ("break_it", "mend_it", "says"),
    [
        (no_bucket, bucket_again, f"The bucket {BUCKET} does not exist."),
        (no_create, granted_again, f"storage.objects.create on the bucket {BUCKET}."),
        (no_get, granted_again, f"storage.objects.get on the bucket {BUCKET}."),
        (disabled, enabled, "it is disabled or deleted, or Waybill lost the permission to use it."),
    ],
    ids=["bucket", "create", "get", "account"],
)
@pytest.mark.parametrize("at", ["export_work_orders_timeline", "copy_images"])
def test_what_is_mended_and_retried_completes_with_exactly_the_pinned_files(
    world: World, break_it: Break, mend_it: Break, says: str, at: str
) -> None:
    orders = [world.work_order(f"WO_{number}") for number in range(3)]
    export = world.export()
    world.tick(MORNING)
    told: list[str] = []

    def breaking(delivery: Delivery) -> bool:
        delivering = "part" not in json.loads(delivery.data) and delivery.function == at
        if delivering and not told and (at == "copy_images" or written(world)):
            told.append("broken")
            break_it(world)
        return world.push(delivery)

    while world.suite.pubsub.deliver_due(breaking):
        pass
    assert told
    (event,) = world.audit(export)
    assert event["status"] == "FAILED"
    assert says in event["error"]
    assert event["next_action"]
    assert world.suite.pubsub.outstanding() == []
    assert world.manifests() == [] if break_it is not no_bucket else True
    # What is true by now is not what was pinned, and must not be what is delivered.
    store.edit(world.cloud, world.site, orders[0].id, metadata={"changed": "after the pin"})
    staged = {each.name: each.generation for each in world.suite.storage.list("waybill-local-staging")}
    world.wait(timedelta(hours=1))
    refused = world.request("POST", f"/v1/exports/{export}/runs/{event['run_id']}:cancel")
    assert refused.status == 409
    mend_it(world)
    answer = world.request("POST", f"/v1/exports/{export}/runs/{event['run_id']}:retry")
    assert answer.status == 200
    world.settle(sweeps=True)
    assert not world.failures, world.failures[0]
    (event,) = world.audit(export)
    assert (event["status"], event["rows"], event["error"]) == ("COMPLETED", 3, None)
    assert all("changed" not in record["metadata"] for record in world.records())
    assert len(world.images()) == 6
    (manifest,) = world.manifests()
    assert manifest["images"]["missing"] == []
    after = {each.name: each.generation for each in world.suite.storage.list("waybill-local-staging")}
    assert {name: after[name] for name in staged} == staged


def written(world: World) -> bool:
    parts = list(world.cloud.db.collection_group("runs").stream())
    return any(fields_of(run).get("parts") for run in parts)


def test_only_a_run_that_failed_can_be_retried(world: World) -> None:
    export = world.export()
    world.run_due(MORNING)
    (event,) = world.audit(export)
    answer = world.request("POST", f"/v1/exports/{export}/runs/{event['run_id']}:retry")
    assert (answer.status, "COMPLETED" in answer.body["detail"]) == (409, True)
    assert world.request("POST", f"/v1/exports/{export}/runs/0000000000:retry").status == 404


def test_a_part_that_never_ends_fails_its_run_and_retried_it_lands(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.work_order("WO_1")
    stuck = world.export()
    world.tick(MORNING)
    begun: list[str] = []

    def dies(*_: object) -> None:
        begun.append("an attempt")
        raise Killed("in the middle of a part")

    def push(delivery: Delivery) -> bool:
        try:
            return world.push(delivery)
        except Killed:
            return False

    with monkeypatch.context() as patch:
        patch.setattr(writing, "_write", dies)
        while world.audit(stuck) == [] or world.audit(stuck)[0]["status"] != "FAILED":
            while world.suite.pubsub.deliver_due(push):
                pass
            world.wait(timedelta(minutes=11))
            world.tick()
            assert len(begun) <= MAX_ATTEMPTS
    (event,) = world.audit(stuck)
    assert f"was begun {MAX_ATTEMPTS} times and never ended" in event["error"]
    assert world.data_files() == {}
    assert world.request("POST", f"/v1/exports/{stuck}/runs/{event['run_id']}:retry").status == 200
    world.settle(sweeps=True)
    assert world.audit(stuck)[0]["status"] == "COMPLETED"
    assert [record["name"] for record in world.records()] == ["WO_1"]


def test_a_run_that_is_stuck_blocks_the_others_no_longer_than_its_lease(world: World) -> None:
    exports = [world.export(name="stuck"), world.export(name="next")]
    world.tick(MORNING)

    def lost(delivery: Delivery) -> bool:
        # What the runs' own functions are sent never arrives.
        return world.push(delivery) if delivery.function in ("tick", "begin_exports") else True

    while world.suite.pubsub.deliver_due(lost):
        pass
    assert sorted(world.audit(export)[0]["status"] for export in exports) == ["PENDING", "RUNNING"]
    world.wait(timedelta(minutes=31))
    world.tick()
    world.drain()
    assert [world.audit(export)[0]["status"] for export in exports] == ["COMPLETED", "COMPLETED"]


def test_an_export_or_run_that_cannot_be_read_stops_no_other(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    broken, silent, good = (world.export(name=name) for name in ("broken", "silent", "good"))
    world.cloud.db.document(f"exports/{broken}").update({"config": {"name": "what was this?"}})
    piece = {"customer": "acme", "status": "OPEN", "shard": 1, "next": MORNING - timedelta(days=1)}
    world.cloud.db.document(f"exports/{silent}/runs/unreadable").set({"open": True, "state": "RUNNING"})
    world.cloud.db.document(f"exports/{silent}/runs/unreadable/pieces/plan").set(piece)
    world.work_order("WO_1")
    world.run_due(MORNING)
    assert world.audit(good)[0]["status"] == "COMPLETED"
    assert world.suite.pubsub.outstanding() == []
    logged = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    errors = {line["message"]: line for line in logged if line["severity"] == "ERROR"}
    assert errors["a window that is due could not begin"]["export"] == broken
    assert errors["a document cannot be read"]["document"].endswith("runs/unreadable/pieces/plan")


def test_no_secret_is_ever_logged(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.work_order("WO_1")
    export = world.export()
    world.request("GET", f"/v1/exports/{export}", key=world.key + "x")
    world.suite.traffic.arm("storage.uploads.chunk", Fault("error", status=500), times=3)
    world.tick(MORNING)
    world.settle(sweeps=True)
    logged = capsys.readouterr().out
    assert '"run"' in logged
    for secret in (world.key.split("_", 2)[2], "upload_id", "ya29", "Bearer", "Authorization"):
        assert secret not in logged


def test_a_run_that_never_ends_is_failed_and_has_blocked_nobody(world: World) -> None:
    world.work_order("WO_1")
    stuck, other = world.export(name="stuck"), world.export(name="other")
    refused = Fault("error", status=404)  # what is to be copied is gone from our staging: ours to fix
    world.suite.traffic.arm("storage.objects.rewrite", refused, resource=f"/{stuck}/", times=10_000)
    world.tick(MORNING)
    for _ in range(40):
        world.drain()
        if world.audit(stuck)[-1]["status"] == "FAILED":
            break
        world.wait(timedelta(minutes=16))
        world.tick()
    event = world.audit(stuck)[-1]
    assert event["status"] == "FAILED"
    assert "was begun 10 times and never ended" in event["error"]
    assert world.audit(other)[-1]["status"] == "COMPLETED"
    assert world.audit(other)[-1]["timestamp"] < event["timestamp"]


def test_where_batches_of_copies_are_refused_the_run_copies_image_by_image(world: World) -> None:
    for number in range(5):
        world.work_order(f"WO_{number}")
    export = world.export()
    world.suite.traffic.arm("storage.batch", Fault("error", status=501), times=1_000_000)
    world.run_due(MORNING)
    (event,) = world.audit(export)
    assert (event["status"], event["images"]) == ("COMPLETED", 10)
    assert len(world.images()) == 10


def test_an_attempt_at_copying_ends_in_time_and_the_next_continues(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        world.work_order(f"WO_{number}")
    export = world.export()
    monkeypatch.setenv("WAYBILL_ATTEMPT_SECONDS", "0")
    monkeypatch.setattr(copying, "MAX_BATCH", 1)
    monkeypatch.setattr(copying, "BATCH_FIRST", 1)
    monkeypatch.setattr(copying, "IN_FLIGHT", 1)
    attempts: list[int] = []

    def counting(delivery: Delivery) -> bool:
        attempts.extend([1] * (delivery.function == "copy_images"))
        return world.push(delivery)

    world.tick(MORNING)
    while world.suite.pubsub.deliver_due(counting):
        pass
    (event,) = world.audit(export)
    assert (event["status"], event["images"]) == ("COMPLETED", 10)
    assert len(attempts) > 5
