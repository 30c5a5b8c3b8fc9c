"""Make a key for a customer and show it, this once.

Each time it makes another key. With the scope `signing` its secret is sealed, so WAYBILL_ACCESS_KEYS must be
set as the functions have it.
"""

import argparse

from infra.commands import Problem, connect, document_id, show_key
from shared.accounts.customers import get_customer, get_site
from shared.accounts.keys import SCOPES, SIGNING, create_key


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("--customer", required=True, type=document_id, help="whose key it is")
    parser.add_argument("--scope", required=True, nargs="+", choices=SCOPES, help="what it is good for")
    parser.add_argument("--site", type=document_id, help="the site that its calls are about by themselves")


def run(args: argparse.Namespace) -> None:
    """Do it."""
    cloud = connect()
    db = cloud.db
    get_customer(db, args.customer)
    if args.site is not None:
        get_site(db, args.site, args.customer)
    try:
        key = create_key(
            db, customer=args.customer, scopes=args.scope, site=args.site, settings=cloud.settings
        )
    except ValueError as wrong:
        raise Problem(str(wrong)) from wrong
    show_key(key, signs=SIGNING in args.scope)
