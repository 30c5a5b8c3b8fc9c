"""The filters of an export: JSON or a Python literal, as clients write it, such as `{'userId': 'ada'}`.

A record matches where each named field has the value, or one of the values of a list. A value such as
`/Workflow/processStatus[Editing]` is also matched by what stands in its brackets.
"""

import ast
import math
import re
from collections.abc import Mapping
from typing import Any

from shared import exact
from shared.errors import Invalid

MAX_BYTES = 64 * 1024
"""How long the text of filters may be."""

MAX_FIELDS = 50
"""How many fields may be named."""

MAX_VALUES = 1_000
"""How many values one field may be compared with."""

NONE = ("", "0")
"""What clients send for no filters."""

_DIMENSION = re.compile(r"/.*\[([^\[\]]*)\]")

_WANTED = "must be an object of fields and values, such as {'userId': 'ada'}"


def parse(text: str) -> dict[str, Any] | None:
    """The filters in a text, None where there are none. Invalid where it is something else; it is never
    run."""
    text = text.removeprefix("\ufeff").strip()
    if text in NONE:
        return None
    if len(text.encode()) > MAX_BYTES:
        raise Invalid.field("filters", f"has more than {MAX_BYTES} bytes")
    value = _literal(text)
    if value == 0 and not isinstance(value, bool | dict):
        return None
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise Invalid.field("filters", _WANTED)
    if len(value) > MAX_FIELDS:
        raise Invalid.field("filters", f"names more than {MAX_FIELDS} fields")
    for name, wanted in value.items():
        values = wanted if isinstance(wanted, list) else [wanted]
        if len(values) > MAX_VALUES:
            raise Invalid.field(f"filters.{name}", f"has more than {MAX_VALUES} values")
        if any(isinstance(each, bytes | dict | list | set | tuple | complex) for each in values):
            raise Invalid.field(
                f"filters.{name}", "must be a text, a number, true, false, null or a list of these"
            )
        if any(isinstance(each, float) and not math.isfinite(each) for each in values):
            raise Invalid.field(f"filters.{name}", "holds a number beyond the range of a double")
    try:
        exact.dumps(value)
    except ValueError as error:
        raise Invalid.field("filters", "hold a text or a number that JSON cannot hold") from error
    return value or None


def matches(filters: Mapping[str, Any], record: Mapping[str, Any]) -> bool:
    """Whether a record has what the filters want."""
    return all(_has(record.get(name), wanted) for name, wanted in filters.items())


def _literal(text: str) -> Any:
    try:
        return exact.parse(text.encode(), any_integer=True)
    except exact.NotExact as wrong:
        if wrong.kind != "syntax":
            raise Invalid.field(f"filters.{wrong.path}" if wrong.path else "filters", wrong.message) from None
    try:
        tree = ast.parse(text, mode="eval")
        twice = _twice(tree)
        if twice is not None:
            raise Invalid.field(f"filters.{twice}", "stands twice: leave one out")
        return ast.literal_eval(tree)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise Invalid.field("filters", f"{_WANTED}, as JSON or as a Python literal") from error


def _twice(tree: ast.Expression) -> str | None:
    """A name that a dictionary of a Python literal has twice."""
    for each in ast.walk(tree):
        names = (
            [key.value for key in each.keys if isinstance(key, ast.Constant)]
            if isinstance(each, ast.Dict)
            else []
        )
        for name in names:
            if names.count(name) > 1:
                return str(name)
    return None


def _has(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, list):
        return any(_has(value, each) for each in wanted)
    if isinstance(value, bool) != isinstance(wanted, bool):
        return False
    if value == wanted:
        return True
    dimension = _DIMENSION.fullmatch(wanted) if isinstance(wanted, str) else None
    return dimension is not None and value == dimension[1]
