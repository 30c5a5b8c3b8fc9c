"""`/v2` over HTTP: the routes of datasets, their versions and export tasks; `service` does the work."""

from typing import Annotated, Any

import flask
from pydantic import BaseModel, ConfigDict, Field, model_validator

from shared.accounts.callers import Call
from shared.datasets import answers, browsing, comparing, filters, service
from shared.datasets import dataset as datasets
from shared.datasets.answers import (
    ChangeList,
    DatasetAnswer,
    DatasetId,
    DatasetList,
    Difference,
    SampleList,
    TaskAnswer,
    TaskId,
    TaskList,
    VersionAnswer,
    VersionList,
)
from shared.datasets.caller import SCOPE, SURFACE
from shared.datasets.dataset import Dataset
from shared.datasets.reading import LINES_TYPE
from shared.datasets.request import ALL, BY_CONDITIONS, LABELLED, TYPES, ExportTaskBody
from shared.datasets.service import MAX_SITES, MAX_TASK_NAMES
from shared.gcp.documents import server_time
from shared.http.idempotency import Repeatable
from shared.http.matching import IfMatch
from shared.http.routes import Body, Media, Route, Routes

MAX_PAGE, DEFAULT_PAGE = 100, 10
"""How many entries a page may have, and how many it has unless the request says otherwise.
https://support.huaweicloud.com/intl/en-us/api-modelarts/ListExportTasks.html"""

MAX_PAGES = 1_000_000
"""The highest number of a page."""

MAX_VERSIONS = 100
"""How many versions are listed."""

SEARCH_CONDITIONS = 4
"""What `export_type` may be in a list, too, for BY_CONDITIONS."""

DATASETS = "/v2/<project_id>/datasets"
DATASET = f"{DATASETS}/<dataset_id>"
TASKS = f"{DATASET}/export-tasks"
VERSIONS = f"{DATASET}/versions"

THEIRS = ("data_sources", "work_path", "work_path_type")
"""What the vendor's command line sends to create a dataset."""

Name = Annotated[str, Field(pattern=r"^[\w-]{1,100}$")]
"""A dataset's name: letters, digits, `_` and `-`."""

Id = Annotated[str, Field(min_length=1, max_length=128)]
Sites = Annotated[list[Id], Field(min_length=1, max_length=MAX_SITES)]
TaskNames = Annotated[list[Id], Field(max_length=MAX_TASK_NAMES)]
Description = Annotated[str, Field(max_length=256)]
Marker = Annotated[str, Field(max_length=64)]


class _Sent(BaseModel):
    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _ours(cls, sent: Any) -> Any:
        theirs = [name for name in THEIRS if isinstance(sent, dict) and name in sent]
        if theirs:
            raise ValueError(
                f"{' and '.join(theirs)}: a dataset is made of work orders, not of files in a bucket. Send "
                "`dataset_name`, `dataset_type` and `site_ids`, and `task_names` for the tasks whose results "
                "are its labels"
            )
        return sent


class NewDataset(_Sent):
    """A dataset to create: which images, and which of their results are labels."""

    dataset_name: Name = Field(description="The name: up to 100 letters, digits, `_` and `-`.")
    dataset_type: int = Field(
        default=0, description="0 image classification, 1 object detection, 3 image segmentation."
    )
    site_ids: Sites = Field(description="The sites whose work orders the images are of.")
    task_names: TaskNames = Field(
        default=[], description="The tasks whose results are the labels; none for all."
    )
    description: Description = Field(default="", description="Anything.")

    @model_validator(mode="after")
    def _of_photographs(self) -> "NewDataset":
        if self.dataset_type not in TYPES:
            known = ", ".join(f"{number} ({name})" for number, name in TYPES.items())
            raise ValueError(f"dataset_type: photographs make datasets of the types {known}")
        return self


class DatasetChanges(_Sent):
    """What is to change of a dataset."""

    dataset_name: Name | None = Field(default=None, description="The name.")
    site_ids: Sites | None = Field(default=None, description="The sites whose work orders the images are of.")
    task_names: TaskNames | None = Field(
        default=None, description="The tasks whose results are the labels; none for all."
    )
    description: Description | None = Field(default=None, description="Anything.")


