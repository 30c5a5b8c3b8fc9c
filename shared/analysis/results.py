"""What an analyser says of photographs: its form, and how it is put into a work order.

The same form comes as the answer to our call and, later, to `POST /v0.2/work-orders/{id}/results`.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from shared import logs
from shared.accounts.customers import Site
from shared.http.bodies import read
from shared.workorders import stored
from shared.workorders.record import Value
from shared.workorders.stored import DONE, DUE, FAILED, Result, StoredWorkOrder

ANSWER_BYTES = 8 * 1024 * 1024
"""How large a body with results may be."""

MAX_RESULTS = 20_000
"""How many results one answer may hold: four for each photograph that a work order may have."""

MAX_REGIONS = 1_000
"""How many regions one result may have."""

MAX_POINTS = 1_000
"""How many points a polygon may have."""

NAME_LONGEST = 128
"""Characters of the name of a task, a label or a labeler."""

TEXT_LONGEST = 2_000
"""Characters of a value or a message."""


def _plain(value: Any) -> Any:
    if value is not None and not isinstance(value, str | int | float):
        raise ValueError("must be a text, a number, true, false or null")
    if isinstance(value, str) and len(value) > TEXT_LONGEST:
        raise ValueError(f"may have {TEXT_LONGEST} characters")
    return value


PlainValue = Annotated[Value, BeforeValidator(_plain)]
"""A value as records hold it."""

Name = Annotated[str, Field(min_length=1, max_length=NAME_LONGEST)]
"""The name of a task, a label or a labeler."""

Text = Annotated[str, Field(max_length=TEXT_LONGEST)]
"""A message."""

MAX_COORDINATE = 2**53 - 1
"""Up to this every integer is a double, which coordinates are kept as."""

_Coordinate = Annotated[float, Field(ge=-MAX_COORDINATE, le=MAX_COORDINATE)]
_Point = Annotated[list[_Coordinate], Field(min_length=2, max_length=2)]


class _Form(BaseModel):
    # What we do not know yet is no mistake: an analyser may be newer than we are.
    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


class Region(_Form):
    """A part of a photograph."""

    label: Name
    box: Annotated[list[_Coordinate], Field(min_length=4, max_length=4)] | None = None
    polygon: Annotated[list[_Point], Field(min_length=3, max_length=MAX_POINTS)] | None = None


class TaskResult(_Form):
    """What an analysis says of one task of one photograph."""

    input_id: Annotated[str, Field(min_length=1, max_length=NAME_LONGEST)]
    task_name: Name
    analyzed_value: PlainValue
    message: Text | None = None
    is_conformity_validated: bool
    confidence: Annotated[float, Field(ge=0, le=1)] | None = None
    regions: Annotated[list[Region], Field(max_length=MAX_REGIONS)] | None = None
    labeler: Name | None = None
    review: Name | None = None
    hard: bool | None = None


class Results(_Form):
    """What an analysis says of photographs."""

    results: Annotated[list[TaskResult], Field(max_length=MAX_RESULTS)]


_LABEL = {"confidence", "regions", "labeler", "review", "hard"}


def parse(body: dict[str, Any]) -> list[Result]:
    """The results in an answer; Invalid naming each field that is wrong. Fields that we do not know are
    ignored."""
    return [
        Result(
            each.input_id,
            each.task_name,
            each.analyzed_value,
            each.message,
            each.is_conformity_validated,
            each.model_dump(include=_LABEL, exclude_none=True),
        )
        for each in read(Results, body).results
    ]


def known(results: Sequence[Result], inputs: frozenset[str]) -> list[Result]:
    """Those of these inputs; of others nothing is taken, and how many they were is logged."""
    ours = [result for result in results if result.input_id in inputs]
    if others := len(results) - len(ours):
        logs.warning("results of inputs that were not asked about are left out", count=others)
    return ours


def put_into(
    site: Site, held: StoredWorkOrder, posted: StoredWorkOrder, results: Sequence[Result]
) -> StoredWorkOrder:
    """A work order with the results of `posted`, which is what it was when its analyser was asked.

    It is done only where it still has those photographs and parameters; where they changed it stays due, and
    the results are taken until there are newer ones. Where others were quicker, theirs stay; and so does what
    a person corrected meanwhile.
    """
    if held.analysis != DUE:
        return held
    after = stored.with_results(site, held, results)
    return replace(after, analysis=DONE) if same(held, posted) else after


def sent(site: Site, held: StoredWorkOrder, results: Sequence[Result]) -> StoredWorkOrder:
    """A work order with results that its analyser sent by itself.

    One that waited for them is done. They can come before our own note that it waits, so one that is due is
    done as well, where nothing is left to check and every image is named.
    """
    after = stored.with_results(site, held, results)
    named = {result.input_id for result in results}
    if held.analysis == DUE and (held.unchecked or not stored.image_ids(held) <= named):
        return after
    return replace(after, analysis=DONE, failure="")


def again(held: StoredWorkOrder) -> StoredWorkOrder:
    """A work order whose analysis failed is due again; any other stays as it is."""
    return replace(held, analysis=DUE, failure="") if held.analysis == FAILED else held


def same(held: StoredWorkOrder, posted: StoredWorkOrder) -> bool:
    """Whether what an analysis is made of is what it was."""
    return (held.images, held.parameters) == (posted.images, posted.parameters)
