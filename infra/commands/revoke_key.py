"""Let a key open nothing from now on.

It cannot be undone; doing it twice is doing it once.
"""

import argparse

from infra.commands import connect, document_id, say
from shared.accounts.keys import get_key, revoke_key


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("id", metavar="ID", type=document_id, help="the key's id: in wb_<id>_<secret>")


def run(args: argparse.Namespace) -> None:
    """Do it."""
    db = connect().db
    key = get_key(db, args.id)
    revoke_key(db, key.id)
    say(f"The key {key.id} of {key.customer} is revoked.")
