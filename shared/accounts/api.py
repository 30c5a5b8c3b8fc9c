"""`GET /v1/sites`: the sites of a customer, and what each asks of its work orders."""

from typing import cast

from google.cloud.firestore_v1 import FieldFilter
from typing_extensions import TypedDict

from shared.accounts.callers import Call
from shared.accounts.customers import ParameterType, Site, site_of
from shared.gcp.unreadable import readable
from shared.http.bodies import documented
from shared.http.paging import Page, page
from shared.http.routes import Route


@documented
class TaskGroup(TypedDict):
    """What photographs may show."""

    name: str
    """Its name."""
    required: bool
    """Whether it counts for `progress_score`."""


@documented
class SiteParameter(TypedDict):
    """A value that each work order of a site has."""

    name: str
    """Its name."""
    type: ParameterType | None
    """Its type; null where any will do."""
    required: bool
    """Whether a work order needs it."""


@documented
class ListedSite(TypedDict):
    """A site."""

    id: str
    """Its id."""
    name: str
    """Its name."""
    task_groups: list[TaskGroup]
    """What photographs may show."""
    parameters: list[SiteParameter]
    """Which values are asked for of each work order."""
    code_page: str | None
    """The code page of names in archives that are not UTF-8; null where the site has none."""


@documented
class SiteList(TypedDict):
    """A page of sites, by their ids."""

    sites: list[ListedSite]
    """The sites."""
    next_page_token: str | None
    """Asks for the next page; null on the last."""


def task_groups_of(site: Site) -> list[TaskGroup]:
    """What photographs of a site may show."""
    return [{"name": group, "required": group in site.required} for group in site.task_groups]


def parameters_of(site: Site) -> list[SiteParameter]:
    """The values that a site asks for."""
    return [{"name": each.name, "type": each.type, "required": each.required} for each in site.parameters]


def _list_sites(call: Call, query: Page) -> SiteList:
    collection = call.cloud.db.collection("sites")
    theirs = collection.where(filter=FieldFilter("customer", "==", call.caller.customer))
    found, token = page(query, theirs.order_by("__name__"), collection, call.caller.customer)
    return {
        "sites": [_listed(each) for each in readable(call.cloud.db, found, site_of)],
        "next_page_token": token,
    }


def _listed(site: Site) -> ListedSite:
    made = {
        "id": site.id,
        "name": site.name,
        "task_groups": task_groups_of(site),
        "parameters": parameters_of(site),
        "code_page": site.code_page,
    }
    return cast(ListedSite, made)


ROUTES = [
    Route(
        method="GET",
        path="/v1/sites",
        handler=_list_sites,
        summary="List the customer's sites, by their ids",
        scope="exports",
        query=Page,
        answer=SiteList,
    )
]
"""To be answered by the function that serves `/v1`."""
