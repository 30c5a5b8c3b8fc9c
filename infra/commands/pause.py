"""Pause an export, as `:pause` does.

What has begun goes on. `resume` has the export continue.
"""

import argparse

from infra.commands import connect, document_id, say
from shared.exports import operating


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("export", metavar="EXPORT", type=document_id, help="the export's id")


def run(args: argparse.Namespace) -> None:
    """Do it."""
    paused = operating.pause(connect(), args.export)
    say(f"The export {paused.config.name} of {paused.customer} is {paused.state}.")
