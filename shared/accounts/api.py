"""`GET /v1/sites`: the sites of a customer, and what each asks of its work orders. `GET /v1/audit`: who
changed what of it."""

from typing import Annotated, cast

from google.cloud.firestore_v1 import FieldFilter
from pydantic import Field
from typing_extensions import TypedDict

from shared import audit_trail
from shared.accounts.callers import Call
from shared.accounts.customers import ParameterType, Site, site_of
from shared.gcp.documents import Snapshot
from shared.gcp.unreadable import readable
from shared.http.bodies import Moment, SentMoment, documented
from shared.http.paging import Page, page
from shared.http.routes import Route
from shared.moments import milliseconds


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


class AuditPage(Page):
    """Which entries are listed: those that every filter holds for."""

    thing: Annotated[str, Field(pattern=r"^[a-z_]{1,30}/[^/]{1,200}$")] | None = Field(
        default=None,
        description="Those about this thing, such as `exports/<id>`, with those about its runs and mails.",
    )
    key: Annotated[str, Field(min_length=1, max_length=100)] | None = Field(
        default=None, description="Those of the key with this id, or of the operators: `operator`."
    )
    since: SentMoment | None = Field(
        default=None, description="Those of then or later: a moment with an offset, as in RFC 3339."
    )
    before: SentMoment | None = Field(default=None, description="Those from before then.")


@documented
class AuditEntry(TypedDict):
    """Something that was changed."""

    time: Moment
    """When."""
    key: str
    """The id of the key that it was done with; `operator` where the operators of Waybill did it."""
    action: str
    """The route, as `PATCH /v1/exports/{export}`, or the operators' command, as `pause`."""
    thing: str
    """What was changed, as `exports/<id>`."""
    fields: list[str]
    """The names of the fields that were sent."""
    request_id: str
    """The id that the answer had in its header `X-Request-Id`."""


@documented
class AuditTrail(TypedDict):
    """A page of the audit trail, the newest entries first."""

    entries: list[AuditEntry]
    """The entries."""
    next_page_token: str | None
    """Asks for the next page; null on the last."""


def task_groups_of(site: Site) -> list[TaskGroup]:
    """What photographs of a site may show."""
    return [{"name": group, "required": group in site.required} for group in site.task_groups]


def parameters_of(site: Site) -> list[SiteParameter]:
    """The values that a site asks for."""
    return [{"name": each.name, "type": each.type, "required": each.required} for each in site.parameters]


def list_sites(call: Call, query: Page) -> SiteList:
    """The answer that lists a customer's sites, on every surface that has it."""
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


def _list_audit(call: Call, query: AuditPage) -> AuditTrail:
    db, customer = call.cloud.db, call.caller.customer
    newest = audit_trail.entries_of(
        db, customer, thing=query.thing, key=query.key, since=query.since, before=query.before
    )
    found, token = page(query, newest, db.collection(audit_trail.COLLECTION), customer)
    return {"entries": list(readable(db, found, _entry)), "next_page_token": token}


def _entry(snapshot: Snapshot) -> AuditEntry:
    entry = audit_trail.from_snapshot(snapshot)
    return {
        "time": milliseconds(entry.time),
        "key": entry.key,
        "action": entry.action,
        "thing": entry.thing,
        "fields": list(entry.fields),
        "request_id": entry.request,
    }


ROUTES = [
    Route(
        method="GET",
        path="/v1/sites",
        handler=list_sites,
        summary="List the customer's sites, by their ids",
        scope="exports",
        query=Page,
        answer=SiteList,
    ),
    Route(
        method="GET",
        path="/v1/audit",
        handler=_list_audit,
        summary="List who changed what, the newest first",
        scope="exports",
        query=AuditPage,
        answer=AuditTrail,
    ),
]
"""To be answered by the function that serves `/v1`."""
