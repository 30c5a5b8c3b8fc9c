"""Export a run's window again.

A run that failed is taken up where it was, as `:retry` does: what it had pinned is delivered, exactly that.
Of one that completed or was cancelled the window is exported in a run of its own, as `:backfill` does.
"""

import argparse

from infra.commands import connect, document_id, say
from shared.exports import operating


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("export", metavar="EXPORT", type=document_id, help="the export's id")
    parser.add_argument("run_id", metavar="RUN", type=document_id, help="the run's id")


def run(args: argparse.Namespace) -> None:
    """Do it."""
    begun = operating.rerun(connect(), args.export, args.run_id)
    what = "is taken up again" if begun.id == args.run_id else "exports the same window"
    say(f"The run {begun.id} of the export {begun.export} {what}.")
