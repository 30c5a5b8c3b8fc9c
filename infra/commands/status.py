"""List what is due, running, waiting and failing now, of all customers.

At most 200 of each are listed. What could not be delivered at all waits in the topic `undelivered`:
docs/operators/deploying.md, "What goes wrong, and what then".
"""

import argparse
from collections.abc import Sequence
from datetime import datetime

from infra.commands import connect, say, second, span, table
from shared.analysis.steps import KIND as ANALYSES
from shared.batches import operating as batches
from shared.batches.operating import BatchNow
from shared.exports import operating as exports
from shared.exports.audit import bounds
from shared.exports.operating import FAILED_WITHIN, MAX_LISTED, RunNow
from shared.exports.runs import Run
from shared.jobs import operating as jobs
from shared.jobs.operating import JobNow
from shared.outbox.sending import KIND as MAILS
from shared.outbox.service import not_sent
from shared.work.overview import waiting


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
        [_waits(each.run, at) for each in found.under_way],
    )
    _section(
        "Runs that failed within a day",
        ("CUSTOMER", "EXPORT", "RUN", "FAILED", "WINDOW"),
        [(*_run(each), second(each.finished), _window(each)) for each in found.failed],
        [_why(each.error, each.next_action) for each in found.failed],
    )
    title = ("CUSTOMER", "BATCH", "STATUS", "AGE", "LAST SIGN OF LIFE", "WORK ORDERS")
    under_way = batches.under_way(cloud)
    _section(
        "Batches under way",
        title,
        [_batch(each, at) for each in under_way],
        [each.waits_for or "" for each in under_way],
    )
    failed = batches.failed(cloud, at - FAILED_WITHIN)
    _section(
        "Batches that failed within a day",
        title,
        [_batch(each, at) for each in failed],
        [_why(each.batch.error, each.batch.next_action) for each in failed],
    )
    of_jobs = ("CUSTOMER", "JOB", "DOES", "TYPE", "STATUS", "AGE", "LAST SIGN OF LIFE", "RECORDS")
    for heading, listed in (
        ("Jobs that wait for their file", jobs.waiting(cloud)),
        ("Jobs under way", jobs.under_way(cloud)),
        ("Jobs that failed within a day", jobs.failed(cloud, at - FAILED_WITHIN)),
    ):
        _section(heading, of_jobs, [_job(each, at) for each in listed], [_of_job(each) for each in listed])
    sites = waiting(cloud, ANALYSES, MAX_LISTED)
    _section(
        "Sites whose analyses wait",
        ("CUSTOMER", "SITE", "FOR"),
        [(each.customer, each.id, span(at - each.since)) for each in sites],
        [each.waits_for for each in sites],
    )
    waits = waiting(cloud, MAILS, MAX_LISTED)
    _section(
        "Mails that wait to be sent",
        ("CUSTOMER", "MAIL", "FOR"),
        [(each.customer, each.id, span(at - each.since)) for each in waits],
        [each.waits_for for each in waits],
    )
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


def _waits(run: Run, at: datetime) -> str:
    return f"It has waited for {span(at - run.since)}: {run.waits_for}" if run.since else ""


def _window(each: RunNow) -> str:
    return "{start} to {end}".format(**bounds(each.run.window))


def _batch(each: BatchNow, at: datetime) -> tuple[str, ...]:
    batch, reached = each.batch, each.progress
    total = "?" if batch.work_orders is None else batch.work_orders
    orders = f"{reached.work_orders_done} in, {reached.work_orders_failed} failed, of {total}"
    return batch.customer, batch.id, batch.state, span(at - batch.created), _ago(each.heartbeat, at), orders


def _job(each: JobNow, at: datetime) -> tuple[str, ...]:
    job, reached = each.job, each.progress
    records = f"{reached.processed} processed, {reached.rejected} rejected"
    age, life = span(at - job.created), _ago(each.heartbeat, at)
    return job.customer, job.id, job.does, job.item_type or "-", job.status, age, life, records


def _of_job(each: JobNow) -> str:
    """What a job waits for, or why it failed: of a fault of ours what we met, which its customer is not
    shown."""
    return each.waits_for or each.job.error or each.job.reason


def _ago(beat: datetime | None, at: datetime) -> str:
    return f"{span(at - beat)} ago" if beat else "-"


def _why(error: str | None, next_action: str | None) -> str:
    return " ".join(each for each in (error, next_action) if each)
