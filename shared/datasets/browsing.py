"""Looking at versions: their samples from a place on, and pages of these.

A version's samples are read in blocks, from where a page begins. So a page costs about what it shows, however
many samples there are.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from shared.cutting import shown
from shared.datasets import dataset as datasets
from shared.datasets import samples
from shared.datasets.dataset import Version
from shared.datasets.errors import ParameterError
from shared.datasets.filters import Test
from shared.datasets.samples import Sample
from shared.errors import FieldProblem
from shared.gcp.clients import Cloud

FIRST_BLOCK_BYTES = 64 * 1024
"""How much is read of a version at first: a hundred samples or so."""

MAX_BLOCK_BYTES = 4 * 1024 * 1024
"""How much is read at once later on: each block is twice as large as the one before, up to this."""

MAX_LOOKED_AT = 2_000
"""At how many samples of a version a page looks where it leaves some out."""

MAX_LOOKED_BYTES = 8 * 1024 * 1024
"""At about how many bytes of samples a page looks at most, and so how many it can show."""

MARKER_LONGEST = 100
"""Characters of a marker."""

_PLACE = re.compile(r"([0-9]{1,9})\.([0-9]{1,12})")


class Place(NamedTuple):
    """Where a sample begins: the number of its slice, and its offset in the slice's object."""

    slice: int
    offset: int

    def __str__(self) -> str:
        return f"{self.slice}.{self.offset}"

    @classmethod
    def parse(cls, text: str) -> "Place":
        """A place as `str` writes it; ParameterError where it is none."""
        found = _PLACE.fullmatch(text)
        if found is None:
            raise no_marker(text)
        return cls(int(found[1]), int(found[2]))


START = Place(0, 0)
"""Where the first sample of every version begins."""


class Reader:
    """Reads the samples of a version from a place on.

    looked_at, bytes  how many samples were read, and how many bytes of them
    end               the place behind the last sample
    """

    def __init__(self, cloud: Cloud, version: Version, begin: Place = START) -> None:
        self._cloud = cloud
        self._slices = datasets.slices(cloud, version)
        self._begin = begin
        self.end = Place(len(self._slices), 0)
        self.looked_at = self.bytes = 0
        self._block = FIRST_BLOCK_BYTES

    @property
    def looked_long(self) -> bool:
        """Whether a page has looked at enough."""
        return self.looked_at >= MAX_LOOKED_AT or self.bytes >= MAX_LOOKED_BYTES

    def samples(self) -> Iterator[tuple[Place, Sample]]:
        """The samples from the place on, each with its own. ParameterError where no sample begins there."""
        number, offset = self._begin
        if self._begin not in (START, self.end) and not (
            number < len(self._slices) and self._slices[number].start <= offset < self._slices[number].end
        ):
            raise no_marker(str(self._begin))
        for number in range(self._begin.slice, len(self._slices)):
            start = self._slices[number].start
            if number == self._begin.slice and self._begin != START:
                start = self._begin.offset
            for at, line in self._lines(number, start):
                place = Place(number, at)
                try:
                    sample = samples.decode(line)
                except (ValueError, LookupError, TypeError) as wrong:
                    if place == self._begin:  # in the midst of a sample
                        raise no_marker(str(place)) from wrong
                    raise
                self.looked_at += 1
                self.bytes += len(line)
                yield place, sample

    def _lines(self, number: int, at: int) -> Iterator[tuple[int, bytes]]:
        """The lines of a slice from an offset on, each with its own."""
        slice = self._slices[number]
        rest, read = b"", at
        while read < slice.end:
            until = min(slice.end, read + self._block)
            *lines, rest = (rest + self._cloud.objects.read(slice.stored, read, until)).split(b"\n")
            read, self._block = until, min(2 * self._block, MAX_BLOCK_BYTES)
            for line in lines:
                yield at, line
                at += len(line) + 1


def page(
    cloud: Cloud, version: Version, test: Test, limit: int, marker: str
) -> tuple[list[Sample], str | None]:
    """Up to so many samples of a version that pass a test, from a marker on, and the next page's marker.

    A page looks at about MAX_LOOKED_AT samples, and so can have fewer than were asked for, or none, and a
    next page. ParameterError where the marker is none.
    """
    reader = Reader(cloud, version, Place.parse(marker) if marker else START)
    found: list[Sample] = []
    for place, sample in reader.samples():
        if len(found) == limit or reader.looked_long:
            return found, str(place)
        if test(sample):
            found.append(sample)
    return found, None


def no_marker(text: str) -> ParameterError:
    """What is said of a marker that is none."""
    problem = f"is none of this list; got {shown(text)}: send the `next_marker` of the page before, or none"
    return ParameterError([FieldProblem("marker", problem)])
