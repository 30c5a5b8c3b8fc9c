"""Whether a file is a picture that is taken, and what is to be said of it: readable, large, sharp, well lit.

Files come from outside. What a picture claims to be is read here, before a decoder sees it: what Pillow does
with a header grows with the header (ten million bytes of empty comments cost it two seconds), and what it
does with the rest grows with the pixels.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image as pillow
from PIL import ImageFilter, ImageStat
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from shared.workorders.images import Image
from shared.workorders.record import DataConformity

DECODERS: dict[str, type[ImageFile]] = {
    "jpg": JpegImageFile,
    "jpeg": JpegImageFile,
    "png": PngImageFile,
    "webp": WebPImageFile,
}
"""What reads a file of each extension that is taken. `PIL.Image.open` would try others, too."""

MAX_PIXELS = 100_000_000
"""Of one picture; telephones make photographs of 12 to 50 million. Looking at a PNG of this size takes 500 MB
and two seconds; at a JPEG, which is decoded at an eighth, 5 MB, but where it is progressive 300 to 800 MB."""

MAX_WEBP_PIXELS = 33_000_000
"""A WEBP is unpacked into several copies, 15 bytes a pixel: at this size it takes 500 MB, too."""

MAX_SEGMENTS = 1_000
"""Of a JPEG's header: a depth map of 10 MB in pieces of 64 KB makes 160."""

MAX_SCANS = 1_000
"""Passes over a JPEG's pixels: progressive ones have about ten, and one of 80,000 decodes for hours. They are
counted in the whole file: where a telephone put a video behind the picture, chance adds some.
https://bugzilla.redhat.com/show_bug.cgi?id=1344214"""

SIDE_USABLE = 64
"""Pixels of the shorter side; a smaller picture is an icon, in which nothing can be analysed."""

SIDE_GOOD = 640
"""Pixels of the shorter side; every camera makes more, so a smaller picture is a preview or a cut-out."""

LOOKED_AT = 512
"""Pixels of the longer side of the copy that is looked at, so that no threshold depends on the camera."""

SHARPNESS_LEAST = 25.0
"""Variance of the Laplacian. Photographs measured 60 to 3,600, and nearly all below 25 once blurred over two
pixels of the copy, which is sixteen of a telephone's."""

MEAN_DARK = 30.0
"""Mean brightness of 255: a room without light. Photographs measured 60 to 150."""

MEAN_BRIGHT = 235.0
"""Mean brightness of 255: a lens towards the sun. White pages with text measured 170 to 200."""

CLIPPED_LEVELS = 5
"""How many of the 256 levels at each end count as clipped: what is there can no longer be told apart."""

CLIPPED_SHARE = 0.75
"""The share of clipped pixels from which too little is left to see; a white backdrop clips about half."""

_UNREADABLE = (DataConformity("readable", "UNREADABLE", "error"),)
_LAPLACIAN = ImageFilter.Kernel((3, 3), (0, 1, 0, 1, -4, 1, 0, 1, 0), scale=1, offset=128)

_JPEG_SIZE = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# The segments that say a picture's size, and all that can stand in a header:
_JPEG_SEGMENTS = _JPEG_SIZE | {0xC4, 0xCC, 0xDB, 0xDD, 0xFE} | frozenset(range(0xE0, 0xF0))
_JPEG_SCAN = 0xDA


@dataclass(frozen=True, slots=True)
class _Header:
    decoder: type[ImageFile]
    size: tuple[int, int]

    @property
    def too_large(self) -> bool:
        most = MAX_WEBP_PIXELS if self.decoder is WebPImageFile else MAX_PIXELS
        return self.size[0] * self.size[1] > most


def refusal(content: bytes, extension: str) -> str | None:
    """Why a file cannot be imported as a picture, from its header alone: 2 µs, for a JPEG 7.

    `EMPTY_FILE`; `NOT_AN_IMAGE`, also where it is of another kind than its extension says, in any case and
    without dot; `TOO_MANY_PIXELS`; or None.
    """
    if not content:
        return "EMPTY_FILE"
    header = _header(content)
    if header is None or header.decoder is not DECODERS.get(extension.lower()):
        return "NOT_AN_IMAGE"
    return "TOO_MANY_PIXELS" if header.too_large else None


def check(content: bytes) -> tuple[DataConformity, ...]:
    """What is to be said of a picture, from its pixels; nothing of a good one.

    One that cannot be decoded, or not to its end, gets nothing but UNREADABLE. Raises MemoryError alone.
    """
    try:
        size, grey = _look(content)
    except MemoryError:
        raise
    except Exception:
        # Whatever a decoder makes of evil input, the file is to blame.
        return _UNREADABLE
    if min(size) < SIDE_USABLE:
        return (DataConformity("resolution", "LOW_RESOLUTION", "error"),)
    found = [DataConformity("resolution", "LOW_RESOLUTION", "warning")] if min(size) < SIDE_GOOD else []
    if exposure := _exposure(grey):
        # Where light is lacking nothing looks sharp: that is not said as well.
        return (*found, DataConformity("exposure", exposure, "warning"))
    if _blurred(grey):
        found.append(DataConformity("blur", "BLURRED", "warning"))
    return tuple(found)


