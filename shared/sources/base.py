"""What a source is: a name, columns, a plan of parts, and the rows of a part."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple, Protocol

from shared.gcp.clients import Cloud
from shared.window import Window


class Row(NamedTuple):
    """One exported record: its id and stamp, its line, newline included, and the lines of its images (see
    `workorders.images`)."""

    id: str
    stamp: datetime
    line: bytes
    images: bytes


class Deletion(NamedTuple):
    """A record that was deleted in the window."""

    id: str
    stamp: datetime


@dataclass(frozen=True)
class Part:
    """A piece of a window that one attempt can write: of one site, those records whose stamp is in
    [first, before), and of those stamped `first` only what comes after the id `after`, if there is one.
    Parts do not overlap, and a window's parts hold all of it."""

    site: str
    first: datetime
    before: datetime
    after: str | None = None

    def rest(self, last: Row | Deletion) -> "Part":
        """What is left of it behind a row."""
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
    def columns(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def function(self) -> str: ...  # noqa: D102

    def parts(self, cloud: Cloud, site: str, window: Window, read_time: datetime) -> list[Part]:
        """Split what a site has for a window into parts of at most `settings.part_records`."""
        ...

    def rows(self, cloud: Cloud, part: Part, window: Window, read_time: datetime) -> Iterator[Row | Deletion]:
        """The records of a part, as they stood at `read_time`, by stamp and id; the same at each reading."""
        ...
