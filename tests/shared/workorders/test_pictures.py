"""Pictures made here: good ones, bad ones, and files that only say they are pictures.

The large ones are made in the tests that look at them: whoever collects the tests makes none.
"""

import functools
import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as pillow
from PIL import ImageChops, ImageCms, ImageFilter, ImageOps, ImageStat
from PIL.PngImagePlugin import PngInfo
from pillow_heif import register_heif_opener

from shared.clock import elapsed_since, stopwatch
from shared.workorders import headers, pictures
from shared.workorders.pictures import Refusal, check, extension
from shared.workorders.record import DataConformity

UNREADABLE = (DataConformity("readable", "UNREADABLE", "error"),)
Making = Callable[[], bytes]
FORMATS = ["JPEG", "PNG", "WEBP", "HEIF"]
EXTENSIONS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "HEIF": "heic"}

register_heif_opener()  # so that Pillow writes HEIC


def refusal(content: bytes) -> Refusal | None:
    """Why a file cannot be imported as a picture."""
    return pictures.refusal(content, headers.read_header(content))


@functools.cache
def photograph(width: int = 1_280, height: int = 960) -> pillow.Image:
    """Sharp shapes on a soft background, of medium brightness, in colour."""
    soft = pillow.linear_gradient("L").resize((width, height))
    shapes = pillow.effect_mandelbrot((width, height), (-2, -1.3, 1, 1.3), 60)
    return pillow.merge("RGB", (soft, pillow.blend(soft, shapes, 0.5), shapes))


def encoded(picture: pillow.Image, format: str = "JPEG", **options: Any) -> bytes:
    if format == "HEIF":
        options["enc_params"] = {"preset": "ultrafast"}  # what else takes a second and a half
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def dimmed(picture: pillow.Image, factor: float, offset: float = 0) -> pillow.Image:
    return picture.point(lambda value: int(value * factor + offset))


def codes(content: bytes) -> list[tuple[str, str, str]]:
    return [(each.check, each.code, each.level) for each in check(content)]


SMALL = {format: encoded(photograph(128, 96), format) for format in FORMATS}


@functools.cache
def good(format: str) -> bytes:
    return encoded(photograph(), format)


@pytest.mark.parametrize("format", FORMATS)
def test_nothing_is_said_of_a_good_picture(format: str) -> None:
    assert refusal(good(format)) is None
    assert codes(good(format)) == []


def grey() -> pillow.Image:
    return photograph().convert("L")


def sixteen() -> pillow.Image:
    picture = pillow.new("I;16", grey().size)
    picture.frombytes(b"".join(bytes((value, value)) for value in grey().tobytes()))
    return picture


def moving(format: str) -> bytes:
    return encoded(
        photograph(), format, save_all=True, append_images=[photograph(), ImageOps.mirror(photograph())]
    )


TURNED = pillow.Exif()
TURNED[0x0112] = 6