def duplicates(images: Sequence[Image]) -> frozenset[str]:
    """The ids of those that hold the same bytes as an earlier one, by size and crc32c."""
    seen: set[tuple[int, str]] = set()
    again = set()
    for image in images:
        if (image.size, image.crc32c) in seen:
            again.add(image.id)
        seen.add((image.size, image.crc32c))
    return frozenset(again)


def _header(content: bytes) -> _Header | None:
    """What a file claims to be, or None where it is none of ours."""
    decoder: type[ImageFile]
    if content.startswith(b"\xff\xd8"):
        decoder, size = JpegImageFile, _jpeg_size(content)
    elif content.startswith(b"\x89PNG\r\n\x1a\n") and content[12:16] == b"IHDR":
        # https://www.w3.org/TR/png-3/#11IHDR
        decoder, size = PngImageFile, (int.from_bytes(content[16:20]), int.from_bytes(content[20:24]))
    elif content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        decoder, size = WebPImageFile, _webp_size(content)
    else:
        return None
    return _Header(decoder, size) if size and all(size) else None


def _jpeg_size(content: bytes) -> tuple[int, int] | None:
    """The size in a JPEG's header, which must be whole and say it once. https://www.w3.org/Graphics/JPEG/itu-t81.pdf"""
    size = None
    at = 2
    for _ in range(MAX_SEGMENTS):
        # Between segments there may be filling.
        at = content.find(b"\xff", at)
        head = content[at : at + 9] if at >= 0 else b""
        if len(head) < 9:
            return None
        marker = head[1]
        if marker in (0x00, 0xFF):
            at += 1
            continue
        if marker == _JPEG_SCAN:
            return size
        if marker not in _JPEG_SEGMENTS or (marker in _JPEG_SIZE and size):
            return None
        if marker in _JPEG_SIZE:
            size = int.from_bytes(head[7:9]), int.from_bytes(head[5:7])
        at += 2 + int.from_bytes(head[2:4])
    return None


def _webp_size(content: bytes) -> tuple[int, int] | None:
    """The size of a WEBP's canvas. https://developers.google.com/speed/webp/docs/riff_container"""
    if len(content) < 30:
        return None
    match content[12:16]:
        case b"VP8X":
            return 1 + int.from_bytes(content[24:27], "little"), 1 + int.from_bytes(content[27:30], "little")
        case b"VP8L":
            bits = int.from_bytes(content[21:25], "little")
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        case b"VP8 ":
            bits = int.from_bytes(content[26:30], "little")
            return bits & 0x3FFF, bits >> 16 & 0x3FFF
    return None


def _look(content: bytes) -> tuple[tuple[int, int], pillow.Image]:
    """A picture's size, and a small grey copy of it. Any exception, where it is not whole."""
    header = _header(content)
    if header is None or header.too_large:
        raise ValueError("not a picture that is taken")
    if header.decoder is JpegImageFile and content.count(b"\xff\xda") > MAX_SCANS:
        raise ValueError("too many scans")
    picture = header.decoder(io.BytesIO(content))
    if picture.size != header.size:
        raise ValueError("another size than its header says")
    # A JPEG is decoded at down to an eighth, and without its colours; for the others this does nothing.
    picture.draft("L", (2 * LOOKED_AT, 2 * LOOKED_AT))
    picture.load()
    picture.info.pop("transparency", None)
    # Sixteen bits a pixel would be clipped to eight instead of scaled.
    eight_bits = picture.point(lambda value: value / 256) if picture.mode.startswith("I") else picture
    grey = eight_bits.convert("L")
    grey.thumbnail((LOOKED_AT, LOOKED_AT), pillow.Resampling.BOX)
    return header.size, grey


def _exposure(grey: pillow.Image) -> str | None:
    levels = grey.histogram()
    clipped = CLIPPED_SHARE * sum(levels)
    mean = ImageStat.Stat(grey).mean[0]
    if mean < MEAN_DARK or sum(levels[:CLIPPED_LEVELS]) > clipped:
        return "TOO_DARK"
    if mean > MEAN_BRIGHT or sum(levels[-CLIPPED_LEVELS:]) > clipped:
        return "TOO_BRIGHT"
    return None


def _blurred(grey: pillow.Image) -> bool:
    width, height = grey.size
    if min(width, height) < 3:
        return False  # a stripe: there is nothing beside a pixel to tell it from
    # The filter leaves the outermost pixels as they are.
    edges = grey.filter(_LAPLACIAN).crop((1, 1, width - 1, height - 1))
    return ImageStat.Stat(edges).var[0] < SHARPNESS_LEAST
