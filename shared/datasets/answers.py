"""What `/v2` answers about datasets, their versions and tasks: each form, and what makes it."""

from datetime import datetime
from typing import Annotated, Any, NotRequired, cast

import orjson
from pydantic import Field
from typing_extensions import TypedDict

from shared.datasets import task as tasks
from shared.datasets.comparing import Change
from shared.datasets.dataset import Dataset, Version
from shared.datasets.errors import EXPORT_FAILED
from shared.datasets.request import ALL, TILE
from shared.datasets.samples import Label, Sample
from shared.datasets.task import STATUSES, VERSION, Task
from shared.gcp.clients import Cloud
from shared.http.bodies import documented
from shared.work.kinds import CANCELLED, COMPLETED, FAILED

CREATING, NORMAL, ABNORMAL = 0, 1, 4
"""What a dataset's status is before its first version is there, from then on, and where that cannot be made.
https://support.huaweicloud.com/intl/en-us/api-modelarts/ListDatasets.html"""

MAX_UNDER_WAY = 99.9
"""The progress of a task whose samples are all exported, and whose manifest is not."""

LONG = ("samples", "search_conditions")
"""What lists of tasks leave out of `export_params`. An answer may have 32 MiB, and one task 768 KiB of these.
https://cloud.google.com/run/quotas#request_limits"""

CANCELLED_MESSAGE = "The task was cancelled."

Milliseconds = Annotated[int, Field(description="Milliseconds since 1970.")]

TaskStatus = Annotated[str, Field(json_schema_extra={"enum": list(dict.fromkeys(STATUSES.values()))})]
"""How far a task is. One that was cancelled has FAILED."""


@documented
class DatasetLabel(TypedDict):
    """A label of a dataset."""

    name: str
    """The label's name."""
    type: int
    """The label's type, which is the dataset's."""
    property: dict[str, Any]
    """Always empty."""
    count: int
    """How many samples of the newest version have it."""


@documented
class DatasetAnswer(TypedDict):
    """A dataset."""

    dataset_id: str
    """The dataset's id."""
    dataset_name: str
    """The dataset's name."""
    dataset_type: int
    """The dataset's type: 0 image classification, 1 object detection, 3 image segmentation."""
    description: str
    """What its maker says of it."""
    status: int
    """0 until its first version is there, 1 from then on, 4 where that cannot be made."""
    error_msg: NotRequired[str]
    """Why its first version cannot be made, and what to do."""
    site_ids: list[str]
    """The sites whose work orders its images are of."""
    task_names: list[str]
    """The tasks whose results are its labels; none for all."""
    total_sample_count: int
    """How many samples its newest version has."""
    annotated_sample_count: int
    """How many of them have a label."""
    current_version_id: str | None
    """The id of its newest version; null until its first one is there."""
    labels: list[DatasetLabel]
    """Its labels, in their order. In a list of datasets it is empty."""
    revision: int
    """How often it was changed, and 1. With this as `If-Match` a `PUT` changes no other revision."""
    create_time: Milliseconds
    update_time: Milliseconds


@documented
class DatasetList(TypedDict):
    """A page of a list of datasets."""

    total_number: int
    """How many datasets there are on all pages."""
    datasets: list[DatasetAnswer]
    """The datasets of this page."""


@documented
class DatasetId(TypedDict):
    """Which dataset was created or updated."""

    dataset_id: str
    """The dataset's id."""


@documented
class VersionAnswer(TypedDict):
    """A version of a dataset."""

    version_id: str
    """The version's id. It is made of its samples: the same samples have the same id."""
    version_name: str
    """The version's name."""
    total_sample_count: int
    """How many samples it has."""
    annotated_sample_count: int
    """How many of them have a label."""
    create_time: Milliseconds


@documented
class VersionList(TypedDict):
    """The newest versions of a dataset."""

    versions: list[VersionAnswer]
    """The versions, the newest first."""


@documented
class TaskId(TypedDict):
    """Which task was created."""

    task_id: str
    """The task's id."""


