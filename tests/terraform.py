"""infra/terraform/ read as data, for the tests of it. Terraform itself is not needed."""

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import hcl2

from infra.package import ROOT

FOLDER = ROOT / "infra" / "terraform"
FILES = sorted(FOLDER.glob("*.tf"))


def plain(value: Any) -> Any:
    """What was parsed, without the quotes around strings and the parser's own marks."""
    if isinstance(value, dict):
        return {
            key.strip('"'): plain(each)
            for key, each in value.items()
            if key not in ("__is_block__", "__comments__", "__inline_comments__")
        }
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, str) and len(value) > 1 and value[0] == value[-1] == '"':
        return value[1:-1]
    return value


@cache
def parsed() -> dict[str, list[Any]]:
    """All files as one: block type -> blocks."""
    together: dict[str, list[Any]] = {}
    for file in FILES:
        for kind, blocks in plain(hcl2.loads(file.read_text(encoding="utf-8"))).items():
            together.setdefault(kind, []).extend(blocks)
    return together


@cache
def resources() -> dict[str, Any]:
    """`type.name` -> body."""
    return {
        f"{kind}.{name}": body
        for block in parsed()["resource"]
        for kind, named in block.items()
        for name, body in named.items()
    }


@cache
def code() -> str:
    """All of it without comments, which may speak of anything."""
    return json.dumps({kind: blocks for kind, blocks in parsed().items() if kind != "resource"}) + json.dumps(
        resources()
    )


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield key
            yield from strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from strings(each)
    else:
        yield str(value)


def said(name: str) -> str:
    """Everything that one resource says."""
    return "\n".join(strings(resources()[name]))


References = set[tuple[str, bool, str]]
"""Of each: `type.name`, whether an index says which of several, and what it is asked for, if anything."""

_REFERENCE = re.compile(
    r"(?<![\w.])((?:data\.)?(?:google|archive|terraform)_\w+\.\w+)(\[(?:[^\[\]]|\[[^\[\]]*\])*\])?(?:\.(\w+))?"
)


def references(value: Any) -> References:
    """Every reference to a resource or data source in what was parsed."""
    return {
        (address, bool(index), attribute)
        for text in strings(value)
        for address, index, attribute in _REFERENCE.findall(text)
    }
