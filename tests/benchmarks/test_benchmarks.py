"""The benchmarks run, and hold only the same work against itself; which side is faster is no test's."""

import json
from pathlib import Path

import pytest

from tests.benchmarks.__main__ import QUICK, main
from tests.benchmarks.datasets import IMAGE_BYTES
from tests.benchmarks.measure import DifferentWork, Done, Side, compare, digest


@pytest.mark.slow
def test_each_benchmark_runs_and_its_sides_do_the_same_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--quick", "--to", str(tmp_path / "bench.json")]) == 0
    found = json.loads((tmp_path / "bench.json").read_text())
    sides = {each["name"]: each["sides"] for each in found["comparisons"]}
    items = {
        "reading records": QUICK.records,
        "states view": QUICK.states,
        "copying images": QUICK.copies,
        "importing an archive": 3 * QUICK.archived,
        "importing records": QUICK.imported,
        "exporting a dataset as COCO": QUICK.samples,
    }
    assert {name: len(each) for name, each in sides.items()} == {
        "reading records": 3,
        "states view": 2,
        "copying images": 3,
        "importing an archive": 3,
        "importing records": 3,
        "exporting a dataset as COCO": 2,
    }
    few = dict.fromkeys(("importing records", "exporting a dataset as COCO"), QUICK.runs)
    repetitions = dict.fromkeys(sides, QUICK.repetitions) | few
    small = {"importing records": 200, "exporting a dataset as COCO": IMAGE_BYTES - 1}
    record_bytes = dict.fromkeys(sides, 1000) | small
    for name, those in sides.items():
        assert all(side["done"] == those[0]["done"] for side in those)
        assert those[0]["done"]["items"] == items[name]
        assert those[0]["done"]["bytes"] > record_bytes[name] * items[name]
        assert all(len(side["took"]) == repetitions[name] for side in those)
    run = found["run"]
    assert (run["lines"]["items"], run["images"]["items"]) == (QUICK.work_orders, 3 * QUICK.work_orders)
    assert {"plan", "write", "deliver", "copy", "finish"} <= set(run["steps"])
    assert all(took["wall"]["least"] > 0 for took in run["steps"].values())
    query = found["query"]
    ours, duckdb = query["comparison"]["sides"]
    assert ours["done"] == duckdb["done"]
    assert 0 < ours["done"]["items"] < QUICK.queried
    (total,) = (took["wall"] for took in ours["took"])
    assert all(seconds > 0 for each in query["steps"].values() for seconds in each), query["steps"]
    assert sum(seconds for each in query["steps"].values() for seconds in each) == pytest.approx(
        total, rel=0.5
    )
    for name, records in (("small", QUICK.grown // 10), ("large", QUICK.grown)):
        took = found["growth"][name]
        assert {does: each["records"] for does, each in took.items()} == {
            "import": records,
            "export": records,
        }
        assert all(each["peak"] >= each["before"] > 20_000_000 for each in took.values()), took
    for name, samples in (("small", QUICK.grown_samples // 10), ("large", QUICK.grown_samples)):
        took = found["dataset_growth"][name]
        assert took["records"] == samples
        assert took["peak"] >= took["before"] > 20_000_000, took
    assert {each["name"] for each in found["figures"]} == {
        "import_rss_growth",
        "export_rss_growth",
        "import_rate_vs_client, set",
        "import_rate_vs_client, BulkWriter",
        "console_page_vs_empty, CPU",
        "console_page_vs_empty, wall",
        "sql_overhead",
        "dataset_cpu_per_sample",
        "dataset_rss_growth",
    }
    printed = capsys.readouterr().out
    assert all(side["name"] in printed for those in sides.values() for side in those)
    assert all(name in printed for name in (*query["steps"], *(each["name"] for each in found["figures"])))


@pytest.mark.parametrize(
    "other", [[b"one"], [b"two", b"one"], [b"one", b"two", b""]], ids=["fewer", "another order", "more"]
)
def test_sides_that_do_different_work_are_not_compared(other: list[bytes]) -> None:
    sides = [Side("ours", lambda _: [b"one", b"two"]), Side("theirs", lambda _: other)]

    def done(_side: Side[list[bytes]], _repetition: int, pieces: list[bytes]) -> Done:
        return digest(pieces)

    with pytest.raises(DifferentWork, match="theirs"):
        compare("words", "words", 1, sides, done)


@pytest.mark.slow
def test_sides_run_by_turns_and_ratios_are_of_the_same_repetition() -> None:
    ran: list[str] = []

    def side(name: str) -> Side[None]:
        return Side(name, lambda at: ran.append(f"{name}{at}"))

    def done(_side: Side[None], _repetition: int, _result: None) -> Done:
        return digest([])

    comparison = compare("turns", "turns", 2, [side("a"), side("b")], done)
    assert ran == ["a0", "b0", "a1", "b1", "a2", "b2"]
    ours, theirs = comparison.sides
    assert len(ours.took) == len(theirs.took) == 2  # the first turn warms up
    pairs = [b.wall / a.wall for a, b in zip(ours.took, theirs.took, strict=True)]
    ratio = comparison.ratio(theirs, "wall")
    assert (ratio.least, ratio.most) == (min(pairs), max(pairs))
    share = comparison.share(theirs, "wall")
    parts = [a.wall / b.wall for a, b in zip(ours.took, theirs.took, strict=True)]
    assert (share.least, share.most) == (min(parts), max(parts))
