"""Withdraw the links to the files of an export or a job, as `:revoke-links` and `/batch/revoke` do.

Every link that was mailed by now opens nothing any more, and of a job those that its status shows. URLs that
a link has led to work for a quarter of an hour. Links of a deleted export, and of recipients who were removed
from it, are withdrawn already.
"""

import argparse

from infra.commands import Problem, connect, document_id, say
from shared.errors import NotFound
from shared.exports import operating
from shared.jobs import job as jobs
from shared.jobs import service as job_service


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("kind", metavar="KIND", choices=("export", "job"), help="export or job")
    parser.add_argument("id", metavar="ID", type=document_id, help="its id")
    parser.add_argument(
        "--recipient", metavar="ADDRESS", help="only the links of this recipient of an export"
    )


def run(args: argparse.Namespace) -> None:
    """Do it."""
    cloud = connect()
    if args.kind == "export":
        export = operating.revoke_links(cloud, args.id, args.recipient)
        whose = f"of {args.recipient} " if args.recipient else ""
        say(f"The links {whose}to files of {export.config.name} of {export.customer} are withdrawn.")
        return
    if args.recipient:
        raise Problem("revoke-links takes --recipient with an export only: a job has links of its own")
    job = jobs.get(cloud, args.id)
    if job is None:
        raise NotFound(f"there is no job {args.id}")
    job_service.revoke(cloud, job)
    say(f"The links to files of the job {job.id} of {job.customer} are withdrawn.")
