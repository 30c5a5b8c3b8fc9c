"""JSON as values and back, with every value as it was sent.

orjson makes floats of integers beyond 64 bits, keeps the last of two values of one name, and refuses to write
long integers. Where that can matter, Python's own json is used, which is about ten times slower.
"""

import json
import math
import re
from collections import Counter
from typing import Any, Literal

import orjson

from shared.cutting import cut

MAX_DEPTH = 64
"""How many lists and objects of what becomes data may stand inside each other."""

MAX_CONTAINERS = 200_000
"""How many lists and objects of what becomes data there may be: each takes up to 90 bytes of memory, and two
bytes are enough to write one. 1 MiB of `[],` took 30 MB, and 31 MiB of it a gigabyte."""

MAX_VALUES = 1_000_000
"""About how many values of any kind, each of which takes up to 60 bytes. Most JSON has fewer than one in ten
bytes."""

INTEGER_LEAST, MAX_INTEGER = -(2**63), 2**64 - 1
"""The integers that a record can hold: those of orjson. https://github.com/ijl/orjson#int"""

MAX_PATH = 200
"""How many characters of the path of a wrong value are named."""

_BOM = b"\xef\xbb\xbf"
# Windows' editors write it (RFC 8259, section 8.1: a parser may ignore it).

_AS_ZEROS = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER = b"0" * 19
# 64 bits, which is what orjson keeps exactly, hold every integer of 18 digits.

_NUL = rb"\u0000"
# The only way in which JSON can write one. It may also stand for a backslash and five characters.

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]").search
# Python's own json takes half a surrogate pair, which no UTF-8 can hold.

_SPACE_BEFORE_COLON = (b" :", b"\n:", b"\r:", b"\t:")

_BRACKETS = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
# Each bracket outside strings. A string that does not end is taken whole, so that nothing is tried twice.


class NotExact(ValueError):
    """A text that is no JSON, or that two readers could take for two different things.

    kind     `syntax`: it is no JSON in UTF-8; `depth`: it is nested too deeply; `many`: it has too many
             values; `twice`: an object has a name twice; `number`: a number would have to be rounded to be
             kept; `nul`: a text holds NUL
    path     where, such as `metadata.readings[2]`; empty for the text as a whole
    message  what is wrong there and what to do, to be read after the path
    """

    def __init__(
        self, kind: Literal["syntax", "depth", "many", "twice", "number", "nul"], path: str, message: str
    ) -> None:
        self.kind = kind
        self.path = cut(path, MAX_PATH)
        self.message = message
        super().__init__(f"{self.path}: {message}" if path else message)


def parse(content: bytes, max_depth: int = MAX_DEPTH, *, any_integer: bool = False) -> Any:
    """A JSON value exactly as it was sent, or NotExact. A byte order mark before it is passed over.

    Integers have 64 bits, unless `any_integer` says that they may have more. A number with a fraction or an
    exponent is the nearest double. https://www.rfc-editor.org/rfc/rfc8259

    No text holds a NUL character: BigQuery does not load one from CSV, PostgreSQL does not store one, and
    many programs end a text there.
    https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-csv
    https://www.postgresql.org/docs/current/datatype-json.html
    """
    content = content.removeprefix(_BOM)
    if many := too_many(content):
        _check_depth(content[:MAX_CONTAINERS], max_depth)
        raise NotExact("many", "", many)
    has_long, has_nul = has_long_number(content), _NUL in content
    if not (any_integer and has_long):
        value = _quick(content, max_depth)
        if not (has_long or has_nul) and _is_plain(content, value):
            return value
    _check_depth(content, max_depth)
    try:
        value = json.loads(
            content.decode(),
            object_pairs_hook=_object,
            parse_int=_any_integer if any_integer else _integer,
            parse_float=_float,
            parse_constant=_constant,
        )
    except ValueError as broken:
        raise _syntax(content, broken) from None
    wrong = _first_wrong(value, "")
    if wrong is None and has_nul:
        wrong = _first_nul(value, "")
    if wrong is None and _SURROGATE(content):
        wrong = _half_a_pair(value)
    if wrong is not None:
        raise wrong
    return value


def loads(content: bytes) -> Any:
    """A JSON value of valid JSON, such as `dumps` wrote, with integers of any size; ValueError where it is
    none."""
    return json.loads(content) if has_long_number(content) else orjson.loads(content)


