"""List exports, of all customers or of one."""

import argparse

from infra.commands import Listing, connect, document_id, show, takes_json
from shared.accounts.customers import get_customer
from shared.exports import operating
from shared.exports.export import STATES


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("--customer", type=document_id, help="whose exports; all customers' where left out")
    parser.add_argument(
        "--state", choices=STATES, help="in which state; where left out, those that can go on"
    )
    takes_json(parser)


def run(args: argparse.Namespace) -> None:
    """Do it."""
    cloud = connect()
    if args.customer is not None:
        get_customer(cloud.db, args.customer)
    rows = [
        (
            each.customer,
            each.config.name,
            each.id,
            each.state,
            each.config.export_type,
            each.config.connector_type,
            each.config.interval,
            each.next_start,
        )
        for each in operating.exports(cloud, args.customer, args.state)
    ]
    columns = ("customer", "name", "export", "state", "type", "connector", "interval", "next_window")
    show(args.json, Listing("exports", columns, rows))
