"""work-orders-timeline: each work order created or changed in the window, with all its photographs and the
results of their analyses."""

from shared.sources.base import Item
from shared.sources.work_orders import WorkOrders
from shared.workorders.record import timeline_line
from shared.workorders.scan import Found


def _view(found: Found) -> Item:
    line = timeline_line(found.record, found.created, found.updated)
    return Item(found.id, found.stamp, 1, line, found.images)


SOURCE = WorkOrders(
    name="work-orders-timeline",
    description="Every work order created or updated in the window, with all its inputs and their analyses.",
    function="export_work_orders_timeline",
    view=_view,
)
