"""Show the life of one run, in order, and its audit event.

Of its parts, files and slices at most 200 each are shown.
"""

import argparse

from infra.commands import Listing, connect, document_id, say, second, show_json, takes_json
from shared.exports import operating
from shared.exports.audit import bounds
from shared.window import utc_second


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("export", metavar="EXPORT", type=document_id, help="the export's id")
    parser.add_argument("run_id", metavar="RUN", type=document_id, help="the run's id")
    takes_json(parser)


def run(args: argparse.Namespace) -> None:
    """Do it."""
    life = operating.life(connect(), args.export, args.run_id)
    shown = life.now.run
    window = bounds(shown.window)
    head = Listing(
        "run",
        ("customer", "export", "state", "from", "asked_by", "config", "waits_for"),
        [
            (
                shown.customer,
                shown.config.name,
                shown.state,
                shown.origin,
                shown.user,
                f"version {shown.version}",
                shown.waits_for,
            )
        ],
    )
    moments = Listing("moments", ("at", "what"), [(each.at, each.what) for each in life.moments])
    if args.json:
        read_time = utc_second(shown.read_time) if shown.read_time else None
        more = {"window": window, "read_time": read_time, "moments_left_out": life.left_out}
        show_json({"run": head.json()["run"][0] | more, **moments.json(), "audit": life.event})
        return
    say(head.text())
    say("Window {start} to {end}".format(**window) + f", read as of {second(shown.read_time)}")
    say()
    say(moments.text())
    if life.left_out:
        say(f"… and {life.left_out} more parts, files and slices")
    if life.event is not None:
        say()
        show_json(life.event)
