"""conformity-results: the results for the photographs of the work orders created or changed in the window.

One row for each check of an image (`data_conformity`), and for each result of an analysis or a person
(`job_conformity`).
"""

from collections.abc import Iterator
from typing import Any

import orjson

from shared.formats.base import Column
from shared.sources.base import Item
from shared.sources.rows import lines_of
from shared.sources.work_orders import WorkOrders
from shared.workorders.scan import Found

RESULT_LISTS = ("data_conformity", "job_conformity")
"""The two lists of results that an input has, in the order of their rows."""

COLUMNS = (
    Column("kind", "code"),
    Column("input_id", "code"),
    Column("task_group", "text"),
    Column("work_order_id", "code"),
    Column("work_order_name", "text"),
    Column("site_id", "code"),
    Column("check", "code"),
    Column("code", "code"),
    Column("level", "code"),
    Column("task_name", "text"),
    Column("analyzed_value", "value"),
    Column("corrected_value", "value"),
    Column("corrected_date", "moment"),
    Column("message", "text"),
    Column("is_conformity_validated", "boolean"),
    Column("update_date", "moment"),
)
"""A row of data_conformity has `check`, `code` and `level`; one of job_conformity has the columns after them.
The other columns are null. `update_date` is the work order's."""


def _view(found: Found) -> Item:
    rows = list(_rows(found))
    return Item(found.id, found.stamp, len(rows), lines_of(COLUMNS, rows))


def _rows(found: Found) -> Iterator[dict[str, Any]]:
    record = orjson.loads(found.record)
    for item in record["work_items"]:
        for each in item["input"]:
            about = {
                "input_id": each["id"],
                "task_group": item["name"],
                "work_order_id": record["id"],
                "work_order_name": record["name"],
                "site_id": record["site_id"],
                "update_date": found.updated,
            }
            for kind in RESULT_LISTS:
                for result in each[kind]:
                    yield {"kind": kind, **about, **result}


SOURCE = WorkOrders(
    name="conformity-results",
    description="What checks, analyses and people found on the photographs of every work order created or "
    "updated in the window, one flat row each.",
    view=_view,
    columns=COLUMNS,
)
