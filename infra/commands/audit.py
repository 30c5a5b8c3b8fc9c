"""Show who changed what of a customer, the newest first: `audit acme --thing exports/ID`.

Each entry names the key, or `operator`, the route or the command, the thing, the names of the fields that
were sent, and the request, by which the log has more.
"""

import argparse

from infra.commands import Listing, Problem, connect, document_id, show, takes_json
from shared import audit_trail
from shared.accounts.customers import get_customer
from shared.gcp.unreadable import readable

LISTED = 100
"""How many entries are shown unless `--most` says otherwise."""

MOST = 10_000
"""How many may be asked for."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("customer", metavar="CUSTOMER", type=document_id, help="whose things were changed")
    parser.add_argument("--thing", help="those about this and what is below it, as exports/ID")
    parser.add_argument("--key", help=f"those of the key with this id, or `{audit_trail.OPERATOR}`")
    parser.add_argument("--most", type=int, default=LISTED, help=f"how many are shown ({LISTED})")
    takes_json(parser)


def run(args: argparse.Namespace) -> None:
    """Do it."""
    if not 0 < args.most <= MOST:
        raise Problem(f"--most is a number from 1 to {MOST:,}; got {args.most}")
    db = connect().db
    get_customer(db, args.customer)
    found = audit_trail.entries_of(db, args.customer, thing=args.thing, key=args.key).limit(args.most)
    rows = [
        (each.time, each.key, each.action, each.thing, each.fields, each.request)
        for each in readable(db, found.stream(), audit_trail.from_snapshot)
    ]
    show(args.json, Listing("entries", ("time", "key", "action", "thing", "fields", "request"), rows))
