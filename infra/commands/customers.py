"""List all customers."""

import argparse

from infra.commands import Listing, connect, show, takes_json
from shared.accounts.customers import all_customers
from shared.accounts.limits import PARALLEL_EXPORTS


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    takes_json(parser)


def run(args: argparse.Namespace) -> None:
    """Do it."""
    rows = [
        (each.id, each.name, each.slug, each.account, each.notify, each.limit(PARALLEL_EXPORTS))
        for each in all_customers(connect().db)
    ]
    columns = ("customer", "name", "slug", "account", "notify", "parallel_exports")
    show(args.json, Listing("customers", columns, rows))
