"""`metadata.json` and `parameters.json`: JSON as RFC 8259 says, and nothing that two readers could take for
two different things.

https://www.rfc-editor.org/rfc/rfc8259
"""

import json
import re
from typing import Any

import orjson

from shared.batches.problems import BadFile

MAX_DEPTH = 64
"""How many lists and dictionaries may stand inside each other."""

INTEGER_LEAST, MAX_INTEGER = -(2**63), 2**64 - 1
"""The integers that a record can hold: those of orjson. https://github.com/ijl/orjson#int"""

_BOM = b"\xef\xbb\xbf"
# Windows' editors write it (RFC 8259, section 8.1: a parser may ignore it).

_BRACKETS = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
# Each bracket outside strings. A string that does not end is taken whole, so that nothing is tried twice.


def parse(content: bytes) -> dict[str, Any]:
    """The dictionary that the file holds; what orjson can write again.

    BadFile JSON_TOO_DEEP, JSON_NOT_VALID (also NaN, lone surrogates, what is not UTF-8, integers that would
    have to be rounded to be kept), JSON_NOT_AN_OBJECT, JSON_DUPLICATE_KEY.
    """
    content = content.removeprefix(_BOM)
    try:
        text = content.decode()
    except UnicodeDecodeError as broken:
        raise BadFile("JSON_NOT_VALID", f"It is not UTF-8 text: see byte {broken.start + 1:,}.") from broken
    _check_depth(content)
    try:
        orjson.loads(content)  # refuses NaN, numbers beyond floats, lone surrogates, which the next lets pass
    except orjson.JSONDecodeError as broken:
        place = f"line {broken.lineno:,}, column {broken.colno:,}"
        raise BadFile("JSON_NOT_VALID", f"See {place}.") from broken
    found = json.loads(text, object_pairs_hook=_object, parse_int=_integer)
    if not isinstance(found, dict):
        raise BadFile("JSON_NOT_AN_OBJECT")
    return found


def _check_depth(content: bytes) -> None:
    depth = 0
    for found in _BRACKETS.finditer(content):
        if found[0] in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise BadFile("JSON_TOO_DEEP")
        elif found[0] in b"]}":
            depth -= 1


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise BadFile("JSON_DUPLICATE_KEY", f"It is “{key[:100]}”.")
            seen.add(key)
    return found


def _integer(digits: str) -> int:
    number = int(digits)  # orjson has refused what has more digits than floats reach, before int would
    if INTEGER_LEAST <= number <= MAX_INTEGER:
        return number
    raise BadFile(
        "JSON_NOT_VALID",
        f"The number {digits[:30]} is too large to be stored exactly: write it as text, in quotes.",
    )