@pytest.mark.parametrize(
    ("kept", "made"),
    [
        pytest.param("jpeg", lambda: encoded(photograph(), progressive=True), id="progressive"),
        pytest.param("jpg", lambda: encoded(grey()), id="grey"),
        pytest.param("JPG", lambda: encoded(photograph().convert("CMYK")), id="CMYK"),
        pytest.param("jpg", lambda: encoded(photograph(), exif=TURNED), id="turned"),
        pytest.param("jpg", lambda: moving("MPO"), id="two in one"),
        pytest.param("jpg", lambda: encoded(photograph()) + b"\x00\xff\xda" * 50_000, id="a video behind it"),
        pytest.param("png", lambda: encoded(sixteen(), "PNG"), id="16 bits"),
        pytest.param("png", lambda: encoded(photograph().quantize(200), "PNG"), id="palette"),
        pytest.param(
            "png",
            lambda: encoded(photograph().quantize(200), "PNG", transparency=bytes(range(200))),
            id="clear palette",
        ),
        pytest.param("png", lambda: encoded(photograph().convert("RGBA"), "PNG"), id="alpha"),
        pytest.param("png", lambda: encoded(photograph().convert("LA"), "PNG"), id="grey and alpha"),
        pytest.param("png", lambda: encoded(photograph().convert("1"), "PNG"), id="one bit"),
        pytest.param("png", lambda: moving("PNG"), id="moving PNG"),
        pytest.param("WebP", lambda: encoded(photograph(), "WEBP", lossless=True, method=0), id="lossless"),
        pytest.param("webp", lambda: encoded(photograph().convert("RGBA"), "WEBP"), id="WEBP with alpha"),
        pytest.param("webp", lambda: moving("WEBP"), id="moving WEBP"),
        pytest.param("HEIF", lambda: encoded(photograph().convert("RGBA"), "HEIF"), id="HEIC with alpha"),
        pytest.param("heic", lambda: encoded(grey(), "HEIF"), id="grey HEIC"),
        pytest.param("heic", lambda: encoded(sixteen(), "HEIF"), id="HEIC of ten bits"),
        pytest.param(
            "heic", lambda: encoded(photograph().crop((0, 0, 1_279, 959)), "HEIF"), id="cropped HEIC"
        ),
        pytest.param("heic", lambda: moving("HEIF"), id="HEIC of several"),
        pytest.param("heic", lambda: encoded(photograph(), "HEIF", exif=TURNED), id="HEIC with EXIF"),
    ],
)
def test_good_pictures_of_every_kind(kept: str, made: Making) -> None:
    content = made()
    assert refusal(content) is None
    assert extension(content, kept) == kept.lower()
    assert codes(content) == []


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_with(*chunks: bytes, behind: bool = False) -> bytes:
    """A good PNG with more chunks before its pixels, or behind them."""
    at = good("PNG").rindex(b"IEND") - 4 if behind else 33
    return good("PNG")[:at] + b"".join(chunks) + good("PNG")[at:]


def jpeg_with(*segments: tuple[int, bytes]) -> bytes:
    made = b"".join(struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body for marker, body in segments)
    return good("JPEG")[:2] + made + good("JPEG")[2:]


def text(size: int, *, kind: str = "zTXt") -> bytes:
    """A PNG with so much text."""
    info = PngInfo()
    if kind == "iTXt":
        info.add_itxt("XML:com.adobe.xmp", "x" * size, zip=True)
    else:
        info.add_text("Comment", "x" * size, zip=kind == "zTXt")
    return encoded(photograph(), "PNG", pnginfo=info)


PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LONG_PROFILE = PROFILE + bytes(3 << 20)
METADATA: dict[str, Making] = {
    "PNG, text": lambda: text(3 << 20, kind="tEXt"),
    "PNG, packed text": lambda: text(3 << 20),
    "PNG, international text": lambda: text(3 << 20, kind="iTXt"),
    "PNG, a colour profile": lambda: encoded(photograph(), "PNG", icc_profile=LONG_PROFILE),
    "JPEG, a colour profile": lambda: encoded(photograph(), icc_profile=LONG_PROFILE),
    "WEBP, a colour profile": lambda: encoded(photograph(), "WEBP", icc_profile=LONG_PROFILE),
    "HEIC, a colour profile": lambda: encoded(photograph(), "HEIF", icc_profile=LONG_PROFILE),
    "WEBP, EXIF": lambda: encoded(photograph(), "WEBP", exif=b"Exif\0\0" + bytes(3 << 20)),
    "HEIC, EXIF": lambda: encoded(photograph(), "HEIF", exif=b"Exif\0\0" + bytes(3 << 20)),
    "WEBP, XMP": lambda: encoded(photograph(), "WEBP", xmp=b"<x/>" * (1 << 20)),
    "HEIC, XMP": lambda: encoded(photograph(), "HEIF", xmp=b"<x/>" * (1 << 20)),
}
BROKEN = {
    "PNG, text that cannot be unpacked": [(b"zTXt", b"Comment\0\0nothing packed")],
    "PNG, text in an unknown packing": [(b"zTXt", b"Comment\0\7x")],
    "PNG, half a text": [(b"iTXt", b"Comment")],
    "PNG, a profile that is none": [(b"iCCP", b"profile\0\0nothing packed")],
    "PNG, a profile in an unknown packing": [(b"iCCP", b"profile\0\7x")],
    "PNG, pixels of no size": [(b"pHYs", b"1")],
    "PNG, half a brightness": [(b"gAMA", b"1")],
    "PNG, half of its primaries": [(b"cHRM", b"123")],
    "PNG, half an animation": [(b"acTL", b"1")],
    "PNG, an animation of no frames": [(b"acTL", bytes(8)), (b"fcTL", bytes(3))],
    "PNG, EXIF that is none": [(b"eXIf", b"nonsense")],
    "PNG, a colour space of no meaning": [(b"sRGB", b"")],
}


