"""Photographs in pages: their owner's alone, as they are stored or small, and as nothing but images."""

import io
from typing import Any

import pytest
from PIL import Image as pillow

from shared.accounts.keys import Caller
from shared.console.photographs import HowLarge, photograph
from shared.errors import Invalid, NotFound
from shared.http.bodies import read
from tests.world import SITE, World, jpeg

ME = Caller("acme", "a1", frozenset({"batches"}))
THEM = Caller("globex", "b2", frozenset({"batches"}))
NAME = f"acme/{SITE}/0f0e0d0c-0b0a-4908-8706-050403020100.jpg"
WHOLE = HowLarge()
SMALL = HowLarge(width=320)


def put(world: World, content: bytes, name: str = NAME) -> str:
    world.cloud.objects.create(world.cloud.settings.images_bucket, name, content, "image/jpeg")
    return name


def test_a_photograph_is_shown_as_it_is_stored(world: World) -> None:
    content = jpeg("meter")
    answer = photograph(world.cloud, ME, put(world, content), WHOLE)
    assert answer.get_data() == content
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert answer.headers["Content-Length"] == str(len(content))
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Disposition"] == "inline"
    assert answer.headers["Cache-Control"].startswith("private")


@pytest.mark.parametrize("asked", [WHOLE, SMALL])
def test_another_customer_is_shown_nothing(world: World, asked: HowLarge) -> None:
    name = put(world, jpeg("meter"))
    with pytest.raises(NotFound, match="no such photograph"):
        photograph(world.cloud, THEM, name, asked)


@pytest.mark.parametrize(
    "name",
    [
        f"acme/{SITE}/page.html",
        f"acme/{SITE}/drawing.svg",
        f"acme/{SITE}/none",
        "acme/../globex/x/y.jpg",
        f"globex/{SITE}/x.jpg",
        "",
    ],
)
def test_what_is_no_image_of_the_callers_is_not_shown(world: World, name: str) -> None:
    if name:
        put(world, jpeg("meter"), name)
    with pytest.raises(NotFound, match="no such photograph"):
        photograph(world.cloud, ME, name, WHOLE)


def test_one_that_is_gone_is_not_found(world: World) -> None:
    with pytest.raises(NotFound, match="not there any more"):
        photograph(world.cloud, ME, NAME, WHOLE)


@pytest.mark.parametrize("width", ["0", "321", "99999999999999999999", "a", "-320", "320.0"])
def test_other_widths_are_refused(width: str) -> None:
    with pytest.raises(Invalid, match="width"):
        read(HowLarge, {"width": width})


@pytest.mark.slow  # starts children that decode
def test_a_small_one_is_made(world: World) -> None:
    name = put(world, encoded(pillow.new("RGB", (1_000, 500), "red")))
    answer = photograph(world.cloud, ME, name, SMALL)
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert pillow.open(io.BytesIO(answer.get_data())).size == (320, 160)
    wide = photograph(world.cloud, ME, name, read(HowLarge, {"width": "1280"}))
    assert pillow.open(io.BytesIO(wide.get_data())).size == (1_000, 500)


@pytest.mark.slow  # starts children that decode
@pytest.mark.parametrize("content", [b"", b"<script>alert(1)</script>", jpeg("meter")[:-200]])
def test_of_a_damaged_one_no_small_one_is_shown(world: World, content: bytes) -> None:
    name = put(world, content)
    with pytest.raises(NotFound, match="cannot be shown small"):
        photograph(world.cloud, ME, name, SMALL)


def encoded(picture: pillow.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", **options)
    return file.getvalue()
