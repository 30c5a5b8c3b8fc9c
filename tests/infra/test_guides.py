"""Whoever follows a guide of docs/developers to the letter has a repository whose tests pass."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.guides import ROOT, Guide, Step, WrongGuide, changed, copied, follow, guides

PYTHON = ".venv/bin/python "
"""How the guides call Python; here it is the one that runs the tests."""

GUIDES = [
    guide
    for page in sorted((ROOT / "docs" / "developers").glob("*.md"))
    for guide in guides(str(page.relative_to(ROOT)), page.read_text())
]


def test_there_is_a_guide_for_each_thing_that_is_often_added() -> None:
    assert [guide.title for guide in GUIDES] == [
        "Adding a route",
        "Adding a surface",
        "Adding a source",
        "Add a kind",
    ]
    for guide in GUIDES:
        assert guide.files, guide
        assert any("pytest" in command for command in guide.commands), guide


@pytest.mark.slow
@pytest.mark.parametrize("guide", GUIDES, ids=[guide.title for guide in GUIDES])
def test_a_guide_followed_to_the_letter_leaves_tests_that_pass(guide: Guide, tmp_path: Path) -> None:
    copied(tmp_path)
    follow(guide, tmp_path)
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
    python = [name for name in guide.files if name.endswith(".py")]
    lint = [f"{PYTHON}-m ruff {check} {' '.join(python)}" for check in ("check", "format --check")]
    for command in (*guide.commands, *lint):
        assert command.startswith(PYTHON), f"{guide.page} runs {command!r}: tests know {PYTHON!r} only"
        done = subprocess.run(
            [sys.executable, *command.removeprefix(PYTHON).split()],
            cwd=tmp_path,
            env=ours,
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )
        said = f"{done.stdout[-4_000:]}{done.stderr[-2_000:]}"
        assert done.returncode == 0, f"{guide.page}, {guide.title}: {command} ended with\n{said}"


PAGE = """# Adding a boat

It floats. `shared/boats/red.py`:

```python
# Not a title
```

In `shared/boats.py`:

```diff
 one
+two
```

```sh
.venv/bin/python -m pytest tests/boats \\
    tests/ships
```

# Another title

```text
not of the guide
```
"""


def test_the_blocks_of_a_guide_are_its_steps() -> None:
    [guide] = guides("boats.md", PAGE)
    assert guide.title == "Adding a boat"
    assert guide.steps == (
        Step("python", "# Not a title\n", "shared/boats/red.py"),
        Step("diff", " one\n+two\n", "shared/boats.py"),
        Step("sh", ".venv/bin/python -m pytest tests/boats \\\n    tests/ships\n", None),
    )
    assert [each.split() for each in guide.commands] == [
        [".venv/bin/python", "-m", "pytest", "tests/boats", "tests/ships"]
    ]


@pytest.mark.parametrize("line", ["It floats.", "A `boat`:", "`shared/boats/red.py`"])
def test_a_block_that_is_of_no_file_is_refused(line: str) -> None:
    with pytest.raises(WrongGuide, match="the name of its file"):
        list(guides("boats.md", PAGE.replace("It floats. `shared/boats/red.py`:", line)))


def test_a_change_is_made_in_the_one_place_where_its_lines_stand() -> None:
    assert changed("one\nthree\n", Step("diff", " one\n+two\n three\n", "x")) == "one\ntwo\nthree\n"
    assert changed("one\n\nold\n", Step("diff", " one\n\n-old\n+new\n", "x")) == "one\n\nnew\n"
    for text in ("one\none\n", "someone\n", ""):
        with pytest.raises(WrongGuide, match=r"is in \d places"):
            changed(text, Step("diff", " one\n+two\n", "x"))
    with pytest.raises(WrongGuide, match="has the line"):
        changed("one\n", Step("diff", "one\n+two\n", "x"))


def test_a_file_that_is_there_is_not_written_over_nor_one_changed_that_is_not(tmp_path: Path) -> None:
    [guide] = guides("boats.md", PAGE)
    with pytest.raises(WrongGuide, match=r"changes shared/boats\.py, which is not there"):
        follow(guide, tmp_path)
    with pytest.raises(WrongGuide, match=r"makes shared/boats/red\.py, which is there already"):
        follow(guide, tmp_path)