@pytest.mark.parametrize("made", [pytest.param(made, id=name) for name, made in METADATA.items()])
def test_however_much_the_metadata_are_the_picture_is_good(made: Making) -> None:
    content = made()
    assert len(content) > 10_000
    assert refusal(content) is None
    assert codes(content) == []


@pytest.mark.parametrize("chunks", [pytest.param(chunks, id=name) for name, chunks in BROKEN.items()])
@pytest.mark.parametrize("behind", [False, True])
def test_broken_metadata_are_no_fault_of_the_picture(chunks: list[tuple[bytes, bytes]], behind: bool) -> None:
    content = png_with(*[chunk(name, body) for name, body in chunks], behind=behind)
    assert (refusal(content), codes(content)) == (None, [])
    wrong = png_with(*[chunk(name, body)[:-4] + b"nope" for name, body in chunks], behind=behind)
    assert (refusal(wrong), codes(wrong)) == (None, []), "their checksum does not matter either"


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(lambda: jpeg_with((0xE1, b"Exif\0\0II*\0nonsense")), id="EXIF that is none"),
        pytest.param(lambda: jpeg_with((0xE1, b"Exif\0\0")), id="no EXIF"),
        pytest.param(lambda: jpeg_with((0xE2, b"ICC_PROFILE\0\x09\x02nonsense")), id="a piece of a profile"),
        pytest.param(lambda: jpeg_with((0xE2, b"MPF\0nonsense")), id="several pictures that are none"),
        pytest.param(lambda: jpeg_with((0xED, b"Photoshop 3.0\0008BIM\4\4")), id="half of Photoshop's notes"),
        pytest.param(lambda: jpeg_with(*[(0xFE, b"note")] * 3_000), id="three thousand comments"),
        pytest.param(
            lambda: good("JPEG")[:2] + b"\xff" * 5_000_000 + good("JPEG")[2:],
            id="5 MB of filling",
        ),
    ],
)
def test_odd_headers_of_a_jpeg_are_no_fault_of_the_picture(made: Making) -> None:
    content = made()
    assert (refusal(content), codes(content)) == (None, [])


@pytest.mark.parametrize("format", FORMATS)
def test_pixels_do_not_depend_on_what_is_left_out(format: str) -> None:
    picture = photograph().convert("CMYK") if format == "JPEG" else photograph()
    for made in (encoded(picture, format, exif=TURNED), encoded(photograph().quantize(16), "PNG")):
        kind = headers.kind_of(made)
        assert kind is not None
        alone = headers.pixels_alone(made, kind)
        pixels = [pictures.DECODERS[kind](io.BytesIO(each)).convert("RGB") for each in (made, alone)]
        assert pixels[0].tobytes() == pixels[1].tobytes()


def test_a_png_of_millions_of_chunks_costs_little() -> None:
    for name in (b"IDAT", b"tIME"):
        content = good("PNG")[:33] + chunk(name, b"") * 2_000_000 + good("PNG")[33:]
        start = stopwatch()
        assert check(content) == UNREADABLE
        assert elapsed_since(start) < 3


def test_sixteen_bits_are_scaled_and_not_clipped() -> None:
    dark = pillow.new("I;16", (800, 800), 20 * 256)
    assert codes(encoded(dark, "PNG")) == [("exposure", "TOO_DARK", "warning")]


