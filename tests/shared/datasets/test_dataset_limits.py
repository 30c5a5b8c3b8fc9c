"""How much there may be of datasets, and what is said of more."""

from typing import Any

import pytest

from shared.datasets import service
from tests.subjects.small_dataset import Datasets
from tests.world import BUCKET, SITE, World

NEW = {
    "export_dest": "NEW_DATASET",
    "export_new_dataset_name": "Copied",
    "export_new_dataset_work_path": f"/{BUCKET}/copied/",
}


@pytest.fixture
def datasets(world: World) -> Datasets:
    return Datasets(world)


def test_only_so_many_datasets_can_be_created_and_exported_to(
    datasets: Datasets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MAX_DATASETS", 1)
    id = datasets.create()
    requests: list[tuple[str, dict[str, Any]]] = [
        ("", {"dataset_name": "Other", "site_ids": [SITE]}),
        (f"/{id}/export-tasks", {"path": f"gs://{BUCKET}/x/", "export_params": NEW}),
    ]
    for path, body in requests:
        answer = datasets.send("POST", path, body)
        assert (answer.status, answer.body["error_code"]) == (409, "ModelArts.4351"), (path, answer)
        assert "delete some first" in answer.body["error_msg"], answer
    assert datasets.send("DELETE", f"/{id}").status == 204
    datasets.create()
