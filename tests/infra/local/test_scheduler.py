"""Cloud Scheduler of the suite, called through Google's client, on a clock that stands still."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.api_core import exceptions
from google.cloud import scheduler_v1
from google.cloud.scheduler_v1 import Job
from google.cloud.scheduler_v1.services.cloud_scheduler.transports import CloudSchedulerGrpcTransport
from google.protobuf.field_mask_pb2 import FieldMask

from infra.local.clock import SuiteClock
from infra.local.pubsub import Delivery
from infra.local.scheduler import SchedulerService
from infra.local.suite import Suite
from infra.local.traffic import Fault, Traffic
from tests.infra.local.standin import until

START = datetime(2026, 11, 23, 2, 0, 30, tzinfo=UTC)
PARENT = "projects/p/locations/europe-west1"
NAME = f"{PARENT}/jobs/waybill-tick"
TOPIC = "projects/p/topics/tick"


class Bench:
    """One Scheduler with its clock, what it published, and a client talking to it."""

    def __init__(self, file: Path) -> None:
        self.published: list[tuple[str, bytes, Mapping[str, str]]] = []
        self.there = True
        self.traffic = Traffic()
        self.service = SchedulerService(
            clock=SuiteClock(frozen_at=START), traffic=self.traffic, file=file, publish=self._publish
        )
        self._channel = grpc.insecure_channel(f"127.0.0.1:{self.service.start()}")
        self.client = scheduler_v1.CloudSchedulerClient(
            transport=CloudSchedulerGrpcTransport(channel=self._channel)
        )

    def _publish(self, topic: str, data: bytes, attributes: Mapping[str, str]) -> bool:
        if topic != TOPIC:
            raise KeyError(topic)
        self.published.append((topic, data, attributes))
        return self.there

    def job(self, **changes: Any) -> Job:
        target = {"topic_name": TOPIC, "data": b"{}"}
        return Job({"name": NAME, "schedule": "* * * * *", "pubsub_target": target} | changes)

    def create(self, **changes: Any) -> Job:
        return self.client.create_job(parent=PARENT, job=self.job(**changes))

    def ran_at(self, *minutes: int) -> list[int]:
        """The minutes, of those, at which a job ran."""
        ran = []
        for minute in minutes:
            before = len(self.published)
            self.service.run_due(START.replace(minute=minute, second=0))
            ran += [minute] * (len(self.published) - before)
        return ran

    def close(self) -> None:
        self._channel.close()
        self.service.stop()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path / "scheduler.json")
    yield bench
    bench.close()


def test_a_job_is_made_found_and_deleted(bench: Bench) -> None:
    made = bench.create(description="what is due", time_zone="Etc/UTC")
    assert (made.name, made.state, made.schedule) == (NAME, Job.State.ENABLED, "* * * * *")
    assert (made.pubsub_target.topic_name, made.pubsub_target.data) == (TOPIC, b"{}")
    assert made.schedule_time == datetime(2026, 11, 23, 2, 1, tzinfo=UTC)
    assert bench.client.get_job(name=NAME) == made
    assert list(bench.client.list_jobs(parent=PARENT)) == [made]
    assert list(bench.client.list_jobs(parent="projects/p/locations/europe-west3")) == []
    with pytest.raises(exceptions.AlreadyExists):
        bench.create()
    bench.client.delete_job(name=NAME)
    assert not bench.service.has_jobs()
    for call in (bench.client.get_job, bench.client.delete_job, bench.client.run_job):
        with pytest.raises(exceptions.NotFound):
            call(name=NAME)


@pytest.mark.parametrize(
    ("schedule", "runs"),
    [("* * * * *", [0, 1, 15, 29, 30, 59]), ("*/15 * * * *", [0, 15, 30]), ("*/7 * * * *", [0])],
)
def test_a_job_publishes_at_its_minutes(bench: Bench, schedule: str, runs: list[int]) -> None:
    bench.create(schedule=schedule)
    assert bench.ran_at(0, 1, 15, 29, 30, 59) == runs
    assert set(map(repr, bench.published)) == {repr((TOPIC, b"{}", {}))}


def test_a_paused_job_publishes_nothing_but_when_it_is_told_to(bench: Bench) -> None:
    bench.create()
    with pytest.raises(exceptions.FailedPrecondition):
        bench.client.resume_job(name=NAME)
    assert bench.client.pause_job(name=NAME).state == Job.State.PAUSED
    with pytest.raises(exceptions.FailedPrecondition):
        bench.client.pause_job(name=NAME)
    assert bench.ran_at(1, 2) == []
    assert str(bench.client.run_job(name=NAME).last_attempt_time) > str(START)
    assert len(bench.published) == 1
    assert bench.client.resume_job(name=NAME).state == Job.State.ENABLED
    assert bench.ran_at(3) == [3]


def test_an_update_changes_the_fields_of_its_mask_alone(bench: Bench) -> None:
    bench.create(description="old")
    bench.client.pause_job(name=NAME)
    asked = bench.job(description="new", schedule="*/5 * * * *")
    updated = bench.client.update_job(job=asked, update_mask=FieldMask(paths=["schedule"]))
    assert (updated.schedule, updated.description) == ("*/5 * * * *", "old")
    assert updated.state == Job.State.PAUSED
    assert updated.schedule_time == datetime(2026, 11, 23, 2, 5, tzinfo=UTC)
    assert bench.client.update_job(job=asked).description == "new"
    with pytest.raises(exceptions.NotFound):
        bench.client.update_job(job=bench.job(name=f"{NAME}-other"))


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({"schedule": "every minute"}, exceptions.InvalidArgument),
        ({"schedule": ""}, exceptions.InvalidArgument),
        ({"schedule": "*/60 * * * *"}, exceptions.InvalidArgument),
        ({"schedule": "*/0 * * * *"}, exceptions.InvalidArgument),
        ({"schedule": "0 2 * * *"}, exceptions.MethodNotImplemented),
        ({"time_zone": "Europe/Paris"}, exceptions.MethodNotImplemented),
        ({"retry_config": {"retry_count": 3}}, exceptions.MethodNotImplemented),
        ({"name": f"{PARENT}/jobs/not a name"}, exceptions.InvalidArgument),
        ({"name": "projects/other/locations/europe-west1/jobs/j"}, exceptions.InvalidArgument),
        ({"pubsub_target": None}, exceptions.InvalidArgument),
        ({"pubsub_target": {"topic_name": TOPIC}}, exceptions.InvalidArgument),
        ({"pubsub_target": {"topic_name": "tick", "data": b"{}"}}, exceptions.InvalidArgument),
        ({"description": "x" * 501}, exceptions.InvalidArgument),
    ],
)
def test_what_is_refused(bench: Bench, changes: dict[str, Any], refused: type[Exception]) -> None:
    with pytest.raises(refused):
        bench.create(**changes)
    assert not bench.service.has_jobs()


def test_what_an_attempt_met_is_in_its_status(bench: Bench) -> None:
    bench.create()
    bench.there = False
    assert bench.client.run_job(name=NAME).status.code == grpc.StatusCode.UNAVAILABLE.value[0]
    gone = {"topic_name": "projects/p/topics/gone", "data": b"{}"}
    bench.client.update_job(job=bench.job(pubsub_target=gone), update_mask=FieldMask(paths=["pubsub_target"]))
    assert bench.client.run_job(name=NAME).status.code == grpc.StatusCode.NOT_FOUND.value[0]


@pytest.mark.parametrize(
    ("action", "made"), [("error", False), ("reset_before", False), ("reset_after", True)]
)
def test_faults_on_demand(bench: Bench, action: Any, made: bool) -> None:
    bench.traffic.arm("scheduler.CreateJob", Fault(action))
    with pytest.raises(exceptions.ServiceUnavailable):
        bench.create()
    assert bench.service.has_jobs() is made
    assert [(call.kind, call.resource) for call in bench.traffic.calls()] == [("scheduler.CreateJob", NAME)]


def test_jobs_survive_a_restart(tmp_path: Path) -> None:
    first = Bench(tmp_path / "scheduler.json")
    first.create(schedule="*/5 * * * *")
    kept = first.client.pause_job(name=NAME)
    first.close()
    second = Bench(tmp_path / "scheduler.json")
    assert second.client.get_job(name=NAME) == kept
    assert second.ran_at(0, 5) == []
    second.client.resume_job(name=NAME)
    assert second.ran_at(0, 4, 5) == [0, 5]
    second.close()


def test_with_a_job_it_is_the_job_that_ticks(tmp_path: Path) -> None:
    clock = SuiteClock()
    with Suite(state=tmp_path / "state", clock=clock, run_functions=False) as suite:
        topic = f"projects/{suite.project}/topics/tick"
        name = f"projects/{suite.project}/locations/europe-west1/jobs/waybill-tick"
        with grpc.insecure_channel(suite.env()["WAYBILL_SCHEDULER_HOST"]) as channel:
            client = scheduler_v1.CloudSchedulerClient(transport=CloudSchedulerGrpcTransport(channel=channel))
            target = {"topic_name": topic, "data": b'{"by": "job"}'}
            job = Job({"name": name, "schedule": "*/5 * * * *", "pubsub_target": target})
            client.create_job(parent=name.rpartition("/jobs/")[0], job=job)
        suite.tick_each_minute()
        day = clock.now().replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=2)
        for minute in (4, 5):
            at = day + timedelta(minutes=minute)
            suite.move_clock(at - timedelta(seconds=0.2))
            until(partial(passed, clock, at + timedelta(seconds=0.1)), "the minute")
        until(lambda: bool(suite.pubsub.outstanding()), "a tick")
        ticks: list[Delivery] = []

        def push(delivery: Delivery) -> bool:
            ticks.append(delivery)
            return True

        suite.pubsub.deliver_due(push)
        assert [(each.data, each.publish_time.minute) for each in ticks] == [(b'{"by": "job"}', 5)], ticks


def passed(clock: SuiteClock, at: datetime) -> bool:
    return clock.now() > at
