"""List what is due, running, waiting and failing now, of all customers.

At most 200 of each are listed. What could not be delivered at all waits in the topic `undelivered`:
docs/operators/deploying.md, "What goes wrong, and what then".
"""

import argparse
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

from infra.commands import connect, say, second, span, table
from shared.analysis.steps import KIND as ANALYSES
from shared.batches import batch as batches
from shared.batches.batch import Batch
from shared.batches.steps import KIND as BATCHES
from shared.datasets import task as tasks
from shared.datasets.steps import KIND as DATASET_TASKS
from shared.datasets.task import Task
from shared.exports import operating as exports
from shared.exports.audit import bounds
from shared.exports.operating import FAILED_WITHIN, RunNow
from shared.gcp.clients import Cloud
from shared.jobs import job as jobs
from shared.jobs.job import Job
from shared.jobs.steps import KIND as JOBS
from shared.outbox.sending import KIND as MAILS
from shared.outbox.service import not_sent
from shared.work import overview
from shared.work.overview import MAX_LISTED, WorkNow

T = TypeVar("T")


def arguments(_: argparse.ArgumentParser) -> None:
    """The command takes nothing."""


def run(_: argparse.Namespace) -> None:
    """Do it."""
    cloud = connect()
    found = exports.overview(cloud)
    at = found.at
    say(f"At {second(at)}")
    _section(
        "Exports whose window is due and has not begun",
        ("CUSTOMER", "EXPORT", "DUE", "LATE"),
        [
            (
                each.customer,
                each.id,
                second(each.next_due),
                span(at - each.next_due) if each.next_due else "-",
            )
            for each in found.due
        ],
    )
    _section(
        "Exports that are paused or suspended",
        ("CUSTOMER", "EXPORT", "STATE", "NEXT WINDOW", "NAME"),
        [
            (each.customer, each.id, each.state, second(each.next_start), each.config.name)
            for each in found.halted
        ],
        [
            _why((each.suspended or {}).get("error"), (each.suspended or {}).get("next_action"))
            for each in found.halted
        ],
    )
    _section(
        "Runs that wait or are under way",
        ("CUSTOMER", "EXPORT", "RUN", "STATE", "AGE", "LAST SIGN OF LIFE", "WINDOW"),
        [
            (*_run(each), each.run.state, span(at - each.created), _ago(each.heartbeat, at), _window(each))
            for each in found.under_way
        ],
        [_waits(each.run.waits_for, each.run.since, at) for each in found.under_way],
    )
    _section(
        "Runs that failed within a day",
        ("CUSTOMER", "EXPORT", "RUN", "FAILED", "WINDOW"),
        [(*_run(each), second(each.finished), _window(each)) for each in found.failed],
        [_why(each.error, each.next_action) for each in found.failed],
    )
    _batches(cloud, at)
    _jobs(cloud, at)
    _dataset_tasks(cloud, at)
    for heading, name, waits in (
        ("Sites whose analyses wait", "SITE", overview.waiting(cloud, ANALYSES)),
        ("Mails that wait to be sent", "MAIL", overview.waiting(cloud, MAILS)),
    ):
        rows = [(each.customer, each.id, _since(each.since, at)) for each in waits]
        _section(heading, ("CUSTOMER", name, "FOR"), rows, [each.waits_for or "" for each in waits])
    mails = not_sent(cloud, at - FAILED_WITHIN, MAX_LISTED)
    _section(
        "Mails that were not sent, or may not have been, within a day",
        ("CUSTOMER", "LETTER", "STATUS", "SINCE", "TO", "OF"),
        [
            (each.customer, each.letter, each.state, second(each.finished), each.address, each.owner)
            for each in mails
        ],
        [_why(each.reason, each.next_action) for each in mails],
    )


def _batches(cloud: Cloud, at: datetime) -> None:
    def row(each: WorkNow[Batch]) -> tuple[str, str]:
        batch = each.work
        reached = batches.progress(cloud, batch)
        total = "?" if batch.work_orders is None else batch.work_orders
        imported, failed = reached.work_orders_done, reached.work_orders_failed
        return batch.state, f"{imported} in, {failed} failed, of {total}"

    def why(batch: Batch) -> str:
        return _why(batch.error, batch.next_action)

    for heading, those in (
        ("Batches under way", overview.in_states(cloud, BATCHES, batches.UNDER_WAY)),
        ("Batches that failed within a day", overview.failed(cloud, BATCHES, at - FAILED_WITHIN)),
    ):
        _works(heading, ("BATCH", "STATUS", "WORK ORDERS"), those, row, why, at)