def dumps(value: Any) -> bytes:
    """A JSON value as compact UTF-8; ValueError where it is not JSON or holds half a surrogate pair."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def has_long_number(content: bytes) -> bool:
    """Whether a text may hold an integer that orjson would make a float of."""
    return _LONG_NUMBER in content.translate(_AS_ZEROS)


def has_space_before_colon(content: bytes) -> bool:
    """Whether white space stands before a colon. Where none does, each name of valid JSON ends with `":`. So
    where `":` stands in the text as often as there are names in what was parsed, no name was there twice."""
    return any(each in content for each in _SPACE_BEFORE_COLON)


def too_many(content: bytes) -> str:
    """What is wrong with a text that has too many values, to be read after its name; else empty. They are
    counted before any takes memory, by the characters that each has, also where such a character stands in a
    text: that takes a millisecond for each MiB."""
    containers = content.count(b"[") + content.count(b"{")
    if containers > MAX_CONTAINERS:
        return f"has more than {MAX_CONTAINERS:,} lists and objects: send less at once"
    if containers + content.count(b",") > MAX_VALUES:
        return f"has more than {MAX_VALUES:,} values: send less at once"
    return ""


def is_deeper(content: bytes, max_depth: int) -> bool:
    """Whether more than so many lists and objects stand inside each other."""
    if content.count(b"{") + content.count(b"[") <= max_depth:
        return False
    depth = 0
    for found in _BRACKETS.finditer(content):
        if found[0] in b"[{":
            depth += 1
            if depth > max_depth:
                return True
        elif found[0] in b"]}":
            depth -= 1
    return False


def _quick(content: bytes, max_depth: int) -> Any:
    """What orjson reads, which refuses NaN, numbers beyond doubles and lone surrogates."""
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError as broken:
        _check_depth(content, max_depth)
        raise _syntax(content, broken) from None
    return value


def _is_plain(content: bytes, value: Any) -> bool:
    """Whether orjson certainly read it as Python would: no name comes twice, no number becomes 0, and it is
    not deep enough to be measured."""
    if b"e-" in content or b"E-" in content or has_space_before_colon(content):
        return False
    names, depth = _measured(value)
    return depth <= MAX_DEPTH and names == content.count(b'":')


def _measured(value: Any) -> tuple[int, int]:
    """How many names the objects in a value have, and how many lists and objects stand inside each other."""
    names = depth = 0
    level = [value]
    while level := [each for each in level if type(each) is dict or type(each) is list]:
        depth += 1
        inner: list[Any] = []
        for each in level:
            if type(each) is dict:
                names += len(each)
                inner.extend(each.values())
            else:
                inner.extend(each)
        level = inner
    return names, depth


def _check_depth(content: bytes, max_depth: int) -> None:
    if is_deeper(content, max_depth):
        raise NotExact("depth", "", f"has more than {max_depth} lists and objects inside each other")


def _syntax(content: bytes, broken: ValueError) -> NotExact:
    try:
        content.decode()
    except UnicodeDecodeError as not_text:
        return NotExact("syntax", "", f"is not UTF-8 text: see byte {not_text.start + 1:,}")
    if isinstance(broken, json.JSONDecodeError):  # orjson's is one, too
        return NotExact("syntax", "", f"is not JSON: see line {broken.lineno:,}, column {broken.colno:,}")
    return NotExact("syntax", "", "is not JSON")


class _Wrong:
    """Stands in a parsed value for what is not kept."""

    def __init__(self, kind: Literal["syntax", "twice", "number"], message: str, name: str = "") -> None:
        self.kind = kind
        self.message = message
        self.name = name


def _object(pairs: list[tuple[str, Any]]) -> Any:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    counts = Counter(name for name, _ in pairs)
    twice = next(name for name, count in counts.items() if count > 1)
    return _Wrong("twice", "stands twice in the same object: leave one out", twice)


def _integer(digits: str) -> int | _Wrong:
    number = _any_integer(digits)
    if isinstance(number, int) and INTEGER_LEAST <= number <= MAX_INTEGER:
        return number
    return _Wrong(
        "number", f"{_short(digits)} is too large to be stored exactly: write it as text, in quotes"
    )


def _any_integer(digits: str) -> int | _Wrong:
    try:
        return int(digits)
    except ValueError:  # https://docs.python.org/3/library/stdtypes.html#int-max-str-digits
        return _Wrong("number", f"{_short(digits)} has too many digits: write it as text, in quotes")


def _float(digits: str) -> float | _Wrong:
    number = float(digits)
    if not math.isfinite(number) or (number == 0 and re.search("[1-9]", re.split("[eE]", digits)[0])):
        return _Wrong(
            "number", f"{_short(digits)} is beyond the range of a double: write it as text, in quotes"
        )
    return number


def _constant(name: str) -> _Wrong:
    return _Wrong("syntax", f"{name} is not JSON: use null, or leave it out")


def _first_wrong(value: Any, path: str) -> NotExact | None:
    if isinstance(value, _Wrong):
        return NotExact(value.kind, _inside(path, value.name) if value.name else path, value.message)
    inner: Any = ()
    if isinstance(value, dict):
        inner = ((_inside(path, name), each) for name, each in value.items())
    elif isinstance(value, list):
        inner = ((f"{path}[{place}]", each) for place, each in enumerate(value))
    found = (_first_wrong(each, where) for where, each in inner if isinstance(each, dict | list | _Wrong))
    return next((wrong for wrong in found if wrong is not None), None)


def _first_nul(value: Any, path: str) -> NotExact | None:
    if isinstance(value, str):
        if "\0" not in value:
            return None
        return NotExact("nul", path, "holds a NUL character (\\u0000): remove it")
    inner: Any = ()
    if isinstance(value, dict):
        for name, each in value.items():
            where = _inside(path, name.replace("\0", "\\u0000"))
            found = _first_nul(name, where) or _first_nul(each, where)
            if found is not None:
                return found
    elif isinstance(value, list):
        inner = (_first_nul(each, f"{path}[{place}]") for place, each in enumerate(value))
    return next((found for found in inner if found is not None), None)


def _half_a_pair(value: Any) -> NotExact | None:
    try:
        dumps(value)
    except ValueError:
        return NotExact("syntax", "", "is not JSON: a text holds half a surrogate pair")
    return None


def _inside(path: str, name: str) -> str:
    return f"{path}.{_short(name)}" if path else _short(name)


def _short(text: str) -> str:
    return cut(text, 40)
