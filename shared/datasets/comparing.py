"""What changed from one version of a dataset to another: samples added, removed, relabelled.

Both versions are read side by side in the order of their work orders. So memory holds a block of each.
"""

import re
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from typing import Literal, NamedTuple

import orjson

from shared.datasets.browsing import START, Place, Reader, no_marker
from shared.datasets.dataset import Version
from shared.datasets.samples import Label, Sample
from shared.gcp.clients import Cloud
from shared.gcp.objects import gathered

Kind = Literal["added", "removed", "relabelled"]

LINES_BYTES = 64 * 1024
"""About how many bytes of lines are given at once."""

_MARKER = re.compile(r"([0-9.]+)-([0-9.]+)-([0-9]{1,9})")
# Where the next work order begins in both versions, and how many of its changes were shown.


class Change(NamedTuple):
    """A sample that changed: as it was in the first version, and as it is in the second one."""

    kind: Kind
    before: Sample | None
    after: Sample | None

    @property
    def sample(self) -> Sample:
        """The sample as it is, or where it was removed, as it was."""
        sample = self.after or self.before
        if sample is None:
            raise ValueError("a change has a sample")
        return sample


class WorkOrder(NamedTuple):
    """The samples of a work order in a version, by their ids, and the place of the first."""

    key: tuple[str, str]
    place: Place
    samples: dict[str, Sample]


class Pair(NamedTuple):
    """A work order as two versions have it, None where one has not; and the places up to which both versions
    have been read before it."""

    places: tuple[Place, Place]
    before: WorkOrder | None
    after: WorkOrder | None


def changes(cloud: Cloud, before: Version, after: Version) -> Iterator[Change]:
    """What changed, in the order of sites and work orders."""
    for pair in _side_by_side(Reader(cloud, before), Reader(cloud, after)):
        yield from _compared(pair)


def page(
    cloud: Cloud, before: Version, after: Version, limit: int, marker: str
) -> tuple[list[Change], str | None]:
    """Up to so many changes, from a marker on, and the next page's marker. A page looks at as many samples of
    each version as `browsing.page`, and so can have fewer changes, or none, and a next page. ParameterError
    where the marker is none."""
    places, skipped = (START, START), 0
    if marker:
        found = _MARKER.fullmatch(marker)
        if found is None:
            raise no_marker(marker)
        places, skipped = (Place.parse(found[1]), Place.parse(found[2])), int(found[3])
    first, second = Reader(cloud, before, places[0]), Reader(cloud, after, places[1])
    some: list[Change] = []
    begun = False
    for pair in _side_by_side(first, second):
        at = "-".join(map(str, pair.places))
        if begun and (first.looked_long or second.looked_long):
            return some, f"{at}-0"
        begun = True
        for number, change in enumerate(_compared(pair)):
            if number < skipped:
                continue
            if len(some) == limit:
                return some, f"{at}-{number}"
            some.append(change)
        skipped = 0
    return some, None


def counts(found: Iterator[Change]) -> Counter[Kind]:
    """How many samples changed, by kind."""
    return Counter(change.kind for change in found)


def lines(found: Iterator[Change]) -> Iterator[bytes]:
    """The changes as JSON Lines, some at a time."""
    return gathered(map(_line, found), LINES_BYTES)


def _line(change: Change) -> bytes:
    sample = change.sample
    labels = {
        name: [_shown(label) for label in each.labels]
        for name, each in (("labels_before", change.before), ("labels", change.after))
        if each is not None
    }
    named = {"id": sample.id, "file_name": sample.name, "work_order": sample.work_order}
    return orjson.dumps({"change": change.kind, **named, **labels}) + b"\n"


def _shown(label: Label) -> dict[str, object]:
    shown: dict[str, object] = {
        "name": label.name,
        "task": label.task,
        "annotated_by": label.annotated_by,
    }
    if label.box is not None:
        shown["box"] = label.box
    if label.polygon is not None:
        shown["polygon"] = label.polygon
    return shown


def _side_by_side(first: Reader, second: Reader) -> Iterator[Pair]:
    """Each work order as both versions have it."""
    before, after = _work_orders(first), _work_orders(second)
    left, right = next(before, None), next(after, None)
    while left or right:
        places = (left.place if left else first.end, right.place if right else second.end)
        key = min(each.key for each in (left, right) if each)
        here, there = (each if each and each.key == key else None for each in (left, right))
        yield Pair(places, here, there)
        left = next(before, None) if here else left
        right = next(after, None) if there else right


def _compared(pair: Pair) -> Iterator[Change]:
    before, after = (each.samples if each else {} for each in (pair.before, pair.after))
    for id, sample in before.items():
        if id not in after:
            yield Change("removed", sample, None)
        elif list(map(_identity, sample.labels)) != list(map(_identity, after[id].labels)):
            yield Change("relabelled", sample, after[id])
    for id, sample in after.items():
        if id not in before:
            yield Change("added", None, sample)


def _identity(label: Label) -> tuple[object, ...]:
    return label.name, label.task, label.human, label.box, label.polygon


def _work_orders(reader: Reader) -> Iterator[WorkOrder]:
    for key, some in groupby(reader.samples(), key=lambda each: (each[1].site_id, each[1].work_order_id)):
        placed = list(some)
        yield WorkOrder(key, placed[0][0], {sample.id: sample for _, sample in placed})
