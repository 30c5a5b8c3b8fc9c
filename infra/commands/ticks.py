"""Make or update the one Cloud Scheduler job, which ticks.

It publishes to the topic of the function `tick` of infra/bundle.yaml. Doing it twice is doing it once. A job
that is paused stays paused.
"""

import argparse
import contextlib
import os
from collections.abc import Iterator

import grpc
from google.api_core.exceptions import NotFound
from google.cloud import scheduler_v1
from google.cloud.scheduler_v1 import Job
from google.cloud.scheduler_v1.services.cloud_scheduler.transports import CloudSchedulerGrpcTransport
from google.protobuf.field_mask_pb2 import FieldMask

from infra.bundle import Bundle
from infra.commands import Problem, document_id, say, settings

JOB = "waybill-tick"
"""The job's id. There is one, whatever the number of exports: a region has 1,000 by default.
https://cloud.google.com/scheduler/quotas"""

FUNCTION = "tick"
"""The function that it ticks."""

EACH_MINUTE = "* * * * *"

OURS = ("description", "schedule", "time_zone", "pubsub_target")
"""The fields of the job that this command sets; all others are left to Google, or to an operator."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("--every", default=EACH_MINUTE, metavar="CRON", help=f"by default {EACH_MINUTE!r}")
    parser.add_argument(
        "--location",
        type=document_id,
        help="the region where the job is to be; by default GOOGLE_CLOUD_REGION",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and change nothing")


def run(args: argparse.Namespace) -> None:
    """Do it."""
    location = args.location or os.environ.get("GOOGLE_CLOUD_REGION")
    if not location:
        raise Problem("say where the job is to be: --location, or GOOGLE_CLOUD_REGION")
    parent = f"projects/{settings().project}/locations/{location}"
    wanted = job(Bundle.load(), parent, args.every)
    with _client() as client:
        try:
            there = client.get_job(name=wanted.name)
        except NotFound:
            there = None
        changed = changes(there, wanted)
        if not changed:
            done = "is as it should be"
        elif args.dry_run:
            done = "would be made" if there is None else f"would be updated: {', '.join(changed)}"
        elif there is None:
            client.create_job(parent=parent, job=wanted)
            done = "is made"
        else:
            client.update_job(job=wanted, update_mask=FieldMask(paths=changed))
            done = f"is updated: {', '.join(changed)}"
    say(f"The job {wanted.name} {done}.")
    say(f"It publishes to {wanted.pubsub_target.topic_name} at {wanted.schedule!r}.")
    if there is not None and there.state != Job.State.ENABLED:
        resume = f"gcloud scheduler jobs resume {JOB} --location={location}"
        say(f"It is {there.state.name} and does not tick until it is resumed: {resume}")


def job(bundle: Bundle, parent: str, every: str) -> Job:
    """The job as the bundle wants it, in a location (`projects/…/locations/…`)."""
    function = bundle.functions[FUNCTION]
    project = parent.split("/")[1]
    return Job(
        name=f"{parent}/jobs/{JOB}",
        description=f"Waybill: {function.does}",
        schedule=every,
        time_zone="Etc/UTC",
        pubsub_target={"topic_name": f"projects/{project}/topics/{function.topic}", "data": b"{}"},
    )


def changes(there: Job | None, wanted: Job) -> list[str]:
    """The fields in which the job that is there, if any, is not as wanted."""
    return [field for field in OURS if there is None or getattr(there, field) != getattr(wanted, field)]


@contextlib.contextmanager
def _client() -> Iterator[scheduler_v1.CloudSchedulerClient]:
    """Google's client. It knows no variable for another server, so that WAYBILL_SCHEDULER_HOST names one."""
    host = os.environ.get("WAYBILL_SCHEDULER_HOST")
    if not host:
        with scheduler_v1.CloudSchedulerClient() as client:
            yield client
        return
    with grpc.insecure_channel(host) as channel:
        yield scheduler_v1.CloudSchedulerClient(transport=CloudSchedulerGrpcTransport(channel=channel))
