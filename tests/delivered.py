"""Checks what Waybill delivers against the schemas in docs/contracts/schemas/: that each value is as they
say, and that no field is on one side alone."""

import functools
import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from infra.schemas import FOLDER
from tests.contract import ContractBroken, closed

CSV, PARQUET = "#/$defs/csv", "#/$defs/parquet"
"""Where a schema has the rows of a CSV file, and of a Parquet file."""

Value = Any


class Delivered:
    """Checks values, and knows which fields of their schemas were delivered."""

    def __init__(self) -> None:
        self._seen: dict[str, set[str]] = {}

    def check(self, name: str, value: Value, part: str = "#") -> None:
        """ContractBroken where a value is not as the schema, or a part of it, says, or has another field."""
        for wrong in _validator(name, part).iter_errors(value):
            raise ContractBroken(f"{name}: {wrong.json_path}: {wrong.message}")
        seen = self._seen.setdefault(name, set())
        for field, inner in _fields(_schema(name), part, value):
            seen.add(field)
            content = _at(_schema(name), field)
            if "contentSchema" in content and inner:
                self.check(name, json.loads(inner), content["contentSchema"]["$ref"])

    def rows(self, source: str, format: str, rows: Iterable[dict[str, Value]]) -> None:
        """Check rows as a reader of their format has them; the columns of a table in their order."""
        name, format = f"{source}.v1.json", format.removesuffix(".gz")
        part = {"csv": CSV, "parquet": PARQUET}.get(format, "#")
        columns = list(_at(_schema(name), part)["properties"])
        for row in rows:
            if list(row) != columns:
                raise ContractBroken(f"{name}{part}: the columns are {list(row)}, not {columns}")
            as_json = {field: _as_json(value) for field, value in row.items()}
            if format == "csv":
                # Readers say None of a cell in which nothing stands.
                as_json = {field: value or "" for field, value in as_json.items()}
            self.check(name, as_json, part)

    def left(self, name: str, parts: Iterable[str] = ("#",)) -> set[str]:
        """The fields of a schema, or of these parts of it, that were not delivered with a value."""
        declared = {field for part in parts for field in _declared(_schema(name), part)}
        return declared - self._seen.get(name, set())


def check(name: str, value: Value, part: str = "#") -> None:
    """Check one value."""
    Delivered().check(name, value, part)


def forget() -> None:
    """Read the schemas anew, for a test that changes one."""
    _schema.cache_clear()
    _validator.cache_clear()


@functools.cache
def _schema(name: str) -> Any:
    return json.loads((FOLDER / name).read_bytes())


@functools.cache
def _validator(name: str, part: str) -> Draft202012Validator:
    schema = closed(_schema(name))
    known: Registry[Any] = Registry().with_resource(schema["$id"], Resource.from_contents(schema))
    return Draft202012Validator(
        {"$ref": schema["$id"] + part},
        registry=known,
        format_checker=Draft202012Validator.FORMAT_CHECKER,
    )


def _at(schema: Any, pointer: str) -> Any:
    for name in pointer.removeprefix("#").split("/")[1:]:
        schema = schema[name]
    return schema


def _fields(root: Any, pointer: str, value: Value) -> Iterator[tuple[str, Value]]:
    """The fields that a value has, and that are not null, by where the schema declares them."""
    schema = _at(root, pointer)
    if "$ref" in schema:
        yield from _fields(root, schema["$ref"], value)
    if isinstance(value, dict):
        for name in schema.get("properties", {}).keys() & value.keys():
            if value[name] is not None:
                yield f"{pointer}/properties/{name}", value[name]
                yield from _fields(root, f"{pointer}/properties/{name}", value[name])
    if isinstance(value, list) and "items" in schema:
        for each in value:
            yield from _fields(root, f"{pointer}/items", each)


def _declared(root: Any, pointer: str) -> Iterator[str]:
    """The fields that a schema declares."""
    schema = _at(root, pointer)
    if "$ref" in schema:
        yield from _declared(root, schema["$ref"])
    for name in schema.get("properties", {}):
        yield f"{pointer}/properties/{name}"
        yield from _declared(root, f"{pointer}/properties/{name}")
    if "items" in schema:
        yield from _declared(root, f"{pointer}/items")


def _as_json(value: Value) -> Value:
    return value.isoformat() if isinstance(value, datetime) else value
