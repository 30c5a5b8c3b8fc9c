"""A guide as a change to the repository: what its page says is done to a copy of the repository.

A guide is a section of a page whose title begins with "Add". Its blocks of code are the change:

- A block after a line that ends in the name of a file and a colon is that file, which is new.
- A block of the language `diff` changes the file that is named so. Lines with `+` are added, lines with `-`
  removed, and the others must stand in the file, in one place.
- A block of the language `sh` is what is run then, from the top of the repository.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.repository import listed

ROOT = Path(__file__).parents[1]

_TITLE = re.compile(r"^(#+) (Add\w* .+)$", re.MULTILINE)
_BLOCK = re.compile(r"(?:^([^\n]*)\n\n?)?^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"`([\w.-]+/[\w./-]+)`:$")


class WrongGuide(AssertionError):
    """A guide cannot be followed."""


@dataclass(frozen=True)
class Step:
    """A block of a guide: its language and content, and the file that it is or changes."""

    language: str
    content: str
    file: str | None


@dataclass(frozen=True)
class Guide:
    """A guide: its page, below the top of the repository, its title and its steps."""

    page: str
    title: str
    steps: tuple[Step, ...]

    @property
    def commands(self) -> list[str]:
        """What is run when the change is made; a line that ends in a backslash goes on in the next."""
        blocks = [each.content.replace("\\\n", "") for each in self.steps if each.file is None]
        return [line for block in blocks for line in block.splitlines()]

    @property
    def files(self) -> list[str]:
        """What the guide makes or changes."""
        return [each.file for each in self.steps if each.file is not None]


def guides(page: str, text: str) -> Iterator[Guide]:
    """The guides of a page. WrongGuide where a block is neither a file's nor a command."""
    for title in _TITLE.finditer(text):
        behind = text[title.end() :]
        end = re.search(rf"^#{{1,{len(title[1])}}} ", _without_blocks(behind), re.MULTILINE)
        section = behind[: end.start()] if end else behind
        yield Guide(page, title[2], tuple(_steps(f"{page}: {title[2]}", section)))


def copied(target: Path) -> None:
    """Copy what the repository holds, changes that are not committed included, into an empty folder."""
    for name in listed():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target / name)
    for command in (["git", "init", "--quiet"], ["git", "add", "--all"]):
        subprocess.run(command, cwd=target, check=True)


def follow(guide: Guide, repository: Path) -> None:
    """Make the change of a guide in a copy of the repository. WrongGuide where that is not possible."""
    for step in guide.steps:
        if step.file is None:
            continue
        file = repository / step.file
        if step.language == "diff":
            if not file.exists():
                raise WrongGuide(f"{guide.page} changes {step.file}, which is not there")
            file.write_text(changed(file.read_text(), step))
        else:
            if file.exists():
                raise WrongGuide(f"{guide.page} makes {step.file}, which is there already")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(step.content)


def changed(text: str, step: Step) -> str:
    """A file's text after a `diff`. WrongGuide where what it changes is not in one place."""
    lines = step.content.splitlines(keepends=True)
    wrong = [line for line in lines if line[0] not in " +-\n"]
    before = "".join(line[1:] or "\n" for line in lines if line[0] != "+")
    after = "".join(line[1:] or "\n" for line in lines if line[0] != "-")
    places = list(re.finditer(f"^{re.escape(before)}", text, re.MULTILINE))
    if wrong or len(places) != 1:
        said = f"has the line {wrong[0]!r}" if wrong else f"is in {len(places)} places"
        raise WrongGuide(f"the change of {step.file} {said}:\n{step.content}")
    [place] = places
    return text[: place.start()] + after + text[place.end() :]


def _steps(where: str, section: str) -> Iterator[Step]:
    for before, language, content in _BLOCK.findall(section):
        named = _FILE.search(before)
        if language != "sh" and named is None:
            raise WrongGuide(
                f"{where}: end the line before this block in the name of its file and a colon:\n{content}"
            )
        yield Step(language, content, named[1] if named and language != "sh" else None)


def _without_blocks(text: str) -> str:
    """The same text, as long, with nothing in its blocks that looks like a title."""
    return re.sub(r"^```.*?^```$", lambda block: " " * len(block[0]), text, flags=re.MULTILINE | re.DOTALL)
