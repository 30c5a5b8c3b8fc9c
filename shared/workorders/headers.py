"""What the header of a picture says: its kind, and how many pixels it has.

Files come from outside. What Pillow does with a header grows with the header (ten million bytes of empty
comments cost it two seconds), so it is read here: in 2 µs, of a JPEG in 7, of a HEIC in 20.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

MAX_SEGMENTS = 10_000
"""Of a JPEG's header: a depth map of 10 MB in pieces of 64 KB makes 160."""

MAX_CHUNKS = 200_000
"""Of a PNG: most programs make pieces of 8 KB, of which a file of 64 MiB has 8,192."""

MAX_BOXES = 10_000
"""Of a HEIC's lists, and entries of one: a picture of 100 megapixels in tiles of 512 pixels has 400."""

_JPEG_SIZE = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# The segments that say a picture's size, and all that can stand in a header:
_JPEG_SEGMENTS = _JPEG_SIZE | {0xC4, 0xCC, 0xDB, 0xDD, 0xFE} | frozenset(range(0xE0, 0xF0))
_JPEG_SCAN = 0xDA
_JPEG_PIXELS = (_JPEG_SEGMENTS - {0xFE} - frozenset(range(0xE0, 0xF0))) | {0xE0, 0xEE}
# Those that pixels depend on: of what applications add only JFIF's and Adobe's, which tell the colours.

_JPEG_EXIF = 0xE1

_FILLING = re.compile(rb"\xff++")

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_PIXELS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
# The chunks that pixels depend on.

_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis"})
# Still pictures in HEVC; others of the same form, as AVIF, are not taken.
# https://nokiatech.github.io/heif/technical.html

Kind = Literal["jpeg", "png", "webp", "heic"]
"""The kinds of pictures that there are."""

_OTHERS = (
    (re.compile(rb"GIF8[79]a"), "a GIF image"),
    (re.compile(rb"BM.{4}\0{4}", re.DOTALL), "a BMP image"),
    (re.compile(rb"II\*\0|MM\0\*|II\+\0|MM\0\+"), "a TIFF image, or a camera's raw image"),
    (re.compile(rb"\xff\x0a|\0\0\0\x0cJXL "), "a JPEG XL image"),
    (re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"), "a JPEG 2000 image"),
    (re.compile(rb".{4}ftyp(?:avif|avis|.{8}(?:.{4})*?(?:avif|avis))", re.DOTALL), "an AVIF image"),
    (re.compile(rb".{4}ftypcrx ", re.DOTALL), "a camera's raw image"),
    (re.compile(rb".{4}ftyp(?:mif|msf|hev|jpeg)", re.DOTALL), "a HEIF image of another kind than HEIC"),
    (re.compile(rb".{4}ftyp|\x1a\x45\xdf\xa3|RIFF.{4}AVI ", re.DOTALL), "a film"),
    (re.compile(rb"%PDF-"), "a PDF document"),
    (re.compile(rb"PK\x03\x04|PK\x05\x06|Rar!|7z\xbc\xaf|\x1f\x8b"), "an archive"),
    (
        re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)?svg", re.DOTALL),
        "an SVG drawing",
    ),
    (re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<!doctype\s+html|<html)", re.IGNORECASE), "a web page"),
    (re.compile(rb"\x00\x05\x16\x07"), "what macOS keeps beside a file"),
    (re.compile(rb"[\t\n\r\x20-\x7e]{4}[\t\n\r\x20-\x7e\x80-\xff]*\Z"), "text"),
)
# How files of other kinds begin, the first that fits.


@dataclass(frozen=True, slots=True)
class Header:
    """What a picture claims to be. `width` and `height` are in pixels as they are stored: how a viewer turns
    it is not looked at. A HEIC's are those after the turns that are part of it, as all programs show it."""

    kind: Kind
    width: int
    height: int


