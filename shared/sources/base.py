"""A source: something that can be exported. It has columns, plans parts, and yields the items of a part."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple, Protocol

from shared.formats.base import Column
from shared.gcp.clients import Cloud
from shared.window import Window


class Item(NamedTuple):
    """The records of one document. A part is only cut between items.

    id      the document's id
    stamp   its server timestamp
    rows    the number of its records
    lines   its records as JSON Lines, newlines included
    images  the lines of its images (see `workorders.images`)
    """

    id: str
    stamp: datetime
    rows: int
    lines: bytes
    images: bytes = b""


class Deletion(NamedTuple):
    """A document that was deleted in the window."""

    id: str
    stamp: datetime


@dataclass(frozen=True)
class Selection:
    """What a run exports of a source: sites of a customer, a window, and the time to read the data as of."""

    customer: str
    sites: tuple[str, ...]
    window: Window
    read_time: datetime


@dataclass(frozen=True)
class Part:
    """A part of a window, which one attempt can write: the items with a timestamp in [first, before).

    `site` is empty if the part is of the whole customer. With `after`, the items with the timestamp `first`
    are only those with a greater id. The parts of a window do not overlap, and hold all its items.
    """

    site: str
    first: datetime
    before: datetime
    after: str | None = None

    def rest(self, last: Item | Deletion) -> "Part":
        """The rest of the part after the item `last`."""
        return replace(self, first=last.stamp, after=last.id)


class Source(Protocol):
    """Something that can be exported.

    name         what an export's `export_type` says
    description  a sentence for the person who chooses a source
    columns      the fields of a record, in order
    function     the function, and so the topic, that writes its parts
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def description(self) -> str: ...  # noqa: D102
    @property
    def columns(self) -> tuple[Column, ...]: ...  # noqa: D102
    @property
    def function(self) -> str: ...  # noqa: D102

    def parts(self, cloud: Cloud, selection: Selection) -> list[Part]:
        """Split the items of a window into parts of at most `settings.part_records` items. The parts of a
        site follow each other."""
        ...

    def items(self, cloud: Cloud, selection: Selection, part: Part) -> Iterator[Item | Deletion]:
        """The items of a part as of `selection.read_time`, sorted by timestamp and id. Each call yields the
        same items."""
        ...
