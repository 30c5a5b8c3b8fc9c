"""The parameters that a site wants of each work order, and what is wrong with those that it was given."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.accounts.customers import Parameter, Site

_KINDS = {
    str: "string",
    bool: "boolean",
    int: "number",
    float: "number",
    list: "list",
    dict: "dictionary",
}
# What JSON calls what Python reads of it.


@dataclass(frozen=True)
class WrongParameter:
    """A parameter that is missing, or of another type than the site says; `sentence` says which and how."""

    name: str
    missing: bool
    sentence: str


def wrong(site: Site, parameters: Mapping[str, Any]) -> list[WrongParameter]:
    """What is wrong, in the order of the site's definition; parameters that it does not know are fine."""
    found = []
    for asked in site.parameters:
        value = parameters.get(asked.name)
        if value is None:
            if asked.required:
                found.append(WrongParameter(asked.name, True, f"{asked.name!r} is missing."))
        elif not _fits(asked, value):
            sentence = f"{asked.name!r} should be a {asked.type}, and is a {_KINDS[type(value)]}."
            found.append(WrongParameter(asked.name, False, sentence))
    return found


def _fits(asked: Parameter, value: Any) -> bool:
    if asked.type == "string":
        return isinstance(value, str)
    if asked.type == "boolean":
        return isinstance(value, bool)
    if asked.type == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    return True
