"""Real photographs for the demo, cut from those that two well-known packages ship."""

import importlib.metadata
import io
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

SOURCES = {
    "scikit-image": (
        "astronaut.png",
        "chelsea.png",
        "coffee.png",
        "hubble_deep_field.jpg",
        "motorcycle_left.png",
        "retina.jpg",
        "rocket.jpg",
    ),
    "scikit-learn": ("china.jpg", "flower.jpg"),
}
"""Which pictures of which package. Only the files are read; the packages need not be importable."""

SIZE = (320, 240)
"""Pixels of each photograph."""

QUALITY = 80


SUBJECTS = {
    "astronaut.png": "suit",
    "chelsea.png": "cat",
    "coffee.png": "cup",
    "motorcycle_left.png": "motorcycle",
    "retina.jpg": "retina",
    "flower.jpg": "flower",
}
"""What a person calls the largest patch of one colour in some of these pictures."""


class NoPhotographs(Exception):
    """The packages with the pictures are not installed."""


def cut(count: int) -> Iterator[bytes]:
    """That many photographs as JPEG, no two alike; NoPhotographs where there are none to cut from."""
    pictures = [Image.open(file).convert("RGB") for file in _files()]
    made = 0
    step = 0
    while made < count:
        for picture in pictures:
            if made == count:
                return
            across, down = picture.width - SIZE[0], picture.height - SIZE[1]
            # Two steps without a common divisor with the room walk over the whole picture.
            left, top = (step * 37) % max(across, 1), (step * 23) % max(down, 1)
            out = io.BytesIO()
            box = (left, top, left + SIZE[0], top + SIZE[1])
            picture.crop(box).save(out, "JPEG", quality=QUALITY, comment=f"cut {made}".encode())
            yield out.getvalue()
            made += 1
        step += 1


def subject(number: int) -> str | None:
    """What a person sees on the photograph of that number, from 0; None where nobody said."""
    names = [name for names in SOURCES.values() for name in names]
    return SUBJECTS.get(names[number % len(names)])


def _files() -> list[Path]:
    found = []
    for package, names in SOURCES.items():
        try:
            files = importlib.metadata.files(package) or []
        except importlib.metadata.PackageNotFoundError as missing:
            raise NoPhotographs(
                f"{package} is not installed: `make demo` does that, from requirements-demo.txt"
            ) from missing
        by_name = {file.name: Path(str(file.locate())) for file in files}
        found += [by_name[name] for name in names]
    return found
