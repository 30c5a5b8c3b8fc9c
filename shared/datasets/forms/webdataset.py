"""WebDataset: tar files that hold the images, each followed by a JSON file of its name with its labels.
https://github.com/webdataset/webdataset#the-webdataset-format

A slice is one shard, or one for each split, with the slice's number. There is one also where a slice has no
sample of a split: readers take all numbers of a range.

An image's bytes are not held: what stands before and after them in the tar is made here, from its size.
Headers have no time and no owner, so the same samples make the same bytes. A name that does not fit in a tar
header has a header of its own (pax). https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html
"""

import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import orjson

from shared.datasets.forms import names, rows
from shared.datasets.forms.base import Entry, Exported, Form, Placed, Shard

CONTENT_TYPE = "application/x-tar"

END = bytes(2 * tarfile.BLOCKSIZE)
"""What stands at the end of a tar file."""

_PREFIXES = {"TRAIN": "train", "EVAL": "val", None: "shard"}


@dataclass(frozen=True)
class WebDataset(Form):
    """Version format WebDataset."""

    exported: Exported

    def image(self, placed: Placed) -> None:
        """A shard holds it."""
        return

    def shard(self, number: int, placed: Placed) -> str:  # noqa: D102
        return _name(_PREFIXES[placed.usage], number)

    def shards(self, number: int, slice: Sequence[Placed]) -> Sequence[Shard]:  # noqa: D102
        prefixes = ("train", "val") if self.exported.split else ("shard",)
        return [
            Shard(
                name=_name(prefix, number),
                content_type=CONTENT_TYPE,
                entries=tuple(self._entry(placed) for placed in slice if _PREFIXES[placed.usage] == prefix),
                after=END,
            )
            for prefix in prefixes
        ]

    def _entry(self, placed: Placed) -> Entry:
        sample = placed.sample
        about = orjson.dumps(rows.of(self.exported, self._indices, placed, sample.name))
        return Entry(
            before=header(sample.name, sample.image.size),
            sample=sample,
            after=b"".join(
                (
                    padding(sample.image.size),
                    header(f"{names.stem(sample)}.json", len(about)),
                    about,
                    padding(len(about)),
                )
            ),
        )

    @cached_property
    def _indices(self) -> Mapping[str, int]:
        return rows.indices(self.exported)


def _name(prefix: str, number: int) -> str:
    return f"{prefix}-{number:06}.tar"


def header(name: str, size: int) -> bytes:
    """What stands in a tar file before the content of a file of that name, which has `size` bytes."""
    about = tarfile.TarInfo(name)
    about.size = size
    return about.tobuf(tarfile.PAX_FORMAT, "utf-8")


def padding(size: int) -> bytes:
    """What stands in a tar file after a content of `size` bytes."""
    return bytes(-size % tarfile.BLOCKSIZE)
