"""A task of a dataset as Firestore holds it: `dataset_tasks/<id>`, a work of the engine (`shared.work`)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import orjson

from shared.datasets import request
from shared.datasets.request import Request
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, fields_of, one_of, total
from shared.work import pieces
from shared.work.kinds import CANCELLED, COMPLETED, FAILED, PENDING
from shared.work.pieces import DONE

EXPORT, VERSION = "export", "version"
"""What a task does: export a dataset, or only make a version of it."""

INIT, RUNNING = "INIT", "RUNNING"

UNDER_WAY = (PENDING, INIT, RUNNING)
"""The states of a task that has not ended."""

STATUSES: Mapping[str, str] = {
    PENDING: "INIT",
    INIT: "INIT",
    RUNNING: "RUNNING",
    COMPLETED: "SUCCESSED",
    FAILED: "FAILED",
    CANCELLED: "FAILED",
}
"""What clients are shown, by the state of the task's document. The vendor has no word for a task that was
cancelled, and spells `SUCCESSED` so.
https://support.huaweicloud.com/intl/en-us/api-modelarts/DescExportTask.html"""

WRITE = "write"
"""The stage in which samples are written."""


@dataclass(frozen=True)
class Task:
    """A task.

    does       EXPORT or VERSION
    dataset    the id of its dataset; `type` is that one's type
    body       of an export: what was asked for, as it was sent, without what is ignored
    version    the id of the version that it exports or made, once that is known
    name       what its dataset was called when that became known: files are named so
    read_time  as of when the dataset was read, where it made a version
    chosen     the tasks whose results became its labels then; none for all
    total      how many samples it exports, once they are counted
    finished_count  how many of them were exported, once it has ended
    missing    how many of them were not, since their images are gone
    plans      the plans of its stages
    """

    id: str
    customer: str
    does: str
    dataset: str
    type: int
    body: bytes
    state: str
    created: datetime
    updated: datetime
    version: str | None
    name: str
    read_time: datetime | None
    chosen: tuple[str, ...]
    total: int
    finished_count: int | None
    missing: int
    plans: Mapping[str, str]
    error: str | None
    next_action: str | None

    @property
    def path(self) -> str:
        """Its document."""
        return path(self.id)

    @cached_property
    def request(self) -> Request:
        """What was asked for."""
        return request.parse(orjson.loads(self.body), self.type)


def path(id: str) -> str:
    """The document of the task of that id."""
    return f"dataset_tasks/{id}"


def staged(task: Task, file: str) -> str:
    """What a file of a task is called in the staging bucket."""
    return f"{task.customer}/datasets/{task.id}/{file}"


def from_snapshot(snapshot: Snapshot) -> Task:
    """The task that a snapshot holds; it must exist."""
    fields = fields_of(snapshot)
    return Task(
        id=snapshot.id,
        customer=fields["customer"],
        does=fields["does"],
        dataset=fields["dataset"],
        type=fields["type"],
        body=fields["body"],
        state=one_of(fields, "state", STATUSES),
        created=fields["created"],
        updated=fields.get("finished") or fields["heartbeat"],
        version=fields.get("version"),
        name=fields.get("name", ""),
        read_time=fields.get("read_time"),
        chosen=tuple(fields.get("chosen", ())),
        total=fields.get("total", 0),
        finished_count=fields.get("finished_count"),
        missing=fields.get("missing", 0),
        plans=dict(fields["plans"]),
        error=fields.get("error"),
        next_action=fields.get("next_action"),
    )


def get(cloud: Cloud, id: str) -> Task | None:
    """The task of that id, or None."""
    snapshot = cloud.db.document(path(id)).get()
    return from_snapshot(snapshot) if snapshot.exists else None


def sentences(error: str | None, next_action: str | None) -> str:
    """Why a task failed, and what to do."""
    return " ".join(filter(None, (error, next_action)))


def finished(cloud: Cloud, task: Task) -> int:
    """How many samples it has exported by now."""
    if task.finished_count is not None:
        return task.finished_count
    if WRITE not in task.plans:
        return 0
    return total(pieces.of_plan(cloud, task.path, task.plans[WRITE], [DONE]), "written")