class _Page(BaseModel):
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = Field(
        default=DEFAULT_PAGE, description="How many entries the page may have."
    )
    offset: Annotated[int, Field(ge=0, le=MAX_PAGES)] = Field(
        default=0, description="The number of the page, from 0."
    )


class DatasetsQuery(_Page):
    """Which datasets are listed."""

    search_content: Annotated[str, Field(max_length=100)] = Field(
        default="", description="Only those whose name holds this text, of the newest 2,000."
    )
    name_prefix: Annotated[str, Field(max_length=100)] = Field(
        default="", description="Only those whose name begins with this text, in the order of names."
    )
    marker: Marker = Field(
        default="",
        description=(
            "The last dataset that is known: the list goes on behind it. `offset` does not count then."
        ),
    )


class TasksQuery(_Page):
    """Which export tasks are listed."""

    export_type: Annotated[int, Field(ge=0, le=SEARCH_CONDITIONS)] | None = Field(
        default=None, description="Only tasks of this type; 4 is the same as 3, by search conditions."
    )
    marker: Marker = Field(
        default="",
        description="The last task that is known: the list goes on behind it. `offset` does not count then.",
    )


class VersionsQuery(BaseModel):
    """Which versions are listed."""

    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = Field(
        default=MAX_VERSIONS, description="How many versions the page may have."
    )
    marker: Marker = Field(
        default="", description="The last version that is known: the list goes on behind it."
    )


class ChangesQuery(BaseModel):
    """Which page of the changes is asked for."""

    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = Field(
        default=DEFAULT_PAGE, description="How many changes the page may have."
    )
    marker: Annotated[str, Field(max_length=browsing.MARKER_LONGEST)] = Field(
        default="", description="The `next_marker` of the page before; the first page has none."
    )


class SamplesQuery(ChangesQuery):
    """Which samples are listed, and which page of them. All that is given must hold, as in an export task."""

    export_type: Annotated[int, Field(ge=LABELLED, le=BY_CONDITIONS)] = Field(
        default=ALL, description="0 labelled, 1 unlabelled, 2 all, 3 by the search conditions."
    )
    sample_state: Annotated[str, Field(max_length=64)] = Field(
        default="", description="The state that samples must have."
    )
    search_conditions: str = Field(
        default="",
        description=(
            "What samples must be like, as in an export task: a JSON list of conditions, of which one "
            "must hold."
        ),
    )


def _create(call: Call, project_id: str, body: NewDataset, once: Repeatable) -> DatasetId:
    made = service.create(
        call.cloud,
        call.caller,
        name=body.dataset_name,
        type=body.dataset_type,
        sites=body.site_ids,
        task_names=body.task_names,
        description=body.description,
        once=once,
    )
    return {"dataset_id": made.id}


def _list(call: Call, project_id: str, query: DatasetsQuery) -> DatasetList:
    total, found = service.listed(
        call.cloud,
        call.caller,
        service.Wanted(query.name_prefix, query.search_content),
        limit=query.limit,
        page=query.offset,
        after=query.marker or None,
    )
    return {"total_number": total, "datasets": [answers.dataset(each, None) for each in found]}


def _get(call: Call, project_id: str, dataset_id: str) -> DatasetAnswer:
    found = _dataset(call, dataset_id)
    current = datasets.get_version(call.cloud, found.id, found.current) if found.current else None
    return answers.dataset(found, current)


def _update(
    call: Call, project_id: str, dataset_id: str, body: DatasetChanges, if_match: IfMatch
) -> DatasetId:
    changed = service.update(
        call.cloud,
        call.caller,
        _dataset(call, dataset_id),
        name=body.dataset_name,
        description=body.description,
        sites=body.site_ids,
        task_names=body.task_names,
        if_match=if_match,
    )
    return {"dataset_id": changed.id}


def _delete(call: Call, project_id: str, dataset_id: str) -> None:
    service.delete(call.cloud, call.caller, _dataset(call, dataset_id))


