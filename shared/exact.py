"""Records as JSON bytes and back, with every integer as it was.

orjson makes floats of integers beyond 64 bits and refuses to write them: those records go through Python's
own json, which is about ten times slower.
"""

import json
import re
from typing import Any

import orjson

_LONG = re.compile(rb"[0-9]{19}")
"""What an integer beyond 64 bits has: 2**63 has 19 digits."""


def loads(content: bytes) -> Any:
    """A JSON value of valid JSON; ValueError where it is none."""
    return json.loads(content) if _LONG.search(content) else orjson.loads(content)


def dumps(value: Any) -> bytes:
    """A JSON value as compact UTF-8; ValueError where it is not JSON or holds half a surrogate pair."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
