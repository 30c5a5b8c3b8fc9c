"""Photographs in pages: as they are stored, or small. A page asks us for them, and so no request leaves our
host; whose they are is told by the first part of an object's name (`images.name_of`)."""

import re
from typing import Annotated, Any

import flask
from pydantic import BaseModel, BeforeValidator, Field

from shared.accounts.keys import Caller
from shared.analysis import decoding
from shared.errors import NotFound
from shared.gcp.clients import Cloud
from shared.gcp.objects import Stored
from shared.workorders.store import CONTENT_TYPES

WIDTHS = (320, 1280)
"""Pixels that a small one may be wide: in a list, and alone on a page, for what browsers cannot show."""

BLOCK_BYTES = 1024 * 1024
"""How much of a photograph is in memory while it is sent."""

KEPT = "private, max-age=3600"
"""A browser may keep it for an hour, and nobody else: an object never changes, but may be deleted."""

_NAME = re.compile(r"([^/]+)/[^/]+/[^/]+\.([a-z]+)")

HEADERS = {
    "Cache-Control": KEPT,
    "Content-Disposition": "inline",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "X-Content-Type-Options": "nosniff",
}
"""So that a file is shown as the image that it is called, or not at all."""


def _width(value: Any) -> int:
    if str(value) not in map(str, WIDTHS):
        raise ValueError(f"must be {' or '.join(map(str, WIDTHS))}")
    return int(value)


class HowLarge(BaseModel):
    """How large a photograph is asked for."""

    width: Annotated[int, BeforeValidator(_width)] | None = Field(
        default=None, description="How many pixels it is wide at most; as it is stored unless it is given."
    )


def photograph(
    cloud: Cloud, caller: Caller, name: str, asked: HowLarge, *, turned: bool = True
) -> flask.Response:
    """The answer that shows the image of that name in the images bucket, to its owner alone.

    turned  whether a small one is turned as its EXIF data say: not where positions are drawn on it

    NotFound where there is no such image of the caller's, and where a small one cannot be made.
    """
    found = _NAME.fullmatch(name)
    if found is None or found[1] != caller.customer or found[2] not in CONTENT_TYPES:
        raise NotFound("there is no such photograph")
    stored = cloud.objects.stat(cloud.settings.images_bucket, name)
    if stored is None:
        raise NotFound("the photograph is not there any more")
    if asked.width is not None:
        return _answer(_thumbnail(cloud, stored, asked.width, turned=turned), "image/jpeg")
    answer = _answer(cloud.objects.blocks(stored, BLOCK_BYTES), CONTENT_TYPES[found[2]])
    answer.content_length = stored.size
    return answer


def _thumbnail(cloud: Cloud, stored: Stored, width: int, *, turned: bool) -> bytes:
    small = (
        decoding.thumbnail(lambda: cloud.objects.read(stored), width, turned=turned) if stored.size else None
    )
    if small is None:
        raise NotFound(
            "the photograph cannot be shown small: its pixels are damaged, or decoding it takes too much"
        )
    return small


def _answer(content: Any, content_type: str) -> flask.Response:
    answer = flask.Response(content, content_type=content_type)
    answer.headers.update(HEADERS)
    return answer
