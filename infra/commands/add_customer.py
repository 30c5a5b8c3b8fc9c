"""Add a customer, or change one's name and addresses.

Given again, it replaces what it said before; an option that is left out is empty. The slug stays. The
customer's account is Terraform's to make: docs/operators/deploying.md, "A new customer".
"""

import argparse

from infra.commands import connect, document_id, say
from shared.accounts.customers import add_customer


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument(
        "id", metavar="ID", type=document_id, help="names the customer's folders; never changes"
    )
    parser.add_argument("--slug", required=True, help="1 to 9 characters, part of the account's name")
    parser.add_argument("--name", required=True, help="what people call the customer")
    parser.add_argument(
        "--notify", nargs="+", default=[], metavar="ADDRESS", help="who is mailed when something fails"
    )


def run(args: argparse.Namespace) -> None:
    """Do it."""
    db = connect().db
    customer = add_customer(db, id=args.id, slug=args.slug, name=args.name, notify=args.notify)
    say(f"The customer {customer.id} is there: {customer.name}.")
    say(f"Its account, to be granted access to its bucket: {customer.account}")
