"""The fixed-width lines that tell an export of each image."""

import io

import pytest
from PIL import Image as pillow

from shared.gcp.objects import Stored
from shared.workorders.headers import read_header
from shared.workorders.images import (
    LINE_BYTES,
    Image,
    decode,
    encode,
    object_name,
    of_inputs,
    originals,
    stored,
)

ONE = Image("c1b7a1de-2b62-5f0e-8f29-4b2f0f6a7e02", "jpg", 1_763_856_000_000_000, 10**12, "AAAAAA==")
TWO = Image("0d9a2a55-6d7b-5a0b-8a71-9a6f1f4f3c03", "webp", 1, 0, "yZRlqg==", 4032, 3024)


def test_images_come_back_as_they_were_from_lines_of_one_width() -> None:
    lines = encode(ONE) + encode(TWO)
    assert len(lines) == 2 * LINE_BYTES
    assert list(decode(lines)) == [ONE, TWO]
    assert list(decode(lines[LINE_BYTES:])) == [TWO]


def test_the_images_of_some_inputs() -> None:
    lines = encode(ONE) + encode(TWO)
    assert list(decode(of_inputs(lines, frozenset({TWO.id})))) == [TWO]
    assert of_inputs(lines, frozenset()) == b""


def test_what_does_not_fit_a_line_is_refused() -> None:
    with pytest.raises(ValueError, match="118 bytes"):
        encode(Image(ONE.id, "x" * 15, 1, 1, ONE.crc32c))


def test_half_a_line_is_refused() -> None:
    with pytest.raises(ValueError, match="not whole lines"):
        list(decode(encode(ONE)[:-1]))


def test_where_an_image_stands() -> None:
    assert object_name("acme", "site", TWO) == "acme/site/0d9a2a55-6d7b-5a0b-8a71-9a6f1f4f3c03.webp"


def test_an_image_knows_its_pixels_as_they_are_stored() -> None:
    picture = io.BytesIO()
    exif = pillow.Exif()
    exif[0x0112] = 6  # a viewer turns it
    pillow.new("RGB", (321, 123)).save(picture, "JPEG", exif=exif)
    at = Stored("images", "acme/lisbon/1.jpg", 1, 10, "AAAAAA==")
    image = stored("1", "jpg", at, read_header(picture.getvalue()))
    assert (image.width, image.height) == (321, 123)
    assert list(decode(encode(image))) == [image]
    nothing = stored("1", "jpg", at, read_header(b"no picture"))
    assert (nothing.width, nothing.height) == (0, 0)


def image(id: str, size: int, crc32c: str) -> Image:
    return Image(id=id, file_extension="jpg", generation=1, size=size, crc32c=crc32c)


def test_what_is_there_twice_is_known_by_the_first() -> None:
    images = [
        image("a", 10, "AAAA"),
        image("b", 10, "BBBB"),
        image("c", 11, "AAAA"),
        image("d", 10, "AAAA"),
        image("e", 10, "BBBB"),
        image("f", 10, "AAAA"),
    ]
    assert originals(images) == {"d": "a", "e": "b", "f": "a"}
    assert originals(images[:3]) == {}
    assert originals([]) == {}