@documented
class TaskAnswer(TypedDict):
    """An export task, and how far it is."""

    task_id: str
    """The task's id."""
    path: str
    """Where it exports to; empty for a task that only makes a version."""
    export_type: int
    """Which samples: 0 labelled, 1 unlabelled, 2 all, 3 by search conditions."""
    version_format: str
    """The format of what is exported."""
    export_format: int
    """1 for one directory a label, 2 for label files beside the images."""
    export_params: dict[str, Any]
    """What is exported of the samples, as it was sent, with the defaults. A list of tasks leaves out
    `samples` and `search_conditions`."""
    status: TaskStatus
    progress: float
    """How many percent of the samples are exported."""
    total_sample_count: int
    """How many samples it exports; 0 until they are counted."""
    finished_sample_count: int
    """How many of them are exported."""
    missing_sample_count: int
    """How many of them were left out, since their images are gone: the file `….missing.jsonl` names them."""
    version_id: NotRequired[str]
    """The version that it exports, once that is known."""
    error_code: NotRequired[str]
    """The error's code, where it failed."""
    error_msg: NotRequired[str]
    """What went wrong, and what to do, where it failed."""
    create_time: Milliseconds
    update_time: Milliseconds


@documented
class TaskList(TypedDict):
    """A page of a list of export tasks."""

    total_count: int
    """How many tasks there are on all pages."""
    export_tasks: list[TaskAnswer]
    """The tasks of this page, the newest first."""


@documented
class Difference(TypedDict):
    """What changed from a version to another one."""

    added: int
    """How many samples are in the second one alone."""
    removed: int
    """How many samples are in the first one alone."""
    relabelled: int
    """How many samples are in both, with other labels."""


@documented
class SampleImage(TypedDict):
    """The image of a sample."""

    file_name: str
    """What it is called in exports of records: the id of its input, and its extension."""
    bytes: int
    """How many bytes it has."""
    width: int | None
    """How many pixels it is wide, as it is stored; null where it is no picture."""
    height: int | None
    """How many pixels it is high."""


@documented
class SampleLabel(TypedDict):
    """A label of a sample."""

    name: str
    """The label."""
    task: str
    """The task whose result it is."""
    annotated_by: str
    """`human` where a person corrected it, else `auto`."""
    annotated_at: str | None
    """When a person did."""
    confidence: float | None
    """The analyser's, from 0 to 1."""
    box: list[float] | None
    """Left, top, width and height in pixels of the image as it is stored; null for all of it."""
    polygon: list[list[float]] | None
    """Its corners, each as x and y in the same pixels; `box` is around them."""


@documented
class SampleAnswer(TypedDict):
    """A sample of a version."""

    sample_id: str
    """The id of its input, as records have it."""
    file_name: str
    """What its file is called in an export."""
    site_id: str
    """Its site."""
    work_order: str
    """The name of its work order."""
    work_order_id: str
    """The id of its work order."""
    task_group: str
    """What it was photographed for."""
    added: str
    """When its work order was created."""
    image: SampleImage
    """Its image."""
    labels: list[SampleLabel]
    """Its labels."""
    review: list[str]
    """How far its review is, in the analyser's words."""
    labelers: list[str]
    """Who labelled it, as the analyser says."""
    hard: bool
    """Whether it is hard to label."""
    hard_coefficient: float | None
    """How hard, from 0 to 1."""
    metadata: dict[str, Any]
    """The metadata of its work order, and over them its own."""


@documented
class SampleList(TypedDict):
    """A page of the samples of a version."""

    samples: list[SampleAnswer]
    """The samples of this page. It can have fewer than were asked for, or none, and a next page."""
    next_marker: str | None
    """What the next page is asked for with; null on the last one."""


@documented
class ChangeAnswer(TypedDict):
    """A sample that changed from a version to another one."""

    change: Annotated[str, Field(json_schema_extra={"enum": ["added", "removed", "relabelled"]})]
    """What became of it."""
    sample: SampleAnswer
    """The sample as it is in the second version, or where it was removed, as it was in the first one."""
    labels_before: list[SampleLabel]
    """Its labels in the first version; none where it is in the second one alone."""


@documented
class ChangeList(TypedDict):
    """A page of what changed from a version to another one."""

    changes: list[ChangeAnswer]
    """The changes of this page. It can have fewer than were asked for, or none, and a next page."""
    next_marker: str | None
    """What the next page is asked for with; null on the last one."""


def sample(shown: Sample) -> SampleAnswer:
    """A sample of a version."""
    image = shown.image
    return {
        "sample_id": shown.id,
        "file_name": shown.name,
        "site_id": shown.site_id,
        "work_order": shown.work_order,
        "work_order_id": shown.work_order_id,
        "task_group": shown.task_group,
        "added": shown.added,
        "image": {
            "file_name": image.file_name,
            "bytes": image.size,
            "width": image.width or None,
            "height": image.height or None,
        },
        "labels": [_label(each) for each in shown.labels],
        "review": list(shown.review),
        "labelers": list(shown.labelers),
        "hard": shown.hard,
        "hard_coefficient": shown.hard_coefficient,
        "metadata": dict(shown.metadata or {}),
    }


