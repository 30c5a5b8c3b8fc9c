"""`/v0.2/work-orders` and `/v0.2/task-groups` over HTTP: their routes. A work order is looked for in the site
that the request names (`caller`)."""

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from shared import logs, removals
from shared.accounts.api import SiteList, list_sites
from shared.accounts.customers import Site
from shared.analysis import queue, results, sent, steps
from shared.analysis.results import Name, PlainValue, Results, Text
from shared.batches import answers
from shared.batches.caller import SCOPE, SiteCall
from shared.errors import FieldProblem, Invalid, NotFound
from shared.exact import MAX_DEPTH
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, server_time
from shared.gcp.unreadable import readable
from shared.http.bodies import OneOf, SentMoment
from shared.http.paging import Page, page_as_it_was
from shared.http.routes import Body, Route
from shared.workorders import listing, parameters, store, stored
from shared.workorders.stored import DONE, DUE, FAILED, WAITING, Correction

MAX_TAGS = 100
"""How many tags a work order may have."""

MAX_CORRECTIONS = 1_000
"""How many corrections one request may bring."""

AT_ONCE = steps.Time(checks=10, analyser=20)
"""How long whoever sends a photograph waits for its analysis; what takes longer comes later."""


def _shallow(value: dict[str, Any]) -> dict[str, Any]:
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        dictionaries = [inner for each in level if isinstance(each, dict) for inner in each.values()]
        level = dictionaries + [inner for each in level if isinstance(each, list) for inner in each]
        if not level:
            return value
    raise ValueError(f"has more than {MAX_DEPTH} lists and dictionaries inside each other")


_Dictionary = Annotated[dict[str, Any], AfterValidator(_shallow)]
_Tags = Annotated[list[Name], Field(max_length=MAX_TAGS)]


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class NewWorkOrder(_Body):
    """What a work order is made of."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,128}$")]
    metadata: _Dictionary = Field(default_factory=dict)
    tags: _Tags = Field(default_factory=list)
    parameters: _Dictionary = Field(default_factory=dict)


class NewCorrection(_Body):
    """What a person says that a task's value is."""

    input_id: Name
    task_name: Name
    corrected_value: PlainValue
    message: Text | None = None
    seen_date: Annotated[str, Field(max_length=40)] | None = Field(
        default=None,
        description="The `corrected_date` that the value had when it was looked at, empty where it had none: "
        "where it has another one now, nothing is changed, and the answer is 409.",
    )


_MERGED = (
    "Merged into what there is (RFC 7396): a name that is given takes its new value, null removes it, and "
    "what is not named stays. An object within is merged in the same way, a list is replaced."
)


class WorkOrderChanges(_Body):
    """A JSON merge patch (RFC 7396), and corrections. What is left out stays; null empties a field."""

    metadata: _Dictionary | None = Field(default=None, description=_MERGED)
    tags: _Tags | None = Field(default=None, description="Takes the place of all tags.")
    parameters: _Dictionary | None = Field(default=None, description=_MERGED)
    corrections: Annotated[list[NewCorrection], Field(max_length=MAX_CORRECTIONS)] = Field(
        default_factory=list
    )


def _text_or_number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("must be a text or a number")
    return value


class InputData(_Body):
    """A photograph, a text or a number."""

    type: sent.Type
    value: Annotated[str | int | float, BeforeValidator(_text_or_number)] = Field(
        description="Of an image a URL, or a `data:` URI with the image in base64; of a number also its "
        "digits as text."
    )


class NewInput(_Body):
    """An input and the name of its task group."""

    name: Name
    data: InputData


class NewInputs(_Body):
    """Inputs to be added to a work order, with what is to be kept of each."""

    inputs: Annotated[list[NewInput], Field(max_length=sent.MAX_INPUTS)]
    metadata: _Dictionary = Field(
        default_factory=dict,
        description="The metadata of each of these inputs. A text or a number is added to its own as "
        "`value`.",
    )


class WithInputs(BaseModel):
    """How much of a work order is asked for."""

    include_inputs: Annotated[str, BeforeValidator(str.lower), OneOf(("true", "false"))] = Field(
        default="true", description="Whether the inputs are shown."
    )


_FilteredName = Annotated[str, Field(min_length=1, max_length=128)]


