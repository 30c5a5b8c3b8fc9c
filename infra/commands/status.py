"""Show what is running, waiting, due and failing now, of all customers.

What runs and waits comes first. At most 200 of each are listed, and the others counted. What could not be
delivered at all waits in the topic `undelivered`: docs/operators/deploying.md, "What goes wrong, and what
then".
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TypeVar

from infra.commands import Ago, Listing, connect, say, second, show, span, takes_json
from shared.analysis.steps import KIND as ANALYSES
from shared.batches import batch as batches
from shared.batches.batch import Batch
from shared.batches.steps import KIND as BATCHES
from shared.datasets import task as tasks
from shared.datasets.steps import KIND as DATASET_TASKS
from shared.datasets.task import Task
from shared.exports import operating as exports
from shared.exports import room
from shared.exports.audit import bounds
from shared.exports.operating import FAILED_WITHIN, RunNow
from shared.gcp import unreadable
from shared.gcp.clients import Cloud
from shared.jobs import job as jobs
from shared.jobs.job import Job
from shared.jobs.steps import KIND as JOBS
from shared.outbox.sending import KIND as MAILS
from shared.outbox.service import not_sent
from shared.work import overview
from shared.work.kinds import PENDING
from shared.work.overview import MAX_LISTED, Listed, WorkNow

T = TypeVar("T")


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    takes_json(parser)


def run(args: argparse.Namespace) -> None:
    """Do it."""
    cloud = connect()
    found = exports.overview(cloud)
    if not args.json:
        say(f"At {second(found.at)}")
        say()
    show(args.json, *_listings(cloud, found), at=found.at)


def _listings(cloud: Cloud, found: exports.Overview) -> Iterator[Listing]:
    at, since = found.at, found.at - FAILED_WITHIN
    in_states, failed = overview.in_states, overview.failed
    # What runs
    yield _runs("runs_under_way", "Runs under way", found.under_way, at)
    yield _batches(cloud, "batches_under_way", "under way", in_states(cloud, BATCHES, batches.UNDER_WAY), at)
    yield _jobs(cloud, "jobs_under_way", "under way", in_states(cloud, JOBS, jobs.UNDER_WAY), at)
    under_way = in_states(cloud, DATASET_TASKS, [each for each in tasks.UNDER_WAY if each != PENDING])
    yield _tasks(cloud, "dataset_tasks_under_way", "under way", under_way, at)
    # What waits
    yield _runs("runs_pending", "Runs that wait for a slot, or for a run before them", found.pending, at)
    pending = in_states(cloud, DATASET_TASKS, [PENDING])
    yield _tasks(cloud, "dataset_tasks_pending", "that wait for a slot", pending, at)
    yield _waiting(
        "sites_waiting", "Sites whose analyses wait", "site", overview.waiting(cloud, ANALYSES), at
    )
    yield _waiting("mails_waiting", "Mails that wait to be sent", "mail", overview.waiting(cloud, MAILS), at)
    waiting = in_states(cloud, JOBS, jobs.WAITING)
    yield _jobs(cloud, "jobs_waiting_for_file", "that wait for their file", waiting, at)
    full = {each: room.full(cloud, each) or "" for each in {due.customer for due in found.due.shown}}
    yield Listing(
        "exports_due",
        ("customer", "name", "export", "due", "late"),
        [
            (
                each.customer,
                each.config.name,
                each.id,
                each.next_due,
                at - each.next_due if each.next_due else None,
            )
            for each in found.due.shown
        ],
        "Exports whose window is due and has not begun",
        [full[each.customer] for each in found.due.shown],
        found.due.left,
    )
    # What needs somebody
    yield Listing(
        "exports_halted",
        ("customer", "name", "export", "state", "next_window"),
        [
            (each.customer, each.config.name, each.id, each.state, each.next_start)
            for each in found.halted.shown
        ],
        "Exports that are paused or suspended",
        [
            _why((each.suspended or {}).get("error"), (each.suspended or {}).get("next_action"))
            for each in found.halted.shown
        ],
        found.halted.left,
    )
    yield Listing(
        "exports_failing",
        ("customer", "name", "export", "windows", "since"),
        [
            (each.customer, each.name, each.export, each.windows, each.since)
            for each in exports.failing(cloud)
        ],
        "Exports with failed windows, which `retry-failed` retries",
    )
    yield Listing(
        "runs_failed",
        ("customer", "name", "export", "run", "failed", "window"),
        [(*_run(each), each.finished, _window(each)) for each in found.failed.shown],
        "Runs that failed within a day",
        [_why(each.error, each.next_action) for each in found.failed.shown],
        found.failed.left,
    )
    yield _batches(cloud, "batches_failed", "that failed within a day", failed(cloud, BATCHES, since), at)
    yield _jobs(cloud, "jobs_failed", "that failed within a day", failed(cloud, JOBS, since), at)
    failing = failed(cloud, DATASET_TASKS, since)
    yield _tasks(cloud, "dataset_tasks_failed", "that failed within a day", failing, at)
    mails = not_sent(cloud, since, MAX_LISTED)
    yield Listing(
        "mails_not_sent",
        ("customer", "letter", "status", "since", "to", "of"),
        [(each.customer, each.letter, each.state, each.finished, each.address, each.owner) for each in mails],
        "Mails that were not sent, or may not have been, within a day",
        [_why(each.reason, each.next_action) for each in mails],
    )
    # Last, since the lists above meet some of them.
    bad = unreadable.listed(cloud.db)
    yield Listing(
        "documents_unreadable",
        ("document", "met"),
        [(each.path, each.met) for each in bad],
        "Documents that cannot be read, and were left out",
        [each.reason for each in bad],
    )


def _runs(name: str, heading: str, those: Listed[RunNow], at: datetime) -> Listing:
    rows = [
        (*_run(each), each.run.state, at - each.created, Ago(each.heartbeat, at), _window(each))
        for each in those.shown
    ]
    columns = ("customer", "name", "export", "run", "state", "age", "last_heartbeat", "window")
    notes = [_waits(each.run.waits_for, each.run.since, at) for each in those.shown]
    return Listing(name, columns, rows, heading, notes, those.left)


def _waiting(name: str, heading: str, what: str, those: Listed[WorkNow[T]], at: datetime) -> Listing:
    rows = [(each.customer, each.id, at - each.since if each.since else None) for each in those.shown]
    notes = [each.waits_for or "" for each in those.shown]
    return Listing(name, ("customer", what, "for"), rows, heading, notes, those.left)


def _batches(cloud: Cloud, name: str, which: str, those: Listed[WorkNow[Batch]], at: datetime) -> Listing:
    def row(each: WorkNow[Batch]) -> tuple[str | None, str, str]:
        batch = each.work
        reached = batches.progress(cloud, batch)
        total = "?" if batch.work_orders is None else batch.work_orders
        imported, failed = reached.work_orders_done, reached.work_orders_failed
        return batch.filename, batch.state, f"{imported} in, {failed} failed, of {total}"

    def why(batch: Batch) -> str:
        return _why(batch.error, batch.next_action)

    return _works(name, f"Batches {which}", ("batch", "file", "status", "work_orders"), those, row, why, at)


def _jobs(cloud: Cloud, name: str, which: str, those: Listed[WorkNow[Job]], at: datetime) -> Listing:
    def row(each: WorkNow[Job]) -> tuple[str, str | None, str, str]:
        job = each.work
        reached = jobs.progress(cloud, job)
        records = f"{reached.processed} processed, {reached.rejected} rejected"
        return job.does, job.item_type or None, job.status, records

    def why(job: Job) -> str:
        # Of a fault of ours it is what we met, which the job's customer is not shown.
        return job.error or job.reason

    return _works(name, f"Jobs {which}", ("job", "does", "type", "status", "records"), those, row, why, at)


def _tasks(cloud: Cloud, name: str, which: str, those: Listed[WorkNow[Task]], at: datetime) -> Listing:
    def row(each: WorkNow[Task]) -> tuple[str, str, str, str | None, str]:
        task = each.work
        # A task that makes a version has no count before its end.
        reached = f"{tasks.finished(cloud, task)} of {task.total or '?'}"
        return task.dataset, task.does, task.state, each.stage, reached

    def why(task: Task) -> str:
        return _why(task.error, task.next_action)

    columns = ("task", "dataset", "does", "status", "step", "samples")
    return _works(name, f"Dataset tasks {which}", columns, those, row, why, at)


def _works(
    name: str,
    heading: str,
    columns: Sequence[str],
    those: Listed[WorkNow[T]],
    row: Callable[[WorkNow[T]], Sequence[object]],
    why: Callable[[T], str],
    at: datetime,
) -> Listing:
    """Works of a kind: the columns are the name of the kind, and what `row` says of a work, how far it is
    last. Below each is what it waits for, or `why` it failed."""
    *first, reached = columns
    rows: list[Sequence[object]] = []
    for each in those.shown:
        cells: Sequence[object]
        try:
            *cells, how_far = row(each)
        except unreadable.MALFORMED:  # a piece of it says how far it is
            cells, how_far = ["?"] * (len(first) - 1), "cannot be read"
        rows.append((each.customer, each.id, *cells, at - each.created, Ago(each.heartbeat, at), how_far))
    notes = [_waits(each.waits_for, each.since, at) or why(each.work) for each in those.shown]
    return Listing(
        name, ("customer", *first, "age", "last_heartbeat", reached), rows, heading, notes, those.left
    )


def _run(each: RunNow) -> tuple[str, str, str, str]:
    return each.run.customer, each.run.config.name, each.run.export, each.run.id


def _waits(waits_for: str | None, since: datetime | None, at: datetime) -> str:
    """What a work waits for, and how long it has."""
    if not waits_for:
        return ""
    return f"It has waited for {span(at - since)}: {waits_for}" if since else waits_for


def _window(each: RunNow) -> str:
    return "{start} to {end}".format(**bounds(each.run.window))


def _why(error: str | None, next_action: str | None) -> str:
    return " ".join(each for each in (error, next_action) if each)
