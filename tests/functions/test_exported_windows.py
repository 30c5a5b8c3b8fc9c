"""`GET /v1/exports/{id}/windows` and the filter of its runs: what is found, and what a page reads."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from shared.gcp.documents import fields_of
from tests.shared.exports.nights import asked
from tests.subjects.documents_read import documents_read
from tests.world import Answer, World

NOVEMBER = {"since": "2026-11-01T00:00:00Z", "before": "2026-12-01T00:00:00Z"}


def at(day: int, month: int = 11) -> datetime:
    return datetime(2026, month, day, tzinfo=UTC)


class Runs:
    """An export, and documents of runs of it that are written as they are."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.export = world.export()
        window = {"start": "2026-11-20T00:00:00Z", "end": "2026-11-20T01:00:00Z"}
        made = world.cloud.db.document(
            f"exports/{self.export}/runs/{asked(world, self.export, 'backfill', window)['run_id']}"
        )
        self.fields = fields_of(made.get())
        made.delete()
        self.batch = world.cloud.db.batch()

    def add(self, name: str, start: datetime, end: datetime, *, shown: bool = True, **more: Any) -> None:
        """Of a run that no page shows only what queries look at is written."""
        bounds = {"window_start": start, "window_end": end, "due": end}
        fields = {"state": "COMPLETED", "origin": "Schedule", **bounds, **more}
        reference = self.world.cloud.db.document(f"exports/{self.export}/runs/{name}")
        self.batch.set(reference, {**(self.fields if shown else {"customer": "acme"}), **fields})

    def commit(self) -> None:
        self.batch.commit()
        self.batch = self.world.cloud.db.batch()

    def ask(self, what: str = "windows", **query: Any) -> Answer:
        return self.world.request("GET", f"/v1/exports/{self.export}/{what}?{urlencode(query)}")

    def windows(self, **query: Any) -> list[str]:
        answer = self.ask(**(NOVEMBER | query))
        assert answer.status == 200, answer
        return [each["run_id"] for each in answer.body["windows"]]


@pytest.fixture
def runs(world: World) -> Runs:
    return Runs(world)


def test_the_windows_of_a_month_are_listed_in_order_with_those_that_reach_into_it(runs: Runs) -> None:
    runs.add("before", at(30, 10), at(1))
    runs.add("first", at(1), at(2))
    runs.add("later", at(3), at(4))
    runs.add("failed", at(4), at(5), state="FAILED")
    runs.add("under-way", at(5), at(6), state="RUNNING")
    runs.add("last", at(30), at(2, 12))
    runs.add("after", at(1, 12), at(2, 12))
    runs.commit()
    assert runs.windows() == ["first", "later", "last"]
    runs.add("tile", at(25, 10), at(1) + timedelta(hours=1))
    runs.add("quarter", at(1, 9), at(3, 12), origin="Run")
    runs.add("by-hand", at(20, 10), at(30, 10), origin="Run")
    runs.commit()
    assert runs.windows() == ["quarter", "tile", "first", "later", "last"]
    answer = runs.ask(**NOVEMBER)
    assert answer.body["windows"][0] == {
        "run_id": "quarter",
        "start": "2026-09-01T00:00:00Z",
        "end": "2026-12-03T00:00:00Z",
    }


def test_windows_are_read_on_page_by_page(runs: Runs) -> None:
    runs.add("tile", at(30, 10), at(2))
    for day in range(2, 7):
        runs.add(f"day-{day}", at(day), at(day + 1))
    runs.commit()
    found, token = [], None
    for _ in range(3):
        answer = runs.ask(**NOVEMBER, page_size=2, **({"page_token": token} if token else {}))
        found += [each["run_id"] for each in answer.body["windows"]]
        token = answer.body["next_page_token"]
    assert (found, token) == (["tile", *(f"day-{day}" for day in range(2, 7))], None)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"since": NOVEMBER["since"]}, "before"),
        ({"since": "yesterday", "before": NOVEMBER["before"]}, "since"),
        ({"since": NOVEMBER["before"], "before": NOVEMBER["since"]}, "before"),
    ],
)
def test_a_range_that_is_none_is_refused(runs: Runs, query: dict[str, str], field: str) -> None:
    answer = runs.ask(**query)
    assert (answer.status, [each["field"] for each in answer.body["errors"]]) == (400, [field])


def test_the_windows_of_another_customers_export_are_not_shown(runs: Runs) -> None:
    path = f"/v1/exports/{runs.export}/windows?{urlencode(NOVEMBER)}"
    assert runs.world.request("GET", path, key=runs.world.stranger()).status == 404


def test_runs_are_listed_by_their_status(runs: Runs) -> None:
    runs.add("s" + "1" * 32, at(1), at(2), state="RUNNING")
    runs.add("s" + "2" * 32, at(2), at(3), state="PENDING")
    runs.add("s" + "3" * 32, at(3), at(4), state="RUNNING")
    runs.commit()
    answer = runs.ask("runs", status="RUNNING")
    assert [each["run_id"][1] for each in answer.body["runs"]] == ["3", "1"]
    assert [each["field"] for each in runs.ask("runs", status="DONE").body["errors"]] == ["status"]


def test_runs_are_listed_without_their_files(world: World) -> None:
    world.work_order("WO_1")
    export = world.export()
    world.run_due(datetime(2026, 11, 23, 2, tzinfo=UTC))
    [whole] = world.audit(export)
    [short] = world.request("GET", f"/v1/exports/{export}/runs?files=false").body["runs"]
    assert len(whole["files"]) == 1
    assert short == {**whole, "files": []}


@pytest.mark.slow
@pytest.mark.ours_only("looks at what our Firestore reads")
def test_a_list_without_files_reads_none_of_a_run_that_delivers(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.work_order("WO_1")
    export = world.export()
    world.tick(datetime(2026, 11, 23, 2, tzinfo=UTC))
    while not list(world.cloud.db.collection_group("files").stream()):
        assert world.step()
    read = documents_read(monkeypatch)
    for query, count in (("", 1), ("?files=false", 0)):
        read.clear()
        assert len(world.request("GET", f"/v1/exports/{export}/runs{query}").body["runs"]) == 1
        assert len([path for path in read if "/files" in path]) == count


@pytest.mark.ours_only("looks at what our Firestore reads")
@pytest.mark.parametrize("count", [80, pytest.param(10_000, marks=pytest.mark.slow)])
def test_a_page_reads_as_many_documents_as_it_shows_however_many_there_are(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    for number in range(count):
        start = at(1, 1) + timedelta(hours=number)
        shown = not 100 <= number < count - 100
        origin, state = ("Run", "Schedule")[number % 2], ("COMPLETED", "FAILED")[number % 4 == 3]
        runs.add(f"s{number:032}", start, start + timedelta(hours=1), origin=origin, state=state, shown=shown)
        if number % 400 == 399:
            runs.commit()
    runs.commit()
    read = documents_read(monkeypatch)
    query = {"since": "2026-01-02T12:00:00Z", "before": "2026-12-01T00:00:00Z", "page_size": 7}
    for what, more in (("windows", query), ("runs", {"status": "FAILED", "page_size": 7})):
        token, most = "", 7 + 10
        for _ in range(2):
            read.clear()
            answer = runs.ask(what, **more, **({"page_token": token} if token else {}))
            assert len(answer.body[what]) == 7
            assert len(read) <= most, read
            token = answer.body["next_page_token"]
