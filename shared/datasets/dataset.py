"""Datasets and their versions as Firestore holds them: `datasets/<id>`, and below it `versions/<id>`.

A version holds every sample that its dataset had at one moment. Its id is a hash of those samples, so a
dataset that has not changed has no new version. Its samples are JSON Lines in the datasets bucket; its
document names the object that lists them.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, fields_of, moment_in
from shared.gcp.objects import Stored

ID = re.compile("[0-9a-f]{32}")
"""What the ids of datasets, versions and tasks look like."""

MAX_LABELS = 1_000
"""How many different labels a dataset may have, over all of its versions."""

MAX_LABELS_BYTES = 256 * 1024
"""How many bytes the names of those labels may have: the document, which holds 1 MiB, has them."""


@dataclass(frozen=True)
class Origin:
    """Where the images of a dataset are that was exported from another one: in the customer's bucket.

    task    the task that made it
    bucket  the bucket
    prefix  what the names of its images begin with, empty or with a slash at its end
    """

    task: str
    bucket: str
    prefix: str


@dataclass(frozen=True)
class Dataset:
    """A named selection of images and their labels.

    type       the vendor's number of its type (`samples.CLASSIFICATION` and so on)
    sites      whose work orders its images are of
    tasks      the tasks whose results are its labels; none for all
    labels     every label that any of its versions has, in the order in which they came up: a label's
               position never changes
    current    the id of its newest version; None before there is one
    version_count  how many versions were made of it
    samples    how many samples its newest version has, and how many of those have a label
    as_of      as of when it was read last
    failure    why its first version could not be made, and what to do; None where it could, or is being made
    origin     where its images are, where it was exported from another dataset; it never changes then
    revision   how often it was changed by hand, and 1
    """

    id: str
    customer: str
    name: str
    description: str
    type: int
    sites: tuple[str, ...]
    tasks: tuple[str, ...]
    labels: tuple[str, ...]
    current: str | None
    version_count: int
    samples: int
    annotated: int
    as_of: datetime | None
    failure: str | None
    origin: Origin | None
    deleted: bool
    created: datetime
    updated: datetime
    revision: int = 1

    @property
    def path(self) -> str:
        """Its document."""
        return path(self.id)


class Slice(NamedTuple):
    """Some samples of a version that follow one another: the bytes [start, end) of an object, the number of
    these samples, and the number of their labels."""

    stored: Stored
    start: int
    end: int
    samples: int
    labels: int


@dataclass(frozen=True)
class Version:
    """All samples that a dataset had at one moment.

    number      its number, from 1
    name        what it is called
    samples     how many samples it has, and how many of those have a label
    labels      its labels, by name: how many samples' labels are so called, in the dataset's order
    index       the object that lists its slices
    read_time   as of when it was read
    """

    id: str
    dataset: str
    number: int
    name: str
    samples: int
    annotated: int
    labels: Mapping[str, int]
    index: Stored
    read_time: datetime
    created: datetime


LISTED = tuple(each.name for each in dataclasses.fields(Dataset) if each.name not in ("id", "labels"))
"""The fields of a dataset that lists need: all but its labels, which may have MAX_LABELS_BYTES."""

LISTED_OF_VERSION = tuple(
    each.name for each in dataclasses.fields(Version) if each.name not in ("id", "dataset", "labels")
)
"""The same of a version."""


def path(id: str) -> str:
    """The document of the dataset of that id."""
    return f"datasets/{id}"


def version_path(dataset: str, id: str) -> str:
    """The document of a version."""
    return f"datasets/{dataset}/versions/{id}"


def get(cloud: Cloud, id: str) -> Dataset | None:
    """The dataset of that id, or None; a deleted one, too."""
    snapshot = cloud.db.document(path(id)).get()
    return from_snapshot(snapshot) if snapshot.exists else None


def from_snapshot(snapshot: Snapshot) -> Dataset:
    """The dataset that a snapshot holds; it must exist. Of a snapshot of LISTED it has no labels."""
    fields = fields_of(snapshot)
    origin = fields["origin"]
    return Dataset(
        id=snapshot.id,
        customer=fields["customer"],
        name=fields["name"],
        description=fields["description"],
        type=fields["type"],
        sites=tuple(fields["sites"]),
        tasks=tuple(fields["tasks"]),
        labels=tuple(orjson.loads(fields.get("labels", b"[]"))),
        current=fields["current"],
        version_count=fields["version_count"],
        samples=fields["samples"],
        annotated=fields["annotated"],
        as_of=fields["as_of"],
        failure=fields["failure"],
        origin=Origin(**origin) if origin else None,
        deleted=fields["deleted"],
        created=moment_in(fields, "created"),
        updated=moment_in(fields, "updated"),
        revision=fields.get("revision", 1),
    )


def fields(
    *, customer: str, name: str, description: str, type: int, sites: Sequence[str], tasks: Sequence[str]
) -> dict[str, Any]:
    """The fields of a dataset that has no version yet, but for its times."""
    return {
        "customer": customer,
        "name": name,
        "description": description,
        "type": type,
        "sites": sorted(set(sites)),
        "tasks": sorted(set(tasks)),
        "labels": b"[]",
        "current": None,
        "version_count": 0,
        "samples": 0,
        "annotated": 0,
        "as_of": None,
        "failure": None,
        "origin": None,
        "deleted": False,
    }


def get_version(cloud: Cloud, dataset: str, id: str) -> Version | None:
    """A version of a dataset, or None."""
    snapshot = cloud.db.document(version_path(dataset, id)).get()
    return version_of(snapshot) if snapshot.exists else None


def version_of(snapshot: Snapshot) -> Version:
    """The version that a snapshot holds; it must exist. Of a snapshot of LISTED_OF_VERSION it has no
    labels."""
    fields = fields_of(snapshot)
    return Version(
        id=snapshot.id,
        dataset=snapshot.reference.parent.parent.id,
        number=fields["number"],
        name=fields["name"],
        samples=fields["samples"],
        annotated=fields["annotated"],
        labels=dict(orjson.loads(fields.get("labels", b"[]"))),
        index=Stored(**fields["index"]),
        read_time=fields["read_time"],
        created=fields["created"],
    )


def numbered(number: int) -> str:
    """What a version of that number is called unless its maker calls it something else."""
    return f"V{number:03}"


def version_fields(
    number: int,
    name: str,
    samples: int,
    annotated: int,
    labels: Sequence[tuple[str, int]],
    index: Stored,
    read_time: datetime,
) -> dict[str, Any]:
    """The fields of a version's document, but for the time of its creation."""
    return {
        "number": number,
        "name": name,
        "samples": samples,
        "annotated": annotated,
        "labels": orjson.dumps(labels),
        "index": asdict(index),
        "read_time": read_time,
    }


def slices(cloud: Cloud, version: Version) -> list[Slice]:
    """The slices of a version, in order."""
    return read_index(cloud.objects.read(version.index))


def write_index(slices: Sequence[Slice]) -> bytes:
    """The object that lists slices. Every object is named once."""
    objects = list(dict.fromkeys(each.stored for each in slices))
    numbers = {stored: number for number, stored in enumerate(objects)}
    return orjson.dumps(
        {
            "objects": [asdict(each) for each in objects],
            "slices": [[numbers[stored], *rest] for stored, *rest in slices],
        }
    )


def read_index(content: bytes) -> list[Slice]:
    """What `write_index` wrote."""
    fields = orjson.loads(content)
    objects = [Stored(**each) for each in fields["objects"]]
    return [Slice(objects[number], *rest) for number, *rest in fields["slices"]]
