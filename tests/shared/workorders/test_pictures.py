"""Pictures made here: good ones, bad ones, and files that only say they are pictures."""

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as pillow
from PIL import ImageFilter, ImageOps

from shared.clock import elapsed_since, stopwatch
from shared.workorders import headers, pictures
from shared.workorders.images import Image
from shared.workorders.pictures import check, duplicates, refusal
from shared.workorders.record import DataConformity

UNREADABLE = (DataConformity("readable", "UNREADABLE", "error"),)
FORMATS = ["JPEG", "PNG", "WEBP"]
EXTENSIONS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}


def photograph(width: int = 1_280, height: int = 960) -> pillow.Image:
    """Sharp shapes on a soft background, of medium brightness, in colour."""
    soft = pillow.linear_gradient("L").resize((width, height))
    shapes = pillow.effect_mandelbrot((width, height), (-2, -1.3, 1, 1.3), 60)
    return pillow.merge("RGB", (soft, pillow.blend(soft, shapes, 0.5), shapes))


def encoded(picture: pillow.Image, format: str = "JPEG", **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def dimmed(picture: pillow.Image, factor: float, offset: float = 0) -> pillow.Image:
    return picture.point(lambda value: int(value * factor + offset))


def codes(content: bytes) -> list[tuple[str, str, str]]:
    return [(each.check, each.code, each.level) for each in check(content)]


PHOTOGRAPH = photograph()
GOOD = {format: encoded(PHOTOGRAPH, format) for format in FORMATS}
SMALL = {format: encoded(photograph(128, 96), format) for format in FORMATS}


@pytest.mark.parametrize("format", FORMATS)
def test_nothing_is_said_of_a_good_picture(format: str) -> None:
    assert refusal(GOOD[format], EXTENSIONS[format]) is None
    assert codes(GOOD[format]) == []


GREY = PHOTOGRAPH.convert("L")
SIXTEEN = pillow.new("I;16", GREY.size)
SIXTEEN.frombytes(b"".join(bytes((value, value)) for value in GREY.tobytes()))
TURNED = pillow.Exif()
TURNED[0x0112] = 6
MOVING = [PHOTOGRAPH, ImageOps.mirror(PHOTOGRAPH)]


@pytest.mark.parametrize(
    ("extension", "content"),
    [
        pytest.param("jpeg", encoded(PHOTOGRAPH, progressive=True), id="progressive"),
        pytest.param("jpg", encoded(GREY), id="grey"),
        pytest.param("JPG", encoded(PHOTOGRAPH.convert("CMYK")), id="CMYK"),
        pytest.param("jpg", encoded(PHOTOGRAPH, exif=TURNED), id="turned"),
        pytest.param("jpg", encoded(PHOTOGRAPH, "MPO", save_all=True, append_images=MOVING), id="two in one"),
        pytest.param("jpg", encoded(PHOTOGRAPH) + b"\x00\xff\xda" * 500, id="a video behind it"),
        pytest.param("png", encoded(SIXTEEN, "PNG"), id="16 bits"),
        pytest.param("png", encoded(PHOTOGRAPH.quantize(200), "PNG"), id="palette"),
        pytest.param(
            "png",
            encoded(PHOTOGRAPH.quantize(200), "PNG", transparency=bytes(range(200))),
            id="clear palette",
        ),
        pytest.param("png", encoded(PHOTOGRAPH.convert("RGBA"), "PNG"), id="alpha"),
        pytest.param("png", encoded(PHOTOGRAPH.convert("LA"), "PNG"), id="grey and alpha"),
        pytest.param("png", encoded(PHOTOGRAPH.convert("1"), "PNG"), id="one bit"),
        pytest.param("png", encoded(PHOTOGRAPH, "PNG", save_all=True, append_images=MOVING), id="moving PNG"),
        pytest.param("WebP", encoded(PHOTOGRAPH, "WEBP", lossless=True, method=0), id="lossless"),
        pytest.param("webp", encoded(PHOTOGRAPH.convert("RGBA"), "WEBP"), id="WEBP with alpha"),
        pytest.param(
            "webp", encoded(PHOTOGRAPH, "WEBP", save_all=True, append_images=MOVING), id="moving WEBP"
        ),
    ],
)
def test_good_pictures_of_every_kind(extension: str, content: bytes) -> None:
    assert refusal(content, extension) is None
    assert codes(content) == []


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
    ("picture", "expected"),
    [
        pytest.param(PHOTOGRAPH, [], id="good"),
        pytest.param(photograph(640, 640), [], id="just large enough"),
        pytest.param(photograph(2_000, 639), [LOW], id="a pixel too low"),
        pytest.param(photograph(639, 2_000), [LOW], id="a pixel too narrow"),
        pytest.param(photograph(64, 64), [LOW], id="hardly usable"),
        pytest.param(photograph(63, 2_000), [ICON], id="not usable"),
        pytest.param(pillow.new("RGB", (1, 1)), [ICON], id="one pixel"),
        pytest.param(photograph(64, 40_000), [LOW], id="a stripe"),
        pytest.param(blurred(PHOTOGRAPH, 1), [], id="a little soft"),
        pytest.param(blurred(PHOTOGRAPH, 2), [BLURRED], id="softer"),
        pytest.param(blurred(PHOTOGRAPH, 8), [BLURRED], id="blurred"),
        pytest.param(blurred(PHOTOGRAPH, 8).resize((5_120, 3_840)), [BLURRED], id="as blurred, and large"),
        pytest.param(blurred(photograph(500, 400), 6), [LOW, BLURRED], id="small and blurred"),
        pytest.param(dimmed(PHOTOGRAPH, 0.15), [DARK], id="dark"),
        pytest.param(dimmed(PHOTOGRAPH, 0.5), [], id="dusk"),
        pytest.param(dimmed(PHOTOGRAPH, 0.1, 229), [BRIGHT], id="bright"),
        pytest.param(dimmed(PHOTOGRAPH, 0.5, 127), [], id="noon"),
        pytest.param(pillow.new("L", (800, 800), 0), [DARK], id="black"),
        pytest.param(pillow.new("L", (800, 800), 255), [BRIGHT], id="white"),
        pytest.param(pillow.new("L", (800, 800), 127), [BLURRED], id="a plain wall"),
        pytest.param(patched(0, 255, 0.4), [DARK], id="a torch in the night"),
        pytest.param(patched(0, 255, 0.6), [], id="a lit half"),
        pytest.param(patched(255, 100, 0.4), [BRIGHT], id="a thing against the light"),
        pytest.param(patched(255, 0, 0.6), [], id="a thing on white"),
    ],
)
@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_what_is_said_of_a_picture(
    picture: pillow.Image, expected: list[tuple[str, str, str]], format: str
) -> None:
    assert codes(encoded(picture, format)) == expected


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("percent", range(5, 100, 5))
def test_a_picture_that_is_cut_off_is_unreadable(format: str, percent: int) -> None:
    for whole in (GOOD[format], SMALL[format]):
        assert check(whole[: len(whole) * percent // 100]) == UNREADABLE


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("extension", ["jpg", "JPEG", "png", "webp", "gif", ""])
def test_a_file_must_be_what_its_extension_says(format: str, extension: str) -> None:
    right = extension.lower().replace("jpeg", "jpg") == EXTENSIONS[format]
    assert refusal(SMALL[format], extension) == (None if right else "NOT_AN_IMAGE")


NO_IMAGES = {
    "text": b"this is no picture",
    "one byte": b"\xff",
    "start of a JPEG": b"\xff\xd8\xff",
    "JPEG without scan": SMALL["JPEG"][: SMALL["JPEG"].index(b"\xff\xda")],
    "JPEG without size": b"\xff\xd8\xff\xda" + bytes(20),
    "JPEG without rows": SMALL["JPEG"].replace(struct.pack(">HH", 96, 128), struct.pack(">HH", 0, 128)),
    "half of a PNG's header": SMALL["PNG"][:20],
    "PNG without columns": SMALL["PNG"][:16] + bytes(4) + SMALL["PNG"][20:],
    "start of a PNG": b"\x89PNG\r\n\x1a\n",
    "PNG without header": b"\x89PNG\r\n\x1a\n" + SMALL["PNG"][33:],
    "start of a WEBP": b"RIFF\x00\x00\x00\x00WEBP",
    "WEBP of nothing": b"RIFF\x00\x00\x00\x00WEBPALPH" + bytes(40),
    "sound": b"RIFF\x00\x00\x00\x00WAVEfmt " + bytes(40),
    "GIF": encoded(photograph(128, 96), "GIF"),
    "TIFF": encoded(photograph(128, 96), "TIFF"),
    "BMP": encoded(photograph(128, 96), "BMP"),
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "zip": b"PK\x03\x04" + bytes(40),
}


@pytest.mark.parametrize("content", [pytest.param(content, id=name) for name, content in NO_IMAGES.items()])
def test_what_is_no_image(content: bytes) -> None:
    assert {refusal(content, extension) for extension in pictures.DECODERS} == {"NOT_AN_IMAGE"}
    assert check(content) == UNREADABLE


def test_an_empty_file() -> None:
    assert refusal(b"", "jpg") == "EMPTY_FILE"
    assert check(b"") == UNREADABLE


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


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


@pytest.mark.parametrize(
    ("made", "extension", "largest", "over"),
    [
        (jpeg_of, "jpg", (10_000, 10_000), (10_001, 10_000)),
        (jpeg_of, "jpg", (65_535, 1_525), (65_535, 65_535)),
        (png_of, "png", (10_000, 10_000), (20_000, 10_000)),
        (png_of, "png", (100_000_000, 1), (2**31 - 1, 2**31 - 1)),
        (webp_extended, "webp", (6_000, 5_500), (2**24, 2**24)),
        (webp_lossless, "webp", (6_000, 5_500), (5_501, 6_000)),
        (webp_lossy, "webp", (6_000, 5_500), (16_383, 16_383)),
    ],
)
def test_too_many_pixels_are_told_from_the_header(
    made: Callable[[int, int], bytes], extension: str, largest: tuple[int, int], over: tuple[int, int]
) -> None:
    assert refusal(made(*largest), extension) is None
    assert refusal(made(*over), extension) == "TOO_MANY_PIXELS"
    start = stopwatch()
    assert check(made(*over)) == UNREADABLE
    assert elapsed_since(start) < 0.5


@pytest.mark.parametrize("format", FORMATS)
def test_the_size_read_here_is_the_picture_s(format: str) -> None:
    picture = photograph(321, 123)
    if format != "JPEG":
        picture.putalpha(100)
    for options in ({}, {"lossless": True}, {"progressive": True}, {"exif": TURNED}):
        header = headers.read_header(encoded(picture, format, **options))
        assert header is not None
        assert (header.width, header.height) == (321, 123), options


@pytest.mark.parametrize(
    "evil",
    [
        pytest.param(b"\xff\xfe\x00\x02" * 2_500_000, id="comments"),
        pytest.param(b"\xff" * 10_000_000, id="filling"),
        pytest.param(b"\xff\x00" * 5_000_000, id="escapes"),
        pytest.param(b"\xff\xe1\x00\x00" * 2_500_000, id="segments of no length"),
    ],
)
def test_a_header_without_end_costs_nothing(evil: bytes) -> None:
    content = b"\xff\xd8" + evil + SMALL["JPEG"][2:]
    start = stopwatch()
    assert refusal(content, "jpg") == "NOT_AN_IMAGE"
    assert check(content) == UNREADABLE
    assert elapsed_since(start) < 0.5


def test_a_header_of_many_segments_is_taken() -> None:
    content = b"\xff\xd8" + (b"\xff\xe2\xff\xff" + bytes(65_533)) * 160 + GOOD["JPEG"][2:]
    assert refusal(content, "jpg") is None
    assert codes(content) == []


def test_a_jpeg_that_says_its_size_twice_is_refused() -> None:
    at = SMALL["JPEG"].index(b"\xff\xc0")
    content = SMALL["JPEG"][:at] + SMALL["JPEG"][at : at + 19] + jpeg_of(60_000, 60_000)[at:]
    assert refusal(content, "jpg") == "NOT_AN_IMAGE"
    assert check(content) == UNREADABLE


def test_a_decoder_that_sees_another_size_is_not_let_go_on() -> None:
    assert check(SMALL["PNG"][:33] + GOOD["PNG"][8:]) == UNREADABLE


def test_a_jpeg_of_too_many_scans_is_not_decoded() -> None:
    progressive = encoded(photograph(1_000, 1_000), progressive=True)
    assert codes(progressive) == []
    last = progressive.rindex(b"\xff\xda")
    content = progressive[:last] + progressive[last:-2] * 1_001
    start = stopwatch()
    assert check(content) == UNREADABLE
    assert elapsed_since(start) < 0.5


def test_a_jpeg_is_decoded_small(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[tuple[tuple[int, int], str]] = []
    thumbnail = pillow.Image.thumbnail

    def spy(self: pillow.Image, *arguments: Any) -> None:
        sizes.append((self.size, self.mode))
        thumbnail(self, *arguments)

    monkeypatch.setattr(pillow.Image, "thumbnail", spy)
    assert codes(encoded(PHOTOGRAPH.resize((9_000, 8_200), pillow.Resampling.NEAREST), quality=20)) == []
    assert sizes == [((1_125, 1_025), "L")]


@given(st.sampled_from(FORMATS), st.integers(0, 30), st.binary(max_size=400))
def test_random_bytes_raise_nothing(format: str, kept: int, noise: bytes) -> None:
    content = SMALL[format][:kept] + noise
    assert refusal(content, "png") in (None, "EMPTY_FILE", "NOT_AN_IMAGE", "TOO_MANY_PIXELS")
    assert all(isinstance(each, DataConformity) for each in check(content))


@given(st.sampled_from(FORMATS), st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 255)), max_size=8))
def test_damaged_pictures_raise_nothing(format: str, damage: list[tuple[int, int]]) -> None:
    content = bytearray(SMALL[format])
    for at, value in damage:
        content[at % len(content)] = value
    for extension in pictures.DECODERS:
        refusal(bytes(content), extension)
    assert all(isinstance(each, DataConformity) for each in check(bytes(content)))


def test_memory_that_is_lacking_is_not_the_picture_s_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(*arguments: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(pillow.Image, "convert", lacking)
    with pytest.raises(MemoryError):
        check(GOOD["PNG"])


def image(id: str, size: int, crc32c: str) -> Image:
    return Image(id=id, file_extension="jpg", generation=1, size=size, crc32c=crc32c)


def test_duplicates_are_those_after_the_first() -> None:
    images = [
        image("a", 10, "AAAA"),
        image("b", 10, "BBBB"),
        image("c", 11, "AAAA"),
        image("d", 10, "AAAA"),
        image("e", 10, "BBBB"),
        image("f", 10, "AAAA"),
    ]
    assert duplicates(images) == {"d", "e", "f"}
    assert duplicates(images[:3]) == frozenset()
    assert duplicates([]) == frozenset()
