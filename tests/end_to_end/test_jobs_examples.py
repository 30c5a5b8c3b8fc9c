"""The examples of docs/customers/jobs.md, as a customer runs them, on functions in processes of their own."""

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from infra.local.processes import REPOSITORY
from tests.subjects import page_examples
from tests.subjects.page_examples import blocks
from tests.subjects.processes import Running, running_suite

pytestmark = pytest.mark.slow

PAGE = (REPOSITORY / "docs/customers/jobs.md").read_text()

TECHNICIANS = "number,name,level\nT-01,Ada,3\nT-02,,2\nT-03,Noor,two\n"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running_suite(tmp_path_factory.mktemp("suite")) as running:
        for name, technician in (("WO_1", "Ada"), ("WO_2", "Nobody")):
            asked = {"name": name, "metadata": {"technician": technician}}
            headers = {"Authorization": f"Token {running.key}"}
            answer = requests.post(
                f"{running.suite.url}/v0.2/work-orders", json=asked, headers=headers, timeout=60
            )
            assert answer.status_code == 201, answer.text
        yield running


def shown(running: Running, folder: Path, *command: str) -> str:
    """What a command prints in that folder, with the page's two variables; it must succeed."""
    variables = {"WAYBILL_URL": running.suite.url, "WAYBILL_API_KEY": running.key}
    return page_examples.shown(folder, variables, *command)


def rows(file: Path) -> list[list[str]]:
    return list(csv.reader(file.read_text().splitlines()))


def test_the_program_in_python(running: Running, tmp_path: Path) -> None:
    [program] = blocks(PAGE, "python")
    (tmp_path / "technicians.csv").write_text(TECHNICIANS)
    told = shown(running, tmp_path, sys.executable, "-c", program)
    assert told.splitlines() == [
        "Technicians: Completed. 1 of 3 records were imported, and 2 rejected. Line 3: The field name is "
        "required: give it a value.",
        "Visits: Completed. 1 record was exported.",
    ]
    assert [row[0] for row in rows(tmp_path / "technicians.rejected.csv")] == ["number", "T-02", "T-03"]
    assert rows(tmp_path / "visits.csv") == [["work_order", "technician"], ["WO_1", "Ada"]]


def test_the_commands_of_the_shell_one_after_another(running: Running, tmp_path: Path) -> None:
    told = shown(running, tmp_path, "bash", "-euo", "pipefail", "-c", "".join(blocks(PAGE, "bash")))
    assert '"community": "demo"' in told or '"community":"demo"' in told, told
    rejected = next(each for each in blocks(PAGE, "") if "waybill_error" in each)
    assert rejected in told.replace("\r\n", "\n"), told
    assert rows(tmp_path / "noor.csv") == [
        ["number", "name", "level", "since"],
        ["T-03", "Noor", "2", "2022-06-30"],
    ]
    assert json.loads((tmp_path / "levels.json").read_text()) == [
        {"level": 2, "technicians": 2},
        {"level": 3, "technicians": 1},
    ]
    headers = {"Authorization": f"Token {running.key}"}
    jobs = list(running.cloud.db.collection("jobs").stream())
    [large] = [each.id for each in jobs if each.get("name") == "Large"]
    answer = requests.post(
        f"{running.suite.url}/ls/api/batch/status", data={"jobId": large}, headers=headers, timeout=60
    ).json()
    assert (answer["status"], answer["recordsProcessed"]) == ("Completed", "3"), answer
