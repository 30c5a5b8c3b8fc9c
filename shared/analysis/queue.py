"""The analyses of a site that are due: one standing work a site, a piece for each work order.

The piece is written in the very commit that makes an analysis due: so none can be lost, whatever dies.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from google.cloud import firestore

from shared.accounts.customers import Site
from shared.gcp.clients import Cloud
from shared.work import pieces, stages
from shared.work.kinds import Documents
from shared.work.pieces import QUEUED
from shared.workorders.stored import DUE, StoredWorkOrder

FUNCTION = "analyse_work_order"
STAGE = "analyse"
PLAN = "site"
"""The one plan of a site's analyses: whatever is due belongs to it."""


def document(cloud: Cloud, site: Site) -> firestore.DocumentReference:
    """The document of a site's analyses."""
    return cloud.db.document(_path(site))


def due(
    site: Site, wakes: Mapping[str, Any] | None = None
) -> Callable[[StoredWorkOrder, datetime], Documents]:
    """The piece that is written with a work order, at Firestore's time, where that makes an analysis due.
    It is QUEUED: its writer calls `publish_queued` then.

    `wakes`: the function, work and piece that wait for its checks, and note that as `awaits` (`wake`).
    """

    def beside(work_order: StoredWorkOrder, at: datetime) -> Documents:
        if work_order.analysis != DUE:
            return {}
        id = work_order.work_order.id
        piece = pieces.new(site.customer, FUNCTION, STAGE, PLAN, id, at, QUEUED)
        path = f"{_path(site)}/pieces/{pieces.id_of(PLAN, id)}"
        return {path: {**piece, "next": at + pieces.STALLED, "wakes": wakes}}

    return beside


def wake(cloud: Cloud, wakes: Mapping[str, Any] | None, id: str) -> None:
    """Wake the piece that awaits the checks of a work order, which are made. Doing it twice is doing it
    once."""
    if wakes is None:
        return
    piece: Any = cloud.db.document(f"{wakes['work']}/pieces/{wakes['piece']}").get(["awaits"])
    if piece.exists and (piece.to_dict() or {}).get("awaits") == id:
        cloud.messages.publish(wakes["function"], pieces.message(wakes["work"], wakes["piece"]))


def publish_queued(cloud: Cloud, site: Site) -> None:
    """Have work orders analysed that are due, as many as the customer has room for; the others follow. Asking
    twice is asking once."""
    stages.publish_plan(cloud, _path(site), site.customer, FUNCTION, PLAN)


def _path(site: Site) -> str:
    return f"analyses/{site.id}"