class WorkOrdersPage(Page):
    """Which work orders of the site are listed: those that every filter holds for."""

    name: _FilteredName | None = Field(default=None, description="The one of this name.")
    name_prefix: _FilteredName | None = Field(
        default=None, description="Those whose name begins so. They are listed by their names."
    )
    updated_since: SentMoment | None = Field(
        default=None,
        description="Those that were changed then or later: a moment with an offset, as in RFC 3339.",
    )
    analysis: Annotated[str, OneOf((DUE, WAITING, DONE, FAILED))] | None = Field(
        default=None, description="Those whose analysis is that far."
    )


def _list_work_orders(call: SiteCall, query: WorkOrdersPage) -> answers.WorkOrderList:
    cloud, site = call.cloud, call.site()
    wanted = listing.Wanted(query.name, query.name_prefix, query.updated_since, query.analysis)
    if wanted.name is not None:
        if query.page_token:
            raise Invalid.field("page_token", "is of no list by `name`, which has one page")
        found, token = listing.named(cloud, site, wanted), None
    else:
        found, token = page_as_it_was(
            query,
            listing.query(cloud, site, wanted),
            cloud.db.collection("work_orders"),
            server_time(cloud.db),
            having={"site_id": site.id, "deleted": False},
            filters=repr(wanted),
            orders=("name", "update_date"),
            keep=listing.kept(wanted),
        )

    def shown(snapshot: Snapshot) -> answers.ListedWorkOrder:
        return answers.listed_work_order(listing.listed(snapshot))

    return {"work_orders": list(readable(cloud.db, found, shown)), "next_page_token": token}


def _create_work_order(call: SiteCall, body: NewWorkOrder) -> answers.WorkOrder:
    site = call.site()
    _fitting(site, body.parameters)
    made = store.create(
        call.cloud, site, body.name, metadata=body.metadata, tags=body.tags, parameters=body.parameters
    )
    return answers.work_order(store.look(call.cloud, site, made.id), warnings=_unknown(site, body.parameters))


def _get_work_order(call: SiteCall, work_order: UUID, query: WithInputs) -> answers.WorkOrder:
    held = store.look(call.cloud, call.site(), str(work_order))
    return answers.work_order(held, inputs=query.include_inputs == "true")


def _change_work_order(call: SiteCall, work_order: UUID, body: WorkOrderChanges) -> answers.WorkOrder:
    cloud, site = call.cloud, call.site()
    _fitting(site, body.parameters or {})
    corrections = [
        Correction(each.input_id, each.task_name, each.corrected_value, each.message, each.seen_date)
        for each in body.corrections
    ]
    steps.ready(cloud, site)
    after = store.edit(
        cloud,
        site,
        str(work_order),
        metadata=body.metadata,
        tags=body.tags,
        parameters=body.parameters,
        emptied=[name for name in body.model_fields_set if getattr(body, name) is None],
        corrections=corrections,
        beside=queue.due(site),
    )
    if after.analysis == DUE:
        queue.publish_queued(cloud, site)
    warnings = _unknown(site, body.parameters or {})
    return answers.work_order(store.look(cloud, site, str(work_order)), warnings=warnings)


def _delete_work_order(call: SiteCall, work_order: UUID) -> None:
    cloud, site, id = call.cloud, call.site(), str(work_order)
    removals.ready(cloud, site.customer)
    store.delete(cloud, site, id, removals.of_images(cloud, site.customer, site.id, id))


def _analyze_work_order(call: SiteCall, work_order: UUID, body: NewInputs) -> answers.WorkOrder:
    """Add inputs and analyse the work order. One whose analysis failed is analysed again, also where
    there is no new one."""
    cloud, site, id = call.cloud, call.site(), str(work_order)
    store.look(cloud, site, id)  # before anything is fetched for a work order that is not there
    asked = [sent.Sent(each.name, each.data.type, each.data.value) for each in body.inputs]
    inputs = sent.inputs_of(cloud.db, site, asked, body.metadata)
    steps.ready(cloud, site)
    store.add_inputs(cloud, site, id, inputs, queue.due(site))
    store.change(cloud, site, id, lambda held: results.again(held.stored), queue.due(site))
    with logs.bound(customer=site.customer, site=site.id, work_order=id):
        _analysed(cloud, site, id)
    return answers.work_order(store.look(cloud, site, id))


