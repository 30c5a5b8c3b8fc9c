"""Make a key with the customer, scopes and site of another and show it, this once.

The old one stays good until it is revoked, so that its users can change over; with --now it is revoked at
once.
"""

import argparse

from infra.commands import Problem, connect, document_id, say, show_key
from shared.accounts.keys import SIGNING, get_key, revoke_key, successor


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("id", metavar="ID", type=document_id, help="the old key's id: in wb_<id>_<secret>")
    parser.add_argument("--now", action="store_true", help="revoke the old one at once")


def run(args: argparse.Namespace) -> None:
    """Do it."""
    cloud = connect()
    db = cloud.db
    try:
        key = successor(db, args.id, cloud.settings)
    except ValueError as wrong:
        raise Problem(str(wrong)) from wrong
    show_key(key, signs=SIGNING in get_key(db, args.id).scopes)
    if args.now:
        revoke_key(db, args.id)
        say(f"The old one, {args.id}, is revoked.")
    else:
        say(f"The old one, {args.id}, stays good until you `revoke-key {args.id}`.")
