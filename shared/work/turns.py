"""Customers in turn: however much of what is due is one customer's, what others have due is found, too.

What is due is asked for by age, as long as it is no more than one tick takes. Where it is more, the oldest
can all be one customer's: then a second look goes from customer to customer, and takes some of each.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import Any

from google.cloud.firestore_v1 import FieldFilter

from shared.gcp.clients import Cloud
from shared.gcp.documents import PAGE_DOCUMENTS, Snapshot, fields_of

CUSTOMER = "customer"
"""The field that says whose a document is."""

SHARE = 10
"""How many documents the second look reads with each query: the next customer's, and where that one has
fewer, those of the customers that follow."""

MAX_PAGES = 100
"""How many queries the second look makes. The next tick goes on behind the customer where it stopped."""

MAX_READ = 5_000
"""Among how many documents those are chosen that a person is shown."""


def due(cloud: Cloud, query: Any, by: str, at: datetime, most: int, name: str) -> list[Snapshot]:
    """The documents of a query whose time `by` has come at `at`, customers in turn, each customer's oldest
    first: the `most` oldest, and where there may be more, some of each customer.

    At most `most` documents are read, and SHARE * MAX_PAGES more where these are not all.

    query  has equalities only; if it selects fields, `by` and the customer are among them. It needs two
           indexes: of its fields and `by`, and of its fields, the customer and `by`
    name   of the document below `turns` that says where the second look stopped
    """
    found = list(_oldest(query, by, at, most))
    if len(found) == most:
        known = {each.reference.path for each in found}
        found += [each for each in _of_each(cloud, query, by, at, name) if each.reference.path not in known]
    return list(in_turn(found))


def first(query: Any, most: int) -> list[Snapshot]:
    """The first `most` documents of a query, in its order; where there are more, customers in turn among its
    first MAX_READ. For what a person looks at."""
    found = list(query.limit(most).stream())
    if len(found) < most:
        return found
    found = list(query.limit(MAX_READ).stream())
    chosen = {each.reference.path for each in islice(in_turn(found), most)}
    return [each for each in found if each.reference.path in chosen]


def in_turn(found: Iterable[Snapshot]) -> Iterator[Snapshot]:
    """These documents: each customer's first, then each one's second, and so on."""
    by_customer: dict[str, list[Snapshot]] = defaultdict(list)
    for each in found:
        by_customer[str(fields_of(each).get(CUSTOMER, ""))].append(each)
    waiting = [iter(theirs) for theirs in by_customer.values()]
    while waiting:
        still = []
        for theirs in waiting:
            if (each := next(theirs, None)) is not None:
                yield each
                still.append(theirs)
        waiting = still


def _oldest(query: Any, by: str, at: datetime, most: int) -> Iterator[Snapshot]:
    query = query.where(filter=FieldFilter(by, "<=", at)).order_by(by)
    last = None
    for start in range(0, most, PAGE_DOCUMENTS):
        size = min(PAGE_DOCUMENTS, most - start)
        page = list((query.start_after(last) if last else query).limit(size).stream())
        yield from page
        if len(page) < size:
            return
        last = page[-1]


def _of_each(cloud: Cloud, query: Any, by: str, at: datetime, name: str) -> Iterator[Snapshot]:
    """Some of each customer, from where the last look stopped."""
    place: Any = cloud.db.document(f"turns/{name}")
    ordered = query.order_by(CUSTOMER).order_by(by).limit(SHARE)
    cursor = (place.get().to_dict() or {}).get("after")
    for _ in range(MAX_PAGES):
        page = list((ordered.start_after(cursor) if cursor else ordered).stream())
        yield from (each for each in page if isinstance(time := each.get(by), datetime) and time <= at)
        if len(page) < SHARE:
            cursor = None
            break
        # What is due comes first of a customer's, but for those of which no time is known, or that have a
        # number there. https://cloud.google.com/firestore/docs/concepts/data-types#value_type_ordering
        last, time = page[-1].get(CUSTOMER), page[-1].get(by)
        cursor = [last, time] if time is None or isinstance(time, int | float) else [last]
    place.set({"after": cursor})