def _analysed(cloud: Cloud, site: Site, id: str) -> None:
    """Analyse at once what can be; the function does the rest."""
    try:
        after = steps.take_on(cloud, site, id, AT_ONCE)
    except NotFound:
        raise
    except Exception as failure:
        # The photographs are in, and so says the answer: whatever it was, the function tries again.
        logs.warning("an analysis is left to its function", reason=type(failure).__name__)
        after = store.look(cloud, site, id).stored
    if after.analysis == DUE:
        queue.publish_queued(cloud, site)


def _add_results(call: SiteCall, work_order: UUID, body: dict[str, Any]) -> answers.WorkOrder:
    cloud, site, id = call.cloud, call.site(), str(work_order)
    found = results.parse(body)
    ours = results.known(found, stored.input_ids(store.look(cloud, site, id).stored))
    store.change(cloud, site, id, lambda held: results.sent(site, held.stored, ours))
    return answers.work_order(store.look(cloud, site, id))


def _list_sites(call: SiteCall, query: Page) -> SiteList:
    return list_sites(call, query)


def _list_task_groups(call: SiteCall) -> answers.TaskGroups:
    return answers.task_groups(call.site())


_WORK_ORDER = "/v0.2/work-orders/<uuid:work_order>"

ROUTES = [
    Route(
        method="POST",
        path="/v0.2/work-orders",
        handler=_create_work_order,
        summary="Make a work order",
        scope=SCOPE,
        body=Body(NewWorkOrder),
        answer=answers.WorkOrder,
        status=201,
        refusals=(409,),
    ),
    Route(
        method="GET",
        path="/v0.2/work-orders",
        handler=_list_work_orders,
        summary="List work orders of a site",
        scope=SCOPE,
        query=WorkOrdersPage,
        strict=True,
        answer=answers.WorkOrderList,
    ),
    Route(
        method="GET",
        path=_WORK_ORDER,
        handler=_get_work_order,
        summary="Show a work order",
        scope=SCOPE,
        query=WithInputs,
        answer=answers.WorkOrder,
        refusals=(409,),
    ),
    Route(
        method="PATCH",
        path=_WORK_ORDER,
        handler=_change_work_order,
        summary="Change a work order, or correct values of its analysis",
        scope=SCOPE,
        body=Body(WorkOrderChanges),
        answer=answers.WorkOrder,
        refusals=(409,),
    ),
    Route(
        method="DELETE",
        path=_WORK_ORDER,
        handler=_delete_work_order,
        summary="Delete a work order",
        scope=SCOPE,
        answer=None,
        status=204,
    ),
    Route(
        method="POST",
        path=f"{_WORK_ORDER}/analyze",
        handler=_analyze_work_order,
        summary="Add photographs, texts and numbers to a work order and analyse it",
        scope=SCOPE,
        body=Body(NewInputs, sent.REQUEST_BYTES),
        answer=answers.WorkOrder,
        refusals=(409,),
    ),
    Route(
        method="POST",
        path=f"{_WORK_ORDER}/results",
        handler=_add_results,
        summary="Send the results of an analysis",
        scope=SCOPE,
        body=Body(Results, results.ANSWER_BYTES, given="object"),
        answer=answers.WorkOrder,
        refusals=(409,),
    ),
    Route(
        method="GET",
        path="/v0.2/sites",
        handler=_list_sites,
        summary="List the customer's sites, by their ids",
        scope=SCOPE,
        query=Page,
        strict=True,
        answer=SiteList,
    ),
    Route(
        method="GET",
        path="/v0.2/task-groups",
        handler=_list_task_groups,
        summary="List what a site asks of its work orders",
        scope=SCOPE,
        answer=answers.TaskGroups,
    ),
]


def _fitting(site: Site, told: Mapping[str, Any]) -> None:
    """Invalid naming each parameter of another type than the site asks for; missing ones can come later."""
    wrong = [each for each in parameters.wrong(site, told) if not each.missing]
    if wrong:
        raise Invalid([FieldProblem(f"parameters.{each.name}", each.sentence) for each in wrong])


def _unknown(site: Site, told: Mapping[str, Any]) -> dict[str, str]:
    """A sentence about each parameter that the site does not know, by its field."""
    return {f"parameters.{name}": sentence for name, sentence in parameters.unknown(site, told).items()}
