"""The methods that a template may call on a value. What is not here is refused.

They are named as Java's: https://docs.oracle.com/en/java/javase/21/docs/api/java.base/java/lang/String.html.
Unlike there, a separator is plain text, not a regular expression. A backslash in it is dropped, so that
`split("\\\\|")` splits at |.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Method = Callable[[Any, Sequence[Any], int], Any]
"""Called with the value, the arguments, and the longest text allowed. Raises TypeError if they do not fit."""


def _of(kinds: type | tuple[type, ...], counts: tuple[int, ...], do: Callable[..., Any]) -> Method:
    def method(value: Any, arguments: Sequence[Any], limit: int) -> Any:
        if not isinstance(value, kinds) or len(arguments) not in counts:
            raise TypeError
        return do(value, *arguments)

    return method


def _substring(text: str, start: int, end: int | None = None) -> str:
    last = len(text) if end is None else end
    if not 0 <= start <= last <= len(text):
        raise ValueError
    return text[start:last]


def _split(text: str, separator: str, limit: int = 0) -> list[str]:
    plain = separator.replace("\\", "")
    if not plain:
        return list(text)
    parts = text.split(plain, limit - 1) if limit > 0 else text.split(plain)
    while limit == 0 and len(parts) > 1 and not parts[-1]:  # as Java does
        parts.pop()
    return parts


def _replace(value: Any, arguments: Sequence[Any], limit: int) -> str:
    if not isinstance(value, str) or len(arguments) != 2:
        raise TypeError
    old, new = arguments
    if len(value) + value.count(old) * (len(new) - len(old)) > limit:
        raise ValueError
    return value.replace(old, new)


def _get(value: Any, key: Any) -> Any:
    if isinstance(value, dict):
        return value.get(key)
    return value[key] if 0 <= key < len(value) else None


def _index_of(value: Any, part: Any) -> int:
    if isinstance(value, str):
        return value.find(part)
    return value.index(part) if part in value else -1


def _char_at(text: str, index: int) -> str:
    if not 0 <= index < len(text):
        raise ValueError
    return text[index]


def _to_string(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


LIST = (list, range)
SIZED = (str, list, range, dict)
PLAIN = (str, int, float)

METHODS: Mapping[str, Method] = {
    "charAt": _of(str, (1,), _char_at),
    "concat": _of(str, (1,), lambda text, other: text + other),
    "contains": _of((str, *LIST), (1,), lambda value, part: part in value),
    "containsKey": _of(dict, (1,), lambda value, key: key in value),
    "containsValue": _of(dict, (1,), lambda value, item: item in value.values()),
    "endsWith": _of(str, (1,), lambda text, end: text.endswith(end)),
    "entrySet": _of(dict, (0,), lambda value: [{"key": key, "value": item} for key, item in value.items()]),
    "equals": _of(SIZED + PLAIN, (1,), lambda value, other: type(value) is type(other) and value == other),
    "equalsIgnoreCase": _of(str, (1,), lambda text, other: text.casefold() == other.casefold()),
    "get": _of((dict, *LIST), (1,), _get),
    "getKey": _of(dict, (0,), lambda entry: entry.get("key")),
    "getOrDefault": _of(dict, (2,), lambda value, key, default: value.get(key, default)),
    "getValue": _of(dict, (0,), lambda entry: entry.get("value")),
    "indexOf": _of((str, *LIST), (1,), _index_of),
    "isEmpty": _of(SIZED, (0,), lambda value: len(value) == 0),
    "keySet": _of(dict, (0,), lambda value: list(value)),
    "lastIndexOf": _of(str, (1,), lambda text, part: text.rfind(part)),
    "length": _of(SIZED, (0,), len),
    "replace": _replace,
    "size": _of(SIZED, (0,), len),
    "split": _of(str, (1, 2), _split),
    "startsWith": _of(str, (1,), lambda text, start: text.startswith(start)),
    "substring": _of(str, (1, 2), _substring),
    "toLowerCase": _of(str, (0,), lambda text: text.lower()),
    "toString": _of(PLAIN, (0,), _to_string),
    "toUpperCase": _of(str, (0,), lambda text: text.upper()),
    "trim": _of(str, (0,), lambda text: text.strip()),
    "values": _of(dict, (0,), lambda value: list(value.values())),
}
"""By name. Each looks at data alone; none changes its value."""
