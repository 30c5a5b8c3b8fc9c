"""Images with their labels as files: for datasets of type CLASSIFICATION.

Tile: images side by side, each with a text file of its name that has a label a line. An image without labels
has none. In a label a backslash is written `\\\\`, a line feed `\\n` and a carriage return `\\r`.

Tree: each image is in the directory of its label, whose name is a `names.segment`. An image without labels is
not in a directory.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from shared.datasets.forms import names
from shared.datasets.forms.base import File, Form, Placed

_SHOWN = 80
# How many characters of a label a sentence has.


@dataclass(frozen=True)
class Tile(Form):
    """Version format Default, export format 2."""

    def image(self, placed: Placed) -> str:  # noqa: D102
        return placed.sample.name

    def beside(self, placed: Placed) -> Iterable[File]:  # noqa: D102
        if placed.sample.labels:
            lines = "".join(f"{_one_line(label.name)}\n" for label in placed.sample.labels)
            yield File(f"{names.stem(placed.sample)}.txt", lines.encode(), "text/plain; charset=utf-8")


def _one_line(label: str) -> str:
    return label.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")


@dataclass(frozen=True)
class Tree(Form):
    """Version format Default, export format 1."""

    def image(self, placed: Placed) -> str:  # noqa: D102
        labels = placed.sample.labels
        return f"{names.segment(labels[0].name)}/{placed.sample.name}" if labels else placed.sample.name

    def problem(self, placed: Placed) -> str | None:
        """An image has one directory, so it cannot have two labels."""
        sample = placed.sample
        different = list(dict.fromkeys(_shown(label.name) for label in sample.labels))
        if len({label.name for label in sample.labels}) < 2:
            return None
        listed = ", ".join(different[:-1]) + " and " + different[-1] if len(different) > 1 else different[0]
        return (
            f"The image of {sample.task_group} of the work order {sample.work_order} ({sample.id}) has the "
            f"labels {listed}. As a tree an image is in the directory of its one label: use export_format 2, "
            f"or a dataset with one task."
        )


def _shown(label: str) -> str:
    return label if len(label) <= _SHOWN else label[:_SHOWN] + "…"
