"""The sites of whoever is signed in, for pages that have one chosen, or name one."""

from shared.console.visit import Visit

MOST = 100
"""How many sites a page offers; who has more names one by its id."""


def names(visit: Visit) -> dict[str, str]:
    """The names of the first sites, by their ids, in the order of the names."""
    found = visit.api.get("/v0.2/sites", {"page_size": MOST})["sites"]
    return dict(sorted(((each["id"], each["name"]) for each in found), key=lambda pair: pair[1].casefold()))
