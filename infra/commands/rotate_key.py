"""Make a key with the customer, scopes and site of another and show it, this once.

The old one stays good until it is revoked, so that its users can change over; with --now it is revoked at
once.
"""

import argparse

from infra.commands import connect, document_id, say
from shared.accounts.keys import revoke_key, successor


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("id", metavar="ID", type=document_id, help="the old key's id: in wb_<id>_<secret>")
    parser.add_argument("--now", action="store_true", help="revoke the old one at once")


def run(args: argparse.Namespace) -> None:
    """Do it."""
    db = connect().db
    key = successor(db, args.id)
    say("The new key, which is shown this once and kept nowhere:")
    say(key)
    if args.now:
        revoke_key(db, args.id)
        say(f"The old one, {args.id}, is revoked.")
    else:
        say(f"The old one, {args.id}, stays good until you `revoke-key {args.id}`.")
