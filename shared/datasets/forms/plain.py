"""Images and a manifest: what a dataset is made of that was exported from another one."""

from dataclasses import dataclass

from shared.datasets.forms.base import Form, Placed
from shared.datasets.samples import Sample

IMAGES = "images"


def place(sample: Sample) -> str:
    """Where the copy of a sample's image is, below the working directory of its dataset."""
    return f"{IMAGES}/{sample.name}"


@dataclass(frozen=True)
class Plain(Form):
    """What a new dataset is made of."""

    def image(self, placed: Placed) -> str:  # noqa: D102
        return place(placed.sample)
