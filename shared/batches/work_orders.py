"""`/v0.2/work-orders` and `/v0.2/task-groups` over HTTP. A work order is looked for in the site that the
request names (`caller`)."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal
from uuid import UUID

import flask
import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from shared import logs
from shared.accounts.customers import Site
from shared.analysis import queue, results, sent, steps
from shared.analysis.results import Name, PlainValue, Text
from shared.batches.caller import who_and_where
from shared.batches.json_files import DEPTH_MOST
from shared.errors import FieldProblem, Invalid, NotFound
from shared.gcp.clients import Cloud
from shared.http.answers import Answer, Handler, json_object
from shared.http.bodies import read
from shared.workorders import parameters, store, stored
from shared.workorders.record import encode, iso, timeline_line
from shared.workorders.store import Held
from shared.workorders.stored import DUE, FAILED, Correction

TAGS_MOST = 100
"""How many tags a work order may have."""

CORRECTIONS_MOST = 1_000
"""How many corrections one request may bring."""

AT_ONCE = steps.Time(checks=10, analyser=20)
"""How long whoever sends a photograph waits for its analysis; what takes longer comes later."""


def _shallow(value: dict[str, Any]) -> dict[str, Any]:
    level: list[Any] = [value]
    for _ in range(DEPTH_MOST):
        dictionaries = [inner for each in level if isinstance(each, dict) for inner in each.values()]
        level = dictionaries + [inner for each in level if isinstance(each, list) for inner in each]
        if not level:
            return value
    raise ValueError(f"has more than {DEPTH_MOST} lists and dictionaries inside each other")


_Dictionary = Annotated[dict[str, Any], AfterValidator(_shallow)]
_Tags = Annotated[list[Name], Field(max_length=TAGS_MOST)]


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class _New(_Body):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,128}$")]
    metadata: _Dictionary = Field(default_factory=dict)
    tags: _Tags = Field(default_factory=list)
    parameters: _Dictionary = Field(default_factory=dict)


class _Correction(_Body):
    input_id: Name
    task_name: Name
    corrected_value: PlainValue
    message: Text | None = None


class _Changes(_Body):
    metadata: _Dictionary | None = None
    tags: _Tags | None = None
    parameters: _Dictionary | None = None
    corrections: Annotated[list[_Correction], Field(max_length=CORRECTIONS_MOST)] = Field(
        default_factory=list
    )


class _Data(_Body):
    type: Literal["image"]
    value: str


class _Input(_Body):
    name: Name
    data: _Data


class _Analyze(_Body):
    inputs: Annotated[list[_Input], Field(max_length=sent.PHOTOGRAPHS_MOST)]
    metadata: _Dictionary = Field(default_factory=dict)


def _create(request: flask.Request, site: str | None = None) -> Answer:
    cloud, _, where = who_and_where(request, site)
    asked = read(_New, json_object(request))
    _fitting(where, asked.parameters)
    made = store.create(
        cloud, where, asked.name, metadata=asked.metadata, tags=asked.tags, parameters=asked.parameters
    )
    return _shown(store.look(cloud, where, made.id)), 201


def _get(request: flask.Request, work_order: UUID, site: str | None = None) -> Answer:
    cloud, _, where = who_and_where(request, site)
    include = request.args.get("include_inputs", "true").lower()
    if include not in ("true", "false"):
        raise Invalid.field("include_inputs", f"must be true or false; got {include!r}")
    return _shown(store.look(cloud, where, str(work_order)), inputs=include == "true"), 200


def _change(request: flask.Request, work_order: UUID, site: str | None = None) -> Answer:
    cloud, _, where = who_and_where(request, site)
    asked = read(_Changes, json_object(request))
    _fitting(where, asked.parameters or {})
    corrections = [
        Correction(each.input_id, each.task_name, each.corrected_value, each.message)
        for each in asked.corrections
    ]
    steps.ready(cloud, where)
    after = store.edit(
        cloud,
        where,
        str(work_order),
        metadata=asked.metadata,
        tags=asked.tags,
        parameters=asked.parameters,
        corrections=corrections,
        beside=queue.due(where),
    )
    if after.analysis == DUE:
        queue.publish(cloud, where, after)
    return _shown(store.look(cloud, where, str(work_order))), 200


def _delete(request: flask.Request, work_order: UUID, site: str | None = None) -> Answer:
    cloud, _, where = who_and_where(request, site)
    store.delete(cloud, where, str(work_order))
    return None, 204


def _analyze(request: flask.Request, work_order: UUID, site: str | None = None) -> Answer:
    """Add photographs and analyse the work order. One whose analysis failed is analysed again, also where
    there is no new one."""
    cloud, _, where = who_and_where(request, site)
    id = str(work_order)
    asked = read(_Analyze, json_object(request, sent.REQUEST_BYTES))
    store.look(cloud, where, id)  # before anything is fetched for a work order that is not there
    inputs = [sent.Sent(each.name, each.data.value) for each in asked.inputs]
    photographs = sent.photographs(cloud.settings, where, inputs, asked.metadata)
    steps.ready(cloud, where)
    store.add_photographs(cloud, where, id, photographs, queue.due(where))
    store.change(cloud, where, id, lambda held: results.again(held.stored), queue.due(where))
    with logs.bound(customer=where.customer, site=where.id, work_order=id):
        _analysed(cloud, where, id)
    return _shown(store.look(cloud, where, id)), 200


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
        queue.publish(cloud, site, after)


def _results(request: flask.Request, work_order: UUID, site: str | None = None) -> Answer:
    cloud, _, where = who_and_where(request, site)
    id = str(work_order)
    found = results.parse(json_object(request, results.ANSWER_BYTES))
    ours = results.known(found, stored.input_ids(store.look(cloud, where, id).stored))
    store.change(cloud, where, id, lambda held: results.sent(where, held.stored, ours))
    return _shown(store.look(cloud, where, id)), 200


def _task_groups(request: flask.Request, site: str | None = None) -> Answer:
    _, _, where = who_and_where(request, site)
    return {
        "task_groups": [{"name": group, "required": group in where.required} for group in where.task_groups],
        "parameters": [
            {"name": each.name, "type": each.type, "required": each.required} for each in where.parameters
        ],
    }, 200


WORK_ORDERS: dict[tuple[str, str], Handler] = {
    ("POST", "/v0.2/work-orders"): _create,
    ("GET", "/v0.2/work-orders/<uuid:work_order>"): _get,
    ("PATCH", "/v0.2/work-orders/<uuid:work_order>"): _change,
    ("DELETE", "/v0.2/work-orders/<uuid:work_order>"): _delete,
    ("POST", "/v0.2/work-orders/<uuid:work_order>/analyze"): _analyze,
    ("POST", "/v0.2/work-orders/<uuid:work_order>/results"): _results,
    ("GET", "/v0.2/task-groups"): _task_groups,
}


def _fitting(site: Site, told: Mapping[str, Any]) -> None:
    """Invalid naming each parameter of another type than the site asks for; missing ones can come later."""
    wrong = [each for each in parameters.wrong(site, told) if not each.missing]
    if wrong:
        raise Invalid([FieldProblem(f"parameters.{each.name}", each.sentence) for each in wrong])


def _shown(held: Held, inputs: bool = True) -> dict[str, Any]:
    """A work order as it is answered: the record as exports have it, and what is kept beside it."""
    line = timeline_line(encode(held.stored.work_order), iso(held.created), iso(held.updated))
    record: dict[str, Any] = orjson.loads(line)
    if not inputs:
        for item in record["work_items"]:
            del item["input"]
    return {
        **record,
        "tags": held.stored.tags,
        "parameters": held.stored.parameters,
        "analysis": held.stored.analysis,
        **({"failure": held.stored.failure} if held.stored.analysis == FAILED else {}),
    }
