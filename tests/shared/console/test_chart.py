"""Charts of bars, a day each."""

from typing import Any

from shared.console import chart
from shared.console.chart import HEIGHT, SMALLEST, WIDTH


def days(*numbers: int, failed: int = 0) -> list[dict[str, Any]]:
    return [
        {"day": f"2026-11-{at + 1:02}", "completed": number, "failed": failed}
        for at, number in enumerate(numbers)
    ]


def test_the_highest_bar_is_as_high_as_the_chart_and_the_others_are_in_proportion() -> None:
    made = chart.of_days("Runs", days(10, 0, 5, 20), {"completed": "completed"})
    assert [(bar.height, bar.y) for bar in made.bars] == [(45, 45), (22.5, 67.5), (90, 0)]
    assert [bar.x for bar in made.bars] == [0, WIDTH / 2, WIDTH * 3 / 4], "a day without any leaves its place"
    assert (made.first, made.last, made.says) == ("1 Nov", "4 Nov", "35 completed")
    assert made.bars[0].says == "1 Nov: 10 completed"


def test_bars_of_one_day_stand_on_each_other() -> None:
    [low, high] = chart.of_days("Runs", days(3, failed=1), {"completed": "done", "failed": "failed"}).bars
    assert (low.kind, high.kind) == ("completed", "failed")
    assert (high.y + high.height, low.y + low.height) == (low.y, HEIGHT)
    assert high.y == 0


def test_one_among_thousands_is_seen_and_no_bar_leaves_the_chart() -> None:
    made = chart.of_days("Runs", days(1, 100_000, failed=1), {"completed": "done", "failed": "failed"})
    assert all(bar.height >= SMALLEST or bar.y == 0 for bar in made.bars)
    assert all(bar.y >= 0 and bar.y + bar.height <= HEIGHT for bar in made.bars)


def test_where_there_is_nothing_there_is_no_bar() -> None:
    for some in (days(0, 0), []):
        made = chart.of_days("Runs", some, {"completed": "completed"})
        assert (made.bars, made.says) == ([], "0 completed")
