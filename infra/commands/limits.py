"""Show a customer's limits and what is in use, or set one.

A value that is set stays until it is set again; `default` takes it back. Requests that come from then on are
held against it: what there is already stays, also where it is more.
"""

import argparse
from collections.abc import Callable, Mapping
from typing import Any

from google.cloud import firestore

from infra.commands import Listing, Problem, connect, document_id, say, show, takes_json
from shared import audit_trail
from shared.accounts import keys, limits, stored
from shared.accounts.customers import get_customer
from shared.accounts.limits import LIMITS
from shared.batches import service as batches
from shared.datasets import service as datasets
from shared.exports import room
from shared.gcp.clients import Cloud
from shared.gcp.documents import server_time
from shared.items import types
from shared.jobs import job as jobs_of
from shared.jobs import service as jobs
from shared.outbox import mails, outside

DEFAULT = "default"

MAX_DIGITS = 18
"""An integer of Firestore has 64 bits. https://cloud.google.com/firestore/docs/concepts/data-types"""

COUNTED = 1_000
"""How many are counted at least: Firestore's price of a count is one for each thousand."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("customer", metavar="CUSTOMER", type=document_id, help="whose limits")
    parser.add_argument("name", metavar="NAME", nargs="?", help="the limit to set")
    parser.add_argument("value", metavar="VALUE", nargs="?", help=f"its new value, or `{DEFAULT}`")
    takes_json(parser)


def run(args: argparse.Namespace) -> None:
    """Do it."""
    cloud = connect()
    get_customer(cloud.db, args.customer)
    if args.name is None:
        _show(cloud, args.customer, args.json)
        return
    limit = LIMITS.get(args.name)
    if limit is None:
        raise Problem(f"there is no limit {args.name!r}: there are {', '.join(LIMITS)}")
    value = _value(args.value)
    kept = firestore.DELETE_FIELD if value is None else value
    batch, reference = cloud.db.batch(), cloud.db.document(f"customers/{args.customer}")
    batch.update(reference, {limit.name: kept})
    audit_trail.note(cloud.db, batch, args.customer, reference.path, [limit.name])
    batch.commit()
    now = limit.default if value is None else value
    say(f"The limit {limit.name} of {args.customer} is {now:,} {limit.unit}.")


def _value(text: str | None) -> int | None:
    if text == DEFAULT:
        return None
    if text is None or not text.isascii() or not text.isdecimal() or len(text) > MAX_DIGITS:
        raise Problem(f"a limit is a number from 0, or `{DEFAULT}`; got {text!r}")
    return int(text)


def _show(cloud: Cloud, id: str, as_json: bool) -> None:
    customer = get_customer(cloud.db, id)
    rows = []
    for limit in LIMITS.values():
        used = USED[limit.name](cloud, id, customer.limit(limit)) if limit.name in USED else None
        rows.append((limit.name, customer.limit(limit), used, limit.default, limit.unit))
    show(as_json, Listing("limits", ("limit", "value", "in_use", "default", "of"), rows))


def _counted(query: Callable[[Cloud, str], Any]) -> Callable[[Cloud, str, int], int]:
    """What is in use by a query. Also where that is more than the limit, which was higher once."""
    return lambda cloud, customer, most: limits.in_use(query(cloud, customer), 2 * max(most, COUNTED))


def _mails(cloud: Cloud, customer: str, most: int) -> int:
    return mails.in_use(cloud, customer, 2 * max(most, COUNTED), server_time(cloud.db))


def _new_addresses(cloud: Cloud, customer: str, _: int) -> int:
    return outside.named_on(outside.day_document(cloud, customer).get(), server_time(cloud.db))


def _uploads(cloud: Cloud, customer: str) -> Any:
    return jobs.uploads_since(cloud, customer, server_time(cloud.db) - jobs_of.UPLOAD_LIFE)


USED: Mapping[str, Callable[[Cloud, str, int], int]] = {
    limits.EXPORTS.name: _counted(room.exports),
    limits.WAITING_RUNS.name: _counted(room.waiting_runs),
    limits.BACKFILLS.name: _counted(room.backfills),
    limits.OPEN_BATCHES.name: _counted(batches.open_batches),
    limits.QUEUED_BATCHES.name: _counted(batches.queued_batches),
    limits.STORED_BYTES.name: lambda cloud, customer, _: stored.in_use(cloud, customer),
    limits.MAILS.name: _mails,
    limits.NEW_ADDRESSES.name: _new_addresses,
    limits.JOBS.name: _counted(jobs.open_jobs),
    limits.JOB_UPLOADS.name: _counted(_uploads),
    limits.ITEM_TYPES.name: _counted(types.all_of),
    limits.DATASETS.name: _counted(datasets.datasets_of),
    limits.DATASET_TASKS.name: _counted(datasets.open_tasks),
    limits.API_KEYS.name: _counted(lambda cloud, customer: keys.good_keys(cloud.db, customer)),
}
"""How many are in use, of the limits that are counted. The others bound one thing at a time."""
