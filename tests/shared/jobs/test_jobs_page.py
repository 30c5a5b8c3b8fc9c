"""What docs/customers/jobs.md and docs/contracts/jobs.md say is what the code does: calls, fields, statuses,
what a query may use, and the limits."""

import json
import re
from pathlib import Path

import pytest

from shared.accounts.limits import BATCH_BYTES
from shared.http.forms import REQUEST_BYTES
from shared.items import changes, types
from shared.jobs import answers, api, filters, planning
from shared.jobs.job import LINK_LIFE, STATUSES
from shared.jobs.reading import base
from shared.sandbox import functions, parts, sql, velocity
from shared.sandbox.methods import METHODS
from shared.sandbox.velocity import Templates

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/customers/jobs.md").read_text()
CONTRACT = (ROOT / "docs/contracts/jobs.md").read_text()


def listed(name: str) -> set[str]:
    """The names in one of the lists of what a query may use."""
    [found] = re.findall(rf"^\*\*{name}\*\*\n```\n(.*?)```$", PAGE, re.MULTILINE | re.DOTALL)
    return {" ".join(each.split()) for each in re.split(r",\s+", found)}


def section(page: str, heading: str) -> str:
    """What stands under a heading, up to the next one."""
    [found] = re.findall(rf"^#+ {heading}$(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    return str(found)


def first_cells(text: str) -> set[str]:
    """What is written as code in the first column of a table."""
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("|")]
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("Aggregates", functions.AGGREGATES),
        ("Windows", functions.WINDOWS),
        ("Texts", functions.TEXTS),
        ("Numbers", functions.NUMBERS),
        ("Dates", functions.DATES),
        ("JSON", functions.JSON),
        ("Lists", functions.LISTS),
        ("Others", functions.OTHERS | (functions.GRAMMAR - {"->"})),
        ("Operators", functions.OPERATORS | {"->"}),
        ("Types", functions.TYPES),
        ("Collations", functions.COLLATIONS),
    ],
)
def test_the_page_lists_what_a_query_may_use(name: str, allowed: frozenset[str]) -> None:
    assert sorted(listed(name) ^ allowed) == []


def test_the_page_lists_every_method_that_a_template_may_call() -> None:
    text = section(PAGE, "Templates")
    listed = text[text.index("changes anything") : text.index("A separator")]
    assert set(re.findall(r"`([^`]+)`", listed)) == set(METHODS)


def test_the_pages_template_makes_an_item() -> None:
    [template] = re.findall(r"```\n(.*?)```", section(PAGE, "Templates"), re.DOTALL)
    rows = [{"number": "7", "name": " Ada ", "level": level, "Site name": "North"} for level in ("3", "")]
    with Templates(template) as templates:
        made = [json.loads(str(each)) for each in templates.render(rows)]
    assert made == [{"id": "7", "name": "Ada", "level": level, "site": "North"} for level in (3, None)]


def test_the_page_lists_every_function() -> None:
    names = ("Aggregates", "Windows", "Texts", "Numbers", "Dates", "JSON", "Lists", "Others", "Operators")
    assert set().union(*map(listed, names)) == functions.FUNCTIONS | functions.GRAMMAR


EXAMPLES = re.findall(r"^\| [^|`]+ \| `((?:select|with) [^\n]+)` \|$", PAGE, re.MULTILINE)


def test_the_page_has_examples_of_queries() -> None:
    assert len(EXAMPLES) == 9


@pytest.mark.parametrize("query", EXAMPLES)
def test_an_example_of_a_query_is_allowed(query: str) -> None:
    assert set(sql.check(query)) <= {"Technician", "WorkOrder"}


