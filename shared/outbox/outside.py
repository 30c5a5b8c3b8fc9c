"""Addresses outside of a customer's own: people who may not know the customer, and whom Waybill mails for it.

Own are the addresses of the customer's `notify`, which operators set, and all others of their domains. How
many others a customer may name for the first time within a day is a limit, so that nobody can have Waybill
mail lists of strangers. It is held by the request that names them, and exactly: the count of the day is a
document, written in the transaction that adds the addresses. A request that names none for the first time
does not touch it.
"""

import hashlib
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from google.cloud import firestore

from shared.accounts import limits
from shared.accounts.customers import Customer
from shared.accounts.limits import NEW_ADDRESSES
from shared.addresses import folded
from shared.gcp.clients import Cloud
from shared.gcp.documents import read_time, transact

NAMED_AT_ONCE = 400
"""How many addresses one transaction notes: it writes one document each, and one that counts them."""


def is_outside(customer: Customer, address: str) -> bool:
    """Whether an address is none of the customer's own."""
    return _domain(address) not in {_domain(each) for each in customer.notify}


def name(cloud: Cloud, customer: Customer, addresses: Iterable[str], known: Iterable[str] = ()) -> None:
    """Note that a customer names these addresses; `known` are those that it named before all this was noted.

    TooMany where more are outside and new than the customer may name within a day: then none is noted. Many
    are noted in several commits, each of which looks at all that are left. A request sent again goes on.
    """
    before = {folded(each) for each in known}
    outside = {folded(each) for each in addresses if is_outside(customer, each)} - before
    documents = [_document(cloud, customer, each) for each in sorted(outside)]
    if not documents or not _new(cloud, documents, None):
        return
    used, most = day_document(cloud, customer.id), customer.limit(NEW_ADDRESSES)

    def add(transaction: firestore.Transaction) -> bool:
        found = used.get(transaction=transaction)
        new, now = _new(cloud, documents, transaction), read_time(found)
        day, count = limits.day_of(now), named_on(found, now)
        if count + len(new) > most:
            midnight = datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), now.tzinfo)
            raise NEW_ADDRESSES.reached(most, count, len(new), (midnight - now).total_seconds())
        some = new[:NAMED_AT_ONCE]
        for each in some:
            transaction.create(each, {"first": firestore.SERVER_TIMESTAMP})
        if some:
            transaction.set(used, {"day": day, "count": count + len(some)})
        return len(new) > len(some)

    while transact(cloud.db, add):
        pass


def day_document(cloud: Cloud, customer: str) -> Any:
    """The document that counts a customer's new addresses of a day."""
    return cloud.db.document(f"customers/{customer}/use/new_addresses")


def named_on(found: Any, now: datetime) -> int:
    """How many new addresses were named on the day of `now`, by the document that counts them."""
    return limits.of_day(found, now)


def _new(cloud: Cloud, documents: list[Any], transaction: firestore.Transaction | None) -> list[Any]:
    found = cloud.db.get_all(documents, transaction=transaction)
    return [each.reference for each in found if not each.exists]


def _document(cloud: Cloud, customer: Customer, address: str) -> Any:
    digest = hashlib.sha256(address.encode()).hexdigest()[:32]
    return cloud.db.document(f"customers/{customer.id}/addresses/{digest}")


def _domain(address: str) -> str:
    return folded(address).rpartition("@")[2]