def _make_version(call: Call, project_id: str, dataset_id: str, once: Repeatable) -> TaskId:
    return {"task_id": service.make_version(call.cloud, call.caller, _dataset(call, dataset_id), once).id}


def _list_versions(call: Call, project_id: str, dataset_id: str, query: VersionsQuery) -> VersionList:
    found = service.versions(call.cloud, _dataset(call, dataset_id), query.limit, query.marker or None)
    return {"versions": [answers.version(each) for each in found]}


def _get_version(call: Call, project_id: str, dataset_id: str, version_id: str) -> VersionAnswer:
    return answers.version(service.get_version(call.cloud, _dataset(call, dataset_id), version_id))


def _list_samples(
    call: Call, project_id: str, dataset_id: str, version_id: str, query: SamplesQuery
) -> SampleList:
    dataset = _dataset(call, dataset_id)
    version = service.get_version(call.cloud, dataset, version_id)
    chosen = service.chosen(
        dataset,
        export_type=query.export_type,
        sample_state=query.sample_state,
        search_conditions=query.search_conditions,
    )
    test = filters.matcher(chosen, server_time(call.cloud.db))
    found, marker = browsing.page(call.cloud, version, test, query.limit, query.marker)
    return {"samples": [answers.sample(each) for each in found], "next_marker": marker}


def _compare(call: Call, project_id: str, dataset_id: str, first_id: str, second_id: str) -> Difference:
    dataset = _dataset(call, dataset_id)
    first, second = (service.get_version(call.cloud, dataset, each) for each in (first_id, second_id))
    found = comparing.counts(comparing.changes(call.cloud, first, second))
    return {kind: found[kind] for kind in ("added", "removed", "relabelled")}  # type: ignore[return-value]


def _changes(call: Call, project_id: str, dataset_id: str, first_id: str, second_id: str) -> flask.Response:
    dataset = _dataset(call, dataset_id)
    first, second = (service.get_version(call.cloud, dataset, each) for each in (first_id, second_id))
    lines = comparing.lines(comparing.changes(call.cloud, first, second))
    return flask.Response(lines, content_type=LINES_TYPE)


def _list_changes(
    call: Call, project_id: str, dataset_id: str, first_id: str, second_id: str, query: ChangesQuery
) -> ChangeList:
    dataset = _dataset(call, dataset_id)
    first, second = (service.get_version(call.cloud, dataset, each) for each in (first_id, second_id))
    found, marker = comparing.page(call.cloud, first, second, query.limit, query.marker)
    return {"changes": [answers.change(each) for each in found], "next_marker": marker}


def _begin_export(
    call: Call, project_id: str, dataset_id: str, body: dict[str, Any], once: Repeatable
) -> TaskId:
    return {
        "task_id": service.begin_export(call.cloud, call.caller, _dataset(call, dataset_id), body, once).id
    }


def _list_tasks(call: Call, project_id: str, dataset_id: str, query: TasksQuery) -> TaskList:
    type = BY_CONDITIONS if query.export_type == SEARCH_CONDITIONS else query.export_type
    total, found = service.export_tasks(
        call.cloud,
        _dataset(call, dataset_id),
        export_type=type,
        limit=query.limit,
        page=query.offset,
        after=query.marker or None,
    )
    return {
        "total_count": total,
        "export_tasks": [answers.task(call.cloud, each, whole=False) for each in found],
    }


def _get_task(call: Call, project_id: str, dataset_id: str, task_id: str) -> TaskAnswer:
    dataset = _dataset(call, dataset_id)
    return answers.task(call.cloud, service.get_task(call.cloud, call.caller, dataset, task_id))


def _cancel_task(call: Call, project_id: str, dataset_id: str, task_id: str) -> None:
    dataset = _dataset(call, dataset_id)
    service.cancel(call.cloud, service.get_task(call.cloud, call.caller, dataset, task_id))


def _dataset(call: Call, id: str) -> Dataset:
    return service.get(call.cloud, call.caller, id)


