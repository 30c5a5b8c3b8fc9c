"""List a customer's sites."""

import argparse

from infra.commands import Listing, connect, document_id, show, takes_json
from shared.accounts.customers import all_sites, get_customer


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("--customer", required=True, type=document_id, help="whose sites")
    takes_json(parser)


def run(args: argparse.Namespace) -> None:
    """Do it."""
    db = connect().db
    get_customer(db, args.customer)
    rows = [
        (each.id, each.name, each.task_groups, each.analysis_url is not None, each.code_page)
        for each in all_sites(db, args.customer)
    ]
    show(args.json, Listing("sites", ("site", "name", "task_groups", "has_analyser", "code_page"), rows))