def kind_of(content: bytes) -> Kind | None:
    """What kind of picture a file begins as, or None where as none that is taken."""
    if content.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if content.startswith(_PNG_SIGNATURE):
        return "png"
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return "webp"
    if content[4:8] == b"ftyp" and not _HEIC_BRANDS.isdisjoint(_brands(content)):
        return "heic"
    return None


def name_of(content: bytes) -> str:
    """What a file is that is no picture that is taken, by how it begins; empty where that is not known."""
    if not content.strip(b"\0"):
        return "nothing but zeros"
    # The brands of a film, or a picture like one, end where its first box does.
    head = content[: min(256, int.from_bytes(content[:4])) if content[4:8] == b"ftyp" else 256]
    return next((name for form, name in _OTHERS if form.match(head)), "")


def read_header(content: bytes) -> Header | None:
    """What a file claims to be, or None where it is no picture that is taken. It takes 2 µs, for a JPEG 7 and
    more with the segments in front of its picture, for a HEIC 20."""
    kind = kind_of(content)
    if kind is None:
        return None
    match kind:
        case "jpeg":
            size = _jpeg_size(content)
        case "png":
            # https://www.w3.org/TR/png-3/#11IHDR
            named = content[12:16] == b"IHDR"
            size = (int.from_bytes(content[16:20]), int.from_bytes(content[20:24])) if named else None
        case "webp":
            size = _webp_size(content)
        case "heic":
            size = _heic_size(content)
    return Header(kind, *size) if size and all(size) else None


def pixels_alone(content: bytes, kind: Kind) -> bytes:
    """The file without its metadata: what a decoder makes of text, profiles and the like says nothing of the
    picture. Read the header first. One that breaks off breaks off here, too."""
    if kind == "jpeg":
        kept: list[bytes | memoryview] = [b"\xff\xd8"]
        for segment in _jpeg_segments(content):
            if segment.marker == _JPEG_SCAN:
                kept.append(memoryview(content)[segment.start :])
                break
            if segment.marker in _JPEG_PIXELS:
                kept.append(memoryview(content)[segment.start : segment.end])
        return b"".join(kept)
    if kind == "png":
        return b"".join([_PNG_SIGNATURE, *_png_chunks(content)])
    return content


def exif_of(content: bytes) -> bytes:
    """The EXIF data of a JPEG, at most 64 KB; empty where it has none, and of a picture of another kind."""
    if not content.startswith(b"\xff\xd8"):
        return b""
    for segment in _jpeg_segments(content):
        if segment.marker == _JPEG_SCAN:
            break
        body = content[segment.start + 4 : segment.end]
        if segment.marker == _JPEG_EXIF and body.startswith(b"Exif\0\0"):
            return body
    return b""


class _Segment(NamedTuple):
    marker: int
    start: int
    end: int


def _jpeg_segments(content: bytes) -> Iterator[_Segment]:
    """The segments of a JPEG's header up to its first scan, which is the last; fewer where it breaks off.
    https://www.w3.org/Graphics/JPEG/itu-t81.pdf"""
    at = 2
    for _ in range(MAX_SEGMENTS):
        # Between segments there may be filling.
        at = content.find(b"\xff", at)
        filling = _FILLING.match(content, at) if at >= 0 else None
        if filling is None or len(content) < filling.end() + 8:
            return
        marker, start = content[filling.end()], filling.end() - 1
        at = start + 2
        if marker != 0x00:
            at += int.from_bytes(content[at : at + 2])
            yield _Segment(marker, start, at)
            if marker == _JPEG_SCAN:
                return


def _jpeg_size(content: bytes) -> tuple[int, int] | None:
    """The size in a JPEG's header, which must be whole and say it once."""
    size = None
    for marker, start, _ in _jpeg_segments(content):
        if marker == _JPEG_SCAN:
            return size
        if marker not in _JPEG_SEGMENTS or (marker in _JPEG_SIZE and size):
            return None
        if marker in _JPEG_SIZE:
            size = (
                int.from_bytes(content[start + 7 : start + 9]),
                int.from_bytes(content[start + 5 : start + 7]),
            )
    return None


