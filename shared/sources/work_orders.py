"""What both exports of work orders share: their parts, and the walk over what a part holds."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from shared.gcp.clients import Cloud
from shared.sources.base import Deletion, Part, Row
from shared.window import Window
from shared.workorders import scan
from shared.workorders.scan import Found

COLUMNS = (
    "id",
    "name",
    "site_id",
    "create_date",
    "update_date",
    "metadata",
    "progress_score",
    "work_items",
)
"""The fields of a record, in the order of seed 1's table."""


@dataclass(frozen=True)
class WorkOrders:
    """A source of work orders; `view` makes the line of one that is there, and the lines of its
    images."""

    name: str
    description: str
    function: str
    view: Callable[[Found], tuple[bytes, bytes]]
    columns: tuple[str, ...] = COLUMNS

    def parts(self, cloud: Cloud, site: str, window: Window, read_time: datetime) -> list[Part]:
        """As `Source.parts`: bisected by counts over the stamps."""
        pieces = scan.split(cloud, site, *scan.stamps_of(window), read_time)
        return [Part(site, first, before) for first, before in pieces]

    def rows(self, cloud: Cloud, part: Part, window: Window, read_time: datetime) -> Iterator[Row | Deletion]:
        """As `Source.rows`, in the order of stamp and id."""
        for found in scan.read(cloud, part.site, part.first, part.before, part.after, window, read_time):
            if found.deleted:
                yield Deletion(found.id, found.stamp)
            else:
                yield Row(found.id, found.stamp, *self.view(found))
