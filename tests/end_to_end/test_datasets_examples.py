"""The examples of docs/customers/datasets.md, as a customer runs them, each function in its own process."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.local.demo_customer import BUCKET, CUSTOMER, SITE
from infra.local.photographs import cut
from infra.local.processes import REPOSITORY
from shared.accounts.customers import get_site
from shared.workorders import store
from shared.workorders.store import Photograph
from tests.subjects import page_examples
from tests.subjects.exported_dataset import READERS
from tests.subjects.page_examples import blocks
from tests.subjects.processes import Running, running_suite

pytestmark = pytest.mark.slow

PAGE = (REPOSITORY / "docs/customers/datasets.md").read_text()

PHOTOGRAPHS = 4

BOX = [10, 20, 100, 50]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running_suite(tmp_path_factory.mktemp("suite")) as running:
        site = get_site(running.cloud.db, SITE, CUSTOMER)
        for number, content in enumerate(cut(PHOTOGRAPHS)):
            name = f"WO_{number}"
            made = store.create(
                running.cloud, site, name, photographs=[Photograph("meter", "m.jpg", content)]
            )
            [input] = made.work_items[0].input
            results = [result(input.id, "damage", "crack"), result(input.id, "gauge", "dial")]
            if number < PHOTOGRAPHS - 1:
                running.ask("POST", f"/v0.2/work-orders/{made.id}/results", {"results": results})
            if number == 0:
                correction = {"input_id": input.id, "task_name": "damage", "corrected_value": "scratch"}
                running.ask("PATCH", f"/v0.2/work-orders/{made.id}", {"corrections": [correction]})
        yield running


def result(input: str, task: str, value: str) -> dict[str, Any]:
    return {
        "input_id": input,
        "task_name": task,
        "analyzed_value": value,
        "is_conformity_validated": True,
        "confidence": 0.75,
        "regions": [{"label": value, "box": BOX}],
    }


def shown(running: Running, folder: Path, *command: str | Path) -> str:
    """What a command prints in that folder, with the page's variables; it must succeed."""
    variables = {
        "HOME": str(folder),
        "WAYBILL_URL": running.suite.url,
        "WAYBILL_API_KEY": running.key,
        "WAYBILL_PROJECT": CUSTOMER,
        "WAYBILL_SITE_ID": SITE,
        "BUCKET": BUCKET,
        "OS_AUTH_URL": f"{running.suite.url}/v3",
        "OS_USERNAME": "ada",
        "OS_PASSWORD": running.key,
        "OS_PROJECT_NAME": CUSTOMER,
    }
    return page_examples.shown(folder, variables, *command)


def copied(running: Running, path: str, folder: Path) -> None:
    """What `gcloud storage cp -r` does."""
    for each in running.suite.storage.list(BUCKET):
        if each.name.startswith(path):
            file = folder / each.name.removeprefix(path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(running.suite.storage.read(BUCKET, each.name))


def test_the_program_and_pycocotools(running: Running, tmp_path: Path) -> None:
    program, loading, _, _ = blocks(PAGE, "python")
    told = shown(running, tmp_path, sys.executable, "-c", program)
    # One has no label, and is filtered out.
    assert told.splitlines()[-1] == "SUCCESSED: 3 of 3 samples", told
    copied(running, "training/", tmp_path)
    lines = shown(running, tmp_path, READERS, "-c", loading).splitlines()[-3:]
    read = sorted(line.partition(" ") for line in lines)
    assert [re.sub("[0-9a-f]{12}", "…", name) for name, _, _ in read] == [
        f"WO-{number}_meter_….jpg" for number in range(3)
    ]
    assert [label for _, _, label in read] == [
        f"{name} {[float(each) for each in BOX]}" for name in ("scratch", "crack", "crack")
    ]


def test_the_commands_and_the_clients_one_after_another(running: Running, tmp_path: Path) -> None:
    told = shown(running, tmp_path, "bash", "-euo", "pipefail", "-c", "".join(blocks(PAGE, "bash")))
    assert '"labels":[{"name":"crack","type":1,"property":{},"count":2}' in told, told
    assert '"added":0,"removed":0,"relabelled":3' in told, told
    changes = [json.loads(line) for line in (tmp_path / "changes.jsonl").read_text().splitlines()]
    assert {change["change"] for change in changes} == {"relabelled"}, changes
    assert [label["name"] for label in changes[0]["labels"]][-1] == "dial", changes
    assert "| object detection | normal dataset |" in told, told
    shown_by_openstack = json.loads(told[told.rindex("\n{\n") :])
    assert (shown_by_openstack["progress"], shown_by_openstack["finished_sample_count"]) == (100.0, 4), told
    manifest = running.suite.storage.read(BUCKET, "training/damage/damage-V001.manifest").decode()
    assert {json.loads(line)["usage"] for line in manifest.splitlines()} <= {"TRAIN", "EVAL"}

    _, _, by_login, by_signature = blocks(PAGE, "python")
    assert shown(running, tmp_path, sys.executable, "-c", by_login).splitlines()[-1] == "SUCCESSED 4 None"
    names = [each.name for each in running.suite.storage.list(BUCKET)]
    assert "training/damage-yolo/data.yaml" in names, names
    answered = shown(running, tmp_path, sys.executable, "-W", "ignore", "-c", by_signature)
    assert answered.startswith("200 ["), answered
    assert "'damage'" in answered
