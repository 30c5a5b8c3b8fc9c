"""What can be exported. Each source is a module; this is where they are registered."""

from shared.sources.base import Source
from shared.sources.work_orders_states import STATES
from shared.sources.work_orders_timeline import TIMELINE

SOURCES: dict[str, Source] = {source.name: source for source in (TIMELINE, STATES)}
"""The sources by the name that an export's `export_type` gives."""
