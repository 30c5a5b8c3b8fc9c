"""Asking for an analysis: one message a work order. A work order's document says whether one is due."""

from collections.abc import Iterable

from shared.accounts.customers import Site
from shared.gcp.clients import Cloud
from shared.workorders.kept import Kept

FUNCTION = "analyse_work_order"


def publish(cloud: Cloud, site: Site, work_orders: Iterable[Kept]) -> None:
    """Have these analysed. Asking twice is asking once."""
    cloud.messages.publish(
        FUNCTION,
        *(
            {"customer": site.customer, "site": site.id, "work_order": kept.work_order.id}
            for kept in work_orders
        ),
    )
