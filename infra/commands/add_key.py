"""Make a key for a customer and show it, this once.

Each time it makes another key.
"""

import argparse

from infra.commands import connect, document_id, say
from shared.accounts.customers import get_customer, get_site
from shared.accounts.keys import SCOPES, create_key


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("--customer", required=True, type=document_id, help="whose key it is")
    parser.add_argument("--scope", required=True, nargs="+", choices=SCOPES, help="what it is good for")
    parser.add_argument("--site", type=document_id, help="the site that its calls are about by themselves")


def run(args: argparse.Namespace) -> None:
    """Do it."""
    db = connect().db
    get_customer(db, args.customer)
    if args.site is not None:
        get_site(db, args.site, args.customer)
    key = create_key(db, customer=args.customer, scopes=args.scope, site=args.site)
    say("The new key, which is shown this once and kept nowhere:")
    say(key)
