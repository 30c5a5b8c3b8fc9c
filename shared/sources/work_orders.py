"""What the sources of work orders share: planning parts, and reading the items of one."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from shared.formats.base import Column
from shared.gcp.clients import Cloud
from shared.sources.base import Deletion, Item, Part, Selection
from shared.workorders import scan
from shared.workorders.scan import Found

COLUMNS = (
    Column("id", "code"),
    Column("name", "text"),
    Column("site_id", "code"),
    Column("create_date", "moment"),
    Column("update_date", "moment"),
    Column("metadata", "json"),
    Column("progress_score", "number"),
    Column("work_items", "json"),
)
"""The fields of a record, in the order of docs/contracts/export-record.md."""


@dataclass(frozen=True)
class WorkOrders:
    """A source of work orders. `view` makes the item of a work order that is not deleted."""

    name: str
    description: str
    view: Callable[[Found], Item]
    function: str = "export_source"
    columns: tuple[Column, ...] = COLUMNS

    def parts(self, cloud: Cloud, selection: Selection) -> list[Part]:
        """As `Source.parts`. The timestamps are bisected by the number of work orders."""
        return [
            Part(site, first, before)
            for site in selection.sites
            for first, before in scan.split(
                cloud, site, *scan.stamps_of(selection.window), selection.read_time
            )
        ]

    def items(self, cloud: Cloud, selection: Selection, part: Part) -> Iterator[Item | Deletion]:
        """As `Source.items`."""
        for found in scan.read(
            cloud, part.site, part.first, part.before, part.after, selection.window, selection.read_time
        ):
            yield Deletion(found.id, found.stamp) if found.deleted else self.view(found)
