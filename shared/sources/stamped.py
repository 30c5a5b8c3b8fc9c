"""What the sources of documents with a server timestamp share: planning parts, and reading the items of one.

The rule is that of work orders (`docs/developers/windows.md`): a document is in a window exactly if its
version visible at the window's end was committed in the window. The query finds the document by its
timestamp, and its `update_time` decides. The rule holds for documents that only change with a new timestamp.
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
from shared.sources.base import Deletion, Item, Part, Selection
from shared.sources.rows import lines_of
from shared.workorders.scan import STAMP_STEP, bisect, committed

MARGIN = timedelta(minutes=5)
"""How long before a window a document in it may have been timestamped: a transaction lasts at most 270
seconds, so a commit is never later than that after its timestamp.
https://cloud.google.com/firestore/quotas#writes_and_transactions"""


class Document(NamedTuple):
    """A document in a window.

    path     its path below the database's root
    stamp    its server timestamp
    updated  when it was committed
    fields   its fields: times are plain datetimes, and the keys of each map are sorted
    """

    path: str
    stamp: datetime
    updated: datetime
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class Stamped:
    """A source of documents that have a server timestamp in the field `stamp`.

    query         the query for the documents of a site, of any time; it must select at least `stamp`
    rows          the records of a document, as values by column; none if the run does not export it
    per_customer  whether the documents have no site: then `query` is called once, with an empty site
    """

    name: str
    description: str
    columns: tuple[Column, ...]
    stamp: str
    query: Callable[[Cloud, Selection, str], BaseQuery]
    rows: Callable[[Selection, Document], Iterable[Mapping[str, Any]]]
    per_customer: bool = False
    function: str = "export_source"

    def parts(self, cloud: Cloud, selection: Selection) -> list[Part]:
        """As `Source.parts`. The timestamps are bisected by the number of documents."""
        first, before = selection.window.start - MARGIN, selection.window.end + STAMP_STEP
        parts = []
        for site in [""] if self.per_customer else selection.sites:
            query = self.query(cloud, selection, site)

            def found(first: datetime, before: datetime, query: BaseQuery = query) -> int:
                return count(self._between(query, first, before), selection.read_time)

            pieces = bisect(found, first, before, cloud.settings.part_records)
            parts += [Part(site, *piece) for piece in pieces]
        return parts

    def items(self, cloud: Cloud, selection: Selection, part: Part) -> Iterator[Item | Deletion]:
        """As `Source.items`. An item's id is the document's path."""
        for document in self._documents(cloud, selection, part):
            rows = list(self.rows(selection, document))
            if rows:
                yield Item(document.path, document.stamp, len(rows), lines_of(self.columns, rows))

    def _documents(self, cloud: Cloud, selection: Selection, part: Part) -> Iterator[Document]:
        query = self._between(self.query(cloud, selection, part.site), part.first, part.before)
        behind = None if part.after is None else (part.first, part.after)
        for document in committed(cloud, query, self.stamp, behind, selection.window, selection.read_time):
            fields = _in_order(plain(decode_dict(document.fields, cloud.db)))
            path = document.name.partition("/documents/")[2]
            yield Document(path, fields[self.stamp], moment(document.update_time), fields)

    def _between(self, query: BaseQuery, first: datetime, before: datetime) -> Any:
        return query.where(filter=FieldFilter(self.stamp, ">=", first)).where(
            filter=FieldFilter(self.stamp, "<", before)
        )


def _in_order(value: Any) -> Any:
    """The value with the keys of all its maps sorted: Firestore does not promise an order."""
    if isinstance(value, dict):
        return {name: _in_order(value[name]) for name in sorted(value)}
    if isinstance(value, list):
        return [_in_order(each) for each in value]
    return value
