"""Allow an address to sign in to the console by mail, withdraw it, or list those that may.

`console-address allow ann@acme.example --key ID`: whoever reads the mail of that address signs in as that
key, by a link that is good once. This ends with the key, and at once when it is withdrawn.
"""

import argparse

from infra.commands import Listing, Problem, connect, document_id, say, show, takes_json
from shared.accounts import by_mail


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("action", choices=("allow", "withdraw", "list"), help="what to do")
    parser.add_argument("address", nargs="?", metavar="ADDRESS", help="an address for mail")
    parser.add_argument("--key", type=document_id, help="with `allow`: the id of the key that it signs in as")
    parser.add_argument("--customer", type=document_id, help="with `list`: whose addresses alone")
    takes_json(parser)


def run(args: argparse.Namespace) -> None:
    """Do it."""
    if (args.action == "list") == (args.address is not None):
        raise Problem("Name an address to allow or to withdraw, and none to list them.")
    if (args.action == "allow") != (args.key is not None):
        raise Problem("`allow` takes the id of a key, and nothing else does: --key ID")
    cloud = connect()
    if args.action == "list":
        rows = [
            (each.address, each.customer, each.key, each.created)
            for each in by_mail.allowed_of(cloud.db, args.customer)
        ]
        show(args.json, Listing("addresses", ("address", "customer", "key", "allowed"), rows))
    elif args.action == "allow":
        allowed = by_mail.allow(cloud, args.address, args.key)
        say(f"{allowed.address} may sign in to the console as the key {allowed.key} of {allowed.customer}.")
    else:
        gone = by_mail.withdraw(cloud, args.address)
        say(f"{gone.address} of {gone.customer} may not sign in any more, and its sessions have ended.")
