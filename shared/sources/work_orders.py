"""What all exports of work orders share: their parts, and the walk over what a part holds."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from shared.formats.base import Column
from shared.gcp.clients import Cloud
from shared.sources.base import Asked, Deletion, Item, Part
from shared.workorders import scan
from shared.workorders.scan import Found

COLUMNS = (
    Column("id", "text"),
    Column("name", "text"),
    Column("site_id", "text"),
    Column("create_date", "moment"),
    Column("update_date", "moment"),
    Column("metadata", "json"),
    Column("progress_score", "number"),
    Column("work_items", "json"),
)
"""The fields of a record, in the order of docs/contracts/export-record.md."""


@dataclass(frozen=True)
class WorkOrders:
    """A source of work orders; `view` makes the item of one that is there."""

    name: str
    description: str
    view: Callable[[Found], Item]
    function: str = "export_source"
    columns: tuple[Column, ...] = COLUMNS

    def parts(self, cloud: Cloud, asked: Asked) -> list[Part]:
        """As `Source.parts`: bisected by counts over the stamps."""
        return [
            Part(site, first, before)
            for site in asked.sites
            for first, before in scan.split(cloud, site, *scan.stamps_of(asked.window), asked.read_time)
        ]

    def items(self, cloud: Cloud, asked: Asked, part: Part) -> Iterator[Item | Deletion]:
        """As `Source.items`, in the order of stamp and id."""
        for found in scan.read(
            cloud, part.site, part.first, part.before, part.after, asked.window, asked.read_time
        ):
            yield Deletion(found.id, found.stamp) if found.deleted else self.view(found)
