"""What an export needs to know of each image to copy it: one line of fixed width, kept beside the record.

The lines of a part's records, one after the other, are the part's list of images: writing it copies bytes,
and a slice of it is a range of bytes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from shared.gcp.objects import Stored
from shared.workorders.headers import Header

LINE_BYTES = 118
"""Every line, with its newline."""

EXTENSION_LONGEST = 14
"""What the line has room for; the longest admissible is `jpeg`."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image as it stands in our bucket: `size` in bytes, `crc32c` in base64, `width` and `height` in
    pixels as its header says, 0 where it is no picture."""

    id: str
    file_extension: str
    generation: int
    size: int
    crc32c: str
    width: int = 0
    height: int = 0

    @property
    def file_name(self) -> str:
        """What it is called, here and in the customer's bucket."""
        return f"{self.id}.{self.file_extension}"


def encode(image: Image) -> bytes:
    """The image's line; ValueError where it does not fit."""
    line = b"%-36b %20d %13d %8b %-14b %10d %10d\n" % (
        image.id.encode(),
        image.generation,
        image.size,
        image.crc32c.encode(),
        image.file_extension.encode(),
        image.width,
        image.height,
    )
    if len(line) != LINE_BYTES:
        raise ValueError(f"an image's line must have {LINE_BYTES} bytes: {line!r}")
    return line


def decode(lines: bytes) -> Iterator[Image]:
    """The images of some whole lines; ValueError where they are not."""
    if len(lines) % LINE_BYTES:
        raise ValueError(f"{len(lines)} bytes are not whole lines of {LINE_BYTES}")
    for at in range(0, len(lines), LINE_BYTES):
        id, generation, size, crc32c, extension, width, height = lines[at : at + LINE_BYTES].split()
        yield Image(
            id.decode(),
            extension.decode(),
            int(generation),
            int(size),
            crc32c.decode(),
            int(width),
            int(height),
        )


def of_inputs(lines: bytes, ids: frozenset[str]) -> bytes:
    """Those lines whose image belongs to one of the inputs."""
    starts = range(0, len(lines), LINE_BYTES)
    return b"".join(
        lines[at : at + LINE_BYTES] for at in starts if lines[at : at + 36].rstrip().decode() in ids
    )


def without(lines: bytes, others: bytes) -> bytes:
    """Those lines that are not among the others."""
    known = {others[at : at + LINE_BYTES] for at in range(0, len(others), LINE_BYTES)}
    starts = range(0, len(lines), LINE_BYTES)
    return b"".join(line for at in starts if (line := lines[at : at + LINE_BYTES]) not in known)


def object_name(customer: str, site: str, image: Image) -> str:
    """Where it stands in our bucket."""
    return name_of(customer, site, image.id, image.file_extension)


def name_of(customer: str, site: str, id: str, file_extension: str) -> str:
    """Where the image of an input is to stand in our bucket."""
    return f"{customer}/{site}/{id}.{file_extension}"


def stored(id: str, file_extension: str, at: Stored, header: Header | None) -> Image:
    """The image of an input as it was stored, with the header that its content has, if it is a picture."""
    width, height = (header.width, header.height) if header else (0, 0)
    return Image(id, file_extension, at.generation, at.size, at.crc32c, width, height)


def originals(images: Sequence[Image]) -> dict[str, str]:
    """Of each that holds the same bytes as an earlier one, by size and crc32c, the id of the first such."""
    first: dict[tuple[int, str], str] = {}
    for image in images:
        first.setdefault((image.size, image.crc32c), image.id)
    return {image.id: same for image in images if (same := first[image.size, image.crc32c]) != image.id}
