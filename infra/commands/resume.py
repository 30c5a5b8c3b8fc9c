"""Resume an export that is paused or suspended, as `:resume` does.

One that was suspended exports every window that failed or waits. Test it first: `check-bucket EXPORT`.
"""

import argparse

from infra.commands import connect, document_id, say
from shared.exports import operating
from shared.exports.audit import bounds


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("export", metavar="EXPORT", type=document_id, help="the export's id")
    parser.add_argument("--skip", action="store_true", help="leave out the window that is open")


def run(args: argparse.Namespace) -> None:
    """Do it."""
    resumed, left_out = operating.resume(connect(), args.export, args.skip)
    say(f"The export {resumed.config.name} of {resumed.customer} is {resumed.state}.")
    if left_out is not None:
        say("Left out, and to be exported with :backfill: {start} to {end}.".format(**bounds(left_out)))
