"""Which windows of an export are exported, for whoever looks for those that are not."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter

from shared.exports.export import Export
from shared.exports.runs import BY_HAND, COMPLETED, SCHEDULE
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, fields_of
from shared.gcp.unreadable import readable
from shared.http.paging import Page, page
from shared.window import Window

MAX_EARLIER = 4
"""How many runs by hand are looked at whose windows begin before those that are asked for. Of the schedule's
windows, which tile time, one at most reaches over any moment."""


def windows(
    cloud: Cloud, export: Export, since: datetime, before: datetime, asked: Page
) -> tuple[list[tuple[str, Window]], str | None]:
    """A page of the windows of completed runs that begin from `since` on and before `before`, in the order of
    their beginnings, each with its run's id; and the next page's token.

    The first page also has, in front, those that begin before `since` and end after it: the schedule's, and
    those of the last MAX_EARLIER runs by hand that begin before it.
    """
    collection = cloud.db.collection(f"{export.path}/runs")
    completed: Any = collection.where(filter=FieldFilter("state", "==", COMPLETED))
    completed = completed.select(["customer", "window_start", "window_end"])
    begin = completed.where(filter=FieldFilter("window_start", ">=", since))
    begin = begin.where(filter=FieldFilter("window_start", "<", before)).order_by("window_start")
    found, token = page(asked, begin, collection, export.customer)
    if asked.page_token is None:
        found = [*_reaching_over(completed, since), *found]
    return list(readable(cloud.db, found, _window)), token


def _reaching_over(completed: Any, since: datetime) -> Iterator[Snapshot]:
    """The runs whose windows begin before `since` and end after it, in the order of their beginnings."""
    scheduled = completed.where(filter=FieldFilter("origin", "==", SCHEDULE))
    scheduled = scheduled.where(filter=FieldFilter("window_end", ">", since)).order_by("window_end")
    by_hand = completed.where(filter=FieldFilter("origin", "==", BY_HAND))
    by_hand = by_hand.where(filter=FieldFilter("window_start", "<", since))
    by_hand = by_hand.order_by("window_start", direction=firestore.Query.DESCENDING)
    near = [*scheduled.limit(1).stream(), *by_hand.limit(MAX_EARLIER).stream()]
    over = [each for each in near if each.get("window_start") < since < each.get("window_end")]
    yield from sorted(over, key=lambda each: each.get("window_start"))


def _window(snapshot: Snapshot) -> tuple[str, Window]:
    fields = fields_of(snapshot)
    return snapshot.id, Window(fields["window_start"], fields["window_end"])
