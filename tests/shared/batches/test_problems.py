"""The list of codes, its documentation, and the messages."""

from pathlib import Path

import pytest

from shared.batches.problems import MAX_NAME_SHOWN, PROBLEM_TYPES, BadArchive, problem

DOCUMENT = Path(__file__).parents[3] / "docs" / "customers" / "batch-errors.md"


def rows() -> list[list[str]]:
    lines = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_documentation_lists_every_code_with_its_meaning() -> None:
    expected = [
        [f"`{code}`", type.level, type.meaning.format(file="…", work_order="…", name="…"), type.action]
        for code, type in PROBLEM_TYPES.items()
    ]
    assert rows() == expected


@pytest.mark.parametrize("code", PROBLEM_TYPES)
def test_every_message_says_what_happened_to_what_and_what_to_do(code: str) -> None:
    found = problem(code, work_order="wo-7", file="meter {0}-1.jpg", detail="It is so.")
    type = PROBLEM_TYPES[code]
    assert found.level == type.level
    assert found.message.endswith(f" It is so. {type.action}"), found.message
    names_file = "{file}" in type.meaning or "{name}" in type.meaning
    assert ("“meter {0}-1.jpg”" in found.message) == names_file, found.message
    assert ("“wo-7”" in found.message) == ("{work_order}" in type.meaning), found.message
    assert found.message.count(".") >= 3, found.message


@pytest.mark.parametrize("turns", "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
def test_a_name_does_not_turn_round_the_sentence_that_it_stands_in(turns: str) -> None:
    found = problem("UNKNOWN_FILE", work_order=f"WO{turns}", file=f"{turns}gpj.exe", detail=f"A {turns} B")
    escaped = f"\\u{ord(turns):04x}"
    assert (found.work_order, found.file) == (f"WO{escaped}", f"{escaped}gpj.exe")
    assert turns not in found.message
    assert problem("UNKNOWN_FILE", file="\u05e9\u05dc").file == "\u05e9\u05dc", "a name in Hebrew is as it is"


def test_names_with_control_characters_or_too_many_characters_are_shown_harmlessly() -> None:
    found = problem("UNSAFE_NAME", file="a\r\nb\0\u2028" + "x" * 70_000, detail="\x1b[31m")
    assert found.file.startswith("a\\u000d\\u000ab\\u0000\\u2028x")
    assert len(found.file) < MAX_NAME_SHOWN + 30
    assert found.file.endswith("x…")
    assert "\\u001b[31m" in found.message
    assert found.message.isprintable()


def test_an_archive_that_is_refused_says_why() -> None:
    error = BadArchive("ARCHIVE_EMPTY", "It has one byte.")
    assert str(error) == (
        "The archive holds no files. It has one byte. "
        "Check that you packed the right folder, and send the archive again."
    )
