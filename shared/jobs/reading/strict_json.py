"""One record of JSON: as RFC 8259 says, and nothing that two readers could take for two different things.

https://www.rfc-editor.org/rfc/rfc8259
"""

import json
import math
import re
from typing import Any

import orjson

from shared import exact
from shared.jobs.reading.base import ERROR_FIELD, MAX_DEPTH, MAX_DIGITS, RECORD_FIELD, Encoding, Problem

_SURROGATE = re.compile("[\ud800-\udfff]")


def parse(raw: bytes, encoding: Encoding, line: int) -> tuple[dict[str, Any] | None, Problem | None]:
    """The object that this text is, without `waybill_error`, or what is wrong with it.

    `encoding` is that of the file, and `line` the one on which the text begins: for the sentence.
    """
    value = _quick(raw)
    if value is None:
        value, problem = _strict(raw, encoding, line)
        if problem is not None:
            return None, problem
    assert value is not None
    value.pop(ERROR_FIELD, None)
    if RECORD_FIELD in value:
        return None, Problem(
            RECORD_FIELD,
            f"This record was rejected because it was not a JSON object: put the corrected object in its "
            f"place, without {RECORD_FIELD} and {ERROR_FIELD}.",
        )
    return value, None


def _quick(raw: bytes) -> dict[str, Any] | None:
    """The object, where orjson certainly reads it as `_strict` does; else None."""
    if b"\\u0000" in raw or exact.has_long_number(raw):
        return None
    objects = raw.count(b"{")
    if objects + raw.count(b"[") > MAX_DEPTH or exact.has_space_before_colon(raw):
        return None
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(value, dict):
        return None
    keys = len(value) if objects == 1 else _count_keys(value)
    return value if keys == raw.count(b'":') else None


def _count_keys(value: dict[str, Any]) -> int:
    keys = 0
    waiting: list[Any] = [value]
    while waiting:
        each = waiting.pop()
        if type(each) is dict:
            keys += len(each)
            waiting.extend([inner for inner in each.values() if type(inner) is dict or type(inner) is list])
        else:
            waiting.extend([inner for inner in each if type(inner) is dict or type(inner) is list])
    return keys


class _Wrong:
    """Stands in a parsed record for a value that is not allowed."""

    def __init__(self, message: str) -> None:
        self.message = message


def _strict(raw: bytes, encoding: Encoding, line: int) -> tuple[dict[str, Any] | None, Problem | None]:
    try:
        text = raw.decode()
    except UnicodeDecodeError as wrong:
        return None, Problem("", not_text(encoding, wrong))
    if exact.is_deeper(raw, MAX_DEPTH):
        return None, Problem(
            "",
            f"More than {MAX_DEPTH} objects and arrays stand inside each other: nest the record less deeply.",
        )
    if many := exact.too_many(raw):
        return None, Problem("", f"The record {many}.")
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant
        )
    except json.JSONDecodeError as wrong:
        return None, Problem("", _not_json(wrong, line))
    if not isinstance(value, (dict, _Wrong)):
        return None, Problem(
            "", f"The record is {_kind(value)}, not an object: write it as {{…}} with named fields."
        )
    problem = _first_problem(value, "")
    return (None, problem) if problem is not None else (value, None)  # type: ignore[return-value]


def not_text(encoding: Encoding, wrong: UnicodeDecodeError) -> str:
    """The sentence about a record that is not text in the encoding of its file."""
    if encoding == "utf-8":
        byte = wrong.object[wrong.start]
        return (
            f"Byte {wrong.start + 1:,} of the record (0x{byte:02X}) is not UTF-8: save the record in UTF-8."
        )
    return "The record is not valid UTF-16: one half of a character is missing. Write the character again."


def _object(pairs: list[tuple[str, Any]]) -> Any:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            return _Twice(key)
        seen.add(key)
    raise AssertionError


class _Twice(_Wrong):
    def __init__(self, key: str) -> None:
        super().__init__("The field stands twice in the same object: remove one of them.")
        self.key = key


def _integer(digits: str) -> int | _Wrong:
    if len(digits.lstrip("-")) > MAX_DIGITS:
        return _Wrong(f"The integer has more than {MAX_DIGITS:,} digits: write it as text, in quotes.")
    return int(digits)


def _float(digits: str) -> float | _Wrong:
    number = float(digits)
    if math.isfinite(number):
        return number
    return _Wrong(
        f"The number {_short(digits)} is beyond the range of a double: write it as text, in quotes."
    )


def _constant(name: str) -> _Wrong:
    return _Wrong(f"{name} is not JSON: use null, or leave the field out.")


def _first_problem(value: Any, path: str) -> Problem | None:
    if isinstance(value, _Twice):
        return Problem(_inside(path, value.key), value.message)
    if isinstance(value, _Wrong):
        return Problem(path, value.message)
    if isinstance(value, str):
        return _text_problem(value, path)
    if isinstance(value, dict):
        for key, inner in value.items():
            where = _inside(path, key)
            problem = _text_problem(key, where) or _first_problem(inner, where)
            if problem is not None:
                return problem
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            if isinstance(inner, (str, dict, list, _Wrong)):
                problem = _first_problem(inner, f"{path}[{index}]")
                if problem is not None:
                    return problem
    return None


def _text_problem(text: str, path: str) -> Problem | None:
    if "\0" in text:
        return Problem(path, "The text holds a NUL character (\\u0000): remove it.")
    if not text.isascii() and _SURROGATE.search(text):
        return Problem(path, "The text holds one half of a surrogate pair (\\uD800 to \\uDFFF): remove it.")
    return None


def _inside(path: str, key: str) -> str:
    key = _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", _short(key))
    return f"{path}.{key}" if path else key


def _short(text: str) -> str:
    return text if len(text) <= 100 else text[:100] + "…"


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "a text"
    return "an array" if isinstance(value, list) else "a number"


def _not_json(wrong: json.JSONDecodeError, line: int) -> str:
    place = f"line {line + wrong.lineno - 1:,}, column {wrong.colno:,}"
    text, at = wrong.doc, wrong.pos
    before, here = text[max(0, at - 200) : at].rstrip()[-1:], text[at : at + 1]
    if "Invalid control character" in wrong.msg:
        return f"A text holds a line break or another control character at {place}: write it as \\n or \\u…."
    if here in ("]", "}") and before == ",":
        return f"A comma stands before “{here}” at {place}: remove the comma."
    if here == "'":
        return f"A single quote stands at {place}: JSON puts names and texts into double quotes."
    if "Extra data" in wrong.msg:
        return f"Something stands behind the object at {place}: put each record on a line of its own."
    if not here:
        return f"The record ends too early, at {place}: complete it."
    return f"The record is not valid JSON at {place} ({wrong.msg}): correct it there."
