"""Show the private networks of a customer, or change them: `networks acme add 10.1.2.0/24`.

Waybill calls no address that is not on the public internet, but those of these networks, and those for this
customer alone. Set only what the customer itself answers for: it can ask at every address and port there.
"""

import argparse

from infra.commands import Problem, connect, document_id, say
from shared.accounts import networks
from shared.accounts.customers import get_customer
from shared.errors import Invalid
from shared.net.outbound import Network


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("customer", metavar="CUSTOMER", type=document_id, help="whose networks")
    parser.add_argument(
        "action", nargs="?", choices=("add", "remove"), help="what to do; shows them where left out"
    )
    parser.add_argument("networks", nargs="*", type=_network, metavar="NETWORK", help="as 10.1.2.0/24")


def run(args: argparse.Namespace) -> None:
    """Do it."""
    if (args.action is None) == bool(args.networks):
        raise Problem("Name what to add or to remove: networks CUSTOMER add 10.1.2.0/24")
    db = connect().db
    get_customer(db, args.customer)
    if args.action is None:
        there = networks.networks_of(db, args.customer)
    else:
        there = networks.change(db, args.customer, **{args.action: tuple(args.networks)})
    shown = ", ".join(map(str, there)) or "none"
    say(f"The private networks that {args.customer} may have called: {shown}.")


def _network(text: str) -> Network:
    try:
        return networks.parse(text)
    except Invalid as wrong:
        raise argparse.ArgumentTypeError(str(wrong)) from wrong
