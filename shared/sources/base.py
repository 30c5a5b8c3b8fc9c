"""What a source is: a name, columns, a plan of parts, and the items of a part."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple, Protocol

from shared.formats.base import Column
from shared.gcp.clients import Cloud
from shared.window import Window


class Item(NamedTuple):
    """What one document of ours gives: its id and stamp, how many records and their JSON lines, newlines
    included, and the lines of its images (see `workorders.images`). A part is cut between items only."""

    id: str
    stamp: datetime
    rows: int
    lines: bytes
    images: bytes = b""


class Deletion(NamedTuple):
    """A record that was deleted in the window."""

    id: str
    stamp: datetime


@dataclass(frozen=True)
class Asked:
    """What a run wants of a source: these sites of a customer, in a window, as it stood at `read_time`."""

    customer: str
    sites: tuple[str, ...]
    window: Window
    read_time: datetime


@dataclass(frozen=True)
class Part:
    """A piece of a window that one attempt can write: of one site, or of the whole customer where `site` is
    empty, those items whose stamp is in [first, before), and of those stamped `first` only what comes after
    the id `after`, if there is one. Parts do not overlap, and a window's parts hold all of it."""

    site: str
    first: datetime
    before: datetime
    after: str | None = None

    def rest(self, last: Item | Deletion) -> "Part":
        """What is left of it behind an item."""
        return replace(self, first=last.stamp, after=last.id)


class Source(Protocol):
    """Something that can be exported.

    name         what an export's `export_type` says
    description  a sentence for whoever chooses
    columns      the fields of a record, in order
    function     the function, and so the topic, that writes it
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def description(self) -> str: ...  # noqa: D102
    @property
    def columns(self) -> tuple[Column, ...]: ...  # noqa: D102
    @property
    def function(self) -> str: ...  # noqa: D102

    def parts(self, cloud: Cloud, asked: Asked) -> list[Part]:
        """Split what there is for a window into parts of at most `settings.part_records` items, those of a
        site one after the other."""
        ...

    def items(self, cloud: Cloud, asked: Asked, part: Part) -> Iterator[Item | Deletion]:
        """What a part holds, as it stood at `asked.read_time`, by stamp and id; the same at each reading."""
        ...