@pytest.mark.slow
def test_an_example_of_a_query_runs() -> None:
    lines: list[bytes] = []
    writer = parts.PartWriter(lines.append)
    writer.write(b'{"name": "Ada", "level": 3, "since": "2019-04-01", "tags": ["roof", "fibre"]}\n')
    technicians = parts.Part(writer.close(), lambda: iter(lines))
    orders: list[bytes] = []
    writer = parts.PartWriter(orders.append)
    writer.write(b'{"name": "WO_1", "metadata": {"technician": "Ada"}}\n')
    tables = {
        "Technician": [technicians],
        "WorkOrder": [parts.Part(writer.close(), lambda: iter(orders))],
    }
    for query in EXAMPLES:
        with sql.query(query, {name: tables[name] for name in sql.check(query)}) as result:
            rows = b"".join(result.blocks).count(b"\n")
        assert rows == {"unnest": 2, "union": 2, "having": 0}.get(
            next((word for word in ("unnest", "union", "having") if word in query), ""), 1
        ), query


def test_the_page_and_the_contract_have_every_call() -> None:
    for route in api.ROUTES.routes:
        path = route.path.replace("<type>", "{type}")
        elsewhere = "oauth2" in path or path.endswith("openapi.json")  # in the contract of keys, or in none
        for page in (PAGE,) if elsewhere else (PAGE, CONTRACT):
            rows = [line for line in page.splitlines() if line.startswith("|") and f"{path}`" in line]
            assert [row for row in rows if f"`{route.method}" in row], (route.method, path)


def test_the_page_has_every_field_and_status() -> None:
    assert first_cells(section(PAGE, "Import")) == set(api.ImportForm.model_fields) | set(changes.ACTIONS)
    assert first_cells(section(PAGE, "Export")) == set(api.ExportForm.model_fields)
    assert first_cells(section(PAGE, "Status")) == set(STATUSES.values())
    assert first_cells(section(PAGE, "Item types")) == set(types.Definition.model_fields)
    assert set(re.findall(r"`(\w+)`", section(PAGE, "Item types"))) >= set(changes.WANTED)
    shown = first_cells(section(CONTRACT, "A job, as it is answered"))
    assert shown == set(answers.JobStatus.__annotations__)


@pytest.mark.parametrize(
    ("limit", "says"),
    [
        ("a request with its file", [f"{REQUEST_BYTES // 2**20} MB"]),
        ("an uploaded file", [f"{BATCH_BYTES.default // 2**30} GiB"]),
        ("a record", [f"{base.MAX_RECORD_BYTES // 2**20} MiB", f"{base.MAX_DEPTH} levels"]),
        ("a CSV file", [f"{base.MAX_COLUMNS:,} columns"]),
        ("a key", [f"{changes.MAX_KEY} characters"]),
        ("an item type", [f"{types.MAX_NAME} characters", f"{types.MAX_FIELDS} fields"]),
        ("an export of work orders", [f"{planning.MAX_SITES:,} sites"]),
        (
            "filters",
            [
                f"{filters.MAX_FIELDS} fields",
                f"{filters.MAX_VALUES:,} values",
                f"{filters.MAX_BYTES // 2**10} KiB",
            ],
        ),
        (
            "a template",
            [
                f"{velocity.MAX_TEMPLATE_BYTES // 2**10} KiB",
                f"{velocity.MAX_STEPS:,} steps",
                f"{velocity.MAX_ROW_OUTPUT // 2**20} MiB",
            ],
        ),
        (
            "a query",
            [
                f"{sql.MAX_SQL_BYTES // 2**10} KiB",
                f"{sql.MAX_QUERY_ITEMS:,} records",
                f"{sql.QUERY_SECONDS / 60:.0f} minutes",
                f"{sql.QUERY_MEMORY // 2**30} GiB",
            ],
        ),
        (
            "the result of a query",
            [
                f"{sql.MAX_RESULT_ROWS:,} rows",
                f"{parts.MAX_COLUMNS:,} columns",
                f"{sql.MAX_RESULT_BYTES // 2**30} GiB",
            ],
        ),
        ("links", [f"{LINK_LIFE.days} days"]),
    ],
)
def test_the_page_says_what_the_limits_are(limit: str, says: list[str]) -> None:
    [line] = [each for each in section(PAGE, "Limits").splitlines() if each.startswith(f"| {limit} |")]
    assert [each for each in says if each not in line] == [], line
