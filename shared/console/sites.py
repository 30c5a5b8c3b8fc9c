"""The sites of whoever is signed in, for pages that have one chosen, or name one."""

from typing import Any

from shared.console.visit import Visit

MOST = 100
"""How many sites a page offers; who has more names one by its id."""


def listed(visit: Visit) -> list[dict[str, Any]]:
    """The first sites, as the API lists them; none where the key may not see them."""
    if not visit.api.may("exports"):
        return []
    found: list[dict[str, Any]] = visit.api.get("/v1/sites", {"page_size": MOST})["sites"]
    return found


def names(visit: Visit) -> dict[str, str]:
    """The names of the first sites, by their ids, in the order of the names."""
    found = visit.api.get("/v0.2/sites", {"page_size": MOST})["sites"]
    return dict(sorted(((each["id"], each["name"]) for each in found), key=lambda pair: pair[1].casefold()))
