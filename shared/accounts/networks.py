"""The private networks of a customer: where Waybill calls its SFTP server, its analyser or its images,
although they are not on the public internet. An operator sets them (`python -m infra networks`). No other
customer's calls go there.
"""

from ipaddress import ip_network
from typing import Any

from google.cloud import firestore

from shared import audit_trail
from shared.errors import Invalid, NotFound
from shared.gcp.documents import fields_of
from shared.net.outbound import Network, never_public

MAX_NETWORKS = 20
"""How many a customer may have."""


def networks_of(db: firestore.Client, customer: str) -> tuple[Network, ...]:
    """The private networks that may be called for a customer; none where there is no such customer."""
    snapshot: Any = db.document(f"customers/{customer}").get(["networks"])
    return tuple(map(ip_network, (snapshot.to_dict() or {}).get("networks", ())))


def parse(text: str) -> Network:
    """A private network such as `10.1.2.0/24`; Invalid where it is none, or may never be called."""
    try:
        network = ip_network(text)
    except ValueError as wrong:
        raise Invalid.field("network", f"must be like 10.1.2.0/24: {wrong}") from None
    if not never_public(network):
        raise Invalid.field("network", f"{network} is not private throughout, or is kept from every customer")
    return network


def change(
    db: firestore.Client, customer: str, *, add: tuple[Network, ...] = (), remove: tuple[Network, ...] = ()
) -> tuple[Network, ...]:
    """Add networks to a customer's, or remove some; returns those that it then has. Doing it twice is
    doing it once.

    NotFound without such a customer, Invalid where there would be too many.
    """
    reference = db.document(f"customers/{customer}")

    @firestore.transactional
    def changed(transaction: firestore.Transaction) -> tuple[Network, ...]:
        snapshot: Any = reference.get(transaction=transaction)
        if not snapshot.exists:
            raise NotFound(f"there is no customer {customer}")
        there = [ip_network(each) for each in fields_of(snapshot).get("networks", ())]
        kept = tuple(each for each in dict.fromkeys([*there, *add]) if each not in remove)
        if len(kept) > MAX_NETWORKS:
            raise Invalid.field(
                "network", f"a customer has at most {MAX_NETWORKS}; these would be {len(kept)}"
            )
        transaction.update(reference, {"networks": [str(each) for each in kept]})
        audit_trail.note(db, transaction, customer, reference.path, ["networks"])
        return kept

    after: tuple[Network, ...] = changed(db.transaction())
    return after
