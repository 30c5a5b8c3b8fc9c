"""docs/contracts/schemas/ and docs/contracts/bigquery/ are what the code declares, and the checks against
them fail where a field is on one side alone."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from infra import schemas
from shared.exports import manifest
from shared.sources import SOURCES
from shared.workorders import record
from tests import delivered
from tests.contract import ContractBroken

CONTRACTS = schemas.FOLDER.parent


def test_the_committed_files_are_current() -> None:
    made = schemas.files()
    there = [*schemas.FOLDER.iterdir(), *schemas.BIGQUERY.iterdir()]
    assert sorted(there) == sorted(made)
    for path, content in made.items():
        assert path.read_bytes() == content, (
            f"{path.name} is old: run make schemas, and read the diff. "
            "A field that goes away or changes needs a new version."
        )


@pytest.mark.parametrize("name", schemas.schemas())
def test_a_schema_is_one_and_names_its_version(name: str) -> None:
    schema = json.loads((schemas.FOLDER / name).read_bytes())
    Draft202012Validator.check_schema(schema)
    title, version = re.fullmatch(r"(.+)\.v(\d+)\.json", name).groups()  # type: ignore[union-attr]
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert (schema["title"], schema["$id"]) == (title, f"urn:waybill:schema:{title}:{version}")
    versions = dict.fromkeys(SOURCES, record.SCHEMA) | {"manifest": manifest.VERSION}
    assert int(version) == versions.get(title, 1)


@pytest.mark.parametrize("name", schemas.schemas())
def test_every_schema_is_linked_from_the_contracts(name: str) -> None:
    pages = "\n".join(page.read_text() for page in CONTRACTS.glob("*.md"))
    assert f"(schemas/{name})" in pages


@pytest.mark.parametrize("source", SOURCES)
def test_bigquerys_schema_has_the_columns_and_json_where_values_are_nested(source: str) -> None:
    fields = json.loads((schemas.BIGQUERY / f"{source}.v1.json").read_bytes())
    columns = SOURCES[source].columns
    assert [field["name"] for field in fields] == [column.name for column in columns]
    assert {field["mode"] for field in fields} == {"NULLABLE"}
    for field, column in zip(fields, columns, strict=True):
        nested = column.type in ("json", "value")
        assert (field["type"] == "JSON") == nested, field
        assert (field["type"] == "TIMESTAMP") == (column.type == "moment"), field


ERROR = {"work_order": "WO", "file": "a", "code": "UNKNOWN_FILE", "level": "error", "message": "So."}


def test_the_check_finds_a_field_that_the_schema_lacks_and_one_that_is_not_delivered() -> None:
    name = "batch-errors-file.v1.json"
    delivered.check(name, ERROR)
    with pytest.raises(ContractBroken, match="'site' was unexpected"):
        delivered.check(name, {**ERROR, "site": "North"})
    with pytest.raises(ContractBroken, match="'message' is a required property"):
        delivered.check(name, {field: ERROR[field] for field in ERROR if field != "message"})
    with pytest.raises(ContractBroken, match="3 is not of type"):
        delivered.check(name, {**ERROR, "file": 3})


RUN = {"name": "f", "site_id": None, "rows": 1, "bytes": 1, "crc32c": "AAAAAA=="}


def test_the_check_finds_such_fields_within_lists_and_within_json_text() -> None:
    lost = {"site_id": "s", "id": "i", "file_extension": "jpg", "size": 3}
    images = {"exported": True, "referenced": 1, "missing": [lost], "conflicts": []}
    with pytest.raises(ContractBroken, match="'size' was unexpected"):
        delivered.check("manifest.v1.json", images, "#/$defs/Images")
    row = dict.fromkeys(column.name for column in SOURCES["export-runs"].columns) | {
        "window": '{"start":"2026-11-22T00:00:00Z"}'
    }
    with pytest.raises(ContractBroken, match="'end' is a required property"):
        delivered.Delivered().rows("export-runs", "parquet", [row])


def test_the_check_tells_which_fields_were_never_delivered() -> None:
    seen = delivered.Delivered()
    seen.check("batch-errors-file.v1.json", {**ERROR, "file": None})
    assert seen.left("batch-errors-file.v1.json") == {"#/properties/file"}
    assert len(seen.left("manifest.v1.json")) > 20


@pytest.mark.parametrize(
    ("cell", "good"),
    [("", True), ("-12", True), ("1.5", False), ("x", False)],
)
def test_a_cell_is_text_as_its_column_is_written(cell: str, good: bool) -> None:
    row: dict[str, Any] = dict.fromkeys((column.name for column in SOURCES["inputs"].columns), "")
    row["errors"] = cell
    seen = delivered.Delivered()
    if good:
        seen.rows("inputs", "csv", [row])
        return
    with pytest.raises(ContractBroken, match="does not match"):
        seen.rows("inputs", "csv", [row])


def test_columns_stand_in_their_order() -> None:
    names = [column.name for column in SOURCES["deletions"].columns]
    row = dict.fromkeys(reversed(names), "")
    with pytest.raises(ContractBroken, match="the columns are"):
        delivered.Delivered().rows("deletions", "csv", [row])


def test_make_schemas_writes_the_files_and_removes_those_of_old_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FOLDER", "BIGQUERY"):
        monkeypatch.setattr(schemas, name, tmp_path / name)
    (tmp_path / "FOLDER").mkdir()
    (tmp_path / "FOLDER" / "old.v1.json").write_text("{}")
    schemas.write()
    assert sorted(path.name for path in (tmp_path / "FOLDER").iterdir()) == sorted(schemas.schemas())
    assert sorted(path.name for path in (tmp_path / "BIGQUERY").iterdir()) == sorted(schemas.bigquery())
