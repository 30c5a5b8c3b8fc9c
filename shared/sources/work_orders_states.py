"""work-orders-states: as the timeline, but of each work item only the last created input."""

from shared.sources.work_orders import WorkOrders
from shared.workorders.images import of_inputs
from shared.workorders.record import states_record, timeline_line
from shared.workorders.scan import Found


def _view(found: Found) -> tuple[bytes, bytes]:
    record, inputs = states_record(found.record)
    return timeline_line(record, found.created, found.updated), of_inputs(found.images, inputs)


STATES = WorkOrders(
    name="work-orders-states",
    description="Every work order created or updated in the window, each work item with its last input only.",
    function="export_work_orders_states",
    view=_view,
)
