"""The list of a site's work orders: which query finds what is asked for, and what of a work order is listed.

A work order is listed from the fields of its document, so that its record, which may be large, is not read.
"""

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter

from shared.accounts.customers import Site
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, beginning_with, fields_of, plain
from shared.workorders.envelope import SHARDS
from shared.workorders.store import MARGIN, work_order_id
from shared.workorders.stored import FAILED

LISTED = ("site_id", "deleted", "name", "update_date", "tags", "analysis", "failure")
"""The fields that a list reads of each document."""


@dataclass(frozen=True)
class Wanted:
    """Which work orders are listed: those that everything holds for that is given.

    name           the work order of that name
    name_prefix    those whose name begins so
    updated_since  those that were changed then or later, UTC
    analysis       those whose analysis is in that state
    """

    name: str | None = None
    name_prefix: str | None = None
    updated_since: datetime | None = None
    analysis: str | None = None


@dataclass(frozen=True)
class Listed:
    """What a list says of a work order; the times are Firestore's."""

    id: str
    name: str
    site: str
    created: datetime
    updated: datetime
    tags: tuple[str, ...]
    analysis: str
    failure: str


def named(cloud: Cloud, site: Site, wanted: Wanted) -> list[Snapshot]:
    """The one work order of the wanted name, where there is one that all else holds for, too."""
    id = work_order_id(site.id, _composed(wanted.name or ""))
    snapshot: Snapshot = cloud.db.document(f"work_orders/{id}").get(LISTED)
    if not snapshot.exists or snapshot.get("deleted"):
        return []
    fields = fields_of(snapshot)
    holds = (
        fields["site_id"] == site.id
        and fields["name"].startswith(_composed(wanted.name_prefix or ""))
        and wanted.analysis in (None, fields["analysis"])
        and kept(wanted)(snapshot)
    )
    return [snapshot] if holds else []


def query(cloud: Cloud, site: Site, wanted: Wanted) -> Any:
    """The query that finds them, whatever their name: in the order of their names where `name_prefix` is
    given, else the last changed first. It finds some that `kept` leaves out."""
    found = (
        cloud.db.collection("work_orders")
        .where(filter=FieldFilter("site_id", "==", site.id))
        .where(filter=FieldFilter("deleted", "==", False))
    )
    if wanted.analysis is not None:
        found = found.where(filter=FieldFilter("analysis", "==", wanted.analysis))
    if wanted.name_prefix is not None:
        found = beginning_with(found, "name", _composed(wanted.name_prefix))
    else:
        found = found.where(filter=FieldFilter("shard", "in", list(range(SHARDS))))
        if wanted.updated_since is not None:
            # A stamp can be older than its commit by up to the margin.
            first = wanted.updated_since - MARGIN
            found = found.where(filter=FieldFilter("update_date", ">=", first))
        found = found.order_by("update_date", direction=firestore.Query.DESCENDING)
    return found.select(LISTED)


def kept(wanted: Wanted) -> Callable[[Snapshot], bool]:
    """Whether a work order that the query finds is wanted."""
    since = wanted.updated_since
    return lambda snapshot: since is None or plain(snapshot.update_time) >= since


def listed(snapshot: Snapshot) -> Listed:
    """What a list says of a work order."""
    fields = fields_of(snapshot)
    return Listed(
        id=snapshot.id,
        name=fields["name"],
        site=fields["site_id"],
        created=plain(snapshot.create_time),
        updated=plain(snapshot.update_time),
        tags=tuple(orjson.loads(fields["tags"])),
        analysis=fields["analysis"],
        failure=fields["failure"] if fields["analysis"] == FAILED else "",
    )


def _composed(name: str) -> str:
    """The form that names from archives have (NFC)."""
    return unicodedata.normalize("NFC", name)
