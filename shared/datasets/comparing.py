"""What changed from one version of a dataset to another: samples added, removed, relabelled.

Both versions are read side by side in the order of their work orders. So memory holds a slice of each.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from typing import Literal, NamedTuple

import orjson

from shared.datasets import dataset as datasets
from shared.datasets import samples
from shared.datasets.dataset import Version
from shared.datasets.samples import Label, Sample
from shared.gcp.clients import Cloud
from shared.gcp.objects import gathered

Kind = Literal["added", "removed", "relabelled"]

LINES_BYTES = 64 * 1024
"""About how many bytes of lines are given at once."""


class Change(NamedTuple):
    """A sample that changed: as it was in the first version, and as it is in the second one."""

    kind: Kind
    before: Sample | None
    after: Sample | None


def changes(cloud: Cloud, before: Version, after: Version) -> Iterator[Change]:
    """What changed, in the order of sites and work orders."""
    first, second = _work_orders(cloud, before), _work_orders(cloud, after)
    left, right = next(first, None), next(second, None)
    while left or right:
        if right is None or (left and left[0] < right[0]):
            yield from _compared(left[1] if left else {}, {})
            left = next(first, None)
        elif left is None or right[0] < left[0]:
            yield from _compared({}, right[1])
            right = next(second, None)
        else:
            yield from _compared(left[1], right[1])
            left, right = next(first, None), next(second, None)


def counts(found: Iterator[Change]) -> Counter[Kind]:
    """How many samples changed, by kind."""
    return Counter(change.kind for change in found)


def lines(found: Iterator[Change]) -> Iterator[bytes]:
    """The changes as JSON Lines, some at a time."""
    return gathered(map(_line, found), LINES_BYTES)


def _line(change: Change) -> bytes:
    sample = change.after or change.before
    if sample is None:
        raise ValueError("a change has a sample")
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


def _compared(before: dict[str, Sample], after: dict[str, Sample]) -> Iterator[Change]:
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


def _work_orders(cloud: Cloud, version: Version) -> Iterator[tuple[tuple[str, str], dict[str, Sample]]]:
    """The samples of each work order, by their ids; the work orders in order."""
    for key, some in groupby(_samples(cloud, version), key=lambda each: (each.site_id, each.work_order_id)):
        yield key, {sample.id: sample for sample in some}


def _samples(cloud: Cloud, version: Version) -> Iterator[Sample]:
    for slice in datasets.slices(cloud, version):
        yield from map(samples.decode, cloud.objects.read(slice.stored, slice.start, slice.end).splitlines())
