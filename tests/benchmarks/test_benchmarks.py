"""The benchmarks run, and hold only the same work against itself; which side is faster is no test's."""

import json
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.benchmarks import __main__ as program
from tests.benchmarks import services
from tests.benchmarks.__main__ import BENCHMARKS, main, show
from tests.benchmarks.measure import DifferentWork, Done, Figure, Ground, Side, compare, digest

WITHOUT_FIGURES = {"whole_run"}
"""The benchmarks that only show where the time goes."""


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with services.running() as (served, cloud):
        yield Ground(cloud, served, quick=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", BENCHMARKS)
def test_each_benchmark_runs_and_its_sides_do_the_same_work(
    name: str, ground: Ground, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = list(BENCHMARKS[name](ground))
    assert bool(figures) == (name not in WITHOUT_FIGURES)
    assert len({each.name for each in figures}) == len(figures)
    for each in figures:
        assert each.ratio > 0, each
        assert each.ours > 0, each
        assert each.theirs > 0, each
        assert each.unit, each
        assert each.limit is None or each.limit > 0, each
    if not figures:
        assert "tick" in capsys.readouterr().out


@pytest.mark.slow
def test_the_figures_are_in_the_table_and_in_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--quick", "--only", "states", "--to", str(tmp_path / "bench.json")]) == 0
    found = json.loads((tmp_path / "bench.json").read_text())
    assert set(found) == {"states_view_cpu_vs_json"}
    assert set(found["states_view_cpu_vs_json"]) == {"ratio", "ours", "theirs", "unit", "limit"}
    assert "states_view_cpu_vs_json" in capsys.readouterr().out


def test_the_figures_of_a_run_that_is_ended_are_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(_: Ground) -> Iterator[Figure]:
        raise KeyboardInterrupt

    monkeypatch.setattr(services, "running", lambda: nullcontext((None, None)))
    monkeypatch.setitem(program.BENCHMARKS, "records", lambda _: [Figure("one", 0.5, 1.0, 2.0, "s", None)])
    monkeypatch.setitem(program.BENCHMARKS, "states", ended)
    with pytest.raises(KeyboardInterrupt):
        main(["--only", "records,states", "--to", str(tmp_path / "new" / "bench.json")])
    assert set(json.loads((tmp_path / "new" / "bench.json").read_text())) == {"one"}


def test_a_benchmark_that_there_is_not_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--only", "record"])
    assert "there is no record; there are records" in capsys.readouterr().err


def test_a_figure_above_its_limit_is_marked(capsys: pytest.CaptureFixture[str]) -> None:
    show(
        [
            Figure("one", 1.0, 1, 1, "s", 1.0),
            Figure("two", 1.01, 1, 1, "s", 1.0),
            Figure("three", 9, 9, 1, "s", None),
        ]
    )
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.endswith("MISSED")] == ["two"]


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
        return digest([b""])

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
    figure = comparison.figure("turns_wall", 1, "wall", 2.0)
    assert (figure.name, figure.ratio, figure.limit) == ("turns_wall", share.median, 2.0)
