"""List a customer's keys, without their secrets."""

import argparse

from infra.commands import connect, document_id, say, second, table
from shared.accounts.customers import get_customer
from shared.accounts.keys import keys_of


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("--customer", required=True, type=document_id, help="whose keys")


def run(args: argparse.Namespace) -> None:
    """Do it."""
    db = connect().db
    get_customer(db, args.customer)
    rows = [
        (
            key.id,
            "revoked" if key.revoked else "good",
            ",".join(key.scopes),
            key.site or "-",
            second(key.created),
        )
        for key in keys_of(db, args.customer)
    ]
    say(table(("KEY", "STATE", "SCOPES", "SITE", "CREATED"), rows) if rows else "There are no keys.")
