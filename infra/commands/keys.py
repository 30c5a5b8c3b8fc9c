"""List a customer's keys, without their secrets.

A key may have been used until an hour after the time of its last use that is shown.
"""

import argparse

from infra.commands import Listing, connect, document_id, show, takes_json
from shared.accounts.customers import get_customer
from shared.accounts.keys import keys_of


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("--customer", required=True, type=document_id, help="whose keys")
    takes_json(parser)


def run(args: argparse.Namespace) -> None:
    """Do it."""
    db = connect().db
    get_customer(db, args.customer)
    rows = [
        (key.id, "revoked" if key.revoked else "good", key.scopes, key.site, key.created, key.used, key.name)
        for key in keys_of(db, args.customer)
    ]
    show(args.json, Listing("keys", ("key", "state", "scopes", "site", "created", "last_used", "name"), rows))
