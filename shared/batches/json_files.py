"""`metadata.json` and `parameters.json`: JSON as RFC 8259 says, and nothing that two readers could take for
two different things."""

from typing import Any

from shared import exact
from shared.batches.problems import BadFile

_CODES = {
    "syntax": "JSON_NOT_VALID",
    "number": "JSON_NOT_VALID",
    "nul": "JSON_HOLDS_NUL",
    "depth": "JSON_TOO_DEEP",
    "many": "JSON_TOO_MANY_VALUES",
    "twice": "JSON_DUPLICATE_KEY",
}

_MAX_SHOWN = 100


def parse(content: bytes) -> dict[str, Any]:
    """The dictionary that the file holds; what orjson can write again.

    BadFile JSON_TOO_DEEP, JSON_TOO_MANY_VALUES, JSON_NOT_VALID (also NaN, lone surrogates, what is not UTF-8,
    numbers that would have to be rounded to be kept), JSON_NOT_AN_OBJECT, JSON_DUPLICATE_KEY, JSON_HOLDS_NUL.
    """
    try:
        found = exact.parse(content)
    except exact.NotExact as wrong:
        raise BadFile(_CODES[wrong.kind], _sentence(wrong)) from None
    if not isinstance(found, dict):
        raise BadFile("JSON_NOT_AN_OBJECT")
    return found


def _sentence(wrong: exact.NotExact) -> str:
    if wrong.kind in ("depth", "many"):
        return ""
    what = f"“{wrong.path[:_MAX_SHOWN]}”" if wrong.path else "It"
    if wrong.kind == "nul":
        return f"It is in {what}."
    return f"It is {what}." if wrong.kind == "twice" else f"{what} {wrong.message}."
