"""The list of codes, its documentation, and what a person reads."""

from pathlib import Path

import pytest

from shared.batches.problems import KINDS, NAME_SHOWN, BadArchive, problem

DOCUMENT = Path(__file__).parents[3] / "docs" / "customers" / "batch-errors.md"


def rows() -> list[list[str]]:
    lines = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_documentation_lists_every_code_with_its_meaning() -> None:
    expected = [
        [f"`{code}`", kind.level, kind.means.format(file="…", work_order="…"), kind.do]
        for code, kind in KINDS.items()
    ]
    assert rows() == expected


@pytest.mark.parametrize("code", KINDS)
def test_every_message_says_what_happened_to_what_and_what_to_do(code: str) -> None:
    found = problem(code, work_order="wo-7", file="meter {0}-1.jpg", detail="It is so.")
    kind = KINDS[code]
    assert found.level == kind.level
    assert found.message.endswith(f" It is so. {kind.do}"), found.message
    assert ("“meter {0}-1.jpg”" in found.message) == ("{file}" in kind.means), found.message
    assert ("“wo-7”" in found.message) == ("{work_order}" in kind.means), found.message
    assert found.message.count(".") >= 3, found.message


def test_names_that_break_lines_or_fill_pages_are_shown_harmlessly() -> None:
    found = problem("UNSAFE_NAME", file="a\r\nb\0\u2028" + "x" * 70_000, detail="\x1b[31m")
    assert found.file.startswith("a\\u000d\\u000ab\\u0000\\u2028x")
    assert len(found.file) < NAME_SHOWN + 30
    assert found.file.endswith("x…")
    assert "\\u001b[31m" in found.message
    assert found.message.isprintable()


def test_an_archive_that_is_refused_says_why() -> None:
    error = BadArchive("ARCHIVE_EMPTY", "It has one byte.")
    assert str(error) == (
        "The archive holds no files. It has one byte. Check what was put into it, and send it again."
    )