def _png_chunks(content: bytes) -> Iterator[memoryview]:
    """The chunks of a PNG that pixels depend on, up to its end. https://www.w3.org/TR/png-3/#5Chunk-layout"""
    view, at = memoryview(content), len(_PNG_SIGNATURE)
    start = end = at  # of those kept that stand together
    for _ in range(MAX_CHUNKS):
        if at + 8 > len(content):
            break
        name = content[at + 4 : at + 8]
        after = at + 12 + int.from_bytes(content[at : at + 4])
        if name in _PNG_PIXELS:
            if at != end:
                yield view[start:end]
                start = at
            end = after
        if name == b"IEND":
            break
        at = after
    yield view[start:end]


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


# HEIC: boxes in boxes, ISO/IEC 14496-12 and 23008-12.


def _brands(content: bytes) -> list[bytes]:
    end = min(int.from_bytes(content[:4]), len(content), 256)
    return [content[8:12], *(content[at : at + 4] for at in range(16, end, 4))]


def _boxes(content: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """The name of each box, and where its content is; nothing more where one does not fit."""
    for _ in range(MAX_BOXES):
        if start + 8 > end:
            return
        length, head = int.from_bytes(content[start : start + 4]), 8
        if length == 1:
            length, head = int.from_bytes(content[start + 8 : start + 16]), 16
        elif length == 0:
            length = end - start
        if length < head or start + length > end:
            return
        yield content[start + 4 : start + 8], start + head, start + length
        start += length


def _heic_size(content: bytes) -> tuple[int, int] | None:
    """The size of a HEIC's primary picture, cropped and turned as its properties say."""
    places = {name: (start, end) for name, start, end in _boxes(content, 0, len(content))}
    if b"meta" not in places:
        return None
    start, end = places[b"meta"]
    places = {name: (start, end) for name, start, end in _boxes(content, start + 4, end)}
    if b"pitm" not in places or b"iprp" not in places:
        return None
    at = places[b"pitm"][0]
    primary = int.from_bytes(content[at + 4 : at + 8] if content[at] else content[at + 4 : at + 6])
    inside = {name: (start, end) for name, start, end in _boxes(content, *places[b"iprp"])}
    if b"ipco" not in inside or b"ipma" not in inside:
        return None
    properties = list(_boxes(content, *inside[b"ipco"]))
    size = None
    for number in _associated(content, *inside[b"ipma"], primary):
        if not 0 < number <= len(properties):
            continue
        name, at, end = properties[number - 1]
        values = [int.from_bytes(content[each : each + 4]) for each in range(at, end - 3, 4)]
        if name == b"ispe" and len(values) >= 3:
            size = values[1], values[2]
        elif name == b"clap" and size and len(values) >= 4 and values[1] and values[3]:
            size = values[0] // values[1], values[2] // values[3]
        elif name == b"irot" and size and end > at and content[at] & 1:
            size = size[1], size[0]
    return size


def _associated(content: bytes, at: int, end: int, item: int) -> list[int]:
    """The numbers of an item's properties, in their order, from the box `ipma`."""
    version, wide = content[at], content[at + 3] & 1 if at + 3 < end else 0
    count = int.from_bytes(content[at + 4 : at + 8])
    at += 8
    for _ in range(min(count, MAX_BOXES)):
        width = 4 if version else 2
        if at + width + 1 > end:
            return []
        found, numbers = int.from_bytes(content[at : at + width]), content[at + width]
        at += width + 1
        size = 2 if wide else 1
        if found == item:
            mask = 0x7FFF if wide else 0x7F
            places = range(at, min(at + numbers * size, end), size)
            return [int.from_bytes(content[each : each + size]) & mask for each in places]
        at += numbers * size
    return []
