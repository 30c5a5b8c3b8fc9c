"""What the name of a photograph says: its task group, and its place among the others."""

import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass

_NUMBERED = re.compile(r"(.+)-([0-9]{1,18})")


@dataclass(frozen=True)
class Photo:
    """A photograph's task group and number; those without a number come last."""

    file: str
    task_group: str
    number: int | None

    @property
    def place(self) -> tuple[bool, int, str]:
        """What photographs of a work order are sorted by: their numbers, then their names."""
        return (self.number is None, self.number or 0, self.file)


def photo(file: str, task_groups: Collection[str]) -> Photo | None:
    """What `<task group>[-N].<ext>` says; None where that is none of the task groups.

    Where a task group's own name ends in `-N` the longest admissible name wins.
    """
    stem = file.rpartition(".")[0]
    if stem in task_groups:
        return Photo(file, stem, None)
    numbered = _NUMBERED.fullmatch(stem)
    if numbered and numbered[1] in task_groups:
        return Photo(file, numbered[1], int(numbered[2]))
    return None


def admissible(task_groups: Sequence[str]) -> dict[str, str]:
    """The task groups by the form that names from archives are brought into (NFC)."""
    return {unicodedata.normalize("NFC", group): group for group in task_groups}
