"""Customers and sites: whom the data belongs to."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter

from shared.errors import Conflict, Invalid, NotFound

SLUG_LONGEST = 9
"""`customer-<slug>-data-export` must fit in an account's 30 characters.
https://cloud.google.com/iam/docs/service-accounts-create"""

PARALLEL_EXPORTS = 1
"""How many runs of one customer go on at once unless the customer's document says otherwise."""

_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")


@dataclass(frozen=True)
class Customer:
    """Whom data belongs to. `account` is the email of the account that reaches their bucket."""

    id: str
    slug: str
    name: str
    account: str
    notify: tuple[str, ...] = ()
    parallel_exports: int = PARALLEL_EXPORTS


@dataclass(frozen=True)
class Site:
    """Where work is done. `task_groups` that are `required` make up the progress score."""

    id: str
    customer: str
    name: str
    task_groups: tuple[str, ...] = ()
    required: tuple[str, ...] = ()


def account_of(slug: str, project: str) -> str:
    """The email of a customer's account; Invalid where the slug cannot be part of one."""
    if not _SLUG.fullmatch(slug) or len(slug) > SLUG_LONGEST:
        raise Invalid.field(
            "slug", f"must be 1 to {SLUG_LONGEST} small letters, digits and inner hyphens; got {slug!r}"
        )
    return f"customer-{slug}-data-export@{project}.iam.gserviceaccount.com"


def add_customer(
    db: firestore.Client, *, id: str, slug: str, name: str, notify: Sequence[str] = ()
) -> Customer:
    """Onboard a customer; the slug is fixed from then on. Doing it twice is doing it once.

    Conflict where another customer has the slug, or this one has another: an account is one customer's.
    """
    for other in db.collection("customers").where(filter=FieldFilter("slug", "==", slug)).stream():
        if other.id != id:
            raise Conflict(f"the slug {slug} is the customer {other.id}'s: choose another")
    known = db.document(f"customers/{id}").get()
    if known.exists and known.get("slug") != slug:
        raise Conflict(f"the customer {id} has the slug {known.get('slug')}, and keeps it")
    customer = Customer(id, slug, name, account_of(slug, db.project), tuple(notify))
    db.document(f"customers/{id}").set(
        {"slug": slug, "name": name, "account": customer.account, "notify": list(notify)}, merge=True
    )
    return customer


def get_customer(db: firestore.Client, id: str) -> Customer:
    """The customer of that id, or NotFound."""
    fields = db.document(f"customers/{id}").get().to_dict()
    if fields is None:
        raise NotFound(f"there is no customer {id}")
    return Customer(
        id=id,
        slug=fields["slug"],
        name=fields["name"],
        account=fields["account"],
        notify=tuple(fields.get("notify", ())),
        parallel_exports=fields.get("parallel_exports", PARALLEL_EXPORTS),
    )


def add_site(
    db: firestore.Client,
    *,
    id: str,
    customer: str,
    name: str,
    task_groups: Sequence[str] = (),
    required: Sequence[str] = (),
) -> Site:
    """Give a customer a site. Doing it twice is doing it once."""
    db.document(f"sites/{id}").set(
        {
            "customer": customer,
            "name": name,
            "task_groups": list(task_groups),
            "required": list(required),
        },
        merge=True,
    )
    return Site(id, customer, name, tuple(task_groups), tuple(required))


def sites_of(db: firestore.Client, ids: Sequence[str], customer: str) -> dict[str, Site]:
    """Those of the sites that exist and belong to the customer; another's look as if they were not."""
    found = {}
    for snapshot in db.get_all([db.document(f"sites/{id}") for id in ids]):
        fields = snapshot.to_dict()
        if fields is not None and fields["customer"] == customer:
            found[snapshot.id] = Site(
                id=snapshot.id,
                customer=customer,
                name=fields["name"],
                task_groups=tuple(fields.get("task_groups", ())),
                required=tuple(fields.get("required", ())),
            )
    return found
