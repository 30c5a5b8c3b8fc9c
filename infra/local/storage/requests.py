"""Requests taken apart, and answers before they go out.

Paths are taken apart as they came, percent-decoded once and segment by segment: a name may hold any
character, so nothing may decode or tidy it up before. https://cloud.google.com/storage/docs/request-endpoints#encoding
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

from infra.local.storage.errors import StorageError, invalid, phrase, unimplemented
from infra.local.storage.resources import Conditions

JSON = "application/json; charset=UTF-8"

_GLOB = re.compile(r"\*\*|\\.|\[[!^]?[^]]+\]|.", re.DOTALL)
_WILD = {"**": ".*", "*": "[^/]*", "?": "[^/]"}

_EVERYWHERE = {"alt", "fields", "key", "prettyPrint", "projection", "quotaUser", "uploadType", "userProject"}
"""https://cloud.google.com/storage/docs/json_api/v1/parameters; these change no effect: ignored."""


_HARMLESS = {
    *("x-goog-api-client", "x-goog-request-params", "x-goog-request-reason", "x-goog-user-project"),
    *("x-goog-gcs-idempotency-token", "x-upload-content-type"),
}
"""Headers of Google's that change no effect here, as the parameters above. Its Python client sends the type
of an upload with every call."""

_EFFECTIVE = ("x-goog-", "x-upload-", "if-", "content-md5", "x-http-method", "x-method")
"""How headers begin that change what a call does: preconditions, keys, checksums, another method."""


def check_headers(headers: Mapping[str, str], *known: str) -> None:
    """501 for a header that is not built, never ignored, so that no test passes here for want of it.

    `headers` has names in lower case; `known` are those that this call looks at.
    """
    for name in headers:
        if name.startswith(_EFFECTIVE) and name not in _HARMLESS and name not in known:
            raise unimplemented(f"header {name}")


def named(header: str, etag: str) -> bool:
    """Whether an If-Match or If-None-Match names this ETag; they come with quotation marks or without."""
    each = [one.strip().removeprefix("W/").strip('"') for one in header.split(",")]
    return "*" in each or etag in each


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call is answered with. `media` is a content too large to hold, `length` its size in bytes."""

    status: int
    body: bytes = b""
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)
    media: Iterator[bytes] | None = None
    length: int = 0

    @property
    def reason(self) -> str:
        """What stands behind the status in the first line."""
        return phrase(self.status)


@dataclass(frozen=True, slots=True)
class Operation:
    """A call understood: its kind and resource for the journal, and what carries it out for a principal.

    `plain`: its errors are answered as text, as production does for contents.
    """

    kind: str
    resource: str
    run: Callable[[str], Answer]
    plain: bool = False


def failure(error: StorageError, *, plain: bool = False) -> Answer:
    """The answer that tells an error."""
    if plain or error.plain:
        return Answer(error.status, error.message.encode(), "text/html; charset=UTF-8")
    return Answer(error.status, error.body())


def matching(glob: str) -> Callable[[str], bool]:
    """Whether a name matches a `matchGlob`; 400 for one that does not close what it opens.

    `**` is any text and `*` any text without a slash. `?` is one character, `[a-e]` one of those, `[!a-e]`
    one that is none of those: never a slash. `{a,b}` is `a` or `b`, and a backslash takes a character as it
    is. An empty glob matches every name.
    https://cloud.google.com/storage/docs/json_api/v1/objects/list#list-objects-and-prefixes-using-glob
    """
    if not glob:
        return lambda _: True
    pattern, braces = "", 0
    for each in _GLOB.findall(glob):
        if each in _WILD:
            pattern += _WILD[each]
        elif each == "{":
            pattern, braces = pattern + "(?:", braces + 1
        elif each == "}" and braces:
            pattern, braces = pattern + ")", braces - 1
        elif each == "," and braces:
            pattern += "|"
        elif each in ("[", "\\"):
            raise _no_glob(glob)
        elif each[0] == "[":
            pattern += _one_of(each[1:-1])
        else:
            pattern += re.escape(each[-1])
    try:
        compiled = re.compile(pattern, re.DOTALL)
    except re.error:
        raise _no_glob(glob) from None
    return lambda name: compiled.fullmatch(name) is not None


def _one_of(characters: str) -> str:
    """The pattern of what stands in a bracket."""
    others = characters[0] in "!^"
    inside = re.sub(r"[][\\^&~|]", r"\\\g<0>", characters[others:])
    return f"(?!/)[{'^' if others else ''}{inside}]"


def _no_glob(glob: str) -> StorageError:
    return invalid(f"Invalid value for matchGlob: '{glob}'")


class Query:
    """The query of a request; a parameter that is not built is refused, never ignored."""

    def __init__(self, text: str, *, known: set[str] | frozenset[str] = frozenset()) -> None:
        try:
            self._pairs = parse_qsl(text, keep_blank_values=True, errors="strict") if text else []
        except ValueError:
            raise invalid("The query is no valid UTF-8.") from None
        self._values = dict(self._pairs)
        unknown = self._values.keys() - _EVERYWHERE - known
        if unknown:
            raise unimplemented(f"parameter {min(unknown)}")

    def text(self, name: str, default: str = "") -> str:
        """A parameter's value."""
        return self._values.get(name, default)

    def texts(self, name: str) -> list[str]:
        """Each value of a parameter that may come more than once."""
        return [value for key, value in self._pairs if key == name]

    def flag(self, name: str) -> bool:
        """A parameter that is true or false, in any case, and false unless it is given; else 400."""
        value = self._values.get(name, "false").lower()
        if value not in ("true", "false"):
            raise invalid(f"Invalid value for {name}: '{value}'")
        return value == "true"

    def number(self, name: str) -> int | None:
        """A parameter that is a whole number, or None; 400 where it is something else."""
        value = self._values.get(name)
        if value is None:
            return None
        try:
            return int(value)
        except ValueError:
            raise invalid(f"Invalid value for {name}: '{value}'") from None

    def conditions(self) -> Conditions:
        """The preconditions on the object read or written."""
        return Conditions(
            self.number("ifGenerationMatch"),
            self.number("ifGenerationNotMatch"),
            self.number("ifMetagenerationMatch"),
            self.number("ifMetagenerationNotMatch"),
        )


CONDITIONS = {
    "ifGenerationMatch",
    "ifGenerationNotMatch",
    "ifMetagenerationMatch",
    "ifMetagenerationNotMatch",
}


def split_target(target: str, prefix: str) -> tuple[list[str], str]:
    """A request's target as the decoded segments of its path after `prefix`, and its query as it came."""
    path, _, query = target.partition("?")
    try:
        return [
            unquote(segment, errors="strict") if "%" in segment else segment
            for segment in path[len(prefix) :].split("/")
        ], query
    except UnicodeDecodeError:
        raise invalid("The path is no valid UTF-8.") from None
