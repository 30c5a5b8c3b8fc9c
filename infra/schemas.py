"""The schemas of the files that Waybill delivers, made of the declarations that write those files.

`make schemas` writes JSON Schemas to docs/contracts/schemas/, and BigQuery's to docs/contracts/bigquery/.
https://json-schema.org/draft/2020-12
https://cloud.google.com/bigquery/docs/schemas#creating_a_json_schema_file
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import orjson
from pydantic import TypeAdapter

from shared.datasets.forms import coco
from shared.datasets.forms import csv as labels
from shared.datasets.forms import manifest as dataset_manifest
from shared.datasets.forms import rows as samples
from shared.exports import manifest
from shared.exports.answers import Run
from shared.formats.base import Column, ColumnType
from shared.http.openapi import Untitled
from shared.jobs.reading.base import ERROR_FIELD, RECORD_FIELD
from shared.sources import SOURCES
from shared.sources.base import Source
from shared.sources.batch_errors import LINE
from shared.workorders.record import SCHEMA, WorkOrder

Schema = dict[str, Any]

FOLDER = Path(__file__).parents[1] / "docs" / "contracts" / "schemas"
BIGQUERY = FOLDER.parent / "bigquery"

DIALECT = "https://json-schema.org/draft/2020-12/schema"

RECORDS: dict[str, Any] = {
    "work-orders-timeline": WorkOrder,
    "work-orders-states": WorkOrder,
    "export-runs": Run,
}
"""What declares the records of a source whose columns do not say all."""

CSV_ROW = "A row of a CSV file, by the header. Each cell is a text; that of null is empty."
PARQUET_ROW = "A row of a Parquet file. What is a date-time here is a timestamp in UTC with microseconds."

MOMENT = {"type": "string", "format": "date-time"}

_VALUES: dict[ColumnType, list[Schema]] = {
    "text": [{"type": "string"}],
    "code": [{"type": "string"}],
    "integer": [{"type": "integer"}],
    "number": [{"type": "number"}],
    "boolean": [{"type": "boolean"}],
    "moment": [MOMENT],
    "json": [{"type": "object"}, {"type": "array"}],
    "value": [{"type": "string"}, {"type": "number"}, {"type": "boolean"}],
}
# What a value of each type is in JSON.

_CLOCK = "[0-9]{2}/[0-9]{2}/[0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2}"

_CELLS: dict[ColumnType, Schema] = {
    "text": {"type": "string"},
    "code": {"type": "string"},
    "integer": {"type": "string", "pattern": "^(-?[0-9]+)?$"},
    "number": {"type": "string", "pattern": "^(-?[0-9]+(\\.[0-9]+)?([eE][+-]?[0-9]+)?)?$"},
    "boolean": {"type": "string", "enum": ["", "true", "false"]},
    "moment": {
        "anyOf": [
            MOMENT,
            {"type": "string", "pattern": f"^({_CLOCK})?$"},
            {"type": "string", "pattern": "^-?[0-9]+(\\.[0-9]{6})?$"},
        ]
    },
    "json": {"type": "string"},
    "value": {"type": "string"},
}
# What a cell of each type is in CSV; that of null is empty.

_BIGQUERY: dict[ColumnType, str] = {
    "text": "STRING",
    "code": "STRING",
    "integer": "INTEGER",
    "number": "FLOAT",
    "boolean": "BOOLEAN",
    "moment": "TIMESTAMP",
    "json": "JSON",
    "value": "JSON",
}
# https://cloud.google.com/bigquery/docs/reference/rest/v2/tables#TableFieldSchema.FIELDS.type


def schemas() -> dict[str, Schema]:
    """The schemas by the names of their files, such as `inputs.v1.json`."""
    made = [
        *(_named(source.name, SCHEMA, _source(source)) for source in SOURCES.values()),
        _named("manifest", manifest.VERSION, _of(manifest.Manifest)),
        _named("batch-errors-file", 1, _table("A line of the errors file of a batch.", LINE)),
        _named("rejected-record", 1, _rejected()),
        _named("dataset-manifest", 1, _of(dataset_manifest.Line)),
        _named("dataset-missing", 1, _of(dataset_manifest.Missing)),
        _named("dataset-sample", 1, _of(samples.Row)),
        _named("dataset-labels", 1, _labels()),
        _named("dataset-coco", 1, _of(coco.File)),
    ]
    return dict(made)


def bigquery() -> dict[str, list[dict[str, str]]]:
    """BigQuery's schema of each source, for its files of JSON Lines, by the names of the schemas' files."""
    return {
        _file_name(source.name, SCHEMA): [
            {"name": column.name, "type": _BIGQUERY[column.type], "mode": "NULLABLE"}
            for column in source.columns
        ]
        for source in SOURCES.values()
    }


def files() -> dict[Path, bytes]:
    """The content of each file."""
    found: list[tuple[Path, Any]] = [(FOLDER / name, schema) for name, schema in schemas().items()]
    found += [(BIGQUERY / name, schema) for name, schema in bigquery().items()]
    option = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    return {path: orjson.dumps(content, option=option) for path, content in found}


def _file_name(name: str, version: int) -> str:
    return f"{name}.v{version}.json"


def _named(name: str, version: int, schema: Schema) -> tuple[str, Schema]:
    about = {"$schema": DIALECT, "$id": f"urn:waybill:schema:{name}:{version}", "title": name}
    return _file_name(name, version), {**about, **schema}


def _source(source: Source) -> Schema:
    """A record as JSON; and in `$defs` a row of a CSV file, and of a Parquet file."""
    table = _table(source.description, source.columns)
    if source.name in RECORDS:
        declared = _of(RECORDS[source.name])
        dates = {column.name: MOMENT for column in source.columns if column.type == "moment"}
        known = dates | declared["properties"]
        table["properties"] = {name: known[name] for name in table["properties"]}
        table["$defs"] = declared.get("$defs", {}) | table["$defs"]
    return table


def _table(description: str, columns: Sequence[Column]) -> Schema:
    json = {column.name: _one_of([*_VALUES[column.type], {"type": "null"}]) for column in columns}
    cells = _object({column.name: _cell(column) for column in columns})
    typed = _object({column.name: _typed(column) for column in columns})
    rows = {"csv": {"description": CSV_ROW, **cells}, "parquet": {"description": PARQUET_ROW, **typed}}
    return {"description": description, **_object(json), "$defs": rows}


def _cell(column: Column) -> Schema:
    return {**_CELLS[column.type], **_as_text(column)}


def _typed(column: Column) -> Schema:
    if column.type in ("json", "value"):
        return {"type": ["string", "null"], **_as_text(column)}
    return _one_of([*_VALUES[column.type], {"type": "null"}])


def _as_text(column: Column) -> Schema:
    """What a text holds that is JSON."""
    if column.type != "json":
        return {}
    value = {"$ref": f"#/properties/{column.name}"}
    return {"contentMediaType": "application/json", "contentSchema": value}


def _rejected() -> Schema:
    """What the customer sent has any fields."""
    reason = {"type": "string", "description": "The line and the reason."}
    record = {"type": "string", "description": "The record, where it is no JSON object."}
    fields = {ERROR_FIELD: reason, RECORD_FIELD: record}
    description = "A record that an import of JSON rejected, as it came in, with the reason."
    return {
        "description": description,
        **_object(fields, optional=[RECORD_FIELD]),
        "additionalProperties": True,
    }


def _labels() -> Schema:
    cells = {column.name: _CELLS[column.type] for column in labels.COLUMNS}
    optional = [column.name for column in (*labels.BOX, *labels.POLYGON)]
    description = "A row of a dataset's labels.csv. Its type says which of the optional columns there are."
    return {"description": description, **_object(cells, optional)}


def _of(declared: Any) -> Schema:
    """The schema of what a declaration says. All fields are there, but those that it calls NotRequired."""
    adapter: TypeAdapter[Any] = TypeAdapter(declared)
    made: Schema = _plain(adapter.json_schema(mode="serialization", schema_generator=_Delivered))
    return made


class _Delivered(Untitled):
    """A field with a default is delivered as well."""

    def field_is_required(self, field: Any, total: bool) -> bool:
        """Of a dataclass, always."""
        return field["type"] == "dataclass-field" or super().field_is_required(field, total)


def _plain(schema: Any) -> Any:
    """Without titles and defaults, and each choice between types as a list of them."""
    if isinstance(schema, list):
        return [_plain(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: _plain(each) for name, each in schema.items() if name not in ("default", "title")}
    if "properties" in made:
        made["properties"] = {name: _plain(each) for name, each in schema["properties"].items()}
    # These say something of one type alone.
    if all(each.keys() <= {"type", "format", "minimum"} for each in made.get("anyOf", [])):
        made |= _one_of(made.pop("anyOf", []))
    return made


def _object(properties: dict[str, Schema], optional: Iterable[str] = ()) -> Schema:
    required = [name for name in properties if name not in set(optional)]
    return {"type": "object", "properties": properties, "required": required}


def _one_of(schemas: Iterable[Schema]) -> Schema:
    """Values of any of these types."""
    merged: Schema = {}
    for each in schemas:
        merged = {**each, **merged, "type": [*merged.get("type", []), each["type"]]}
    return merged


def write() -> None:
    """Write the files, and remove those that are no longer made."""
    made = files()
    for folder in (FOLDER, BIGQUERY):
        folder.mkdir(exist_ok=True)
        for old in set(folder.glob("*.json")) - made.keys():
            old.unlink()
    for path, content in made.items():
        path.write_bytes(content)


if __name__ == "__main__":
    write()
