"""The tables in docs/operators/scale.md and cost.md are what the command shows.

A comment names the arguments and the table, as in `<!-- estimate --customers 100: functions -->`; the table
follows it. `--write-golden` writes them again.
"""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from infra.__main__ import main
from infra.estimate import prices

DOCS = Path(__file__).parents[3] / "docs" / "operators"
MARKED = re.compile(r"<!-- estimate(?P<arguments>[^:]*): (?P<name>\w+) -->\n(?P<table>(?:\|.*\n)*)")
LEFT_OUT = {"from", "unit"}
"""What a page has no room for."""


def cell(value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:,}"
    return "-" if value is None else str(value)


def as_markdown(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "| none |\n|---|\n"
    columns = [name for name in rows[0] if name not in LEFT_OUT or "number" in rows[0]]
    lines = [[name.replace("_", " ") for name in columns], ["---"] * len(columns)]
    lines += [[cell(row[name]) for name in columns] for row in rows]
    return (
        "".join(f"| {' | '.join(line)} |\n" for line in lines)
        .replace("| --- ", "|---")
        .replace("--- |", "---|")
    )


@pytest.mark.slow
@pytest.mark.parametrize("page", ["scale.md", "cost.md"])
def test_the_pages_tables_are_the_commands(
    page: str, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    text = (DOCS / page).read_text()

    def shown(found: re.Match[str]) -> str:
        assert main(["estimate", *shlex.split(found["arguments"]), "--json"]) == 0
        rows = json.loads(capsys.readouterr().out)[found["name"]]
        head = found[0].partition("\n")[0]
        return f"{head}\n{as_markdown(rows)}"

    made, number = MARKED.subn(shown, text)
    assert number >= 2
    if request.config.getoption("--write-golden"):
        (DOCS / page).write_text(made)
    assert made == (DOCS / page).read_text()


def test_the_page_says_of_when_the_prices_are() -> None:
    known = prices.load()
    text = (DOCS / "cost.md").read_text()
    assert f"`{known.region}`" in text
    assert known.date in text
