"""What a form of export is. A form only decides: what is written where is up to `shared.datasets.writing`.

An export is written in slices, side by side. Each slice is some samples that follow one another. Names are
relative to the path of the task.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from shared.datasets.samples import Sample

Usage = Literal["TRAIN", "EVAL"]
"""Which split a sample is in."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A sample at its place in an export.

    number      its number, from 1
    first       the number of its first label among all labels of the export, from 1
    usage       its split; None where the export has none
    """

    sample: Sample
    number: int
    first: int
    usage: Usage | None = None


@dataclass(frozen=True)
class Exported:
    """What all of an export has in common.

    dataset     the dataset's name
    version     the version's name
    type        the dataset's type (`samples.CLASSIFICATION` and so on)
    labels      the names of its labels, in the dataset's order: the position of a name never changes
    split       whether samples are split into TRAIN and EVAL
    hard        whether the attributes `hard` and `hard-coefficient` are written
    header      whether a CSV file begins with a row of names
    root        where the task's path is, with the prefix that the customer asked for: `s3://bucket/prefix/`
    """

    dataset: str
    version: str
    type: int
    labels: tuple[str, ...]
    split: bool
    hard: bool
    header: bool
    root: str


@dataclass(frozen=True)
class File:
    """A file that is written whole."""

    name: str
    content: bytes
    content_type: str


@dataclass(frozen=True)
class Section:
    """A part of a joined file: what stands before it, and between what two slices give, if both give any."""

    name: str
    before: bytes = b""
    between: bytes = b""


@dataclass(frozen=True)
class Joined:
    """A file that is joined of what all slices give to its sections, one section after the other."""

    name: str
    content_type: str
    sections: tuple[Section, ...]
    after: bytes = b""


@dataclass(frozen=True)
class Entry:
    """An image in a shard: `before` and `after` stand around its bytes. An image that is missing is left out
    with both."""

    before: bytes
    sample: Sample
    after: bytes


@dataclass(frozen=True)
class Shard:
    """A file that holds images: its entries, and what stands after the last."""

    name: str
    content_type: str
    entries: tuple[Entry, ...]
    after: bytes

    @property
    def size(self) -> int:
        """How many bytes it has with all its images."""
        parts = (len(each.before) + each.sample.image.size + len(each.after) for each in self.entries)
        return sum(parts) + len(self.after)


class Form(ABC):
    """A form of export. Every method is a pure function, so whoever writes an export writes the same.

    What a form does not need is empty.
    """

    @abstractmethod
    def image(self, placed: Placed) -> str | None:
        """Where the sample's image is copied to; None where a shard holds it."""

    def problem(self, placed: Placed) -> str | None:
        """Why the sample cannot be exported so, and what to choose instead: a sentence. None where it can."""
        return None

    @property
    def holds_all(self) -> bool:
        """Whether it can hold every sample, so that `problem` need not be asked."""
        return type(self).problem is Form.problem

    def annotation(self, placed: Placed) -> str | None:
        """The name of the sample's PASCAL VOC file; None where the form has none."""
        return None

    def beside(self, placed: Placed) -> Iterable[File]:
        """The small files of the sample alone."""
        return ()

    def joined(self) -> Sequence[Joined]:
        """The files that are joined of all slices, without the manifest."""
        return ()

    def give(self, slice: Sequence[Placed]) -> Mapping[str, bytes]:
        """What a slice gives to each section, by the section's name."""
        return {}

    def whole(self, number: int, slice: Sequence[Placed]) -> Iterable[File]:
        """The files of the slice of that number, from 0, alone."""
        return ()

    def shard(self, number: int, placed: Placed) -> str | None:
        """The name of the shard that holds a sample of the slice of that number; None where none does."""
        return None

    def shards(self, number: int, slice: Sequence[Placed]) -> Sequence[Shard]:
        """The shards of the slice of that number, from 0."""
        return ()

    def fixed(self) -> Iterable[File]:
        """The files that do not depend on samples."""
        return ()
