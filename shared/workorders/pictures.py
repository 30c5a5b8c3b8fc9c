"""Whether a file is a picture that is taken, and what is to be said of it: readable, large, sharp, well lit;
and its thumbnail.

Files come from outside. What a picture claims to be is read by `headers`, before a decoder sees it: what
Pillow does with the rest grows with the pixels.
"""

import contextlib
import io
from collections.abc import Callable
from typing import NamedTuple

from PIL import ExifTags, ImageFilter, ImageStat
from PIL import Image as pillow
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from shared.workorders.headers import Header, Kind, exif_of, kind_of, name_of, pixels_alone, read_header
from shared.workorders.record import DataConformity


def _heic(content: io.BytesIO) -> ImageFile:
    # libheif takes a tenth of a second: only where it is needed.
    from pi_heif import HeifImageFile  # type: ignore[import-untyped]

    picture: ImageFile = HeifImageFile(content)
    return picture


DECODERS: dict[Kind, Callable[[io.BytesIO], ImageFile]] = {
    "jpeg": JpegImageFile,
    "png": PngImageFile,
    "webp": WebPImageFile,
    "heic": _heic,
}
"""What reads a picture of each kind. `PIL.Image.open` would try others, too."""

EXTENSIONS: dict[str, Kind] = {
    "jpg": "jpeg",
    "jpeg": "jpeg",
    "png": "png",
    "webp": "webp",
    "heic": "heic",
    "heif": "heic",
}
"""The extensions of pictures, in small letters, and the kind that each means: the first of a kind is that
which a picture gets whose name has another kind's."""

MAX_PIXELS = 100_000_000
"""Of one picture; telephones make photographs of 12 to 50 million. Looking at a PNG of this size takes 500 MB
and two seconds; at a JPEG, which is decoded at an eighth, 5 MB, but where it is progressive 300 to 800 MB."""

MAX_WEBP_PIXELS = 33_000_000
"""A WEBP is unpacked into several copies, 15 bytes a pixel: at this size it takes 500 MB, too."""

MAX_HEIC_PIXELS = 66_000_000
"""A HEIC takes 7.5 bytes a pixel: at this size 500 MB, and two seconds. Telephones make 12 to 50 million."""

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

THUMBNAIL_QUALITY = 80
"""Of a thumbnail, a JPEG; of 320 pixels one has 10 to 25 KB."""

UNREADABLE = (DataConformity("readable", "UNREADABLE", "error"),)
"""Of a file that cannot be decoded, or not to its end."""

_TURNS = {
    2: pillow.Transpose.FLIP_LEFT_RIGHT,
    3: pillow.Transpose.ROTATE_180,
    4: pillow.Transpose.FLIP_TOP_BOTTOM,
    5: pillow.Transpose.TRANSPOSE,
    6: pillow.Transpose.ROTATE_270,
    7: pillow.Transpose.TRANSVERSE,
    8: pillow.Transpose.ROTATE_90,
}
# The values of EXIF's Orientation, but for that of a picture which is upright.
# https://www.cipa.jp/std/documents/download_e.html?DC-008-Translation-2023-E

_SIDEWAYS = {_TURNS[each] for each in (5, 6, 7, 8)}

_LAPLACIAN = ImageFilter.Kernel((3, 3), (0, 1, 0, 1, -4, 1, 0, 1, 0), scale=1, offset=128)


class Refusal(NamedTuple):
    """Why a file is not taken: a code, and a sentence about this file, or nothing."""

    code: str
    detail: str = ""


def refusal(content: bytes, header: Header | None) -> Refusal | None:
    """Why a file cannot be imported as a picture, from its header alone, as `read_header` read it.

    `EMPTY_FILE`; `NOT_AN_IMAGE`, where it is something else; `DAMAGED_IMAGE`, where it begins as a picture
    and its header does not go on so; `TOO_MANY_PIXELS`; or None. What its name says does not matter.
    """
    if not content:
        return Refusal("EMPTY_FILE")
    if header is None:
        if kind_of(content):
            return Refusal("DAMAGED_IMAGE")
        name = name_of(content)
        return Refusal("NOT_AN_IMAGE", f"It is {name}." if name else "")
    pixels, most = header.width * header.height, _max_pixels(header.kind)
    if pixels > most:
        return Refusal("TOO_MANY_PIXELS", f"It has {pixels:,}; {most:,} are allowed.")
    return None


def extension(content: bytes, named: str = "") -> str:
    """The extension under which a picture is kept: the one that it was named by, in small letters, if that is
    one of its kind, else the usual one of its kind. ValueError where it is no picture that is taken."""
    kind = kind_of(content)
    if EXTENSIONS.get(named.lower(), "") == kind:
        return named.lower()
    try:
        return next(each for each in EXTENSIONS if EXTENSIONS[each] == kind)
    except StopIteration:
        raise ValueError("not a picture that is taken") from None


