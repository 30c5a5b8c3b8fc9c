"""What a form of export is. A form only decides: what is written where is up to `shared.datasets.writing`.

An export is written in slices, side by side. Each slice is some samples that follow one another. Names are
relative to the path of the task.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

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


class Form(Protocol):
    """A form of export. Every method is a pure function, so whoever writes an export writes the same."""

    def image(self, placed: Placed) -> str | None:
        """Where the sample's image is copied to; None where the form holds it in a file of its own."""
        ...

    def beside(self, placed: Placed) -> Iterable[File]:
        """The small files of the sample alone."""
        ...

    def joined(self) -> Sequence[Joined]:
        """The files that are joined of all slices, without the manifest."""
        ...

    def give(self, slice: Sequence[Placed]) -> Mapping[str, bytes]:
        """What a slice gives to each section, by the section's name."""
        ...

    def whole(self, number: int, slice: Sequence[Placed]) -> Iterable[File]:
        """The files of the slice of that number, from 0, alone."""
        ...

    def fixed(self) -> Iterable[File]:
        """The files that do not depend on samples."""
        ...
