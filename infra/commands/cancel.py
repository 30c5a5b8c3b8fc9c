"""Cancel a run, a batch, a job or a dataset task, as its customer can.

What was delivered or imported by then stays. A run or a task that finishes already is not cancelled.
"""

import argparse

from infra.commands import Problem, connect, document_id, say
from shared.batches import batch as batches
from shared.batches import service as batch_service
from shared.datasets import service as dataset_service
from shared.datasets import task as tasks
from shared.errors import NotFound
from shared.exports import operating
from shared.gcp.clients import Cloud
from shared.jobs import job as jobs
from shared.jobs import service as job_service

_KINDS = ("run", "batch", "job", "task")


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("kind", metavar="KIND", choices=_KINDS, help="run, batch, job or task")
    parser.add_argument(
        "ids", metavar="ID", nargs="+", type=document_id, help="its id; of a run the export's id before it"
    )


def run(args: argparse.Namespace) -> None:
    """Do it."""
    if len(args.ids) != (2 if args.kind == "run" else 1):
        raise Problem("cancel takes: run EXPORT RUN, batch ID, job ID, or task ID")
    say(f"The {args.kind} {args.ids[-1]} is {_cancelled(connect(), args.kind, args.ids)}.")


def _cancelled(cloud: Cloud, kind: str, ids: list[str]) -> str:
    """Cancel it; returns the state that it is in then."""
    id = ids[-1]
    if kind == "run":
        return operating.cancel(cloud, *ids).state
    if kind == "batch" and (batch := batches.get(cloud, id)) is not None:
        batch_service.cancel(cloud, batch)
        return _state(cloud, batch.path)
    if kind == "job" and (job := jobs.get(cloud, id)) is not None:
        job_service.cancel(cloud, job)
        return _state(cloud, job.path)
    if kind == "task" and (task := tasks.get(cloud, id)) is not None:
        dataset_service.cancel(cloud, task)
        return _state(cloud, task.path)
    raise NotFound(f"there is no {kind} {id}")


def _state(cloud: Cloud, path: str) -> str:
    return str(cloud.db.document(path).get().get("state"))
