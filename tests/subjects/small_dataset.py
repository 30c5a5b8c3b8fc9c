"""Datasets in the small world: what clients send, and what becomes of it."""

import io
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from PIL import Image as Picture

from shared.accounts.customers import Site
from shared.accounts.keys import create_key
from shared.workorders import store, stored
from shared.workorders.record import WorkOrder
from shared.workorders.store import Photograph
from shared.workorders.stored import Correction, Result
from tests.outside import Outside
from tests.subjects.small_work import SmallWork
from tests.world import BUCKET, SITE, Answer, World

ENDED = ("SUCCESSED", "FAILED")


class Datasets:
    """Makes and exports datasets of a customer, as the vendor's clients do."""

    def __init__(self, world: World, customer: str = "acme") -> None:
        self.world = world
        self.customer = customer
        self.key = create_key(world.cloud.db, customer=customer, scopes=["datasets"])
        self._numbers = itertools.count(1)

    def send(self, method: str, path: str = "", body: Any = None) -> Answer:
        """Send a request below the customer's datasets, with the key."""
        path = f"/v2/{self.customer}/datasets{path}"
        return self.world.request(method, path, body, headers={"X-Auth-Token": self.key})

    def got(self, path: str = "") -> dict[str, Any]:
        """What GET answers."""
        answer = self.send("GET", path)
        assert answer.status == 200, answer
        body: dict[str, Any] = answer.body
        return body

    def create(self, name: str = "Meters", **fields: Any) -> str:
        """Create a dataset of the first site, have its first version made, and return its id."""
        body = {"dataset_name": name, "dataset_type": 0, "site_ids": [SITE], **fields}
        answer = self.send("POST", "", body)
        assert answer.status == 201, answer
        self.settled()
        id: str = answer.body["dataset_id"]
        return id

    def settled(self) -> None:
        """Deliver all messages; nothing may fail."""
        self.world.drain()
        assert not self.world.failures, "\n".join(self.world.failures)

    def begin(self, dataset: str, path: str | None = None, **fields: Any) -> str:
        """Begin an export, and return the task's id."""
        path = path or f"gs://{BUCKET}/sets/{next(self._numbers)}/"
        answer = self.send("POST", f"/{dataset}/export-tasks", {"path": path, **fields})
        assert answer.status == 200, answer
        id: str = answer.body["task_id"]
        return id

    def task(self, dataset: str, id: str) -> dict[str, Any]:
        """A task as it stands."""
        return self.got(f"/{dataset}/export-tasks/{id}")

    def exported(self, dataset: str, path: str | None = None, **fields: Any) -> dict[str, Any]:
        """Export, and return the task at its end."""
        id = self.begin(dataset, path, **fields)
        self.settled()
        shown = self.task(dataset, id)
        assert shown["status"] in ENDED, shown
        return shown

    def files(self, task: Mapping[str, Any]) -> dict[str, bytes]:
        """What a task exported, by the names below its path."""
        prefix = task["path"].removeprefix(f"gs://{BUCKET}/").removeprefix(f"/{BUCKET}/")
        landed = self.world.landed()
        return {name.removeprefix(prefix): body for name, body in landed.items() if name.startswith(prefix)}

    def manifest(self, task: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The lines of a task's manifest."""
        [content] = [body for name, body in self.files(task).items() if name.endswith(".manifest")]
        return [json.loads(line) for line in content.splitlines()]

    # --- what datasets are made of

    def work_order(
        self,
        name: str,
        photos: Sequence[Mapping[str, Any]] = ({},),
        *,
        site: Site | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> WorkOrder:
        """A work order with photographs of so many pixels (`size`), and results by task: `{"value", …}` with
        what an analyser says beyond the record."""
        site = site or self.world.site
        made = store.create(
            self.world.cloud,
            site,
            name,
            metadata=metadata or {},
            photographs=[
                Photograph(
                    task_group=photo.get("group", "meter"),
                    file_name=f"meter-{number}.jpg",
                    content=picture(f"{name}-{number}", photo.get("size", (64, 48))),
                    metadata=photo.get("metadata", {}),
                    data_conformity=(),
                    job_conformity=(),
                )
                for number, photo in enumerate(photos)
            ],
        )
        results = []
        groups: dict[str, int] = {}
        for photo in photos:
            group = photo.get("group", "meter")
            item = made.work_item(group)
            assert item is not None
            one = item.input[groups.get(group, 0)]
            groups[group] = groups.get(group, 0) + 1
            for task, said in photo.get("results", {}).items():
                beyond = {field: value for field, value in said.items() if field != "value"}
                results.append(Result(one.id, task, said["value"], None, True, beyond))
        if results:
            changed = store.change(
                self.world.cloud, site, made.id, lambda held: stored.with_results(site, held.stored, results)
            )
            return changed.work_order
        return made

    def correct(
        self, order: WorkOrder, photo: int, task: str, value: Any, *, site: Site | None = None
    ) -> None:
        """Have a person correct what an analysis says of a photograph of a work order."""
        inputs = [one for item in order.work_items for one in item.input]
        store.edit(
            self.world.cloud,
            site or self.world.site,
            order.id,
            corrections=[Correction(inputs[photo].id, task, value, None)],
        )


def picture(text: str, size: tuple[int, int] = (64, 48)) -> bytes:
    """A small real JPEG of that size, another for each text."""
    out = io.BytesIO()
    shade = sum(text.encode()) % 256
    Picture.new("RGB", size, (shade, len(text) % 256, 99)).save(out, "JPEG", comment=text.encode())
    return out.getvalue()


class SmallTask(SmallWork):
    """An export that makes every kind of call: two work orders, a label file, joined files, and a dataset of
    its own."""

    function = "export_dataset"
    ended = ENDED

    def __init__(self, world: World, outside: Outside) -> None:
        super().__init__(world, outside)
        self.datasets = Datasets(world)
        self.dataset = self.begin_dataset()
        self.id = self.begin()

    def begin_dataset(self) -> str:
        """What is exported."""
        good, bad = {"state": {"value": "good", "confidence": 0.9}}, {"state": {"value": "bad"}}
        self.datasets.work_order("WO-1", [{"results": good}, {"results": bad}])
        self.datasets.work_order("WO-2", [{"results": good}, {}])
        return self.datasets.create(task_names=["state"])

    def begin(self) -> str:
        """Begin the task."""
        # Another label than in the version that is there, so that a new one is made.
        self.datasets.work_order("WO-3", [{"results": {"state": {"value": "new"}}}])
        return self.datasets.begin(self.dataset, f"gs://{BUCKET}/small/")

    def shown(self) -> dict[str, Any]:
        """The task as it stands."""
        return self.datasets.task(self.dataset, self.id)

    def reached(self, shown: dict[str, Any]) -> int:
        finished: int = shown["finished_sample_count"]
        return finished

    def cancel(self) -> None:
        self.datasets.send("DELETE", f"/{self.dataset}/export-tasks/{self.id}")

    def done_once(self) -> None:
        """Check that it exported everything, once."""
        assert self.world.open_pieces() == []
        shown = self.shown()
        counts = (
            shown["status"],
            shown["total_sample_count"],
            shown["finished_sample_count"],
            shown["progress"],
        )
        assert counts == ("SUCCESSED", 5, 5, 100.0), shown
        files = self.datasets.files(shown)
        images = sorted(name for name in files if name.endswith(".jpg"))
        texts = sorted(name for name in files if name.endswith(".txt"))
        assert (len(images), len(texts)) == (5, 4), sorted(files)
        lines = self.datasets.manifest(shown)
        assert sorted(line["source"] for line in lines) == [f"obs://{BUCKET}/small/{name}" for name in images]
        versions = self.datasets.got(f"/{self.dataset}/versions")["versions"]
        assert [each["version_name"] for each in versions] == ["V002", "V001"]
        assert self.datasets.got(f"/{self.dataset}")["total_sample_count"] == 5

    def done_or_cancelled(self) -> None:
        shown = self.shown()
        if shown["status"] == "SUCCESSED":
            self.done_once()
            return
        assert (shown["status"], shown["error_msg"]) == ("FAILED", "The task was cancelled."), shown
        assert self.world.open_pieces() == []
        assert not [name for name in self.datasets.files(shown) if name.endswith(".manifest")]


class SmallCopy(SmallTask):
    """The same into a new dataset."""

    def begin(self) -> str:
        new = {
            "export_dest": "NEW_DATASET",
            "export_new_dataset_name": "Copied",
            "export_new_dataset_work_path": f"/{BUCKET}/copied/",
        }
        return self.datasets.begin(self.dataset, f"gs://{BUCKET}/small/", export_params=new)

    def done_once(self) -> None:
        assert self.world.open_pieces() == []
        shown = self.shown()
        assert (shown["status"], shown["finished_sample_count"]) == ("SUCCESSED", 4), shown
        copied = {name for name in self.world.landed() if name.startswith("copied/images/")}
        assert len(copied) == 4, copied
        found = self.datasets.got()["datasets"]
        counts = {each["dataset_name"]: each["total_sample_count"] for each in found}
        assert counts == {"Copied": 4, "Meters": 4}, found


SmallTasks = Callable[[], SmallTask]
SmallCopies = Callable[[], SmallCopy]


@pytest.fixture
def small_tasks(new_world: Callable[[], World], outside: Outside) -> SmallTasks:
    """Makes small tasks, each in a new world."""
    return lambda: SmallTask(new_world(), outside)


@pytest.fixture
def small_copies(new_world: Callable[[], World], outside: Outside) -> SmallCopies:
    """Makes small tasks into a new dataset, each in a new world."""
    return lambda: SmallCopy(new_world(), outside)
