"""The tables of docs/ say what the code says."""

import re
from pathlib import Path

import orjson
import pytest

from infra.bundle import Bundle
from shared.accounts import limits
from shared.datasets import api, browsing, errors, request, service
from shared.datasets import dataset as datasets
from shared.datasets.errors import EXPORT_FAILED
from shared.datasets.request import ExportParams, ExportTaskBody
from shared.delivery.connectors import CONNECTORS
from shared.errors import Refused
from shared.exports import audit
from shared.formats import FORMATS
from shared.http.bodies import BODY_BYTES
from shared.settings import Settings
from shared.sources import SOURCES
from shared.workorders.record import (
    DataConformity,
    Input,
    JobConformity,
    WorkItem,
    WorkOrder,
    encode,
    timeline_line,
)

DOCS = Path(__file__).parents[2] / "docs"


def table(page: str, title: str = "") -> list[list[str]]:
    """The cells of the first table of a page, or of the section whose title begins so; without its head."""
    text = (DOCS / page).read_text()
    if title:
        text = text.partition(f"\n## {title}")[2].partition("\n## ")[0]
    found = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert found, f"{page} has no table {title!r}"
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in found[0].splitlines()[2:]]


def names(cell: str) -> list[str]:
    return re.findall(r"`([\w-]+)`", cell)


def test_the_table_of_functions_is_the_bundles() -> None:
    expected = []
    for function in Bundle.load().functions.values():
        trigger = "HTTP " + ", ".join(f"`{p}`" for p in function.paths)
        if function.topic:
            trigger = f"topic `{function.topic}`"
        elif function.bucket:
            trigger = f"object finalised in `{function.bucket}`"
        expected.append([f"`{function.name}`", trigger, function.does])
    assert table("developers/code.md", "Functions") == expected


def test_the_page_on_permissions_has_every_account_and_what_a_customer_grants() -> None:
    bundle = Bundle.load()
    listed = [name for row in table("operators/permissions.md") for name in names(row[0])]
    assert sorted(listed) == sorted(bundle.accounts)
    text = (DOCS / "operators/permissions.md").read_text()
    assert re.findall(r"`(storage\.[\w.]+)`", text) == list(bundle.customer_grant)


def test_the_page_on_delivery_has_every_source_format_and_connector() -> None:
    sources = [[f"`{each.name}`", each.description] for each in SOURCES.values()]
    assert table("customers/delivery.md", "`export_type`") == sources
    formats = [[f"`{each.name}`", f"`.{each.extension}`", each.description] for each in FORMATS.values()]
    assert table("customers/delivery.md", "`file_format`") == formats
    connectors = table("customers/delivery.md", "`connector_type`")
    assert [row[0] for row in connectors] == [f"`{name}`" for name in CONNECTORS]


def test_every_setting_is_in_the_table_with_its_default() -> None:
    rows = {name: row[2] for row in table("operators/settings.md") for name in names(row[0])}
    source = (DOCS.parent / "shared" / "settings.py").read_text()
    read = set(re.findall(r'"((?:WAYBILL|GOOGLE|IAM|STORAGE)_\w+)"', source))
    assert read <= set(rows), read - set(rows)
    defaults = {
        "WAYBILL_SLICE_FILES": Settings.slice_files,
        "WAYBILL_SLICE_BYTES": Settings.slice_bytes,
        "WAYBILL_PART_RECORDS": Settings.part_records,
        "WAYBILL_ATTEMPT_SECONDS": Settings.attempt_seconds,
        "WAYBILL_SLICE_IMAGES": Settings.slice_images,
        "WAYBILL_COPY_BATCH": Settings.copy_batch,
    }
    assert {name: rows[name] for name in defaults} == {name: str(each) for name, each in defaults.items()}


def test_the_contract_of_the_audit_event_has_its_keys_in_order() -> None:
    assert [names(row[0])[0] for row in table("contracts/audit-event.md")] == list(audit.KEYS)


def test_the_page_on_datasets_has_every_field_of_an_export_task() -> None:
    listed = [name for row in table("customers/datasets.md", "Exporting") for name in names(row[0])]
    read = [
        name
        for form in (ExportTaskBody, ExportParams)
        for name, field in form.model_fields.items()
        if not (field.description or "").startswith("Ignored")
    ]
    assert sorted(set(listed)) == sorted(set(read))


def test_the_page_on_datasets_has_the_limits() -> None:
    rows = {
        name: [int(each.replace(",", "")) for each in re.findall(r"\d[\d,]*\b", limit)]
        for name, limit in table("customers/datasets.md", "Limits")
    }
    expected = {
        "datasets": [limits.DATASETS.default],
        "tasks under way": [limits.DATASET_TASKS.default],
        "a dataset": [service.MAX_SITES, service.MAX_TASK_NAMES],
        "labels of a dataset, over all its versions": [
            datasets.MAX_LABELS,
            datasets.MAX_LABELS_BYTES // 1024,
        ],
        "`path`": [request.PREFIX_BYTES],
        "`samples`": [request.MAX_SAMPLES],
        "`search_conditions`": [
            request.MAX_CONDITIONS,
            request.MAX_LABELS,
            request.MAX_PROPERTIES,
            request.MAX_VALUES,
        ],
        "a page of a list": [api.MAX_PAGE, api.DEFAULT_PAGE],
        "a page of the list of versions": [api.MAX_VERSIONS],
        "a page of samples or changes": [browsing.MAX_LOOKED_AT, browsing.MAX_LOOKED_BYTES // 1024**2],
        "a search for a text in names": [service.MAX_SEARCHED],
        "a request": [BODY_BYTES // 1024**2],
        "an export task": [service.MAX_KEPT_BYTES // 1024],
    }
    assert rows == expected


def test_the_contract_of_datasets_has_every_error_with_its_status() -> None:
    kinds = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, Refused)]
    expected = {(each.code, str(each.status)) for each in kinds if each.code} | {(EXPORT_FAILED, "")}
    listed = [(row[0].strip("`"), row[1]) for row in table("contracts/datasets.md", "Errors")]
    assert sorted(listed) == sorted(expected)


INPUT = Input(
    "i", "jpg", {}, (DataConformity("c", "c", "error"),), (JobConformity("t", 1, 2, None, None, True),)
)
LINE = orjson.loads(
    timeline_line(encode(WorkOrder("w", "n", "s", {}, 1.0, (WorkItem("x", "g", (INPUT,)),))), "c", "u")
)


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("A work order", LINE),
        ("A work item", LINE["work_items"][0]),
        ("An input", LINE["work_items"][0]["input"][0]),
        ("A check", LINE["work_items"][0]["input"][0]["data_conformity"][0]),
        ("A result", LINE["work_items"][0]["input"][0]["job_conformity"][0]),
    ],
    ids=["work order", "work item", "input", "check", "result"],
)
def test_the_contract_of_the_record_has_its_fields_in_order(title: str, shown: dict[str, object]) -> None:
    assert [names(row[0])[0] for row in table("contracts/export-record.md", title)] == list(shown)
