"""Small datasets, written as a form says: images and labels that are hard to write."""

import io
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image as Picture

from shared.datasets.forms import form_of, manifest
from shared.datasets.forms.base import Exported, Form, Placed
from shared.datasets.samples import Box, Label, Points, Sample
from shared.workorders.images import Image

READERS = Path(sys.prefix) / "readers/bin/python"
"""The Python that has the readers of requirements-readers.txt; `make check` installs them."""

ROOT = "s3://customer/exports/july/"

WIDTH, HEIGHT = 64, 48

PER_SLICE = 2
"""How many samples a slice has."""

HARD_NAMES = (
    "cracked, badly",
    'the "good" one',
    "it's: a # label",
    "left/right\\..",
    "two\nlines\r\nand a tab\t",
    "🧯 extinguisher 👩🏽‍🔧",
    "صندوق الكهرباء",
    "<b>&amp;</b> ]]>",
    "=1+1",
    "- dash",
    "null",
    "100%",
    "..",
    "\u2028\u0085 line ends",
    "ä" * 2_000,
)
"""Names that JSON, CSV, XML, YAML or directories make difficult. XML can hold each."""

NOT_XML = "bell\x07\ufffe"
"""A name that XML cannot hold."""


def picture(width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """A JPEG."""
    out = io.BytesIO()
    Picture.new("RGB", (width, height), (120, 90, 30)).save(out, "JPEG")
    return out.getvalue()


CONTENT = picture()
BROKEN = b"this is no picture"


def sample(number: int, labels: Sequence[Label] = (), **changes: Any) -> Sample:
    """The sample of that number, up to 9."""
    id = f"{number:08x}-1111-5222-8333-444444444444"
    image = Image(id, "jpg", 1_000 + number, len(CONTENT), "AAAAAA==", WIDTH, HEIGHT)
    made = Sample(
        id=id,
        name=f"WO-{number}_meter_{id.replace('-', '')[:12]}.jpg",
        site_id="site-1",
        work_order=f"WO/{number}, first",
        work_order_id=f"order-{number}",
        task_group="meter",
        added="2026-11-22T09:17:00Z",
        image=image,
        labels=tuple(labels),
        metadata={"technician": 'Ann\n"A" O\'Neil', "n": number},
    )
    return replace(made, **changes)


def broken(number: int, labels: Sequence[Label] = ()) -> Sample:
    """A sample whose image is no picture, so that its size is unknown."""
    made = sample(number, labels)
    return replace(made, image=replace(made.image, size=len(BROKEN), width=0, height=0))


def box(name: str, *at: float, **changes: Any) -> Label:
    """A label with a box: left, top, width, height."""
    left, top, width, height = at
    return Label(name, "task", box=(left, top, width, height), **changes)


def polygon(name: str, *points: tuple[float, float], **changes: Any) -> Label:
    """A label with a polygon, and the box around it."""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    around: Box = (min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys))
    corners: Points = tuple(points)
    return Label(name, "task", box=around, polygon=corners, **changes)


def exported(type: int, samples: Sequence[Sample], **changes: Any) -> Exported:
    """An export of the samples without a split; one label is one that no sample has."""
    names = dict.fromkeys(label.name for each in samples for label in each.labels)
    made = Exported(
        dataset="Meters / 2026",
        version="V003",
        type=type,
        labels=("unused", *names),
        split=False,
        hard=False,
        header=True,
        root=ROOT,
    )
    return replace(made, **changes)


def placed(samples: Sequence[Sample], split: bool = False) -> list[Placed]:
    """The samples at their places; every third is for validation where they are split."""
    made, first = [], 1
    for number, each in enumerate(samples, start=1):
        usage = ("EVAL" if number % 3 == 0 else "TRAIN") if split else None
        made.append(Placed(each, number, first, usage))  # type: ignore[arg-type]
        first += len(each.labels)
    return made


