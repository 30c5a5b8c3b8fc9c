"""work-orders-states: like the timeline, but each work item has only the input that was created last."""

from shared.sources.base import Item
from shared.sources.work_orders import WorkOrders
from shared.workorders.images import of_inputs
from shared.workorders.record import states_record, timeline_line
from shared.workorders.scan import Found


def _view(found: Found) -> Item:
    record, inputs = states_record(found.record)
    line = timeline_line(record, found.created, found.updated)
    return Item(found.id, found.stamp, 1, line, of_inputs(found.images, inputs))


SOURCE = WorkOrders(
    name="work-orders-states",
    description="Every work order created or updated in the window, each work item with its last input only.",
    function="export_work_orders_states",
    view=_view,
)
