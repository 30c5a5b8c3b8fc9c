"""Parquet: a file a slice, a row a sample, with a list of labels. `metadata` is JSON text, since its fields
differ from sample to sample. Images are files beside it.

pyarrow is loaded when the first file is written: see `shared.formats.parquet`. One version of it makes the
same bytes of the same samples.
"""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from shared.datasets.forms import rows
from shared.datasets.forms.base import Exported, File, Form, Placed
from shared.formats import parquet

IMAGES = "images"


@dataclass(frozen=True)
class Parquet(Form):
    """Version format Parquet."""

    exported: Exported

    def image(self, placed: Placed) -> str:  # noqa: D102
        return f"{IMAGES}/{placed.sample.name}"

    def whole(self, number: int, slice: Sequence[Placed]) -> Iterable[File]:  # noqa: D102
        indices = rows.indices(self.exported)
        found = (rows.of(self.exported, indices, placed, self.image(placed)) for placed in slice)
        made = [{**row, "metadata": orjson.dumps(row["metadata"]).decode()} for row in found]
        yield File(f"data/{number:05}.parquet", _file(made), parquet.FORMAT.content_type)


def _file(made: list[dict[str, Any]]) -> bytes:
    import pyarrow.parquet

    arrow: Any = pyarrow  # it has no types
    text, number = arrow.string(), arrow.float64()
    label = {
        "name": text,
        "index": arrow.int64(),
        "task": text,
        "annotated_by": text,
        "annotated_at": text,
        "confidence": number,
        "box": arrow.list_(number),
        "polygon": arrow.list_(arrow.list_(number)),
    }
    schema = arrow.schema(
        {
            "file_name": text,
            "width": arrow.int64(),
            "height": arrow.int64(),
            "labels": arrow.list_(arrow.struct(list(label.items()))),
            "usage": text,
            "hard": arrow.bool_(),
            "hard_coefficient": number,
            "sample_id": text,
            "site_id": text,
            "work_order": text,
            "work_order_id": text,
            "task_group": text,
            "added": text,
            "metadata": text,
        }
    )
    out = io.BytesIO()
    table = arrow.Table.from_pylist(made, schema=schema)
    arrow.parquet.write_table(table, out, compression=parquet.COMPRESSION, store_schema=False)
    return out.getvalue()
