"""Adds up what Google would charge for while a test calls the functions, by function."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from infra.local.traffic import MESSAGE_BYTES, MESSAGES
from tests.by_function import around_calls
from tests.world import World

INVOCATIONS = "invocations"
"""How often a function was called."""


class Metered:
    """What each function of a world was charged for: `charged`, by function, then by what is charged."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.charged: dict[str, Counter[str]] = {}
        self._traffic = world.suite.traffic
        around_calls(world, monkeypatch, self.by, lambda function, *_: self.by(function))

    @contextmanager
    def by(self, function: str) -> Iterator[None]:
        """What is done inside is done by this function."""
        charged = self.charged.setdefault(function, Counter())
        # What came before is the delivery that calls it, and its request to publish where that is not ours.
        before = self._traffic.take_billed()
        charged.update({name: number for name, number in before.items() if name in (MESSAGES, MESSAGE_BYTES)})
        charged[INVOCATIONS] += 1
        try:
            yield
        finally:
            charged.update(self._traffic.take_billed())

    def taken(self) -> Mapping[str, Mapping[str, int]]:
        """What was charged since this was asked last."""
        taken, self.charged = self.charged, {}
        return {function: dict(+charged) for function, charged in taken.items()}
