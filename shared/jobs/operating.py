"""What an operator asks of jobs, across all customers: which wait for their file, which are under way, and
which have failed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from google.cloud.firestore_v1 import FieldFilter

from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, fields_of
from shared.jobs import job as jobs
from shared.jobs.job import ACCEPTED, CANCELING, INITIALIZED, PROCESSING, Job, Progress
from shared.work.kinds import FAILED, PENDING

MAX_LISTED = 200
"""How many of each kind are listed: what a person can read."""


@dataclass(frozen=True)
class JobNow:
    """A job as it stands. `heartbeat` is when it last showed life, `waits_for` what it waits for, if it
    does."""

    job: Job
    heartbeat: datetime
    waits_for: str | None
    progress: Progress


def waiting(cloud: Cloud) -> Sequence[JobNow]:
    """The jobs that wait for their file, or whose file is not looked at yet, the longest without a heartbeat
    first."""
    return _open(cloud, [PENDING, INITIALIZED])


def under_way(cloud: Cloud) -> Sequence[JobNow]:
    """The jobs that have begun and not ended, the longest without a heartbeat first."""
    return _open(cloud, [ACCEPTED, PROCESSING, CANCELING])


def failed(cloud: Cloud, since: datetime) -> Sequence[JobNow]:
    """The jobs that have failed since then, the first to fail first."""
    query = (
        cloud.db.collection_group("jobs")
        .where(filter=FieldFilter("state", "==", FAILED))
        .where(filter=FieldFilter("finished", ">=", since))
    )
    return [_now(cloud, each) for each in query.order_by("finished").limit(MAX_LISTED).stream()]


def _open(cloud: Cloud, states: list[str]) -> Sequence[JobNow]:
    query = cloud.db.collection_group("jobs").where(filter=FieldFilter("state", "in", states))
    return [_now(cloud, each) for each in query.order_by("heartbeat").limit(MAX_LISTED).stream()]


def _now(cloud: Cloud, snapshot: Snapshot) -> JobNow:
    job, fields = jobs.from_snapshot(snapshot), fields_of(snapshot)
    return JobNow(job, fields["heartbeat"], fields["waits_for"], jobs.progress(cloud, job))
