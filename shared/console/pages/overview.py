"""The first page: what waits for somebody, what runs, what is due next, and what the last days brought.

It shows as much of it as the key's scopes reach. Each list is short; whole lists are the pages of their own.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import flask

from shared.console import chart
from shared.console.page import Page
from shared.console.pages.exports import FIRST
from shared.console.visit import Visit

DAYS = 30
"""How many days the charts show."""

SHOWN = 5
"""How many batches, jobs and datasets of each state are shown."""

TASKS_SHOWN = 2
"""How many export tasks are shown of a dataset."""

BATCHES_SHOWN = ("PROCESSING", "UPLOADED", "FAILED", "COMPLETED_WITH_ERRORS")
"""The states of the batches that are shown, in this order."""

TASK_STATES = {"INIT": "PENDING", "RUNNING": "RUNNING", "FAILED": "FAILED"}
"""The states of the export tasks that are shown, and the words for them."""


@dataclass(frozen=True)
class Entry:
    """A batch, a job or an export task: where its page is, how it stands, and a sentence about it."""

    name: str
    path: str
    state: str
    says: str


@dataclass(frozen=True)
class Group:
    """Work of one kind that is under way or went wrong. `path` is the page of all of it, whose link says
    `all`; `none` is said where there is nothing to show."""

    key: str
    title: str
    about: str
    path: str
    all: str
    none: str
    entries: list[Entry]


def _show(visit: Visit) -> flask.Response:
    exports = visit.api.get("/v1/overview") if visit.api.may("exports") else None
    days = visit.api.get("/v1/statistics", {"days": DAYS})["days"] if exports else []
    return visit.page(
        "overview.html",
        exports=exports,
        charts=_charts(days),
        days=days,
        others=list(_others(visit)),
        curl=visit.curl("GET", "/v1/overview"),
        first_curl=visit.curl("POST", "/v1/exports", FIRST),
    )


def _charts(days: list[dict[str, Any]]) -> list[chart.Chart]:
    return [
        chart.of_days("Records", days, {"records": "records"}),
        chart.of_days("Images", days, {"images": "images"}),
        chart.of_days("Runs", days, {"completed": "completed", "failed": "failed"}),
    ]


def _others(visit: Visit) -> Iterator[Group]:
    """What the key may see besides exports."""
    may = visit.api.may
    nothing = "Nothing is under way, and nothing went wrong lately."
    if may("batches"):
        batches = list(_batches(visit))
        yield Group("batches", "Batches", "How far", "/console/batches", "All batches", nothing, batches)
    if may("jobs"):
        yield Group("jobs", "Jobs", "How far", "/console/jobs", "All jobs", nothing, list(_jobs(visit)))
    if may("datasets"):
        tasks = list(_tasks(visit))
        yield Group(
            "tasks", "Exports of datasets", "How far", "/console/datasets", "All datasets", nothing, tasks
        )


def _batches(visit: Visit) -> Iterator[Entry]:
    """The newest batches that are being imported, and those that went wrong last."""
    for status in BATCHES_SHOWN:
        asked = {"all_sites": "true", "status": status, "page_size": SHOWN}
        for batch in visit.api.get("/v0.2/batches", asked)["batches"]:
            total, done, lost = (batch[f"work_orders_{each}"] for each in ("total", "done", "failed"))
            of = f" of {total:,}" if total is not None else ""
            says = f"{done:,}{of} work orders imported" + (f", {lost:,} not" if lost else "")
            why = batch["error"]["message"] if batch["error"] else says
            name = batch["filename"] or batch["id"]
            yield Entry(name, f"/console/batches/{batch['id']}", batch["status"], why)


def _jobs(visit: Visit) -> Iterator[Entry]:
    """The newest jobs that have not ended, and those that failed last."""
    for state in ("Open", "Failed"):
        answer = visit.api.get("/ls/api/batch/jobs", {"state": state, "page_size": SHOWN})
        for job in answer["jobs"]:
            name = job["jobName"] or job["jobId"]
            yield Entry(name, f"/console/jobs/{job['jobId']}", job["status"], job["reason"])


def _tasks(visit: Visit) -> Iterator[Entry]:
    """Of the newest export tasks of the newest datasets, those that are under way or failed."""
    datasets = f"/v2/{visit.caller.customer}/datasets"
    for dataset in visit.api.get(datasets, {"limit": SHOWN})["datasets"]:
        path = f"{datasets}/{dataset['dataset_id']}/export-tasks"
        for task in visit.api.get(path, {"limit": TASKS_SHOWN})["export_tasks"]:
            if state := TASK_STATES.get(task["status"]):
                far = f"{task['finished_sample_count']:,} of {task['total_sample_count']:,} samples"
                says = task.get("error_msg") or far
                page = f"/console/datasets/{dataset['dataset_id']}"
                yield Entry(dataset["dataset_name"], page, state, says)


PAGES = [Page("GET", "", _show)]
