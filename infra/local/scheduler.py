"""Cloud Scheduler: as much of its gRPC interface as `python -m infra ticks` and an operator use.

A job publishes to a topic, each minute or every N minutes of an hour. What production does and where that is
documented is in `infra/local/README.md`.
"""

import json
import re
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
from google.cloud.scheduler_v1 import types
from google.protobuf import json_format
from google.protobuf.empty_pb2 import Empty

from infra.local.clock import SuiteClock
from infra.local.grpc_calls import Refused, invalid, unary
from infra.local.traffic import Traffic

ID_LONGEST = 500
"""The most characters of a job's id. https://cloud.google.com/scheduler/docs/reference/rest/v1/projects.locations.jobs"""

DESCRIPTION_LONGEST = 500
"""The most characters of a description; the same page."""

_PARENT = re.compile(r"projects/[A-Za-z0-9:.-]+/locations/[a-z0-9-]+")
_NAME = re.compile(rf"({_PARENT.pattern})/jobs/[A-Za-z0-9_-]{{1,{ID_LONGEST}}}")
_TOPIC = re.compile(r"projects/[^/]+/topics/[^/]+")
_EVERY = re.compile(r"\*(?:/([0-9]{1,2}))? \* \* \* \*")
_MINUTES = 60

_CALLER_SETS = ("description", "schedule", "time_zone", "pubsub_target")
_WE_SET = ("name", "state", "user_update_time", "schedule_time", "last_attempt_time", "status")

_ENABLED = int(types.Job.State.ENABLED)
_PAUSED = int(types.Job.State.PAUSED)

Publish = Callable[[str, bytes, Mapping[str, str]], bool]
"""Publishes data and attributes to a topic, by its whole name; False where it could not, KeyError where there
is no such topic."""

Job = Any
"""A job as protobuf has it, without the client's wrapping."""


class SchedulerService:
    """The jobs of all projects and locations; serves gRPC once started. Safe to share between threads.

    file     keeps the jobs across restarts and kills
    publish  what a job does
    """

    def __init__(self, *, clock: SuiteClock, traffic: Traffic, file: Path, publish: Publish) -> None:
        self._clock = clock
        self._traffic = traffic
        self._file = file
        self._publish = publish
        self._lock = threading.RLock()
        kept = json.loads(file.read_text()) if file.exists() else []
        self._jobs: dict[str, Job] = {
            each["name"]: json_format.ParseDict(each, types.Job.pb()()) for each in kept
        }
        self._server: grpc.Server | None = None

    def start(self, port: int = 0) -> int:
        """Serve gRPC on 127.0.0.1; port 0 takes a free one. Returns the port; a taken one raises OSError."""
        server = grpc.server(
            ThreadPoolExecutor(max_workers=2, thread_name_prefix="scheduler"),
            options=[("grpc.so_reuseport", 0)],
        )
        server.add_generic_rpc_handlers((_Handlers(self, self._traffic),))
        try:
            bound = server.add_insecure_port(f"127.0.0.1:{port}")
        except RuntimeError as error:
            raise OSError(f"port {port} is taken") from error
        server.start()
        self._server = server
        return bound

    def stop(self) -> None:
        """Stop serving."""
        if self._server is not None:
            self._server.stop(grace=None).wait()

    def reset(self) -> None:
        """Forget every job."""
        with self._lock:
            self._jobs.clear()
            self._file.unlink(missing_ok=True)

    def kept(self) -> Callable[[], None]:
        """What takes it back to the jobs of now."""
        with self._lock:
            jobs = deepcopy(self._jobs)

        def restore() -> None:
            with self._lock:
                self._jobs = deepcopy(jobs)
                self._save()

        return restore

    def has_jobs(self) -> bool:
        """Whether there is a job at all, paused or not."""
        with self._lock:
            return bool(self._jobs)

    def run_due(self, minute: datetime) -> None:
        """Run every enabled job whose schedule holds this minute."""
        with self._lock:
            due = [
                name
                for name, job in self._jobs.items()
                if job.state == _ENABLED and minute.minute % _every(job.schedule) == 0
            ]
        for name in due:
            self._run(name)

    # --- the calls

    def create(self, request: Any) -> Job:
        """CreateJob."""
        job = _copy(request.job)
        named = _NAME.fullmatch(job.name)
        if not _PARENT.fullmatch(request.parent) or not named or named[1] != request.parent:
            raise invalid(f"Job name must be {request.parent}/jobs/JOB_ID, is {job.name}.")
        for field in _WE_SET[1:]:
            job.ClearField(field)
        _check(job)
        with self._lock:
            if job.name in self._jobs:
                raise Refused(grpc.StatusCode.ALREADY_EXISTS, f"Job {job.name} already exists.")
            job.state = _ENABLED
            return self._keep(job)

    def update(self, request: Any) -> Job:
        """UpdateJob: the fields of the mask, or without one all that a caller sets."""
        fields = list(request.update_mask.paths) or list(_CALLER_SETS)
        for field in fields:
            if field not in _CALLER_SETS:
                raise _unimplemented(f"update_mask {field}")
        with self._lock:
            job = _copy(self.get(request.job))
            for field in fields:
                job.ClearField(field)
                if field == "pubsub_target":
                    job.pubsub_target.CopyFrom(request.job.pubsub_target)
                else:
                    setattr(job, field, getattr(request.job, field))
            _check(job)
            return self._keep(job)

    def get(self, request: Any) -> Job:
        """GetJob."""
        with self._lock:
            if request.name not in self._jobs:
                raise Refused(grpc.StatusCode.NOT_FOUND, f"Job {request.name} not found.")
            return self._jobs[request.name]

    def list_jobs(self, request: Any) -> Any:
        """ListJobs: all of one location, on one page."""
        with self._lock:
            ours = [
                job for name, job in sorted(self._jobs.items()) if name.startswith(f"{request.parent}/jobs/")
            ]
        return types.ListJobsResponse.pb()(jobs=ours)

    def delete(self, request: Any) -> Empty:
        """DeleteJob."""
        with self._lock:
            self.get(request)
            del self._jobs[request.name]
            self._save()
        return Empty()

    def pause(self, request: Any) -> Job:
        """PauseJob: of one that is enabled."""
        return self._move(request, _ENABLED, _PAUSED, "only an enabled job can be paused")

    def resume(self, request: Any) -> Job:
        """ResumeJob: of one that is paused."""
        return self._move(request, _PAUSED, _ENABLED, "only a paused job can be resumed")

    def run(self, request: Any) -> Job:
        """RunJob: now, whatever its schedule and state."""
        self.get(request)
        self._run(request.name)
        return self.get(request)

    def _move(self, request: Any, before: int, after: int, else_say: str) -> Job:
        with self._lock:
            job = _copy(self.get(request))
            if job.state != before:
                raise Refused(grpc.StatusCode.FAILED_PRECONDITION, f"Job {job.name}: {else_say}.")
            job.state = after
            return self._keep(job)

    def _run(self, name: str) -> None:
        with self._lock:
            job = self._jobs.get(name)
        if job is None:  # deleted meanwhile
            return
        target = job.pubsub_target
        try:
            published = self._publish(target.topic_name, target.data, dict(target.attributes))
            code = grpc.StatusCode.OK if published else grpc.StatusCode.UNAVAILABLE
        except KeyError:
            code = grpc.StatusCode.NOT_FOUND
        with self._lock:
            if name in self._jobs:
                job = self._jobs[name] = _copy(self._jobs[name])
                job.last_attempt_time.FromDatetime(self._clock.now())
                job.status.code = code.value[0]
                self._save()

    def _keep(self, job: Job) -> Job:
        now = self._clock.now()
        job.user_update_time.FromDatetime(now)
        job.schedule_time.FromDatetime(_next(now, _every(job.schedule)))
        self._jobs[job.name] = job
        self._save()
        return job

    def _save(self) -> None:
        kept = [
            json_format.MessageToDict(job, preserving_proto_field_name=True) for job in self._jobs.values()
        ]
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps(kept))
        new.replace(self._file)