def write(to: Path, of: Exported, form: Form, samples: Sequence[Placed]) -> None:
    """Write all files of an export, as shared/datasets/forms/base.py says. Between the slices with samples
    there is one without."""
    slices = [list(samples[at : at + PER_SLICE]) for at in range(0, len(samples), PER_SLICE)]
    slices.insert(len(slices) // 2, [])

    def put(name: str, content: bytes) -> None:
        path = to / name
        assert path.resolve().is_relative_to(to.resolve()), f"{name} leaves the directory of the export"
        assert not path.exists(), f"{name} is written twice"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    for each in samples:
        image = form.image(each)
        if image is not None:
            put(image, content_of(each.sample))
        for file in form.beside(each):
            put(file.name, file.content)
    for number, slice in enumerate(slices):
        for file in form.whole(number, slice):
            put(file.name, file.content)
        for shard in form.shards(number, slice):
            content = b"".join(
                entry.before + content_of(entry.sample) + entry.after for entry in shard.entries
            )
            assert len(content + shard.after) == shard.size
            put(shard.name, content + shard.after)
    given = [form.give(slice) for slice in slices]
    for joined in form.joined():
        parts = []
        for section in joined.sections:
            pieces = [piece for each in given if (piece := each.get(section.name))]
            parts.append(section.before + section.between.join(pieces))
        put(joined.name, b"".join(parts) + joined.after)
    for file in form.fixed():
        put(file.name, file.content)
    (section,) = manifest.joined(of).sections
    lines = [manifest.give(of, form, number, slice) for number, slice in enumerate(slices)]
    put(manifest.joined(of).name, section.before + section.between.join(filter(None, lines)))


def content_of(sample: Sample) -> bytes:
    return CONTENT if sample.image.width else BROKEN


def export(
    to: Path,
    samples: Sequence[Sample],
    type: int,
    version_format: str = "Default",
    annotation_format: str | None = None,
    export_format: int | None = None,
    **changes: Any,
) -> list[Placed]:
    """Write the samples to a directory in a form, and return them at their places."""
    of = exported(type, samples, **changes)
    at = placed(samples, of.split)
    write(to, of, form_of(of, version_format, annotation_format, export_format), at)
    return at


def read(what: str, path: Path, *more: str) -> Any:
    """What a script of tests/readers/ reads, in the Python that has the readers."""
    assert READERS.exists(), f"{READERS} is not there: `make check` installs it"
    script = Path(__file__).parents[1] / "readers" / f"{what}.py"
    done = subprocess.run(
        [READERS, "-W", "ignore::DeprecationWarning", script, path, *more],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def classified() -> list[Sample]:
    """Each hard name once, one sample with two labels, and one without."""
    samples = [
        sample(number, [Label(name, "state", confidence=0.75)])
        for number, name in enumerate(HARD_NAMES, start=1)
    ]
    two = [Label("fine", "state", human=True, at="2026-11-22T10:30:00.25Z"), Label(HARD_NAMES[4], "place")]
    return [*samples, sample(100, two), sample(101)]


def detected() -> list[Sample]:
    """Boxes with the hard names, at and beyond the edges, and images without any."""
    return [
        sample(1, [box(name, 1.25, 2.5, 10, 20.125) for name in HARD_NAMES]),
        sample(2),
        sample(3, [box("fine", -5, -6, 15, 16), box("fine", 60.5, 40, 20, 20, confidence=0.5)]),
        sample(
            4, [box("fine", 0, 0, WIDTH, HEIGHT), box("outside", 64, 0, 5, 5), box("outside", -9, 3, 9, 9)]
        ),
        sample(5, [box("fine", 10.2, 10.3, 0.1, 0.1), box("flat", 3, 3, 0, 4)]),
    ]


def segmented() -> list[Sample]:
    """Polygons and a box, at and beyond the edges, and an image without any."""
    return [
        sample(1, [polygon("left/right", (1, 1), (30.5, 1), (30.5, 20), (10, 40))]),
        sample(2),
        sample(3, [polygon("fine", (50, 30), (80, 30), (80, 60), (50, 60)), box("fine", 2, 3, 4, 5)]),
        sample(4, [polygon("outside", (70, 1), (90, 1), (80, 20))]),
    ]
