"""Test whether an export can land in a customer's bucket, step by step, and say who must do what.

Of an export its own account and place are tested; where that passes and the export was suspended, it goes on,
as with `:test`. Of a gs://… URI, with --customer, that customer's account. A bucket gets nothing; on an SFTP
server a small file is written and removed again. The identity that this runs under must be allowed to act as
the customer's account.
"""

import argparse

from infra.commands import Listing, Problem, connect, document_id, say, show, takes_json
from shared.accounts.customers import get_customer
from shared.delivery.base import passed
from shared.delivery.cloud_storage import connection_test
from shared.exports import operating, pausing
from shared.exports.export import SUSPENDED


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("place", metavar="EXPORT|URI", help="an export's id, or gs://bucket/prefix")
    parser.add_argument("--customer", type=document_id, help="with a URI: whose account is to reach it")
    takes_json(parser)


def run(args: argparse.Namespace) -> int:
    """Do it; 1 where the test failed."""
    by_uri = "://" in args.place
    if by_uri != (args.customer is not None):
        raise Problem("--customer is needed with a gs://… URI, and with nothing else")
    cloud = connect()
    export = None if by_uri else operating.get(cloud, _id(args.place))
    if export is None:
        steps = connection_test.run(cloud, get_customer(cloud.db, args.customer).account, args.place)
    else:
        steps = pausing.test(cloud, operating.operator_of(export.customer), export)
    rows = [(step.name, step.verdict, step.sentence) for step in steps]
    resumed = passed(steps) and export is not None and export.state == SUSPENDED
    show(args.json, Listing("steps", ("step", "verdict", "sentence"), rows), resumed=resumed)
    if resumed and not args.json:
        say("The export was suspended, and goes on.")
    return 0 if passed(steps) else 1


def _id(text: str) -> str:
    try:
        return document_id(text)
    except argparse.ArgumentTypeError as wrong:
        raise Problem(str(wrong)) from wrong