ROUTES = Routes(
    SURFACE,
    [
        Route(
            method="POST",
            path=DATASETS,
            handler=_create,
            summary="Create a dataset",
            scope=SCOPE,
            body=Body(NewDataset),
            repeatable=True,
            answer=DatasetId,
            status=201,
            refusals=(404, 409),
        ),
        Route(
            method="GET",
            path=DATASETS,
            handler=_list,
            summary="List datasets, the newest first",
            scope=SCOPE,
            query=DatasetsQuery,
            answer=DatasetList,
            refusals=(404,),
        ),
        Route(
            method="GET",
            path=DATASET,
            handler=_get,
            summary="Show a dataset",
            scope=SCOPE,
            answer=DatasetAnswer,
            refusals=(404,),
        ),
        Route(
            method="PUT",
            path=DATASET,
            handler=_update,
            summary="Change a dataset",
            scope=SCOPE,
            body=Body(DatasetChanges),
            conditional=True,
            answer=DatasetId,
            refusals=(404, 409),
        ),
        Route(
            method="DELETE",
            path=DATASET,
            handler=_delete,
            summary="Delete a dataset; what was exported stays",
            scope=SCOPE,
            answer=None,
            status=204,
            refusals=(404,),
        ),
        Route(
            method="POST",
            path=VERSIONS,
            handler=_make_version,
            summary="Make a version of a dataset as it is now",
            scope=SCOPE,
            repeatable=True,
            answer=TaskId,
            refusals=(404, 409),
        ),
        Route(
            method="GET",
            path=VERSIONS,
            handler=_list_versions,
            summary="List the newest versions of a dataset",
            scope=SCOPE,
            query=VersionsQuery,
            answer=VersionList,
            refusals=(404,),
        ),
        Route(
            method="GET",
            path=f"{VERSIONS}/<version_id>",
            handler=_get_version,
            summary="Show a version of a dataset",
            scope=SCOPE,
            answer=VersionAnswer,
            refusals=(404,),
        ),
        Route(
            method="GET",
            path=f"{VERSIONS}/<version_id>/samples",
            handler=_list_samples,
            summary="List the samples of a version",
            scope=SCOPE,
            query=SamplesQuery,
            strict=True,
            answer=SampleList,
            refusals=(404,),
        ),
        Route(
            method="GET",
            path=f"{VERSIONS}/<first_id>/diff/<second_id>",
            handler=_compare,
            summary="Count what changed from a version to another one",
            scope=SCOPE,
            answer=Difference,
            refusals=(404,),
        ),
        Route(
            method="GET",
            path=f"{VERSIONS}/<first_id>/diff/<second_id>/samples",
            handler=_changes,
            summary="List the samples that changed from a version to another one",
            scope=SCOPE,
            answer=Media((LINES_TYPE,), "A line for each sample that changed"),
            refusals=(404,),
        ),
        Route(
            method="GET",
            path=f"{VERSIONS}/<first_id>/diff/<second_id>/changes",
            handler=_list_changes,
            summary="List what changed from a version to another one, in pages",
            scope=SCOPE,
            query=ChangesQuery,
            strict=True,
            answer=ChangeList,
            refusals=(404,),
        ),
        Route(
            method="POST",
            path=TASKS,
            handler=_begin_export,
            summary="Export a dataset",
            scope=SCOPE,
            body=Body(ExportTaskBody, given="object"),
            repeatable=True,
            answer=TaskId,
            refusals=(404, 409),
        ),
        Route(
            method="GET",
            path=TASKS,
            handler=_list_tasks,
            summary="List the export tasks of a dataset, the newest first",
            scope=SCOPE,
            query=TasksQuery,
            answer=TaskList,
            refusals=(404,),
        ),
        Route(
            method="GET",
            path=f"{TASKS}/<task_id>",
            handler=_get_task,
            summary="Show an export task, and how far it is",
            scope=SCOPE,
            answer=TaskAnswer,
            refusals=(404,),
        ),
        Route(
            method="DELETE",
            path=f"{TASKS}/<task_id>",
            handler=_cancel_task,
            summary="Cancel an export task",
            scope=SCOPE,
            answer=None,
            status=204,
            refusals=(404, 409),
        ),
    ],
)
