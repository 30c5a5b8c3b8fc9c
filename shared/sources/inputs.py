"""inputs: the photographs, texts and numbers of the work orders created or changed in the window, one row
each."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import orjson

from shared.formats.base import Column
from shared.sources.base import Item
from shared.sources.rows import lines_of
from shared.sources.work_orders import WorkOrders
from shared.workorders import images
from shared.workorders.scan import Found

LEVELS = ("error", "warning", "information")
"""The levels of a check's result, the worst first."""

COLUMNS = (
    Column("id", "code"),
    Column("file_extension", "code"),
    Column("task_group", "text"),
    Column("work_item_id", "code"),
    Column("work_order_id", "code"),
    Column("work_order_name", "text"),
    Column("site_id", "code"),
    Column("metadata", "json"),
    Column("bytes", "integer"),
    Column("crc32c", "code"),
    Column("worst_level", "code"),
    Column("errors", "integer"),
    Column("warnings", "integer"),
    Column("information", "integer"),
    Column("results", "integer"),
    Column("results_validated", "integer"),
    Column("results_corrected", "integer"),
    Column("create_date", "moment"),
    Column("update_date", "moment"),
)
"""`errors`, `warnings` and `information` count the checks of the image (`data_conformity`). `results` counts
the results of analyses and people (`job_conformity`). The dates are the work order's. A text or a number has
no `bytes` and no `crc32c`; it is the `value` of its metadata."""


def _view(found: Found) -> Item:
    rows = list(_rows(found))
    return Item(found.id, found.stamp, len(rows), lines_of(COLUMNS, rows), found.images)


def _rows(found: Found) -> Iterator[dict[str, Any]]:
    record = orjson.loads(found.record)
    stored = {image.id: image for image in images.decode(found.images)}
    for item in record["work_items"]:
        for each in item["input"]:
            levels = Counter(check["level"] for check in each["data_conformity"])
            results = each["job_conformity"]
            image = stored.get(each["id"])
            yield {
                "id": each["id"],
                "file_extension": each["file_extension"],
                "task_group": item["name"],
                "work_item_id": item["id"],
                "work_order_id": record["id"],
                "work_order_name": record["name"],
                "site_id": record["site_id"],
                "metadata": each["metadata"],
                "bytes": image.size if image else None,
                "crc32c": image.crc32c if image else None,
                "worst_level": next((level for level in LEVELS if levels[level]), None),
                "errors": levels["error"],
                "warnings": levels["warning"],
                "information": levels["information"],
                "results": len(results),
                "results_validated": sum(result["is_conformity_validated"] for result in results),
                "results_corrected": sum(result["corrected_date"] is not None for result in results),
                "create_date": found.created,
                "update_date": found.updated,
            }


SOURCE = WorkOrders(
    name="inputs",
    description="The photographs, texts and numbers of every work order created or updated in the window, "
    "one row each.",
    view=_view,
    columns=COLUMNS,
)
