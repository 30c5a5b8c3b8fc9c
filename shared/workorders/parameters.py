"""The parameters that a site wants of each work order, and what is wrong with those that it was given."""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from shared.accounts.customers import Parameter, Site
from shared.cutting import shown

NAMES_SHOWN = 20
"""How many of a site's parameters a sentence names."""

NAME_SHOWN = 100
"""How many characters of a name a sentence shows."""

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


def unknown(site: Site, given: Mapping[str, Any]) -> dict[str, str]:
    """Those of the parameters that are none of the site's, with a sentence each. They are kept, and nothing
    looks at them: the name may be mistyped. A site that has no parameters knows of none, and any will do."""
    names = [asked.name for asked in site.parameters]
    return {
        name: _unknown(name, names)
        for name, value in given.items()
        if names and value is not None and name not in names
    }


def _unknown(name: str, names: list[str]) -> str:
    near = get_close_matches(name, names, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else f"They are {', '.join(names[:NAMES_SHOWN])}."
    return f"{shown(name)} is none of the site's parameters. {hint}"


def _fits(asked: Parameter, value: Any) -> bool:
    if asked.type == "string":
        return isinstance(value, str)
    if asked.type == "boolean":
        return isinstance(value, bool)
    if asked.type == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    return True