def change(shown: Change) -> ChangeAnswer:
    """A sample that changed."""
    return {
        "change": shown.kind,
        "sample": sample(shown.sample),
        "labels_before": [_label(each) for each in shown.before.labels] if shown.before else [],
    }


def _label(shown: Label) -> SampleLabel:
    return {
        "name": shown.name,
        "task": shown.task,
        "annotated_by": shown.annotated_by,
        "annotated_at": shown.at,
        "confidence": shown.confidence,
        "box": list(shown.box) if shown.box is not None else None,
        "polygon": [list(corner) for corner in shown.polygon] if shown.polygon is not None else None,
    }


def dataset(shown: Dataset, version: Version | None) -> DatasetAnswer:
    """A dataset; with the labels of its newest version, where that is given."""
    counts = version.labels if version else {}
    answer: DatasetAnswer = {
        "dataset_id": shown.id,
        "dataset_name": shown.name,
        "dataset_type": shown.type,
        "description": shown.description,
        "status": NORMAL if shown.current else ABNORMAL if shown.failure else CREATING,
        "site_ids": list(shown.sites),
        "task_names": list(shown.tasks),
        "total_sample_count": shown.samples,
        "annotated_sample_count": shown.annotated,
        "current_version_id": shown.current,
        "labels": [
            {"name": name, "type": shown.type, "property": {}, "count": count}
            for name, count in counts.items()
        ],
        "revision": shown.revision,
        "create_time": _milliseconds(shown.created),
        "update_time": _milliseconds(shown.updated),
    }
    if shown.failure and not shown.current:
        answer["error_msg"] = shown.failure
    return answer


def version(shown: Version) -> VersionAnswer:
    """A version of a dataset."""
    return {
        "version_id": shown.id,
        "version_name": shown.name,
        "total_sample_count": shown.samples,
        "annotated_sample_count": shown.annotated,
        "create_time": _milliseconds(shown.created),
    }


def task(cloud: Cloud, shown: Task, *, whole: bool = True) -> TaskAnswer:
    """A task; `whole` with the samples and search conditions that were asked for."""
    asked = _asked(shown)
    if not whole:
        for name in LONG:
            asked["export_params"].pop(name, None)
    finished = tasks.finished(cloud, shown)
    percent = 100 * finished / max(shown.total, 1)
    answer: dict[str, Any] = {
        "task_id": shown.id,
        **asked,
        "status": STATUSES[shown.state],
        # Clients that see the progress alone take 100 for the end.
        "progress": 100.0 if shown.state == COMPLETED else min(round(percent, 1), MAX_UNDER_WAY),
        "total_sample_count": shown.total,
        "finished_sample_count": finished,
        "missing_sample_count": shown.missing,
        "create_time": _milliseconds(shown.created),
        "update_time": _milliseconds(shown.updated),
    }
    if shown.version is not None:
        answer["version_id"] = shown.version
    if shown.state in (FAILED, CANCELLED):
        answer["error_code"] = EXPORT_FAILED
        answer["error_msg"] = CANCELLED_MESSAGE
        if shown.state == FAILED:
            answer["error_msg"] = tasks.sentences(shown.error, shown.next_action)
    return cast(TaskAnswer, answer)


def _asked(shown: Task) -> dict[str, Any]:
    """What was asked for, with the defaults. A task that only makes a version exports nothing anywhere."""
    if shown.does == VERSION:
        return {
            "path": "",
            "export_type": ALL,
            "version_format": "",
            "export_format": TILE,
            "export_params": {},
        }
    asked, sent = shown.request, orjson.loads(shown.body)
    params = sent.get("export_params") or {}
    return {
        "path": sent.get("path") or params.get("export_new_dataset_work_path"),
        "export_type": asked.export_type,
        "version_format": asked.version_format,
        "export_format": asked.export_format,
        "export_params": {
            **params,
            "sample_state": next(iter(asked.sample_states), ""),
            "export_dest": "NEW_DATASET" if asked.new_dataset else "DIR",
            "clear_hard_property": asked.clear_hard_property,
            "train_sample_ratio": asked.train_sample_ratio,
            "ratio_sample_usage": asked.ratio_sample_usage,
        },
    }


def _milliseconds(at: datetime) -> int:
    return round(at.timestamp() * 1000)
