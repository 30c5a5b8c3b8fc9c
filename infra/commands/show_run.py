"""Show the life of one run, in order, and its audit event.

Of its parts, files and slices at most 200 each are shown.
"""

import argparse
import json

from infra.commands import connect, document_id, say, second, table
from shared.exports import operating
from shared.exports.audit import bounds


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("export", metavar="EXPORT", type=document_id, help="the export's id")
    parser.add_argument("run_id", metavar="RUN", type=document_id, help="the run's id")


def run(args: argparse.Namespace) -> None:
    """Do it."""
    life = operating.life(connect(), args.export, args.run_id)
    told = life.now.run
    say(
        table(
            ("CUSTOMER", "STATE", "FROM", "ASKED BY", "CONFIG", "WAITS FOR"),
            [
                (
                    told.customer,
                    told.state,
                    told.origin,
                    told.user,
                    f"version {told.version}",
                    told.waits_for or "-",
                )
            ],
        )
    )
    say("Window {start} to {end}".format(**bounds(told.window)) + f", read as of {second(told.read_time)}")
    say()
    say(table(("AT", "WHAT"), [(second(each.at), each.what) for each in life.moments]))
    if life.left_out:
        say(f"… and {life.left_out} more parts, files and slices")
    if life.event is not None:
        say()
        say(json.dumps(life.event, indent=2, ensure_ascii=False))