def _unimplemented(what: str) -> Refused:
    return Refused(grpc.StatusCode.UNIMPLEMENTED, f"{what} is unimplemented in infra/local/scheduler.py")


def _copy(job: Job) -> Job:
    # Jobs are answered by other threads than change them: one that is kept is replaced, never changed.
    copy = types.Job.pb()()
    copy.CopyFrom(job)
    return copy


def _check(job: Job) -> None:
    for field, _ in job.ListFields():
        if field.name not in (*_CALLER_SETS, *_WE_SET):
            raise _unimplemented(f"Job.{field.name}")
    if not job.HasField("pubsub_target"):
        raise invalid("Job target must be set.")
    target = job.pubsub_target
    if not _TOPIC.fullmatch(target.topic_name):
        raise invalid(f"Invalid topic name {target.topic_name!r}.")
    if not target.data and not target.attributes:
        raise invalid("Pub/Sub target must have data or at least one attribute.")
    if len(job.description) > DESCRIPTION_LONGEST:
        raise invalid(f"Job description must not exceed {DESCRIPTION_LONGEST} characters.")
    if job.time_zone not in ("", "UTC", "Etc/UTC"):
        raise _unimplemented(f"time_zone {job.time_zone}")
    _every(job.schedule)


def _every(schedule: str) -> int:
    """The N of `*/N * * * *`, 1 of `* * * * *`: it runs at the minutes of an hour that N divides."""
    every = _EVERY.fullmatch(schedule)
    if every:
        minutes = int(every[1] or 1)
        if 0 < minutes < _MINUTES:
            return minutes
    if every or len(schedule.split()) != 5:
        raise invalid("Schedule or time zone is invalid.")
    raise _unimplemented(f"schedule {schedule!r}")


def _next(now: datetime, every: int) -> datetime:
    at = now.astimezone(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
    while at.minute % every:
        at += timedelta(minutes=1)
    return at


class _Handlers(grpc.GenericRpcHandler):
    """The methods that are built. gRPC itself answers UNIMPLEMENTED for every other."""

    def __init__(self, service: SchedulerService, traffic: Traffic) -> None:
        self._traffic = traffic
        self._methods: dict[str, tuple[Any, Callable[[Any], Any], Callable[[Any], str]]] = {
            "CreateJob": (types.CreateJobRequest, service.create, lambda asked: asked.job.name),
            "UpdateJob": (types.UpdateJobRequest, service.update, lambda asked: asked.job.name),
            "GetJob": (types.GetJobRequest, service.get, _name),
            "ListJobs": (types.ListJobsRequest, service.list_jobs, lambda asked: asked.parent),
            "DeleteJob": (types.DeleteJobRequest, service.delete, _name),
            "PauseJob": (types.PauseJobRequest, service.pause, _name),
            "ResumeJob": (types.ResumeJobRequest, service.resume, _name),
            "RunJob": (types.RunJobRequest, service.run, _name),
        }

    def service(self, details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """The handler of one call; None where its method is not built."""
        service, _, method = details.method.rpartition("/")
        if service != "/google.cloud.scheduler.v1.CloudScheduler" or method not in self._methods:
            return None
        request_type, answer, resource = self._methods[method]
        return unary(self._traffic, f"scheduler.{method}", resource, request_type.pb(), answer)


def _name(request: Any) -> str:
    name: str = request.name
    return name
