"""conformity-results: what is said of the photographs of the work orders created or changed in the window.

One flat row each: checks of the image (`data_conformity`), and what analyses and people say
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

KINDS = ("data_conformity", "job_conformity")
"""The two lists of an input, in the order in which their rows come."""

COLUMNS = (
    Column("kind", "text"),
    Column("input_id", "text"),
    Column("task_group", "text"),
    Column("work_order_id", "text"),
    Column("work_order_name", "text"),
    Column("site_id", "text"),
    Column("check", "text"),
    Column("code", "text"),
    Column("level", "text"),
    Column("task_name", "text"),
    Column("analyzed_value", "json"),
    Column("corrected_value", "json"),
    Column("corrected_date", "moment"),
    Column("message", "text"),
    Column("is_conformity_validated", "boolean"),
    Column("update_date", "moment"),
)
"""`check`, `code` and `level` are of the kind data_conformity, what stands behind them of job_conformity; the
others are null. The date is the work order's."""


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
            for kind in KINDS:
                for result in each[kind]:
                    yield {"kind": kind, **about, **result}


SOURCE = WorkOrders(
    name="conformity-results",
    description="What checks, analyses and people found on the photographs of every work order created or "
    "updated in the window, one flat row each.",
    view=_view,
    columns=COLUMNS,
)
