"""A customer's Velocity template, filled in row by row in a child process that can reach nothing.

The language: https://velocity.apache.org/engine/2.4/user-guide.html, as far as airspeed has it. A value is
text, a number, true or false, null, a list or a map; the methods that may be called are in methods.py. A
reference to what is not there stays as it is written, and is empty with `$!`. #foreach over a map
gives its values. Not allowed are #parse, #include and #evaluate, and names with two underscores in a row.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from shared.sandbox.errors import Refused
from shared.sandbox.process import Child, Limits

MAX_TEMPLATE_BYTES = 64 * 1024
MAX_STEPS = 100_000
"""Steps that a row may take: turns of loops, references, directives, pieces of text, items of values."""
MAX_ROW_OUTPUT = 1024 * 1024
"""Bytes that a row may become."""
MAX_DEPTH = 20
"""How deep macros may call each other."""
TEMPLATE_MEMORY = 512 * 1024**2
BATCH_SECONDS = 30.0
"""Wall time of parsing a template, and of each batch of rows."""
TEMPLATE_CPU_SECONDS = 3_600
"""CPU seconds of a child, over all its batches."""

ADVICE = "Use fewer or shorter loops."


@dataclass(frozen=True)
class TemplateLimits(Limits):
    """What a template may use: `seconds` for each batch, `steps`, `output` and `depth` for each row."""

    memory: int = TEMPLATE_MEMORY
    seconds: float = BATCH_SECONDS
    cpu_seconds: int = TEMPLATE_CPU_SECONDS
    steps: int = MAX_STEPS
    output: int = MAX_ROW_OUTPUT
    depth: int = MAX_DEPTH


TEMPLATE_LIMITS = TemplateLimits()


@dataclass(frozen=True)
class Problem:
    """A row that could not be filled in, and why, in a sentence."""

    sentence: str


class Templates:
    """A template, ready for rows. Use it as a context: one child serves all its batches.

    The keys of a row are names in the template; `row` is the row itself, for keys that are no names:
    `$row.get("First name")`.

    Raises Refused where the template is not allowed or cannot be parsed, OverLimit where it takes too long.
    """

    def __init__(self, template: str, row: str = "row", limits: TemplateLimits = TEMPLATE_LIMITS) -> None:
        self._text = _encoded(template)
        self._row, self._limits = row, limits

    def __enter__(self) -> Self:
        limits = self._limits
        self._child = Child(
            Path(__file__).with_name("velocity_child.py"),
            {"row": self._row, "steps": limits.steps, "output": limits.output, "depth": limits.depth},
            limits,
            "The template",
            ADVICE,
        )
        try:
            self._child.send(b"T", self._text)
            self._child.receive()
        except BaseException:
            self._child.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.kill()

    def render(self, rows: Sequence[Mapping[str, Any]]) -> list[str | Problem]:
        """The text of each row, or its problem, in their order. Integers stay exact.

        Raises OverLimit where the batch takes longer than its limit; then the child is gone.
        """
        self._child.restart_clock()
        self._child.send(b"b", json.dumps([dict(row) for row in rows]).encode())
        made: list[str | Problem] = []
        for _ in rows:
            kind, body = self._child.receive()
            text = body.decode()
            made.append(text if kind == b"t" else Problem(text))
        return made


def _encoded(template: str) -> bytes:
    try:
        text = template.encode()
    except UnicodeEncodeError:
        raise Refused("The template holds half of a surrogate pair. Remove that character.") from None
    if len(text) > MAX_TEMPLATE_BYTES:
        raise Refused(
            f"The template has {len(text):,} bytes; at most {MAX_TEMPLATE_BYTES:,} are allowed. Shorten it."
        )
    return text
