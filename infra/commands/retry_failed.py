"""Retry all failed windows of an export, as `:retry-failed` does.

They are exported by the config as it is now. Fix their cause first: `status` says why they failed.
"""

import argparse

from infra.commands import connect, document_id, say
from shared.exports import operating


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("export", metavar="EXPORT", type=document_id, help="the export's id")


def run(args: argparse.Namespace) -> None:
    """Do it."""
    retried = operating.retry_failed(connect(), args.export)
    say(f"The failed windows of the export {retried.config.name} of {retried.customer} are retried.")