LOW = ("resolution", "LOW_RESOLUTION", "warning")
ICON = ("resolution", "LOW_RESOLUTION", "error")
BLURRED = ("blur", "BLURRED", "warning")
DARK = ("exposure", "TOO_DARK", "warning")
BRIGHT = ("exposure", "TOO_BRIGHT", "warning")


def blurred(picture: pillow.Image, radius: float) -> pillow.Image:
    return picture.filter(ImageFilter.GaussianBlur(radius))


def patched(ground: int, patch: int, share: float) -> pillow.Image:
    """All of one brightness but for a sharp pattern of bars over a share of the rows."""
    picture = pillow.new("L", (1_000, 1_000), ground)
    for x in range(0, 1_000, 40):
        picture.paste(patch, (x, 0, x + 20, int(1_000 * share)))
    return picture


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        pytest.param(lambda: photograph(), [], id="good"),
        pytest.param(lambda: photograph(640, 640), [], id="just large enough"),
        pytest.param(lambda: photograph(2_000, 639), [LOW], id="a pixel too low"),
        pytest.param(lambda: photograph(639, 2_000), [LOW], id="a pixel too narrow"),
        pytest.param(lambda: photograph(64, 64), [LOW], id="hardly usable"),
        pytest.param(lambda: photograph(63, 2_000), [ICON], id="not usable"),
        pytest.param(lambda: pillow.new("RGB", (1, 1)), [ICON], id="one pixel"),
        pytest.param(lambda: photograph(64, 40_000), [LOW], id="a stripe"),
        pytest.param(lambda: blurred(photograph(), 1), [], id="a little soft"),
        pytest.param(lambda: blurred(photograph(), 2), [BLURRED], id="softer"),
        pytest.param(lambda: blurred(photograph(), 8), [BLURRED], id="blurred"),
        pytest.param(
            lambda: blurred(photograph(), 8).resize((5_120, 3_840)), [BLURRED], id="blurred and large"
        ),
        pytest.param(lambda: blurred(photograph(500, 400), 6), [LOW, BLURRED], id="small and blurred"),
        pytest.param(lambda: dimmed(photograph(), 0.15), [DARK], id="dark"),
        pytest.param(lambda: dimmed(photograph(), 0.5), [], id="dusk"),
        pytest.param(lambda: dimmed(photograph(), 0.1, 229), [BRIGHT], id="bright"),
        pytest.param(lambda: dimmed(photograph(), 0.5, 127), [], id="noon"),
        pytest.param(lambda: pillow.new("L", (800, 800), 0), [DARK], id="black"),
        pytest.param(lambda: pillow.new("L", (800, 800), 255), [BRIGHT], id="white"),
        pytest.param(lambda: pillow.new("L", (800, 800), 127), [BLURRED], id="a plain wall"),
        pytest.param(lambda: patched(0, 255, 0.4), [DARK], id="a torch in the night"),
        pytest.param(lambda: patched(0, 255, 0.6), [], id="a lit half"),
        pytest.param(lambda: patched(255, 100, 0.4), [BRIGHT], id="a thing against the light"),
        pytest.param(lambda: patched(255, 0, 0.6), [], id="a thing on white"),
    ],
)
@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_what_is_said_of_a_picture(
    made: Callable[[], pillow.Image], expected: list[tuple[str, str, str]], format: str
) -> None:
    assert codes(encoded(made(), format)) == expected


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("percent", range(5, 100, 5))
def test_a_picture_that_is_cut_off_is_unreadable(format: str, percent: int) -> None:
    for whole in (good(format), SMALL[format]):
        assert check(whole[: len(whole) * percent // 100]) == UNREADABLE


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("named", ["jpg", "JPEG", "png", "webp", "HEIC", "heif", "gif", ""])
def test_a_picture_is_kept_as_what_it_is_whatever_its_name_says(format: str, named: str) -> None:
    own = {"JPEG": ("jpg", "jpeg"), "HEIF": ("heic", "heif")}.get(format, (EXTENSIONS[format],))
    assert refusal(SMALL[format]) is None
    assert extension(SMALL[format], named) == (named.lower() if named.lower() in own else EXTENSIONS[format])


def test_what_is_no_picture_is_kept_as_nothing() -> None:
    with pytest.raises(ValueError, match="not a picture"):
        extension(b"text", "jpg")


DAMAGED: dict[str, Making] = {
    "start of a JPEG": lambda: b"\xff\xd8\xff",
    "JPEG without scan": lambda: SMALL["JPEG"][: SMALL["JPEG"].index(b"\xff\xda")],
    "JPEG without size": lambda: b"\xff\xd8\xff\xda" + bytes(20),
    "JPEG without rows": lambda: SMALL["JPEG"].replace(
        struct.pack(">HH", 96, 128), struct.pack(">HH", 0, 128)
    ),
    "half of a PNG's header": lambda: SMALL["PNG"][:20],
    "PNG without columns": lambda: SMALL["PNG"][:16] + bytes(4) + SMALL["PNG"][20:],
    "start of a PNG": lambda: b"\x89PNG\r\n\x1a\n",
    "PNG without header": lambda: b"\x89PNG\r\n\x1a\n" + SMALL["PNG"][33:],
    "start of a WEBP": lambda: b"RIFF\x00\x00\x00\x00WEBP",
    "WEBP of nothing": lambda: b"RIFF\x00\x00\x00\x00WEBPALPH" + bytes(40),
    "start of a HEIC": lambda: SMALL["HEIF"][:24],
    "HEIC without its list of pictures": lambda: SMALL["HEIF"].replace(b"pitm", b"nope"),
    "HEIC without a size": lambda: SMALL["HEIF"].replace(b"ispe", b"nope"),
    "HEIC whose properties are of another": lambda: SMALL["HEIF"].replace(b"ipma", b"nope"),
}
NO_IMAGES: dict[str, tuple[Making, str]] = {
    "one byte": (lambda: b"\xff", ""),
    "noise": (lambda: bytes(range(256)), ""),
    "text": (lambda: b"this is no picture", "text"),
    "zeros": (lambda: bytes(5_000), "nothing but zeros"),
    "zeros and more": (lambda: bytes(5_000) + b"x", ""),
    "sound": (lambda: b"RIFF\x00\x00\x00\x00WAVEfmt " + bytes(40), ""),
    "GIF": (lambda: encoded(photograph(128, 96), "GIF"), "a GIF image"),
    "TIFF": (lambda: encoded(photograph(128, 96), "TIFF"), "a TIFF image, or a camera's raw image"),
    "BMP": (lambda: encoded(photograph(128, 96), "BMP"), "a BMP image"),
    "AVIF": (lambda: b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf" + bytes(40), "an AVIF image"),
    "AVIF that says so second": (lambda: b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif" + bytes(40), "an AVIF image"),
    "HEIF of a sequence": (
        lambda: b"\0\0\0\x18ftypmsf1\0\0\0\0msf1hevc" + bytes(40),
        "a HEIF image of another kind than HEIC",
    ),
    "film": (lambda: b"\0\0\0\x18ftypisom\0\0\2\0isomavc1" + bytes(40), "a film"),
    "JPEG XL": (lambda: b"\xff\x0a" + bytes(range(40)), "a JPEG XL image"),
    "SVG": (lambda: b'<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing"),
    "page": (lambda: b"<!DOCTYPE html><title>Not found</title>", "a web page"),
    "PDF": (lambda: b"%PDF-1.7\n" + bytes(40), "a PDF document"),
    "zip": (lambda: b"PK\x03\x04" + bytes(40), "an archive"),
    "what macOS keeps beside a file": (lambda: b"\0\5\x16\7" + bytes(40), "what macOS keeps beside a file"),
}


@pytest.mark.parametrize(("made", "is_"), [pytest.param(*made, id=name) for name, made in NO_IMAGES.items()])
def test_what_is_no_image_is_named_as_what_it_is(made: Making, is_: str) -> None:
    content = made()
    assert refusal(content) == Refusal("NOT_AN_IMAGE", f"It is {is_}." if is_ else "")
    assert check(content) == UNREADABLE


@pytest.mark.parametrize("made", [pytest.param(made, id=name) for name, made in DAMAGED.items()])
def test_an_image_whose_header_breaks_off_is_damaged(made: Making) -> None:
    content = made()
    assert refusal(content) == Refusal("DAMAGED_IMAGE")
    assert check(content) == UNREADABLE


def test_an_empty_file() -> None:
    assert refusal(b"") == Refusal("EMPTY_FILE")
    assert check(b"") == UNREADABLE


def jpeg_of(width: int, height: int) -> bytes:
    at = SMALL["JPEG"].index(b"\xff\xc0")
    return SMALL["JPEG"][: at + 5] + struct.pack(">HH", height, width) + SMALL["JPEG"][at + 9 :]


def png_of(width: int, height: int) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + SMALL["PNG"][33:]


def webp(kind: bytes, body: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 24) + b"WEBP" + kind + struct.pack("<I", 12) + body.ljust(12, b"\0")


def webp_extended(width: int, height: int) -> bytes:
    return webp(b"VP8X", bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little"))


def webp_lossless(width: int, height: int) -> bytes:
    return webp(b"VP8L", b"\x2f" + struct.pack("<I", width - 1 | height - 1 << 14))


def webp_lossy(width: int, height: int) -> bytes:
    return webp(b"VP8 ", b"\x10\x02\x00\x9d\x01\x2a" + struct.pack("<HH", width, height))


def heic_of(width: int, height: int) -> bytes:
    at = SMALL["HEIF"].index(b"ispe") + 8
    return SMALL["HEIF"][:at] + struct.pack(">II", width, height) + SMALL["HEIF"][at + 8 :]


@pytest.mark.parametrize(
    ("made", "largest", "over"),
    [
        (jpeg_of, (10_000, 10_000), (10_001, 10_000)),
        (jpeg_of, (65_535, 1_525), (65_535, 65_535)),
        (png_of, (10_000, 10_000), (20_000, 10_000)),
        (png_of, (100_000_000, 1), (2**31 - 1, 2**31 - 1)),
        (webp_extended, (6_000, 5_500), (2**24, 2**24)),
        (webp_lossless, (6_000, 5_500), (5_501, 6_000)),
        (webp_lossy, (6_000, 5_500), (16_383, 16_383)),
        (heic_of, (11_000, 6_000), (11_001, 6_000)),
        (heic_of, (8_064, 6_048), (2**32 - 1, 2**32 - 1)),
    ],
)
def test_too_many_pixels_are_told_from_the_header(
    made: Callable[[int, int], bytes], largest: tuple[int, int], over: tuple[int, int]
) -> None:
    assert refusal(made(*largest)) is None
    refused = refusal(made(*over))
    assert refused is not None
    assert refused.code == "TOO_MANY_PIXELS"
    assert f"{over[0] * over[1]:,}" in refused.detail
    start = stopwatch()
    assert check(made(*over)) == UNREADABLE
    assert elapsed_since(start) < 0.5


@pytest.mark.parametrize("format", FORMATS)
def test_the_size_read_here_is_the_picture_s(format: str) -> None:
    picture = photograph(321, 123)
    if format not in ("JPEG", "HEIF"):
        picture.putalpha(100)
    for options in ({}, {"lossless": True}, {"progressive": True}, {"exif": TURNED}):
        header = headers.read_header(encoded(picture, format, **options))
        assert header is not None
        assert (header.width, header.height) == (321, 123), options


@pytest.mark.parametrize(
    "evil",
    [
        pytest.param(b"\xff\xfe\x00\x02" * 2_500_000, id="comments"),
        pytest.param(b"\xff" * 10_000_000 + b"\xff\x01", id="filling before what cannot stand there"),
        pytest.param(b"\xff\x00" * 5_000_000, id="escapes"),
        pytest.param(b"\xff\xe1\x00\x00" * 2_500_000, id="segments of no length"),
    ],
)
def test_a_header_without_end_costs_nothing(evil: bytes) -> None:
    content = b"\xff\xd8" + evil + SMALL["JPEG"][2:]
    start = stopwatch()
    assert refusal(content) == Refusal("DAMAGED_IMAGE")
    assert check(content) == UNREADABLE
    assert elapsed_since(start) < 0.5


def test_a_header_of_many_segments_is_taken() -> None:
    content = b"\xff\xd8" + (b"\xff\xe2\xff\xff" + bytes(65_533)) * 160 + good("JPEG")[2:]
    assert refusal(content) is None
    assert codes(content) == []


def test_a_jpeg_that_says_its_size_twice_is_refused() -> None:
    at = SMALL["JPEG"].index(b"\xff\xc0")
    content = SMALL["JPEG"][:at] + SMALL["JPEG"][at : at + 19] + jpeg_of(60_000, 60_000)[at:]
    assert refusal(content) == Refusal("DAMAGED_IMAGE")
    assert check(content) == UNREADABLE


def test_a_decoder_that_sees_another_size_is_not_let_go_on() -> None:
    assert check(SMALL["PNG"][:33] + good("PNG")[8:]) == UNREADABLE


def test_a_jpeg_is_decoded_small(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[tuple[tuple[int, int], str]] = []
    thumbnail = pillow.Image.thumbnail

    def spy(self: pillow.Image, *arguments: Any) -> None:
        sizes.append((self.size, self.mode))
        thumbnail(self, *arguments)

    monkeypatch.setattr(pillow.Image, "thumbnail", spy)
    assert codes(encoded(photograph().resize((9_000, 8_200), pillow.Resampling.NEAREST), quality=20)) == []
    assert sizes == [((1_125, 1_025), "L")]


@given(st.sampled_from(FORMATS), st.integers(0, 30), st.binary(max_size=400))
def test_random_bytes_raise_nothing(format: str, kept: int, noise: bytes) -> None:
    content = SMALL[format][:kept] + noise
    refused = refusal(content)
    codes = ("EMPTY_FILE", "NOT_AN_IMAGE", "DAMAGED_IMAGE", "TOO_MANY_PIXELS")
    assert refused is None or refused.code in codes
    assert all(isinstance(each, DataConformity) for each in check(content))


@given(st.sampled_from(FORMATS), st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 255)), max_size=8))
def test_damaged_pictures_raise_nothing(format: str, damage: list[tuple[int, int]]) -> None:
    content = bytearray(SMALL[format])
    for at, value in damage:
        content[at % len(content)] = value
    refusal(bytes(content))
    assert all(isinstance(each, DataConformity) for each in check(bytes(content)))


def test_memory_that_is_lacking_is_not_the_picture_s_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(*arguments: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(pillow.Image, "convert", lacking)
    with pytest.raises(MemoryError):
        check(good("PNG"))


def box(name: bytes, *inside: bytes) -> bytes:
    content = b"".join(inside)
    return struct.pack(">I", 8 + len(content)) + name + content


def heic_with(*properties: bytes, associated: bytes, version: int = 0, flags: int = 0) -> bytes:
    """A HEIC's boxes up to its pixels, of two pictures of which the second is the primary one."""
    wide = b"".join(struct.pack(">H", each) for each in associated) if flags & 1 else associated
    form = ">BBBBIIBBIB" if version else ">BBBBIHBBHB"
    ipma = struct.pack(form, version, 0, 0, flags, 2, 1, 1, 1, 2, len(associated))
    if flags & 1:
        form = ">BBBBIIBHIB" if version else ">BBBBIHBHHB"
        ipma = struct.pack(form, version, 0, 0, flags, 2, 1, 1, 1, 2, len(associated))
    meta = box(
        b"meta",
        bytes(4),
        box(b"pitm", bytes(4), struct.pack(">H", 2)),
        box(b"iprp", box(b"ipco", *properties), box(b"ipma", ipma + wide)),
    )
    return box(b"ftyp", b"mif1", bytes(4), b"mif1heic") + meta


ISPE = [
    box(b"ispe", bytes(4), struct.pack(">II", width, height)) for width, height in ((512, 512), (400, 300))
]
CLAP = box(b"clap", struct.pack(">8I", 399, 1, 598, 2, 0, 1, 0, 1))


@pytest.mark.parametrize(
    ("turned", "associated", "size"),
    [
        (None, b"\x02", (400, 300)),
        (0, b"\x02\x83", (400, 300)),
        (1, b"\x02\x83", (300, 400)),
        (2, b"\x02\x83", (400, 300)),
        (3, b"\x82\x03", (300, 400)),
        (1, b"\x02\x04\x03", (299, 399)),
        (1, b"\x02\x03\x63", (300, 400)),
    ],
    ids=[
        "as it is",
        "not turned",
        "left",
        "upside down",
        "right",
        "cropped, then turned",
        "an unknown property",
    ],
)
@pytest.mark.parametrize("version", [0, 1])
def test_the_size_of_a_heic_is_that_of_its_primary_picture_as_it_is_shown(
    turned: int | None, associated: bytes, size: tuple[int, int], version: int
) -> None:
    irot = box(b"irot", bytes([turned or 0]))
    for flags in (0, 1):
        plain = bytes(each & 0x7F for each in associated) if flags else associated
        content = heic_with(*ISPE, irot, CLAP, associated=plain, version=version, flags=flags)
        assert headers.read_header(content) == headers.Header("heic", *size), flags
        assert headers.read_header(content[:-2]) is None, "half a list of properties"


# --- thumbnails


def small(content: bytes, width: int = 320, *, turned: bool = True) -> pillow.Image:
    made = pictures.thumbnail(content, width, turned=turned)
    assert made is not None
    return pillow.open(io.BytesIO(made))


@pytest.mark.parametrize("format", FORMATS)
def test_a_thumbnail_is_the_picture_made_small(format: str) -> None:
    made = small(SMALL[format], 64)
    assert (made.format, made.mode, made.size) == ("JPEG", "RGB", (64, 48))
    expected = photograph(128, 96).resize((64, 48), pillow.Resampling.BOX)
    difference = ImageChops.difference(made, expected)
    assert max(ImageStat.Stat(difference).mean) < 6


def test_a_high_picture_is_no_higher_than_twice_the_width() -> None:
    assert small(encoded(pillow.new("RGB", (30, 900))), 50).size == (3, 100)


def test_a_small_picture_keeps_its_size() -> None:
    assert small(SMALL["PNG"]).size == (128, 96)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_thumbnail_is_turned_as_its_exif_data_say(orientation: int) -> None:
    exif = pillow.Exif()
    exif[0x0112] = orientation
    content = encoded(photograph(128, 96), exif=exif)
    upright = ImageOps.exif_transpose(pillow.open(io.BytesIO(content)))
    made = small(content, 200)
    assert made.size == upright.size
    assert max(ImageStat.Stat(ImageChops.difference(made, upright)).mean) < 6
    assert small(content, 200, turned=False).size == (128, 96)
    assert not made.getexif(), "so that nobody turns it once more"


def test_broken_exif_data_turn_nothing() -> None:
    content = encoded(photograph(128, 96), exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert small(content).size == (128, 96)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "I;16", "1", "L"])
def test_every_mode_has_a_thumbnail(mode: str) -> None:
    picture = (
        pillow.new("L", (80, 60), 255).convert(mode) if mode != "I;16" else pillow.new(mode, (80, 60), 51_400)
    )
    if mode in ("RGBA", "LA"):
        picture.putalpha(0)
    made = small(encoded(picture, "PNG"), 40)
    assert made.size == (40, 30)
    pixel = made.getpixel((20, 15))
    assert isinstance(pixel, tuple)
    assert min(pixel) > 190, "and what can be seen through is white"


@pytest.mark.parametrize(
    "made",
    [
        lambda: b"",
        lambda: b"none",
        lambda: good("JPEG")[:600],
        lambda: good("PNG")[:900],
        lambda: jpeg_of(20_000, 20_000),
    ],
    ids=["nothing", "no picture", "half a JPEG", "half a PNG", "too large"],
)
def test_what_is_no_whole_picture_has_no_thumbnail(made: Making) -> None:
    assert pictures.thumbnail(made(), 320, turned=True) is None