def _jobs(cloud: Cloud, at: datetime) -> None:
    def row(each: WorkNow[Job]) -> tuple[str, str, str, str]:
        job = each.work
        reached = jobs.progress(cloud, job)
        records = f"{reached.processed} processed, {reached.rejected} rejected"
        return job.does, job.item_type or "-", job.status, records

    def why(job: Job) -> str:
        # Of a fault of ours it is what we met, which the job's customer is not shown.
        return job.error or job.reason

    for heading, those in (
        ("Jobs that wait for their file", overview.in_states(cloud, JOBS, jobs.WAITING)),
        ("Jobs under way", overview.in_states(cloud, JOBS, jobs.UNDER_WAY)),
        ("Jobs that failed within a day", overview.failed(cloud, JOBS, at - FAILED_WITHIN)),
    ):
        _works(heading, ("JOB", "DOES", "TYPE", "STATUS", "RECORDS"), those, row, why, at)


def _dataset_tasks(cloud: Cloud, at: datetime) -> None:
    def row(each: WorkNow[Task]) -> tuple[str, str, str, str, str]:
        task = each.work
        # A task that makes a version has no count before its end.
        reached = f"{tasks.finished(cloud, task)} of {task.total or '?'}"
        return task.dataset, task.does, task.state, each.stage or "-", reached

    def why(task: Task) -> str:
        return _why(task.error, task.next_action)

    for heading, those in (
        ("Dataset tasks under way", overview.in_states(cloud, DATASET_TASKS, tasks.UNDER_WAY)),
        ("Dataset tasks that failed within a day", overview.failed(cloud, DATASET_TASKS, at - FAILED_WITHIN)),
    ):
        _works(heading, ("TASK", "DATASET", "DOES", "STATUS", "STEP", "SAMPLES"), those, row, why, at)


def _works(
    heading: str,
    columns: Sequence[str],
    those: Sequence[WorkNow[T]],
    row: Callable[[WorkNow[T]], Sequence[str]],
    why: Callable[[T], str],
    at: datetime,
) -> None:
    """Works of a kind: the columns are the name of the kind, and what `row` says of a work, how far it is
    last. Below each is what it waits for, or `why` it failed."""
    *first, reached = columns
    rows = []
    for each in those:
        *cells, how_far = row(each)
        life = span(at - each.created), _ago(each.heartbeat, at)
        rows.append((each.customer, each.id, *cells, *life, how_far))
    title = ("CUSTOMER", *first, "AGE", "LAST SIGN OF LIFE", reached)
    below = [_waits(each.waits_for, each.since, at) or why(each.work) for each in those]
    _section(heading, title, rows, below)


def _section(
    heading: str, title: Sequence[str], rows: Sequence[Sequence[object]], below: Sequence[str] = ()
) -> None:
    """A heading with a count, and a table; under each row what is said `below` it."""
    more = " or more" if len(rows) == MAX_LISTED else ""
    say()
    say(f"{heading}: {len(rows)}{more}")
    if rows:
        head, *lines = table(title, rows).splitlines()
        say(f"  {head}")
        for number, line in enumerate(lines):
            say(f"  {line}")
            if below and below[number]:
                say(f"    {below[number]}")


def _run(each: RunNow) -> tuple[str, str, str]:
    return each.run.customer, each.run.export, each.run.id


def _waits(waits_for: str | None, since: datetime | None, at: datetime) -> str:
    """What a work waits for, and how long it has."""
    if not waits_for:
        return ""
    return f"It has waited for {span(at - since)}: {waits_for}" if since else waits_for


def _window(each: RunNow) -> str:
    return "{start} to {end}".format(**bounds(each.run.window))


def _ago(beat: datetime | None, at: datetime) -> str:
    return f"{span(at - beat)} ago" if beat else "-"


def _since(since: datetime | None, at: datetime) -> str:
    return span(at - since) if since else "-"


def _why(error: str | None, next_action: str | None) -> str:
    return " ".join(each for each in (error, next_action) if each)
