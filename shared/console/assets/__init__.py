"""The stylesheet and the scripts of the console. Their URLs change with their content, so that a browser
keeps each for good."""

import hashlib
from functools import cache
from pathlib import Path

import flask

TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
"""The files that are handed out, by their extensions."""

_HERE = Path(__file__).parent

KEPT = "public, max-age=31536000, immutable"
"""For how long a browser may keep one: https://www.rfc-editor.org/rfc/rfc8246"""


@cache
def url(name: str) -> str:
    """Where a file is."""
    return f"/console/assets/{hashlib.sha256(_content(name)).hexdigest()[:12]}/{name}"


def answer(name: str) -> flask.Response | None:
    """A file; None where there is none of that name."""
    path = _HERE / name
    if path.suffix not in TYPES or path.parent != _HERE or not path.is_file():
        return None
    return flask.Response(_content(name), content_type=TYPES[path.suffix], headers={"Cache-Control": KEPT})


@cache
def _content(name: str) -> bytes:
    return (_HERE / name).read_bytes()