def check(content: bytes) -> tuple[DataConformity, ...]:
    """What is to be said of a picture, from its pixels; nothing of a good one.

    One that cannot be decoded, or not to its end, gets nothing but UNREADABLE. Raises MemoryError alone. What
    it costs does not follow from the file's size and pixels: where others wait, `decoding` calls this.
    """
    try:
        size, grey = _look(content)
    except MemoryError:
        raise
    except Exception:
        # Whatever a decoder makes of evil input, the file is to blame.
        return UNREADABLE
    if min(size) < SIDE_USABLE:
        return (DataConformity("resolution", "LOW_RESOLUTION", "error"),)
    found = [DataConformity("resolution", "LOW_RESOLUTION", "warning")] if min(size) < SIDE_GOOD else []
    if exposure := _exposure(grey):
        # Where light is lacking nothing looks sharp: that is not said as well.
        return (*found, DataConformity("exposure", exposure, "warning"))
    if _blurred(grey):
        found.append(DataConformity("blur", "BLURRED", "warning"))
    return tuple(found)


def _look(content: bytes) -> tuple[tuple[int, int], pillow.Image]:
    """A picture's size, and a small grey copy of it. Any exception, where it is not whole."""
    picture = _opened(content)
    size = picture.size
    # A JPEG is decoded at down to an eighth, and without its colours; for the others this does nothing.
    picture.draft("L", (2 * LOOKED_AT, 2 * LOOKED_AT))
    picture.load()
    picture.info.pop("transparency", None)
    grey = _eight_bits(picture).convert("L")
    grey.thumbnail((LOOKED_AT, LOOKED_AT), pillow.Resampling.BOX)
    return size, grey


def thumbnail(content: bytes, width: int, *, turned: bool) -> bytes | None:
    """A small copy of a picture, a JPEG at most `width` pixels wide and twice as high; one that is smaller
    keeps its size. What can be seen through is white. None where the picture cannot be decoded.

    turned  whether it is turned as its EXIF data say, as browsers show the picture itself. Positions in a
            picture count without that (docs/customers/batches.md)

    Raises MemoryError alone; what it costs is that of `check`.
    """
    try:
        picture: pillow.Image = _opened(content)
        turn = _turn(content) if turned else None
        picture.draft("RGB", (2 * width, 4 * width))
        picture.load()
        seen_through = picture.has_transparency_data
        picture = _eight_bits(picture).convert("RGBA" if seen_through else "RGB")
        high = 2 * width
        picture.thumbnail((high, width) if turn in _SIDEWAYS else (width, high), pillow.Resampling.BOX)
        if seen_through:
            white = pillow.new("RGBA", picture.size, "white")
            picture = pillow.alpha_composite(white, picture).convert("RGB")
        if turn is not None:
            picture = picture.transpose(turn)
        made = io.BytesIO()
        picture.save(made, "JPEG", quality=THUMBNAIL_QUALITY)
    except MemoryError:
        raise
    except Exception:
        # Whatever a decoder makes of evil input, the file is to blame.
        return None
    return made.getvalue()


def _turn(content: bytes) -> pillow.Transpose | None:
    """How a picture is to be turned for who looks at it; None where it is not, and where its EXIF data cannot
    be read."""
    exif = pillow.Exif()
    with contextlib.suppress(Exception):
        exif.load(exif_of(content))
        return _TURNS.get(exif.get(ExifTags.Base.Orientation) or 0)
    return None


def _opened(content: bytes) -> ImageFile:
    """A picture that is taken, of the size that its header says, not decoded yet. Any exception where it is
    none."""
    header = read_header(content)
    if header is None or _too_large(header):
        raise ValueError("not a picture that is taken")
    picture = DECODERS[header.kind](io.BytesIO(pixels_alone(content, header.kind)))
    # A HEIC that is cropped to parts of pixels may be rounded otherwise.
    if header.kind == "heic":
        header = Header(header.kind, *picture.size)
    if picture.size != (header.width, header.height) or _too_large(header):
        raise ValueError("another size than its header says")
    return picture


def _eight_bits(picture: pillow.Image) -> pillow.Image:
    """Sixteen bits a pixel would be clipped to eight instead of scaled."""
    return picture.point(lambda value: value / 256) if picture.mode.startswith("I") else picture


def _too_large(header: Header) -> bool:
    return header.width * header.height > _max_pixels(header.kind)


def _max_pixels(kind: Kind) -> int:
    return {"webp": MAX_WEBP_PIXELS, "heic": MAX_HEIC_PIXELS}.get(kind, MAX_PIXELS)


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
