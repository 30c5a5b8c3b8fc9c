"""What all exports of documents with a server timestamp share: their parts, and the walk over what one holds.

The rule is that of work orders (`docs/developers/windows.md`): a document is in a window exactly when its
version visible at the window's end was committed in it. It is found by its stamp and chosen by its
`update_time`. It holds for documents that never change without a new stamp, but for signs of life.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from google.cloud.firestore_v1 import FieldFilter
from google.cloud.firestore_v1._helpers import decode_dict
from google.cloud.firestore_v1.base_query import BaseQuery

from shared.formats.base import Column
from shared.gcp.clients import Cloud
from shared.gcp.documents import count, moment, plain
from shared.sources.base import Asked, Deletion, Item, Part
from shared.sources.rows import lines_of
from shared.workorders.scan import STAMP_STEP, bisect, committed

MARGIN = timedelta(minutes=5)
"""How far before a window its documents' stamps are looked for: a transaction lasts at most 270 seconds, so
no commit comes later after its stamp.
https://cloud.google.com/firestore/quotas#writes_and_transactions"""

BEAT = "beat"
"""The field of a sign of life; the query selects it where its documents have one."""


class Document(NamedTuple):
    """A document as a window holds it: its path below the root, its stamp, when it was committed, and its
    fields, with plain moments and the keys of every map in order."""

    path: str
    stamp: datetime
    updated: datetime
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class Stamped:
    """A source of documents that carry a server timestamp in the field `stamp`.

    query  finds those of a site that a run may want, of whatever time; it selects at least `stamp`
    rows   makes the records of one, values by column; none where the run does not want it after all
    whole  whether it has no sites: the query is asked once, for the whole customer, and gets an empty one
    """

    name: str
    description: str
    columns: tuple[Column, ...]
    stamp: str
    query: Callable[[Cloud, Asked, str], BaseQuery]
    rows: Callable[[Asked, Document], Iterable[Mapping[str, Any]]]
    whole: bool = False
    function: str = "export_source"

    def parts(self, cloud: Cloud, asked: Asked) -> list[Part]:
        """As `Source.parts`: bisected by counts over the stamps."""
        first, before = asked.window.start - MARGIN, asked.window.end + STAMP_STEP
        parts = []
        for site in [""] if self.whole else asked.sites:
            query = self.query(cloud, asked, site)

            def found(first: datetime, before: datetime, query: BaseQuery = query) -> int:
                return count(self._between(query, first, before), asked.read_time)

            pieces = bisect(found, first, before, cloud.settings.part_records)
            parts += [Part(site, *piece) for piece in pieces]
        return parts

    def items(self, cloud: Cloud, asked: Asked, part: Part) -> Iterator[Item | Deletion]:
        """As `Source.items`, in the order of stamp and path; an item's id is the document's path."""
        for document in self._documents(cloud, asked, part):
            rows = list(self.rows(asked, document))
            if rows:
                yield Item(document.path, document.stamp, len(rows), lines_of(self.columns, rows))

    def _documents(self, cloud: Cloud, asked: Asked, part: Part) -> Iterator[Document]:
        query = self._between(self.query(cloud, asked, part.site), part.first, part.before)
        behind = None if part.after is None else (part.first, part.after)
        for document in committed(cloud, query, self.stamp, behind, asked.window, asked.read_time):
            fields = _in_order(plain(decode_dict(document.fields, cloud.db)))
            if _touched(fields, self.stamp, asked.window.start):
                continue
            path = document.name.partition("/documents/")[2]
            yield Document(path, fields[self.stamp], moment(document.update_time), fields)

    def _between(self, query: BaseQuery, first: datetime, before: datetime) -> Any:
        return query.where(filter=FieldFilter(self.stamp, ">=", first)).where(
            filter=FieldFilter(self.stamp, "<", before)
        )


def _touched(fields: Mapping[str, Any], stamp: str, start: datetime) -> bool:
    """Whether a version stamped before the window is in it only by a sign of life (`gcp.leases`): an attempt
    that does not know yet that its run or batch has ended goes on beating."""
    beat = fields.get(BEAT)
    return beat is not None and fields[stamp] <= start and beat > fields[stamp]


def _in_order(value: Any) -> Any:
    """The value with the keys of every map in it in order: Firestore promises none."""
    if isinstance(value, dict):
        return {name: _in_order(value[name]) for name in sorted(value)}
    if isinstance(value, list):
        return [_in_order(each) for each in value]
    return value
