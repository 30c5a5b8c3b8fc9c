"""What the next program finds in the files: texts, values and types as they were stored, in every file."""

import base64
import io
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import google_crc32c
import pyarrow.dataset
import pyarrow.parquet
import pytest

from shared.gcp import clients
from shared.sources import SOURCES
from shared.workorders.record import DataConformity, JobConformity, Value
from shared.workorders.store import Photograph
from tests.shared.exports.landed import Row, read
from tests.shared.exports.test_files import delivered, export, limit_rows, run_all
from tests.world import World, jpeg

arrow: Any = pyarrow  # it has no types

MINUTE = timedelta(minutes=1)

VALUES: tuple[Value, ...] = ("Red", "=1+1", "-1", "a;=1", "5", 5, -2.5, True, None, '"', "")


def beginning_with(first: str) -> bytes:
    """A photograph whose checksum begins so."""
    for number in count():
        content = f"{number}".encode()
        if crc32c(content).startswith(first):
            return content
    raise AssertionError


def crc32c(content: bytes) -> str:
    return base64.b64encode(google_crc32c.Checksum(content).digest()).decode()


def photograph(*values: Value, content: bytes = b"") -> Photograph:
    found = tuple(JobConformity("=task", value, None, None, "+message", True) for value in values)
    checks = (DataConformity("blur", "BLURRED", "warning"),)
    return Photograph("meter", "meter.jpg", content or jpeg("any"), {}, checks, found)


def only_rows(world: World, id: str, place: str, format: str) -> list[Row]:
    ((_, content),) = delivered(world, id, place)
    return read(format, content)


@pytest.mark.slow
def test_a_checksum_is_the_same_in_every_format(world: World) -> None:
    content = beginning_with("+")
    world.work_order("=WO", photos=[photograph(content=content)])
    world.wait(MINUTE)
    formats = ("json", "csv", "parquet")
    ids = {name: export(world, name, export_type="inputs", file_format=name) for name in formats}
    run_all(world)
    for name, id in ids.items():
        [row] = only_rows(world, id, name, name)
        assert row["crc32c"] == crc32c(content), name
        assert row["work_order_name"] == ("'=WO" if name == "csv" else "=WO"), name


@pytest.mark.parametrize("format", ["csv", pytest.param("parquet", marks=pytest.mark.slow)])
def test_a_value_that_is_text_is_plain_text(world: World, format: str) -> None:
    world.work_order("WO_1", photos=[photograph(*VALUES)])
    world.wait(MINUTE)
    id = export(world, "values", export_type="conformity-results", file_format=format)
    run_all(world)
    rows = [row for row in only_rows(world, id, "values", format) if row["kind"] == "job_conformity"]
    guard, nothing = ("'", "") if format == "csv" else ("", None)
    inner = f"{guard}a;{guard}=1"
    expected = ["Red", f"{guard}=1+1", f"{guard}-1", inner, "5", "5", "-2.5", "true", nothing, '"', ""]
    assert [row["analyzed_value"] for row in rows] == expected
    assert {(row["task_name"], row["message"]) for row in rows} == {(f"{guard}=task", f"{guard}+message")}


@pytest.mark.slow
def test_excel_gets_a_byte_order_mark_at_the_beginning_of_each_file(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_rows(monkeypatch, 2)
    for number in range(4):
        world.work_order(f"Zoë {number}", photographs=0)
        world.wait(MINUTE)
    config = {"bom": True, "split": True}
    ids = {name: export(world, name, file_format=name, **config) for name in ("csv", "csv.gz")}
    run_all(world)
    for name, id in ids.items():
        files = [read(name, content) for _, content in delivered(world, id, name)]
        assert len(files) > 1
        for rows in files:
            assert next(iter(rows[0])) == "\ufeffid", "the mark, once, before the header"
        assert [row["name"] for rows in files for row in rows] == [f"Zoë {number}" for number in range(4)]


@pytest.mark.parametrize("format", ["json", "json-array", "parquet", "json.gz", "json-array.gz"])
def test_a_byte_order_mark_is_refused_of_every_other_format(world: World, format: str) -> None:
    body: dict[str, Any] = {
        "name": "a",
        "site_ids": [world.site.id],
        "interval": "once",
        "connector_type": "email",
    }
    body |= {"connector_config": {"emails": ["zoe@acme.example"]}, "bom": True}
    answer = world.request("POST", "/v1/exports", {**body, "file_format": format})
    sentence = f"must be false or left out: a byte order mark is for csv and csv.gz, not for {format}"
    assert [(each["field"], each["message"]) for each in answer.body["errors"]] == [("bom", sentence)]


@pytest.mark.slow
def test_a_column_of_parquet_has_the_same_type_in_every_file(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Files whose columns are empty, all null, of integers or of fractions, each of a part of its own."""
    for number, values in enumerate([(), (None,), (1, 2), (0.5,), ("Red", True)]):
        world.work_order(f"{number}", photos=[photograph(*values)], metadata={} if number else {"a": [1]})
        world.wait(MINUTE)
    world.work_order("no photograph", photographs=0)
    world.wait(MINUTE)
    monkeypatch.setenv("WAYBILL_PART_RECORDS", "1")
    clients.forget()
    names = [name for name in SOURCES if name not in ("batch-errors", "deletions", "export-runs")]
    for name in names:
        export(world, name, export_type=name, file_format="parquet")
    run_all(world)
    for name in names:
        landed = {path: content for path, content in world.landed().items() if path.startswith(f"{name}/")}
        files = {path: content for path, content in landed.items() if path.endswith(".parquet")}
        assert len(files) >= 5, f"{name}: {list(files)}"
        schemas = {path: arrow.parquet.read_schema(io.BytesIO(content)) for path, content in files.items()}
        first, *others = schemas.values()
        assert all(each.equals(first, check_metadata=True) for each in others), schemas
        for path, content in files.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(content)
        dataset = arrow.dataset.dataset(tmp_path / name, format="parquet", partitioning="hive")
        assert dataset.to_table().num_rows == sum(len(read("parquet", each)) for each in files.values())
